"""What the unit hides from the daemon, and where it lets it write, told by whoever checks the configuration as root;
and a file server that is away.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from recoverd.act import points
from recoverd.act.point_store import PointStore
from recoverd.act.points import PointKeeper
from recoverd.config import sandbox
from recoverd.config.files import check_key
from recoverd.config.types import ClusterConfig, Config, Deadlines, Heartbeat, SshSettings
from recoverd.model.points import PointSettings
from recoverd.model.settings import ClusterSettings, HostSettings

ROOT = Path(__file__).parents[2]
FILE = Path("/etc/recoverd/recoverd.yaml")


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where units are, with the one that is shipped."""
    shutil.copy(ROOT / "systemd/recoverd.service", tmp_path / "recoverd.service")
    monkeypatch.setattr(sandbox, "FOLDERS", (tmp_path / "etc", tmp_path))
    return tmp_path


def changed(units: Path, *lines: str) -> None:
    folder = units / "etc/recoverd.service.d"
    folder.mkdir(parents=True)
    (folder / "override.conf").write_text("\n".join(("[Service]", *lines)))


def config(
    key: str = "/etc/recoverd/key", directory: str = "restore-points", state: str = "/var/lib/recoverd"
) -> Config:
    hosts = (HostSettings("cp1", "10.0.0.1"),)
    settings = ClusterSettings("prod", hosts, points=replace(PointSettings(), directory=directory))
    ssh = SshSettings("root", Path(key), Path("/etc/recoverd/known_hosts"))
    cluster = ClusterConfig(settings, 5.0, Path("/etc/recoverd/prod.kubeconfig"), ssh, Deadlines())
    return Config(Path(state), Path("/run/recoverd/control.sock"), ("127.0.0.1", 9770), (cluster,))


def told(file: Path = FILE, **what: str) -> dict[str, str]:
    return dict(sandbox.doubts(file, config(**what)))


def test_what_the_documents_say_is_seen_and_can_be_written(units: Path) -> None:
    assert told() == {}


@pytest.mark.parametrize("key", ["/root/.ssh/id_ed25519", "/home/alice/.ssh/id_ed25519"])
def test_a_key_in_somebodys_home_is_not_seen_by_the_unit(key: str, units: Path) -> None:
    said = told(key=key)
    assert list(said) == ["clusters[0].ssh.key"]
    assert said["clusters[0].ssh.key"].startswith(f"recoverd.service does not see {key} (ProtectHome=yes): ")
    assert told(Path("/root/draft.yaml"), key=key) == {}, "the unit reads another file"


def test_a_sign_of_life_whose_address_is_in_tmp_is_not_seen(units: Path) -> None:
    made = replace(config(), heartbeat=Heartbeat(Path("/tmp/url"), 300.0))
    assert "(PrivateTmp=yes)" in dict(sandbox.doubts(FILE, made))["heartbeat.url_file"]


def test_a_folder_elsewhere_cannot_be_written_until_the_unit_says_so(units: Path) -> None:
    where = "clusters[0].restore_points.directory"
    said = told(directory="/srv/points")
    assert list(said) == [where] and "[Service], ReadWritePaths=/srv/points" in said[where]
    assert list(told(state="/data/recoverd")) == ["state_dir", where]
    changed(units, "ReadWritePaths=-/srv/points", "ProtectHome=read-only")
    assert told(directory="/srv/points") == {} == told(key="/root/.ssh/id_ed25519")


def test_what_is_taken_back_by_an_empty_value_does_not_count(units: Path) -> None:
    changed(units, "ReadWritePaths=/srv/points", "ReadWritePaths=", "BindReadOnlyPaths=/root/.ssh")
    assert told(directory="/srv/points") and not told(key="/root/.ssh/id_ed25519")


def test_without_a_unit_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "FOLDERS", ())
    assert told(key="/root/.ssh/id_ed25519", directory="/srv/points") == {}


def test_within_the_unit_a_file_that_is_not_there_is_said_to_be_hidden(
    units: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Path("/root/.ssh/no-such-key")
    assert "does not see" not in str(check_key(key))
    monkeypatch.setenv("INVOCATION_ID", "0")
    assert f"cannot be read: No such file or directory. recoverd.service does not see {key} (" in str(check_key(key))


def test_a_journal_on_a_file_server_is_doubted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n22 21 0:5 / /srv/my\\040points rw,relatime shared:1 - nfs4 server:/x rw\n"
    )
    monkeypatch.setattr(sandbox, "MOUNTS", mounts)
    monkeypatch.setattr(sandbox, "FOLDERS", ())
    assert "is on nfs4: the journal's locks" in told(state="/srv/my points/recoverd")["state_dir"]
    assert told(directory="/srv/my points") == {} == told(state="/srv/my")


async def test_a_file_server_that_is_away_holds_up_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal's writes and the resolver of names had to wait for a thread behind it, for good."""
    back = threading.Event()
    monkeypatch.setattr(PointStore, "open", lambda store: back.wait(60) and None)
    cluster = ClusterSettings("prod", (HostSettings("cp1", "10.0.0.1"),))
    keepers = [PointKeeper(cluster, None, tmp_path / f"{n}", None) for n in range(40)]  # type: ignore[arg-type]
    looks = [asyncio.create_task(k.look()) for k in keepers]
    try:
        await asyncio.sleep(0.2)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: 1), 10) == 1
        for look in looks:  # and its deadline ends it, again and again
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: 2), 10) == 2
    finally:
        back.set()


def test_a_folder_that_is_read_only_for_the_unit_is_told_with_how_to_open_it() -> None:
    said = points._cure(OSError(30, "Read-only file system"), Path("/srv/points/prod"))
    assert "systemctl edit recoverd, [Service], ReadWritePaths=/srv/points" in said
    assert "of the user that recoverd runs as" in points._cure(PermissionError(13, "no"), Path("/srv/points/prod"))
