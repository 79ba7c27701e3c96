"""What keeps the programs of one machine from running and a person can cure there: as `faults`, which names them."""

from __future__ import annotations

from recoverd.simulate.cluster import ModelCluster

SWAP = (
    "failed to run Kubelet: running with swap on is not supported, please disable swap! or set "
    "--fail-swap-on flag to false."
)
FULL = "etcdserver: failed to allocate space when creating new wal file (no space left on device)"
READ_ONLY = "etcdmain: open /var/lib/etcd/member/wal/0.tmp: read-only file system"
RESOLV_CONF = (
    "Failed to generate sandbox config for pod etcd: open /run/systemd/resolve/resolv.conf: no such file or directory"
)


def crash_unit(c: ModelCluster, name: str, unit: str = "kubelet", says: str = SWAP) -> None:
    """It ends itself at once and says why, and systemd starts it again and again; `mend-unit` is the cure."""
    it = c.machines[name].units[unit]
    it.refuses = says
    it.stop(c.now)
    it.start(c.now)


def fill_disk(c: ModelCluster, *names: str) -> None:
    """A log fills the disk that holds etcd's data, and etcd there ends."""
    for name in names:
        c.machines[name].disk = FULL


def break_disk(c: ModelCluster, *names: str) -> None:
    """The kernel mounts the disk that holds etcd's data read-only, after an error of it."""
    for name in names:
        c.machines[name].disk = READ_ONLY


def free_disk(c: ModelCluster, *names: str) -> None:
    """Rotated logs are deleted, or the disk is mounted so that it can be written again."""
    for name in names:
        c.machines[name].disk = ""


def lose_resolv_conf(c: ModelCluster, *names: str) -> None:
    """The file that kubelet gives to pods is gone: those that run go on, and after a boot none is started."""
    for name in names:
        c.machines[name].no_sandbox = RESOLV_CONF


def link_resolv_conf(c: ModelCluster, *names: str) -> None:
    """`ln -s /etc/resolv.conf` to where kubelet looks for it."""
    for name in names:
        c.machines[name].no_sandbox = ""
