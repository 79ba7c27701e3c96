"""What recoverd can do to a node of a cluster: through the API server, over SSH, or by watching until it is
well. Data, as in `operations`.

Every one of them may be carried out again after a crash: each looks first at what is there. `command` says what is done
in the words of the tool that a person would use for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from recoverd.model.call import Call, HostCall

CORDONED = "recoverd.io/cordoned-by"
"""Annotation on a node that recoverd has cordoned; its value is the plan. Without it a
cordon is somebody else's and stays.
"""
CONTROLLER_MANAGER = "kube-controller-manager"
BOOT_ID = "/proc/sys/kernel/random/boot_id"


class PodChoice(StrEnum):
    """What a drain does with pods that `kubectl drain` refuses to evict unless told to."""

    REFUSE = "refuse"
    """Nothing is evicted from the node at all, as kubectl does without --force or --delete-emptydir-data."""
    EVICT = "evict"
    """Evicted; what is unmanaged does not come back, and the data of its emptyDir volumes is deleted."""
    LEAVE = "leave"
    """Stays on the node and goes through the reboot with it; its data stays."""


@dataclass(frozen=True, slots=True)
class Cordon:
    """Mark the node unschedulable, and as cordoned by this plan. One that is unschedulable already
    stays as it is, without a mark.

    `mark` is the plan's id, which is filled in when the plan is made.
    """

    node: str
    mark: str = ""
    kind: Literal["cordon"] = "cordon"
    repeatable = True

    def command(self) -> str:
        return (
            f"kubectl cordon {self.node}  (and annotate {CORDONED}={self.mark}, in one PATCH of the node; not "
            "if it is cordoned already)"
        )

    def inverse(self) -> Uncordon:
        return Uncordon(self.node, self.mark)


@dataclass(frozen=True, slots=True)
class Uncordon:
    """Make the node schedulable again if it was this plan that cordoned it; a node cordoned
    by somebody else stays cordoned.

    Another plan's mark proves nothing: the node may have been uncordoned and cordoned by a person since, and
    kubectl leaves the mark there.
    """

    node: str
    mark: str = ""
    kind: Literal["uncordon"] = "uncordon"
    repeatable = True

    def command(self) -> str:
        return f"kubectl uncordon {self.node}  (only with the annotation {CORDONED}={self.mark}, which is taken off)"


@dataclass(frozen=True, slots=True)
class Drain:
    """Evict the node's pods through the Eviction API, so that PodDisruptionBudgets hold, and wait until they are gone.

    Pods of DaemonSets and mirror pods stay, as with `kubectl drain --ignore-daemonsets`. `local_storage` is for pods
    with emptyDir volumes, `unmanaged` for pods without a controller.
    """

    node: str
    local_storage: PodChoice = PodChoice.REFUSE
    unmanaged: PodChoice = PodChoice.REFUSE
    kind: Literal["drain"] = "drain"
    repeatable = True

    def command(self) -> str:
        force = " --force" if self.unmanaged is PodChoice.EVICT else ""
        local = " --delete-emptydir-data" if self.local_storage is PodChoice.EVICT else ""
        chosen = f"pods with local storage: {self.local_storage}, unmanaged pods: {self.unmanaged}"
        return (
            f"kubectl drain {self.node} --ignore-daemonsets{force}{local}  (Eviction API, budgets respected; {chosen})"
        )


@dataclass(frozen=True, slots=True)
class Reboot(HostCall):
    """Ask the machine to reboot, once: not when its boot id is no longer `boot_id`, and not when it
    was asked before in this boot.
    """

    boot_id: str
    kind: Literal["reboot"] = "reboot"
    repeatable = True

    @property
    def title(self) -> str:
        return "asking it to reboot"

    def call(self) -> Call:
        return Call.of("ask_to_reboot", self.boot_id, does="systemctl reboot")

    def check(self) -> Call:
        return Call.of("asked_to_reboot", self.boot_id)


@dataclass(frozen=True, slots=True)
class AwaitReboot:
    """Wait until the machine answers over SSH with another boot id than `boot_id`. It may take minutes to
    go down, and minutes to come up.
    """

    boot_id: str
    kind: Literal["await-reboot"] = "await-reboot"
    repeatable = True

    def command(self) -> str:
        return f"ssh HOST cat {BOOT_ID}, until it is not {self.boot_id}"


@dataclass(frozen=True, slots=True)
class AwaitNodeReady:
    """Wait until the API server shows the node Ready and, where `boot_id` is given, in another boot than that one."""

    node: str
    boot_id: str = ""
    kind: Literal["await-node-ready"] = "await-node-ready"
    repeatable = True

    def command(self) -> str:
        other = f" and .status.nodeInfo.bootID is not {self.boot_id}" if self.boot_id else ""
        return f"kubectl get node {self.node}, until it is Ready{other}"


@dataclass(frozen=True, slots=True)
class AwaitNodeUnready:
    """Wait until the API server shows the node not Ready, or lists none of the name: kubeadm lets no machine join under
    the name of a node that is Ready, and what stands in the object (labels, addresses of its pods) is kept for it.
    """

    node: str
    kind: Literal["await-node-unready"] = "await-node-unready"
    repeatable = True

    def command(self) -> str:
        return f"kubectl get node {self.node}, until it is not Ready"


@dataclass(frozen=True, slots=True)
class AwaitControllers:
    """Wait until kube-controller-manager, or another `component`, leads: its Lease is renewed while that is watched.

    One that is started anew waits until the lease of the one before has run out (15 s by default). Until then nobody
    keeps endpoints, and whatever is started anew on nodes would take dead ones for good (observed after a restore: it
    led 17 s after the API server's return).
    """

    component: str = CONTROLLER_MANAGER
    kind: Literal["await-controllers"] = "await-controllers"
    repeatable = True

    def command(self) -> str:
        return f"kubectl get -n kube-system lease {self.component}, until its renewTime moves on"


@dataclass(frozen=True, slots=True)
class AwaitEndpoints:
    """Wait until the endpoints of services are the addresses that their pods have now, for a second on end.

    Observed after a restore: they were those of the snapshot for 12 s after kube-controller-manager led, and a
    kube-proxy that was started anew meanwhile lost every pod that a deaf one still reached. When the time is over the
    plan goes on: a fresh kube-proxy follows what comes later.
    """

    kind: Literal["await-endpoints"] = "await-endpoints"
    repeatable = True

    def command(self) -> str:
        return "kubectl get endpointslices,pods -A -o wide, until the slices have the pods' addresses"


class Agent(StrEnum):
    """The agents of a node that run as pods of a DaemonSet."""

    KUBE_PROXY = "kube-proxy"
    CNI = "cni"
    """Whatever DaemonSet mounts the host's CNI directories; none where the CNI has no agent."""


@dataclass(frozen=True, slots=True)
class RestartDaemonPods:
    """Start the agent's containers on the node anew and see them run.

    kube-proxy's process is ended for kubelet to start another (2 s, and no controller is needed for it: with the pods
    deleted it took 45 s on a busy machine, observed); where there is no process, or no other comes, and for every other
    agent, the pods are deleted and their DaemonSet's new ones awaited.
    """

    node: str
    agent: Agent
    by_pod: bool = False
    """Delete kube-proxy's pod in any case: another one mounts its ConfigMap as that is now, and a process that is
    started anew in the old pod reads what kubelet has put there, which may be a minute older.
    """
    kind: Literal["restart-daemon-pods"] = "restart-daemon-pods"
    repeatable = True
    functions = ("restart_pod", "rules_written")
    """Of the shell library."""

    def command(self) -> str:
        delete = f"kubectl delete pod --field-selector spec.nodeName={self.node}"
        if self.agent is Agent.KUBE_PROXY and self.by_pod:
            return f"{delete} -n kube-system -l k8s-app=kube-proxy, and wait for a new one"
        if self.agent is Agent.KUBE_PROXY:
            return (
                f"pkill -KILL -x kube-proxy, for kubelet to start another; else {delete} -n kube-system -l "
                "k8s-app=kube-proxy, and wait for a new one"
            )
        return (
            f"{delete} (those of the DaemonSets that mount /etc/cni or /opt/cni), and wait for new ones that are Ready"
        )


@dataclass(frozen=True, slots=True)
class AwaitNodeWell:
    """Watch until sweeps find no fault of the node any more, while the node itself is seen and Ready.

    Nothing is carried out for it: the machine judges each sweep, so that a node is well by the same
    rules by which it was found broken.
    """

    node: str
    kind: Literal["settled"] = "settled"
    repeatable = True

    def command(self) -> str:
        return f"watch {self.node} (its pods, services and pod network) until no fault of it is found"


NodeOperation = (
    Cordon
    | Uncordon
    | Drain
    | Reboot
    | AwaitReboot
    | AwaitNodeReady
    | AwaitNodeUnready
    | AwaitControllers
    | AwaitEndpoints
    | RestartDaemonPods
    | AwaitNodeWell
)
