"""Clusters and bastions for the lab tests. A cluster serves all tests of a module and of its neighbours that want the
same; each test leaves it healthy or is marked `spoils`, as the last on it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster
from tests.lab.runner import choice, claims, evidence, results

HANG = 1800
"""Seconds after which a test is ended that has none of its own: no more than a guard against hanging, since
each condition has its deadline.
"""
RUN = os.environ.get("LAB_RUN") or f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
TABLE = Path(__file__).parents[2] / "docs/lab-results.md"
ours: dict[str, Cluster] = {}
"""The cluster that is up for this process, as `cluster`."""
spoilt = pytest.StashKey[bool]()
"""Of the session: whether the cluster is not as the next test must find it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lab")
    group.addoption(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="a test, a module, or a test with its parameters; may be repeated",
    )
    group.addoption("--count", type=int, default=1, metavar="N", help="run each test N times, on the same clusters")
    group.addoption("--lines", type=Path, metavar="FILE", help="add a line to FILE for each phase of each test")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "core(*playbooks): what CI runs, and whose repair by which playbooks it shows")
    config.addinivalue_line("markers", "spoils: the test leaves its cluster in a state in which no other may have it")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if (count := metafunc.config.getoption("--count")) > 1:
        metafunc.fixturenames.append("turn")
        metafunc.parametrize("turn", range(count), ids=[f"turn{n + 1}" for n in range(count)])


@pytest.fixture
def turn(request: pytest.FixtureRequest) -> int:
    """Which time the test is run, from 0."""
    return int(getattr(request, "param", 0))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep what is asked for, the longest group first."""
    if wanted := config.getoption("--only"):
        try:
            kept = choice.named([i.nodeid for i in items], wanted)
        except choice.NoSuchTest as error:
            raise pytest.UsageError(str(error)) from error
        config.hook.pytest_deselected(items=[i for i in items if i.nodeid not in kept])
        items[:] = [i for i in items if i.nodeid in kept]
    for item in items:
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(HANG))
    known = {name: float(row.seconds) for name, row in results.load(TABLE).items() if row.seconds.isdigit()}
    items[:] = choice.longest_first(items, lambda item: choice.group(item.nodeid), lambda item: item.nodeid, known)


class Groups(LoadScopeScheduling):
    """xdist's scheduler, with `choice.group` as what goes to one worker whole. (Its own groups need a name for
    pytest's, which pytest 9.2 lacks.)
    """

    def _split_scope(self, nodeid: str) -> str:
        return choice.group(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return Groups(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """At a failure, before anything is taken down, its evidence is kept; each report says what ran on the cluster."""
    report = yield
    if report.failed and not item.stash.get(spoilt, False):
        item.stash[spoilt] = item.session.stash[spoilt] = True
        kept = _keep(item, report)
        report.user_properties.append(("evidence", str(kept)))
        report.sections.append(("evidence", str(kept)))
    if report.when == "call" and item.get_closest_marker("spoils"):
        item.session.stash[spoilt] = True
    if ours and (ours["cluster"].dir / "nodes.json").exists():
        report.user_properties.append(("versions", versions(ours["cluster"])))
    return report


def _keep(item: pytest.Item, report: pytest.TestReport) -> Path:
    clusters = {
        c.number: c
        for c in [*ours.values(), *(c for b in Bastion.alive for c in b.clusters)]
        if (c.dir / "nodes.json").exists()
    }
    said = "\n\n".join(
        [item.nodeid, report.longreprtext, *(f"--- {title} ---\n{text}" for title, text in report.sections)]
    )
    name = re.sub(r"[^\w.-]+", "-", results.name_of(item.nodeid)).strip("-")
    path = evidence.HOME / RUN / f"{os.environ.get('LAB_ATTEMPT', '1')}-{name[:120]}.tar.gz"
    return evidence.archive(path, list(clusters.values()), list(Bastion.alive), said)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Where xdist has workers, all come together here in the process that started them."""
    if lines and "PYTEST_XDIST_WORKER" not in os.environ:
        with lines.open("a") as file:
            file.write(results.line_of(report))


lines: Path | None = None


def pytest_sessionstart(session: pytest.Session) -> None:
    global lines
    lines = session.config.getoption("--lines")
    session.stash[spoilt] = False


def versions(cluster: Cluster) -> dict[str, str]:
    """What runs there by the first control plane's disk, which can be read whatever became of the machine."""
    root = cluster.nodes[0].dir / "root"

    def image(of: str) -> str:
        file = root / f"etc/kubernetes/manifests/{of}.yaml"
        found = re.search(rf"image: \S*/{of}:v?(\S+)", file.read_text(errors="replace")) if file.exists() else None
        return found[1] if found else "?"

    etcd = _package(root, "etcd-server") if cluster.profile.etcd_apart else image("etcd").removesuffix("-0")
    runtime = next(
        (f"{p.removesuffix('.io')} {v}" for p in ("docker.io", "containerd") if (v := _package(root, p))), "?"
    )
    return {"kubernetes": image("kube-apiserver"), "etcd": etcd or "?", "runtime": runtime}


def _package(root: Path, name: str) -> str:
    """The version of Debian's package that is installed; "" where it is not."""
    status = root / "var/lib/dpkg/status"
    said = re.search(
        rf"^Package: {re.escape(name)}\nStatus: install ok installed\n(?:.+\n)*?Version: ([\d.]+)",
        status.read_text() if status.exists() else "",
        re.MULTILINE,
    )
    return said[1] if said else ""


@pytest.fixture(scope="session")
def bring_up(request: pytest.FixtureRequest) -> Iterator[Callable[..., Cluster]]:
    """`bring_up(control_planes=1, workers=2)`: a cluster with its workload, one at a time,
    under a number that nobody has.

    Tests that ask for the same one after the other share it, unless one of them has failed or spoils it.
    LAB_REUSE=NUMBER takes that one, which is up, and leaves it up. LAB_PROFILE=NAME is what its machines are, where
    the test does not say it.
    """
    if reuse := os.environ.get("LAB_REUSE"):
        ours["cluster"] = Cluster(int(reuse))
        yield lambda **size: ours["cluster"]
        return
    mine: tuple[claims.Claim, tuple[dict[str, int], str]] | None = None

    def down() -> None:
        nonlocal mine
        if mine:
            ours.clear()
            Cluster(mine[0].number).down()
            mine[0].release()
            mine = None

    def up(*, profile: str = os.environ.get("LAB_PROFILE", ""), **size: int) -> Cluster:
        nonlocal mine
        if mine and mine[1] == (size, profile) and not request.session.stash[spoilt]:
            return Cluster(mine[0].number)
        down()
        mine = (claims.claim(RUN, claims.preferred(**size)), (size, profile))
        cluster = ours["cluster"] = Cluster(mine[0].number)
        request.session.stash[spoilt] = True  # until it is whole
        cluster.up(**size, workload=True, profile=profile)
        request.session.stash[spoilt] = False
        return cluster

    yield up
    down()


@pytest.fixture
def beside() -> Iterator[Callable[..., Cluster]]:
    """`beside(control_planes=1, workers=0)`: a second cluster, without a workload, for a test that watches two. It goes
    with the test. LAB_BESIDE=NUMBER takes that one, which is up, and leaves it up.
    """
    made: list[claims.Claim] = []

    def up(**size: int) -> Cluster:
        if reuse := os.environ.get("LAB_BESIDE"):
            return Cluster(int(reuse))
        made.append(claims.claim(RUN, claims.preferred(**size)))
        cluster = Cluster(made[-1].number)
        cluster.up(**size, workload=False, profile=os.environ.get("LAB_PROFILE", ""))
        return cluster

    yield up
    for each in made:
        Cluster(each.number).down()
        each.release()


@pytest.fixture
def bastion() -> Iterator[Callable[..., Bastion]]:
    """`bastion(cluster, bounds={...})`: a started recoverd that has seen its clusters healthy."""
    started: list[Bastion] = []

    def start(*clusters: Cluster, healthy: bool = True, **options: Any) -> Bastion:
        made = Bastion(*clusters, **options)
        started.append(made)
        made.start()
        if healthy:
            made.wait_healthy()
        return made

    yield start
    for each in started:
        each.remove()
