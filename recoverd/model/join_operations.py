"""The join of a control plane and its taking back, each one operation: the token and the key that it needs are
never in a plan or in the journal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

JOB = "/run/recoverd/join"
"""On the new machine: the join at work, its output and its exit status. Gone with a reboot."""
MARK = "/var/lib/recoverd/joining"
"""On the new machine: the label of the join that has begun to change it. Nothing is cleaned on a
machine without the right one.
"""


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
    kind: Literal["join-control-plane"] = "join-control-plane"
    repeatable = True
    functions = ("join_secrets", "join_start", "join_state", "join_why", "join_forget")
    """Of the shell library."""

    def command(self) -> str:
        skip = " --skip-phases=preflight" if self.skip_preflight else ""
        return (
            f"on {self.source}: kubeadm init phase upload-certs --upload-certs; kubeadm token create --ttl "
            "1h --print-join-command; "
            f"on {self.name}, for {self.seconds} s at most: kubeadm join --config (control plane, {self.address}, "
            f"token and key not shown){skip}; "
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
            f"etcd healthy with {self.members} member(s), API server ready, kubectl delete node {self.name}; "
            f"on {self.name}: kubeadm reset -f for 60 s at most, and what it leaves by hand; "
            f"on {self.source}: the join's token and its Secret kubeadm-certs are deleted"
        )


JoinOperation = JoinControlPlane | TakeBackJoin
