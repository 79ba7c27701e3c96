"""What carrying an operation out does to what runs: only looks, moves etcd's data, starts or stops something.
The gate asks it of every step.
"""

from __future__ import annotations

from recoverd.model.bastion_operations import AwaitApi, AwaitEtcd, FetchSnapshot
from recoverd.model.etcd_operations import AwaitRestored, RestoreSnapshot
from recoverd.model.file_operations import PutBackPodFile, PutResolvConf
from recoverd.model.join_operations import CheckJoin, TakeBackJoin
from recoverd.model.node_operations import (
    AwaitControllers,
    AwaitEndpoints,
    AwaitNodeReady,
    AwaitNodeUnready,
    AwaitNodeWell,
    AwaitReboot,
    RestartDaemonPods,
    Uncordon,
)
from recoverd.model.operations import MANIFESTS, MovePath, Operation, WriteFile
from recoverd.model.pki_operations import PutBackPki, RenewLeaves, RepairKubeletClient
from recoverd.model.point_operations import LookAtRestorePoints, TakeRestorePoint
from recoverd.model.space_operations import AwaitWrites, Compact, Defragment
from recoverd.model.unit_operations import (
    AwaitContainerGone,
    AwaitFlag,
    AwaitUnit,
    RestartStaticPod,
    RestartUnit,
    Unit,
    Unstick,
)
from recoverd.model.webhook_operations import AwaitService

_WAITS = (
    AwaitApi
    | AwaitContainerGone
    | AwaitControllers
    | AwaitEndpoints
    | AwaitEtcd
    | AwaitFlag
    | AwaitNodeReady
    | AwaitNodeUnready
    | AwaitReboot
    | AwaitRestored
    | AwaitService
    | CheckJoin
)
LOOKS = _WAITS | AwaitUnit | AwaitWrites | FetchSnapshot | LookAtRestorePoints | AwaitNodeWell | TakeRestorePoint
"""Operations that change nothing in the cluster, so that one more of them never does harm."""
WITHOUT_LEASE = LookAtRestorePoints | TakeRestorePoint
"""Operations that a bastion carries out whoever may act on the cluster: they read there."""
LOOKS_FIRST = Uncordon | RestartDaemonPods | TakeBackJoin | Compact | Defragment
"""Operations without a question of their own whether they have been done: begun again,
they look first, or do no harm.
"""
STARTS = PutBackPodFile | PutResolvConf | RestartStaticPod | RestartUnit | Unit | Unstick
"""Operations through which kubelet may start whatever manifests are in place on the machine."""
READ_AT_START = PutBackPki | RenewLeaves | RepairKubeletClient
"""Operations that put files in place which what runs has read when it started: no sweep shows whose authorities it has
in memory. So the restarts that follow are made though the cluster is well as soon as the files are there. The one
exemption from the rule that nothing healthy is touched.
"""
PUTS_BACK = MovePath | WriteFile | PutBackPki
"""Operations that put a file or directory where it was, whatever has happened there meanwhile."""


def looks(operation: Operation) -> bool:
    """Whether it only looks or waits."""
    return isinstance(operation, LOOKS)


def only_asks(operation: Operation | None, *, asked: bool) -> bool:
    """Whether carrying it out writes nothing anywhere, not even a restore point. `asked`: it is only asked
    whether it has been done. For a cluster that is only observed.
    """
    return operation is None or asked or (looks(operation) and not isinstance(operation, TakeRestorePoint))


def moves_data(operation: Operation) -> bool:
    """Whether it moves etcd's data, or puts other data in their place: it must never
    be done while etcd runs on them.
    """
    if isinstance(operation, MovePath):
        return any(path.endswith("/member") for path in (operation.source, operation.target))
    return isinstance(operation, RestoreSnapshot)


def rewrites(operation: Operation, component: str) -> bool:
    """Whether it moves or writes the manifest of a static pod, or rests on its having been moved away."""
    if component == "etcd" and moves_data(operation):
        return True
    own = f"{MANIFESTS}/{component}.yaml"
    if isinstance(operation, MovePath):
        return own in (operation.source, operation.target)
    return isinstance(operation, WriteFile) and operation.path == own


def restarts_member(operation: Operation) -> bool:
    """Whether it ends the etcd of its machine for kubelet to start another."""
    return (isinstance(operation, RestartStaticPod) and operation.component == "etcd") or (
        isinstance(operation, PutBackPki) and operation.restart
    )
