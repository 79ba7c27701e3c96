"""What keeps the programs of one machine from running and a person can cure there: as `faults`, which names them."""

from __future__ import annotations

from recoverd.simulate.cluster import ModelCluster
from recoverd.simulate.hosts import NODE_FILES, RESOLV, RUNTIME_CONFIG
from recoverd.simulate.nodes import AGENT_START
from recoverd.simulate.pki import of_worker

SWAP = (
    "failed to run Kubelet: running with swap on is not supported, please disable swap! or set "
    "--fail-swap-on flag to false."
)
FULL = "etcdserver: failed to allocate space when creating new wal file (no space left on device)"
READ_ONLY = "etcdmain: open /var/lib/etcd/member/wal/0.tmp: read-only file system"
OTHER_PAUSE = "k8s.gcr.io/pause:3.9"


def crash_unit(c: ModelCluster, name: str, unit: str = "kubelet", says: str = SWAP) -> None:
    """It ends itself at once and says why, and systemd starts it again and again; `mend-unit` is the cure."""
    it = c.machines[name].units[unit]
    it.refuses = says
    it.stop(c.now)
    it.start(c.now)


def fill_disk(c: ModelCluster, *names: str) -> None:
    """A log fills the disk that holds etcd's data, and etcd there ends."""
    for name in names:
        c.at(name).disk = FULL


def crowd_disk(c: ModelCluster, *names: str) -> None:
    """A log nearly fills the disk that holds etcd's data: etcd goes on, and nothing large has room beside it."""
    for name in names:
        c.at(name).crowded = True


def break_disk(c: ModelCluster, *names: str) -> None:
    """The kernel mounts the disk that holds etcd's data read-only, after an error of it."""
    for name in names:
        c.at(name).disk = READ_ONLY


def free_disk(c: ModelCluster, *names: str) -> None:
    """Rotated logs are deleted, or the disk is mounted so that it can be written again."""
    for name in names:
        c.at(name).disk, c.at(name).crowded = "", False


def remake_worker(c: ModelCluster, name: str, late: str = "40") -> None:
    """`kubectl delete node`, and another machine is joined under its name and address: it is given another part of the
    pod network, to which the others' agents know the way so many seconds later.
    """
    machine = c.machines[name]
    machine.files, machine.papers = dict(machine.first), of_worker()
    machine.fresh_network()
    machine.pods.clear()
    machine.made, machine.boots = machine.made + 1, machine.boots + 1
    machine.number = max(m.number for m in c.machines.values()) + 1
    machine.known_at = c.now + float(late)
    c.restart_unit(name, "kubelet")
    c.api.rejoined(name)
    for agent in machine.agents:
        machine.start_agent(agent, c.now + AGENT_START)


def set_clock(c: ModelCluster, name: str, ahead: str = "900") -> None:
    """Its clock is so many seconds ahead of the others', or behind, as of a machine that was suspended. Tokens and
    certificates of a year bear that of minutes, and its etcd goes by time that has passed.
    """
    c.machines[name].clock = float(ahead)


def step_clock(c: ModelCluster, name: str) -> None:
    """`chronyc makestep`, by a person."""
    c.machines[name].clock = 0.0


def slow_disk(c: ModelCluster, *names: str) -> None:
    """Something else writes to the disk of etcd, which takes half a second to write through; all is served."""
    for name in names:
        c.machines[name].slow = True


def quicken_disk(c: ModelCluster, *names: str) -> None:
    """A person ends what else wrote there."""
    for name in names:
        c.machines[name].slow = False


def lose_resolv_conf(c: ModelCluster, *names: str) -> None:
    """The file that kubelet gives to pods is gone: those that run go on, and after a boot none is started."""
    for name in names:
        c.machines[name].files.pop(RESOLV, None)


def link_resolv_conf(c: ModelCluster, *names: str) -> None:
    """`ln -s /etc/resolv.conf` to where kubelet looks for it."""
    for name in names:
        c.machines[name].files[RESOLV] = NODE_FILES[RESOLV]


def resolve_by_itself(c: ModelCluster, name: str) -> None:
    """systemd-resolved writes a resolv.conf that names the machine itself; the pods of the cluster's DNS, which are on
    it, are made anew, would ask themselves, and end.
    """
    c.machines[name].files[RESOLV] = "nameserver 127.0.0.53\n"
    c.machines[name].dns_ended_at = c.now


def renew_dns(c: ModelCluster, name: str) -> None:
    """A person corrects that file and deletes the pods."""
    link_resolv_conf(c, name)
    c.machines[name].dns_ended_at = None


def name_sandbox_image(c: ModelCluster, *names: str) -> None:
    """A package writes the runtime's configuration anew, which names a pause image that is not there, and no registry
    is reached: those that run go on, and after a boot none is started.
    """
    for name in names:
        c.machines[name].files[RUNTIME_CONFIG] = f'sandbox_image = "{OTHER_PAUSE}"\n'


def import_sandbox_image(c: ModelCluster, *names: str) -> None:
    """`ctr -n k8s.io images import` of that image, by a person."""
    for name in names:
        c.machines[name].images.add(OTHER_PAUSE)
