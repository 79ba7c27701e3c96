"""Disks: full of bytes or of files, and what is then said of an etcd that has ended for it."""

from __future__ import annotations

import pytest

from recoverd.diagnose import diagnose
from recoverd.model.catalogue import Code
from recoverd.model.finding import Finding
from recoverd.model.observation import DiskView, HostView
from recoverd.observe.disks import disks
from recoverd.observe.journal import JournalWatch
from tests.unit.builders import Cluster

SAYS = "etcdmain: open wal error: no space left on device"
DF = """Filesystem 1024-blocks Used Available Capacity Mounted on
/dev/vda 1000 400 600 40% /
/dev/vdb 1000 400 600 40% /var/lib/etcd"""
DF_I = """Filesystem Inodes IUsed IFree IUse% Mounted on
/dev/vda 655360 655360 0 100% /
/dev/vdb 0 0 0 - /var/lib/etcd"""


def ended(inodes: int | None) -> Finding:
    """What is found first of a member that has ended without room on a disk with free bytes."""
    cluster = Cluster(3, 1).host("cp2", disks=(DiskView("/var/lib/etcd", 100 << 30, 50 << 30, inodes=inodes),))
    cluster.etcd_stopped("cp2", log_tail=(SAYS,), restarts=9).api_down("cp2")
    return diagnose(cluster.observation(), cluster.memory(), cluster.settings).faults[0]


def test_a_disk_without_inodes_is_full_though_it_has_room() -> None:
    found = ended(0)
    assert found.code == Code.DISK_FULL and "no inode left" in found.message and "df -i" in found.message


@pytest.mark.parametrize("inodes", [None, 5])
def test_one_with_room_and_inodes_was_full_when_that_was_said(inodes: int | None) -> None:
    found = ended(inodes)
    assert found.code == Code.ETCD_MEMBER_DOWN and "none is needed" in found.message


def test_few_inodes_are_told_of() -> None:
    cluster = Cluster(1, 1).host("w1", disks=(DiskView("/", 100 << 30, 50 << 30, inodes=200),))
    found = diagnose(cluster.observation(), cluster.memory(), cluster.settings).find(Code.DISK_LOW)
    assert found and "200 inodes" in found.message


def test_what_df_prints_of_inodes_and_a_file_system_without_a_number_of_them() -> None:
    root, data = disks(DF.splitlines(), {"inodes": DF_I.splitlines()})
    assert (root.inodes, root.free, data.inodes) == (0, 600 * 1024, None)


def test_the_root_of_an_image_based_system_is_not_nearly_full() -> None:
    """Fedora CoreOS and bootc mount it read-only from a composefs image, of which `df` says 100%."""
    root, var = DiskView("/", 9 << 20, 0, read_only=True), DiskView("/var", 100 << 30, 50 << 30)
    cluster = Cluster(1, 1).host("w1", disks=(root, var))
    assert not diagnose(cluster.observation(), cluster.memory(), cluster.settings).find(Code.DISK_LOW)
    watch, view = JournalWatch(), cluster.observation().hosts["w1"]
    assert isinstance(view, HostView)
    watch.took("w1", view, largest=False)
    assert watch.asks("w1") == ((), False), "nobody looks for what fills it"
