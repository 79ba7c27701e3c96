"""The cluster's DNS none of whose pods is ready: names are resolved in no pod, while every node and every API server is
well. Pure.

The causes that are known: an image that does not come (`images`), and a resolv.conf that names the machine itself, as
systemd-resolved's does. CoreDNS gets it from its node, would ask itself, and ends
(https://coredns.io/plugins/loop/#troubleshooting; kubeadm's and kubespray's pages on troubleshooting have the same).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from recoverd.diagnose import agents, images
from recoverd.diagnose.causes import Reason
from recoverd.diagnose.scene import Scene
from recoverd.model.catalogue import Code
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.network import NetworkView, SilentDns

LASTS = 90.0
"""Seconds: longer than pods take that were evicted from one node and start on another."""


def findings(scene: Scene) -> Iterator[Finding]:
    network = scene.observation.network
    for service, silent in network.silent_dns.items() if isinstance(network, NetworkView) else ():
        age = scene.age(silent.since)
        if age is not None and age >= LASTS and not _node_is_why(scene, silent):
            yield _finding(scene, service, silent, age)


def still_silent(service: str, network: object) -> str:
    """What shows that the finding is not gone though it is not made; "" where a pod of the service is ready."""
    lacking = ("services", "endpoints")
    if not isinstance(network, NetworkView):
        return "the cluster's services could not be looked at"
    if unseen := next((network.unseen[w] for w in lacking if w in network.unseen), None):
        return f"whether a pod of {service} is ready could not be looked at: {unseen.reason}"
    silent = network.silent_dns.get(service)
    if silent and silent.unserved:
        return f"no service leads to the pods of {service}"
    return f"no pod of {service} is ready" if silent else ""


def _node_is_why(scene: Scene, silent: SilentDns) -> bool:
    """Pods of a node that is not Ready are not ready either, and the node is what is found; or no node is."""
    listed = {n.name: n.ready for n in scene.objects.nodes} if scene.objects else {}
    return not all(listed.get(node, False) for node in silent.nodes) or not any(listed.values())


def _gone(service: str, age: float) -> Finding:
    """Somebody may want it so, as where another DNS takes its place, and nobody who does would wonder at a warning."""
    namespace = service.partition("/")[0]
    return Finding(
        Code.DNS_DOWN,
        service,
        f"The cluster's DNS, {service}, had pods and has had none for {age:.0f} s: who asks at its address is not "
        f"answered. See whether its Deployment was deleted or scaled to nothing (`kubectl -n {namespace} get "
        "deployments -l k8s-app=kube-dns`; on a control plane `kubeadm init phase addon coredns` writes kubeadm's own "
        "anew), or the selector of the service changed.",
        (f"{service}: the API lists no pod behind it, and none with its label in {namespace}",),
        severity=Severity.WARNING,
    )


def _unserved(service: str, silent: SilentDns, age: float) -> Finding:
    """Its service was deleted, or lost its port (rancher/rancher #27901)."""
    namespace = service.partition("/")[0]
    return Finding(
        Code.DNS_DOWN,
        service,
        f"The pods of the cluster's DNS are ready, and for {age:.0f} s no service in {namespace} leads to them: its "
        "address answers nobody, and no name is resolved in any pod. Cure: on a control plane `kubeadm init phase "
        "addon coredns` writes the service kube-dns anew. One that is made by hand needs the very address that "
        "kubelets give to pods (clusterDNS in /var/lib/kubelet/config.yaml) as its clusterIP: pods keep the one that "
        "they were started with.",
        (f"ready: {', '.join(silent.pods[:6])}; no service in {namespace} has a port 53",),
        state=State.WORKER_NETWORK_BROKEN,
    )


def _finding(scene: Scene, service: str, silent: SilentDns, age: float) -> Finding:
    if not silent.pods:
        return _gone(service, age)
    if silent.unserved:
        return _unserved(service, silent, age)
    asks_itself, said, without = list(_asks_itself(scene, silent)), _said(scene, silent), _without_image(scene, silent)
    # the file alone proves nothing of CoreDNS, which may be told its servers elsewhere and was well beside it
    other = said is not None and not said[2].cause.weak and said[2].cause.name != "asks-itself"
    if asks_itself and not (without or other):
        _, path, server = asks_itself[0]
        where = " and ".join(dict.fromkeys(each[0] for each in asks_itself))
        why = (
            f" Why: {path} on {where}, which kubelet gives to them, names the machine itself ({server}); in a pod "
            "that is the pod, and CoreDNS, which would ask itself, ends. Cure: a file with the real servers as "
            f"resolvConf in /var/lib/kubelet/config.yaml on {where} (with systemd-resolved "
            "/run/systemd/resolve/resolv.conf), `systemctl restart kubelet` there, and then "
            f"`kubectl -n {service.partition('/')[0]} delete pods -l k8s-app=kube-dns`."
        )
        proof = tuple(f"{n}:{p}: nameserver {s}" for n, p, s in asks_itself)
    elif without:
        why, proof = without
    elif said:
        pod, name, found = said
        why, proof = agents.ending(found), (f"{pod} on {name}: {found.line}",)
    else:
        why = (
            f" Why, its pods say: `kubectl -n {service.partition('/')[0]} describe pods -l k8s-app=kube-dns`, and "
            "`kubectl logs` of one, with --previous where it is restarted again and again."
        )
        proof = ()
    return Finding(
        Code.DNS_DOWN,
        service,
        f"No pod of the cluster's DNS, {service}, has been ready for {age:.0f} s: no name is resolved in any pod.{why}",
        (f"not ready: {', '.join(silent.pods[:6])}, on {', '.join(silent.nodes) or 'no node yet'}", *proof),
        state=State.WORKER_NETWORK_BROKEN,
    )


def _asks_itself(scene: Scene, silent: SilentDns) -> Iterator[tuple[str, str, str]]:
    """Node, resolv.conf and the server in it, of the nodes of those pods."""
    for node in silent.nodes:
        view = scene.host(scene.machines.get(node, ""))
        look = view.node if view else None
        file = look.files.get(look.resolv) if look else None
        if look is None or file is None:
            continue
        for line in file.content.splitlines():
            word, _, server = line.strip().partition(" ")
            if word == "nameserver" and _loopback(server.strip()):
                yield node, look.resolv, server.strip()


def _without_image(scene: Scene, silent: SilentDns) -> tuple[str, tuple[str, ...]] | None:
    """The end of the message, and its proof, where an image of one of those pods does not come."""
    network = scene.observation.network
    unpulled = network.unpulled if isinstance(network, NetworkView) else {}
    for pod in (p for p in silent.pods if p in unpulled):
        name = scene.machines.get(unpulled[pod].node, "")
        if found := images.of_pod(scene, name, pod):
            gone, proof = images.deleted(scene.host(name), name, found)
            return f" Why, of {pod} on {name}: {found.why}.{gone} Cure: {found.cure}.", (found.line, *proof)
    return None


def _said(scene: Scene, silent: SilentDns) -> tuple[str, str, Reason] | None:
    """A pod of them, its machine, and what it, or kubelet of it, says that keeps it."""
    for name in filter(None, (scene.machines.get(node) for node in silent.nodes)):
        for pod in silent.pods:
            if found := agents.of_pod(scene, name, pod, runs=False):
                return pod, name, found
    return None


def _loopback(server: str) -> bool:
    try:
        return ipaddress.ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return False
