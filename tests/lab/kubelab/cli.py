"""The command `lab`."""

from __future__ import annotations

import argparse
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable

from .build import build
from .cluster import Cluster, all_clusters, join_control_plane
from .host import LabError, require
from .profiles import PROFILES
from .states import State, build_of, size, states

KINDS = "; ".join(f"{p.name}: {p.text}" for p in PROFILES.values() if p.name)
NODE_VERBS = ("ssh", "join-control-plane", "power-off", "power-on", "reboot")
VERBS = {
    "build": "make what every cluster needs and is missing; done by `up`, too",
    "up": "boot and join a cluster; from its kept state where there is one, else by kubeadm",
    "save": "keep a cluster's state, a broken one, too, under a name",
    "states": "kept states: name, cluster, size",
    "forget": "remove a kept state",
    "down": "remove a cluster, or all of them",
    "clusters": "numbers of the clusters that are there",
    "nodes": "name, address and power of each node",
    "ssh": "a shell or a command on a node, as root",
    "workload": "four web pods behind the service 10.96.0.80:80",
    "kubeconfig": "print an administrator's kubeconfig",
    "known-hosts": "print known_hosts lines of all nodes",
    "join-control-plane": "join a spare control plane",
    "power-off": "pull a node's plug",
    "power-on": "switch a node on, and wait until it is up",
    "reboot": "reboot a node, and wait until it is up again",
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lab", description="Real kubeadm clusters on one machine.")
    sub = parser.add_subparsers(dest="verb", required=True)
    for verb, text in VERBS.items():
        command = sub.add_parser(verb, help=text, description=text)
        if verb not in ("build", "clusters", "states", "forget"):
            command.add_argument(
                "--cluster", type=number, default=1, metavar="N", help="1 to 54; addresses are 10.99.N.0/24"
            )
        if verb == "up":
            command.add_argument("--control-planes", type=int, default=1)
            command.add_argument("--spare-control-planes", type=int, default=0, help="booted and not joined")
            command.add_argument("--workers", type=int, default=2)
            command.add_argument("--workload", action="store_true", help="with the four web pods")
            command.add_argument(
                "--profile",
                default="",
                choices=list(PROFILES),
                help=KINDS,
            )
            command.add_argument("--fresh", action="store_true", help="made by kubeadm, and not kept")
            command.add_argument(
                "--from", dest="state", metavar="NAME", help="in the state that `lab save NAME` kept, with its shape"
            )
        if verb in ("save", "forget"):
            command.add_argument("name")
        if verb == "down":
            command.add_argument("--all", action="store_true", help="every cluster")
            command.add_argument(
                "--keep", type=number, action="append", default=[], metavar="N", help="with --all: not this one"
            )
        if verb in NODE_VERBS:
            command.add_argument("node")
        if verb == "ssh":
            command.add_argument("command", nargs=argparse.REMAINDER)
    return parser.parse_args()


def number(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 54:
        raise argparse.ArgumentTypeError("a cluster's number is 1 to 54")
    return value


def ssh(a: argparse.Namespace) -> int:
    node = Cluster(a.cluster).node(a.node)
    command = a.command[1:] if a.command[:1] == ["--"] else a.command
    return subprocess.call([*node.ssh(), shlex.join(command)] if command else node.ssh("-t"))


def up(a: argparse.Namespace) -> None:
    cluster = Cluster(a.cluster)
    if a.state:
        cluster.up_from(a.state)
    else:
        cluster.up(
            a.control_planes, a.spare_control_planes, a.workers, workload=a.workload, fresh=a.fresh, profile=a.profile
        )


def listed(a: argparse.Namespace) -> None:
    for state in states():
        stale = "" if state.about["build"] == build_of() else "  (of another build)"
        print(f"{state.name}  cluster {state.about['number']}  {size(state)}{stale}")


def join(a: argparse.Namespace) -> int:
    cluster = Cluster(a.cluster)
    return join_control_plane(cluster.nodes[0], cluster.node(a.node), check=False).returncode


def down(a: argparse.Namespace) -> None:
    for cluster in all_clusters() if a.all else [Cluster(a.cluster)]:
        if cluster.number not in a.keep:
            cluster.down()


def nodes(a: argparse.Namespace) -> None:
    for node in Cluster(a.cluster).machines:
        print(node.name, node.address, "up" if node.running else "off")


ACTIONS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "build": lambda a: build(),
    "up": up,
    "save": lambda a: Cluster(a.cluster).save(a.name),
    "states": listed,
    "forget": lambda a: State(a.name).forget(),
    "down": down,
    "clusters": lambda a: print(*(c.number for c in all_clusters()), sep="\n", end="\n" if all_clusters() else ""),
    "nodes": nodes,
    "ssh": ssh,
    "workload": lambda a: Cluster(a.cluster).workload(),
    "kubeconfig": lambda a: print(Cluster(a.cluster).kubeconfig(), end=""),
    "known-hosts": lambda a: print(Cluster(a.cluster).known_hosts(), end=""),
    "join-control-plane": join,
    "power-off": lambda a: Cluster(a.cluster).node(a.node).power_off(),
    "power-on": lambda a: Cluster(a.cluster).node(a.node).power_on(),
    "reboot": lambda a: Cluster(a.cluster).node(a.node).reboot(),
}


def main() -> int:
    """Exit codes: 0 done, 1 failed, 2 usage; `ssh` and `join-control-plane` give the remote command's."""
    a = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is half done is cleaned up
    try:
        require()
        return ACTIONS[a.verb](a) or 0
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
    except subprocess.CalledProcessError as error:
        print(f"lab: failed with status {error.returncode}: {shlex.join(map(str, error.cmd))[:300]}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 1
