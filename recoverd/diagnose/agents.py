"""Why kube-proxy, the CNI's agent or the cluster's DNS does not do its work on a node, by its own log or by what
kubelet says of its pod. Pure.

Without that a kube-proxy that ends each time for its configuration was restarted unasked, and a reboot of its node
offered, which changes nothing (kubernetes/kubernetes #141943, kubernetes/minikube #11418).
"""

from __future__ import annotations

from recoverd.diagnose.cause import CNI, DNS, KUBELET, NO_API_THERE, POD, PROXY, SANDBOX
from recoverd.diagnose.causes import Reason, reason
from recoverd.diagnose.scene import Scene
from recoverd.model.facts import CureFacts, Facts
from recoverd.model.network import NetworkView
from recoverd.model.observation import HostView
from recoverd.model.places import host_of

PROGRAMS = {"kube-proxy": PROXY, "coredns": DNS}
"""By the name of the container; all others are CNIs'."""


def of_pod(scene: Scene, name: str, pod: str, *, runs: bool) -> Reason | None:
    """Why a pod, NAMESPACE/NAME, on the machine of this name does not do its work. One that `runs`, or was stopped as
    it ran, said again and again what kept it; of one that has ended its last words count.
    """
    host = scene.host(name)
    if host is None:
        return None
    log = host.node.logs.get(pod) if host.node else None
    own = reason(log.now if runs else log.lines, PROGRAMS.get(log.container, CNI)) if log else None
    if own and own.cause.name == NO_API_THERE and _answers(scene, host, own.named[0]):
        own = None
    if (own and not own.cause.weak) or runs:
        return own
    theirs = [line for line in host.journals.get(KUBELET, ()) if pod.rpartition("/")[2] in line]
    return reason(theirs, POD) or reason(theirs, SANDBOX) or own


def _answers(scene: Scene, host: HostView, address: str) -> bool:
    """Whether an API server is ready at the HOST:PORT that an agent did not reach: it was away, and a fresh agent finds
    it sooner than one that waits in kubelet's back-off.
    """
    ready = [scene.addresses[n] for n in scene.ready_members]
    ready += [node.address for n in scene.ready_members if (node := scene.node(n))]
    if scene.vip_ready:
        ready.append(host_of(scene.vip.address))
    if host.node and host.node.reaches:
        ready += [host_of(host.node.server), *(host.node.addresses or ())]
    return host_of(address) in ready


def of_proxy(scene: Scene, view: NetworkView, name: str, node: str) -> Reason | None:
    """Why the kube-proxy that runs on a machine does not keep its rules, by what it says just now."""
    agents = (a for a in view.agents if a.kind == PROXY and a.node == node and a.pod)
    found = (of_pod(scene, name, a.pod_key, runs=True) for a in agents)
    return next(filter(None, found), None)


def ending(found: Reason) -> str:
    """The end of a message."""
    vain = "" if found.cause.restart else " No restart and no reboot changes that."
    return f" Why{'' if found.seen else ', by its own words'}: {found.why}.{vain} Cure: {found.cure}."


def facts(name: str, node: str, found: Reason | None) -> Facts:
    return CureFacts(name, node, found.cure) if found and not found.cause.restart else Facts(name, node)
