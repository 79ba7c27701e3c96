"""The join of a control plane and its taking back, each one operation: the token and the key that it needs are
never in a plan or in the journal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recoverd.model.call import Call, HostCall
from recoverd.model.places import API_PORT

JOB = "/run/recoverd/join"
"""On the new machine: the join at work, its output and its exit status. Gone with a reboot."""
MARK = "/var/lib/recoverd/joining"
"""On the new machine: the label of the join that has begun to change it. Nothing is cleaned on a
machine without the right one.
"""


@dataclass(frozen=True, slots=True)
class EndLeftPods(HostCall):
    """End what still runs in pods on a machine that was reset: `kubeadm reset` ends no containers without crictl, and
    an API server that is left holds the port that the next one needs. Refused where the machine is anything yet.
    """

    kind: Literal["end-left-pods"] = "end-left-pods"
    repeatable = True

    @property
    def title(self) -> str:
        return "ending what is left running in pods"

    def call(self) -> Call:
        return Call.of(
            "join_end_left",
            does="systemctl stop kubelet; kill every process in a kubepods cgroup, -TERM first, -KILL after 3 s",
        )

    def check(self) -> Call:
        return Call.of("join_none_left")


@dataclass(frozen=True, slots=True)
class CheckJoin:
    """Ask every machine whether the step's host, which was a control plane, can join again, as is asked before
    `recoverctl join-control-plane`. Nothing is changed, but for a listener of some seconds where no port is open yet.
    """

    source: str
    name: str
    address: str
    planes: tuple[str, ...]
    """Control planes that are members of etcd, `source` among them."""
    flags: tuple[str, ...] = ()
    """Of its API server as it was, without the dashes: those that kubeadm does not write by itself. The cluster's
    kubeadm configuration must give each, or what joins again is another API server than before.
    """
    kind: Literal["check-join"] = "check-join"
    repeatable = True
    functions = ("join_configuration", "join_listen", "join_listen_end", "join_reach")
    """Of the shell library."""

    def command(self) -> str:
        return (
            f"on {self.name} and {', '.join(self.planes)}: look whether {self.name} ({self.address}) can join: name, "
            "versions, clocks, runtime, leftovers, room, certificates, etcd's ports and the API server's each way"
            + (f"; kubeadm-config must give --{', --'.join(self.flags)}" if self.flags else "")
        )


@dataclass(frozen=True, slots=True)
class JoinControlPlane:
    """Join the step's host: secrets made on `source`, `kubeadm join` under a deadline, the
    member list watched meanwhile.

    Ended as failed as soon as the member has been listed for `member_seconds` without having started. The new
    machine must be clean, by what it says itself; it is marked with `label` before anything is changed. A resumed
    one goes on watching what runs there.
    """

    label: str
    source: str
    name: str
    address: str
    member_seconds: int
    seconds: int
    """For `kubeadm join` as a whole."""
    skip_preflight: bool = False
    needs_crictl: bool = False
    """Where the machine has no crictl, kubeadm's preflight checks, which fail without it before 1.31, are left out."""
    api_port: int = API_PORT
    """Where its API server is to listen (`localAPIEndpoint.bindPort`): kubeadm takes 6443 where nobody says it, which
    may be a balancer's on the machine itself, whose servers are then asked on another.
    """
    kind: Literal["join-control-plane"] = "join-control-plane"
    repeatable = True
    functions = ("join_secrets", "join_start", "join_state", "join_why", "join_forget")
    """Of the shell library."""

    def command(self) -> str:
        skip = " --skip-phases=preflight" if self.skip_preflight else ""
        skip += " (its preflight checks are left out where there is no crictl)" if self.needs_crictl else ""
        port = "" if self.api_port == API_PORT else f", its API server on {self.api_port}"
        return (
            f"on {self.source}: kubeadm init phase upload-certs --upload-certs; kubeadm token create --ttl "
            "1h --print-join-command; "
            f"on {self.name}, for {self.seconds} s at most: kubeadm join --config (control plane, "
            f"{self.address}{port}, token and key not shown){skip}; "
            f"meanwhile the member list is watched: {self.member_seconds} s for https://{self.address}:2380 to "
            "start once it is listed; "
            f"afterwards on {self.source}: the token and the uploaded Secret are deleted"
        )


@dataclass(frozen=True, slots=True)
class ForceAlone:
    """The source's etcd manifest with and without `--force-new-cluster`: how a single member is
    made a cluster of its own again.
    """

    path: str
    before: str
    """sha256 of what is in place."""
    flagged: str
    final: str


@dataclass(frozen=True, slots=True)
class TakeBackJoin:
    """Undo a join: end it on the new machine, take its member out of etcd, see etcd and the API server
    well, then clean the new machine.

    The member is removed while quorum holds. Where the source is the only other member and has lost its quorum, `force`
    makes it a one-member cluster again. The new machine is cleaned only once its member is not listed any more. Each
    part looks first, so it can be repeated.
    """

    label: str
    source: str
    name: str
    address: str
    members: int
    """Members that there were before."""
    force: ForceAlone | None = None
    keeps_node: bool = False
    """The Node object was there before the join, and stays."""
    kind: Literal["take-back-join"] = "take-back-join"
    repeatable = True
    functions = (
        "join_stop",
        "join_silence",
        "file_has",
        "write_file",
        "await_flag",
        "unstick",
        "stop_kubelet",
        "join_delete_node",
        "join_clean",
        "join_forget",
    )
    """Of the shell library."""

    def command(self) -> str:
        forced = ""
        if self.force:
            forced = (
                f" (without quorum: {self.force.path} on {self.source} with --force-new-cluster, and again without)"
            )
        return (
            f"on {self.name}: end kubeadm join; on {self.source}: member remove of "
            f"https://{self.address}:2380{forced}, "
            f"etcd healthy with {self.members} member(s), API server ready"
            f"{'' if self.keeps_node else f', kubectl delete node {self.name}'}; "
            f"on {self.name}: kubeadm reset -f for 60 s at most, and what it leaves by hand; "
            f"on {self.source}: the join's token and its Secret kubeadm-certs are deleted"
        )


JoinOperation = CheckJoin | JoinControlPlane | TakeBackJoin
