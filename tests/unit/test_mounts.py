"""Which mounts of a machine are remembered, for what is empty without them."""

from __future__ import annotations

from dataclasses import replace

from recoverd.diagnose.scene import Scene
from recoverd.memory.mounts import known_mounts
from recoverd.model.memory import Memory
from recoverd.model.memory_parts import REST, split
from recoverd.model.observation import DiskView
from tests.unit.builders import Cluster


def scene(*paths: str, known: tuple[str, ...] = (), odd: str = "cp1") -> Scene:
    cluster = Cluster(1, 1)
    disks = tuple(DiskView(path, 1 << 40, 1 << 39) for path in paths)
    cluster.host(odd, disks=disks)
    return Scene(cluster.observation(), Memory(mounts={odd: known} if known else {}), cluster.settings)


def test_file_systems_of_their_own_below_what_kubernetes_keeps_are_remembered() -> None:
    found = known_mounts(scene("/", "/var", "/var/log", "/var/lib/etcd", "/srv"))
    assert found["cp1"] == ("/var", "/var/lib/etcd")


def test_what_a_shell_reads_anything_into_is_not() -> None:
    assert known_mounts(scene("/", "/var/lib/$(reboot)")).get("cp1", ()) == ()


def test_nothing_is_forgotten_where_no_disk_was_told_and_nothing_is_written_anew_where_nothing_is_new() -> None:
    unseen = scene(known=("/var",))
    assert known_mounts(unseen)["cp1"] == ("/var",)
    once = scene("/", "/var/lib/etcd")
    again = Scene(once.observation, replace(once.memory, mounts=known_mounts(once)), once.settings)
    assert known_mounts(again) is again.memory.mounts
    gone = scene("/", known=("/var/lib/etcd",))
    assert known_mounts(gone)["cp1"] == (), "a healthy sweep without it"


def test_a_journal_has_them_with_the_machine() -> None:
    memory = replace(Memory(), mounts={"cp1": ("/var/lib/etcd",)})
    assert split(memory).keys() == {"host/cp1", REST}
