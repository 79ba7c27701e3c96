"""What the bastion does about restore points. Data, as in `operations`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class TakeRestorePoint:
    """Take one restore point: etcd's snapshot from the step's host, and from every control
    plane what kubeadm left there.

    One before a plan is done already when the plan has its point. The result carries every point
    that is on the disk afterwards.
    """

    why: str
    """As in `RestorePoint`."""
    urgent: bool = False
    """A plan waits for it: one that is being taken on the schedule gives way."""
    kind: Literal["take-restore-point"] = "take-restore-point"
    repeatable = True

    def command(self) -> str:
        return (
            "POST https://127.0.0.1:2379/v3/maintenance/snapshot {} (over the SSH tunnel, hash checked), "
            "manifests, kubeadm and kubelet "
            "configuration of every control plane, into a restore point on the bastion; private keys are "
            "copied on their own node only"
        )


@dataclass(frozen=True, slots=True)
class LookAtRestorePoints:
    """See which restore points are on the bastion's disk, and remove what a crash left of one that was never whole."""

    kind: Literal["look-at-restore-points"] = "look-at-restore-points"
    repeatable = True

    def command(self) -> str:
        return "list the restore points on the bastion, and remove what is left of one that was interrupted"


PointOperation = TakeRestorePoint | LookAtRestorePoints
