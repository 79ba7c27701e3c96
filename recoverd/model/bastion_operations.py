"""What the bastion itself does, through the SSH tunnel to etcd or to the API server. Data, as in `operations`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recoverd.model.etcd import EtcdView
from recoverd.model.point_operations import PointOperation


@dataclass(frozen=True, slots=True)
class FetchSnapshot:
    """Stream a full snapshot from the member on the step's host into the bastion's state directory, and check it.

    Checked are the sha256 that etcd appends, that it is whole pages and, where given, that it `holds` a text: the UID
    of the cluster's kube-system, which the database of a cluster that has begun anew has never held.

    Served without quorum (observed on 3.4). The result's detail names the file, its size and its hash.
    """

    label: str
    holds: str = ""
    kind: Literal["fetch-snapshot"] = "fetch-snapshot"
    repeatable = True

    def command(self) -> str:
        checked = "hash checked" + (f", and that kube-system in it is {self.holds}" if self.holds else "")
        return (
            f"POST https://127.0.0.1:2379/v3/maintenance/snapshot {{}} (over the SSH tunnel, into the state "
            f"directory of recoverd, {checked})"
        )


@dataclass(frozen=True, slots=True)
class RemoveMember:
    """`member remove`, asked of the member on the step's host; needs quorum. Done already
    when the id is no longer listed.
    """

    member_id: str
    kind: Literal["remove-member"] = "remove-member"
    repeatable = True

    def command(self) -> str:
        body = f'{{"ID": "{int(self.member_id, 16)}"}}'
        return (
            f"POST https://127.0.0.1:2379/v3/cluster/member/remove {body} (member "
            f"{self.member_id}, over the SSH tunnel)"
        )


@dataclass(frozen=True, slots=True)
class AwaitEtcd:
    """Wait until the member on the step's host is healthy with a leader, lists exactly `members` voters,
    and holds at least what it held.
    """

    members: int
    min_revision: int = 0
    min_nodes: int = 0
    """At that revision, as `min_pods`."""
    min_pods: int = 0
    kind: Literal["await-etcd"] = "await-etcd"
    repeatable = True

    def command(self) -> str:
        return (
            f"GET https://127.0.0.1:2379/health until true, with {self.members} member(s), "
            f"revision >= {self.min_revision}, "
            f"nodes then >= {self.min_nodes}, pods then >= {self.min_pods} (over the SSH tunnel)"
        )

    def lacks(self, view: EtcdView) -> str:
        """What is not as wanted in what the member says of itself, in words; "" when all is."""
        missing = []
        if not view.healthy:
            missing.append(f"not healthy ({view.health_reason})")
        if not view.has_leader:
            missing.append("no leader")
        if len(view.voters) != self.members:
            missing.append(f"{len(view.voters)} voters where {self.members} are expected")
        for what, least, has in (
            ("revision", self.min_revision, view.revision),
            ("nodes", self.min_nodes, view.nodes),
            ("pods", self.min_pods, view.pods),
        ):
            if least and (has is None or has < least):
                missing.append(f"{what} {'unknown' if has is None else has}, and {least} or more are expected")
        return ", ".join(missing)


@dataclass(frozen=True, slots=True)
class AwaitApi:
    """Wait until the API server on the step's host answers /readyz with ok."""

    port: int = 0
    """0: where its manifest lets it listen, as far as that was seen or is remembered; of one that only joins it was
    not.
    """
    kind: Literal["await-api"] = "await-api"
    repeatable = True

    def command(self) -> str:
        return f"GET https://HOST:{self.port or 'PORT'}/readyz until ok"


BastionOperation = FetchSnapshot | RemoveMember | AwaitEtcd | AwaitApi | PointOperation
