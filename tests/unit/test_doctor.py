"""What `recoverd doctor` asks for is what the files in config/ give."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import yaml

from recoverd.doctor.check import About, Level
from recoverd.doctor.machine import _room
from recoverd.doctor.permissions import LOOK, NEEDED, REPAIR, Permission, lack
from recoverd.model.observation import DiskView, HostView
from tests.unit.builders import Cluster

CONFIG = Path(__file__).parents[2] / "config"
Asked = tuple[str, str, str, str]


def given(file: Path) -> set[Asked]:
    """Verb, resource, group and name of everything that the file's rules allow."""
    found: set[Asked] = set()
    for document in yaml.safe_load_all(file.read_text()):
        for rule in document.get("rules") or ():
            paths = [(path, "", "") for path in rule.get("nonResourceURLs", ())]
            names = rule.get("resourceNames", ("",))
            kinds = [(r, g, n) for g, r, n in product(rule.get("apiGroups", ()), rule.get("resources", ()), names)]
            found |= {(verb, *what) for verb, what in product(rule["verbs"], (*paths, *kinds))}
    return found


@pytest.mark.parametrize("file", sorted(f.name for f in CONFIG.glob("rbac*.yaml")))
def test_every_verb_of_the_files_is_asked_for_and_no_other(file: str) -> None:
    assert {(p.verb, p.resource, p.group, p.name) for p in NEEDED[file]} == given(CONFIG / file)


def test_a_right_that_came_later_is_no_blindness() -> None:
    """An installation that was made before goes on as it was."""
    later, nodes = Permission("list", "apiservices", "apiregistration.k8s.io"), Permission("list", "nodes")
    assert later in NEEDED[LOOK]
    blind, worth = lack(LOOK, [later])
    assert not blind and "metrics.k8s.io" in worth
    assert lack(LOOK, [later, nodes])[0]
    followed, pods = Permission("watch", "pods"), Permission("list", "pods")
    assert followed in NEEDED[LOOK] and not lack(LOOK, [followed])[0] and lack(LOOK, [pods])[0]
    assert not lack(REPAIR, [Permission("patch", "nodes")])[0]


@pytest.mark.parametrize(("places", "level"), [(("/", "/var"), Level.OK), (("/",), Level.FAIL)])
def test_a_root_that_an_image_fills_is_not_written_by_anybody(places: tuple[str, ...], level: Level) -> None:
    """It is read-only and full by `df` from the first day (composefs); that /var/lib is so is another matter."""
    disks = tuple(DiskView(p, 20 << 30, 9 << 30 if p != "/" else 0, read_only=p == "/") for p in places)
    view = Cluster(1).host("cp1", disks=disks).hosts["cp1"]
    assert isinstance(view, HostView)
    (found,) = _room(About("prod", "cp1"), view)
    assert found.level is level
