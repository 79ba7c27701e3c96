"""The ranges of the cluster's network, of which each is written in several places. Pure.

The API server gives services their addresses, the controller-manager gives nodes their parts of the pod network, and
kube-proxy tells pods from others by it; kubeadm writes all from one configuration, and whoever edits one of them alone
breaks what shows up somewhere else, and later. Sources: kubernetes/kubernetes cmd/kube-controller-manager/app/core.go
(startNodeIpamController), pkg/registry/core/service/ipallocator/controller/repair.go ("the cluster IP ... is not within
the service CIDR"), and kube-proxy's `clusterCIDR`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from functools import lru_cache

from recoverd.diagnose.scene import API, Scene
from recoverd.diagnose.shared_flags import LASTS
from recoverd.diagnose.tables import BETWEEN, concerned
from recoverd.model.catalogue import Code
from recoverd.model.facts import CureFacts, Facts, FileFacts
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.network import NetworkView, NodeNetworkView
from recoverd.model.observation import CertificateView, HostView, NodeView
from recoverd.model.places import flag
from recoverd.model.text import some

MANAGER = "kube-controller-manager"
SERVICES, PODS = "--service-cluster-ip-range", "--cluster-cidr"
OWN_CERTIFICATE = "/etc/kubernetes/pki/apiserver.crt"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
SHOWN = 4


def findings(scene: Scene) -> Iterator[Finding]:
    for name in scene.parts:
        host = scene.host(name)
        if host is not None:
            yield from _differing(scene, name, host)
            yield from _uncertified(scene, name, host)


def overlapping(scene: Scene, beside: Iterable[Finding]) -> Iterator[Finding]:
    """Parts of the pod network that two nodes were given. `beside` are the findings of paths, which that explains."""
    broken = [f for f in beside if f.code in BETWEEN]
    nodes = [n for n in scene.objects.nodes if n.pod_cidrs] if scene.objects else []
    parts = sorted(
        (first, last, n.name, i, net) for i, n in enumerate(nodes) for first, last, net in _ends(*n.pod_cidrs)
    )
    before: tuple[int, Network, NodeView] | None = None
    for first, last, _, i, net in parts:
        if before is not None and first <= before[0]:
            yield _given_twice(scene, *before[1:], net, nodes[i], broken)
        else:
            before = -last, net, nodes[i]


@lru_cache(maxsize=1 << 14)
def _ends(*cidrs: str) -> tuple[tuple[int, int, Network], ...]:
    """The first address of each range and the negative of its last: sorted, the larger of two that begin alike comes
    first, and IPv6 behind all of IPv4. As numbers, since thousands of nodes are gone through in each sweep: 5 ms for
    5,000 of both families.
    """
    behind = {4: 0, 6: 1 << 32}
    return tuple(
        (int(net.network_address) + behind[net.version], -int(net.broadcast_address) - behind[net.version], net)
        for net in _networks(",".join(cidrs))
    )


def _given_twice(
    scene: Scene, one: Network, first: NodeView, other: Network, second: NodeView, broken: list[Finding]
) -> Finding:
    hosts = {scene.machines.get(n.name, n.name) for n in (first, second)}
    struck = any(hosts & concerned(f) for f in broken)
    cure = (
        f"drain {second.name}, `kubectl delete node {second.name}`, on its machine `ip link delete` the CNI's bridge "
        "and `systemctl restart kubelet`, with which it is given another part; --cluster-cidr and "
        "--node-cidr-mask-size of all controller-managers must be the same, and nobody else may set spec.podCIDR"
    )
    effect = (
        "and what is sent to the one's pods gets to the other" if struck else "so that pods of both may be mixed up"
    )
    return Finding(
        Code.POD_SUBNETS_OVERLAP,
        f"{first.name}>{second.name}",
        f"The nodes {first.name} and {second.name} were given the same part of the pod network ({one} and {other}), "
        f"{effect}. No restart and no reboot changes that. Cure: {cure}.",
        tuple(f"{n.name}: spec.podCIDR {', '.join(n.pod_cidrs)}" for n in (first, second)),
        severity=Severity.FAULT if struck else Severity.WARNING,
        state=State.WORKER_NETWORK_BROKEN if struck else None,
        facts=CureFacts(scene.machines.get(second.name, ""), second.name, cure),
    )


# --- what is written in several places ---


def _differing(scene: Scene, name: str, host: HostView) -> Iterator[Finding]:
    api, manager = (_settled(scene, host, component) for component in (API, MANAGER))
    told = (*_of_services(scene, api, manager), *_of_pods(scene, manager))
    if told:
        yield Finding(
            Code.NETWORK_RANGES_DIFFER,
            name,
            f"Ranges of the cluster's network are not the same everywhere by the manifests on {name}: "
            f"{'; '.join(why for why, _ in told)}. Cure: which is right a person knows, and what is in use is; put it "
            "into the manifests of all control planes, into kubeadm-config (by which later joins and upgrades go) and "
            "into the ConfigMap kube-proxy, and have its pods made anew.",
            tuple(line for _, line in told),
            severity=Severity.WARNING,
            facts=Facts(name),
        )


def _settled(scene: Scene, host: HostView, component: str) -> str:
    """The manifest of a component that has stood for a while; "" where there is none, or it is being edited."""
    manifest = host.manifests.get(component)
    if manifest is None or manifest.problem:
        return ""
    age = scene.age(manifest.modified_at)
    return manifest.content if age is None or age >= LASTS else ""


def _of_services(scene: Scene, api: str, manager: str) -> Iterator[tuple[str, str]]:
    """What does not fit the API server's range of services, in words, with the line that shows it."""
    given, other = flag(api, SERVICES), flag(manager, SERVICES)
    services = _networks(given)
    if services and other and _networks(other) and set(_networks(other)) != set(services):
        yield (
            "the controller-manager has another range of services than the API server, and may give nodes parts of the "
            "pod network that are addresses of services",
            f"{SERVICES}: {API}: {given}, {MANAGER}: {other}",
        )
    own = _own_service(scene)
    if services and own and not any(ipaddress.ip_address(own) in net for net in services):
        yield (
            f"the service `kubernetes` has {own}, which is not in the API server's range, so that others are made "
            "beside it and all that have the old addresses are to be made anew",
            f"default/kubernetes: clusterIP {own}; {API}: {SERVICES}={given}",
        )


def _of_pods(scene: Scene, manager: str) -> Iterator[tuple[str, str]]:
    """What does not fit the controller-manager's range of pods."""
    given = flag(manager, PODS)
    pods = _networks(given)
    if not pods or flag(manager, "--allocate-node-cidrs") != "true":
        return
    nodes = scene.objects.nodes if scene.objects else ()
    astray = [n for n in nodes if _astray(n.pod_cidrs, given)]
    if astray:
        yield (
            f"{some([n.name for n in astray], SHOWN)} {'has' if len(astray) == 1 else 'have'} a part of the pod "
            "network that is not in the controller-manager's range, which gives other nodes parts of another network",
            f"{MANAGER}: {PODS}={given}; {', '.join(f'{n.name}: {n.pod_cidrs[0]}' for n in astray[:SHOWN])}",
        )
    network = scene.observation.network
    views = network.hosts if isinstance(network, NetworkView) else {}
    taken = {name: view.cluster_cidr for name, view in views.items() if isinstance(view, NodeNetworkView)}
    wrong = {c for c in set(taken.values()) if _networks(c) and set(_networks(c)) != set(pods)}
    others = {name: c for name, c in taken.items() if c in wrong}
    if others:
        yield (
            f"kube-proxy on {some(list(others), SHOWN)} takes another range for that of pods than the "
            "controller-manager gives: it gives packets of pods the node's address, or lets those of others pass for "
            "pods'",
            f"{MANAGER}: {PODS}={given}; kube-proxy's clusterCIDR: "
            f"{', '.join(f'{n}: {c}' for n, c in list(others.items())[:SHOWN])}",
        )


@lru_cache(maxsize=1 << 14)
def _astray(cidrs: tuple[str, ...], given: str) -> bool:
    """Whether a node has a part that is in none of the ranges of pods."""
    return any(
        not any(first <= begin and end >= last for first, last, _ in _ends(given)) for begin, end, _ in _ends(*cidrs)
    )


@lru_cache(maxsize=1 << 14)  # each node's in every sweep
def _networks(text: str) -> tuple[Network, ...]:
    """Of one or several ranges, by commas; none where one of them is none."""
    try:
        return tuple(ipaddress.ip_network(word.strip(), strict=False) for word in text.split(",") if word.strip())
    except ValueError:
        return ()


def _own_service(scene: Scene) -> str:
    network = scene.observation.network
    return network.api_service if isinstance(network, NetworkView) else ""


# --- the API server's certificate ---


def _uncertified(scene: Scene, name: str, host: HostView) -> Iterator[Finding]:
    """The address of the service `kubernetes`, by which every pod calls the API server, is not in its certificate."""
    manifest, own = host.manifests.get(API), _own_service(scene)
    certificate = next((c for c in host.certificates if c.path == OWN_CERTIFICATE), None)
    if manifest is None or manifest.problem or certificate is None or not own or not _addresses(certificate):
        return
    used = flag(manifest.content, "--tls-cert-file") in ("", OWN_CERTIFICATE)
    if not used or flag(manifest.content, "--tls-sni-cert-key") or own in certificate.names:
        return
    yield Finding(
        Code.SERVICE_ADDRESS_UNCERTIFIED,
        f"{name}:{OWN_CERTIFICATE}",
        f"The API server's certificate on {name} is not for {own}, the address of the service `kubernetes`: whatever "
        "calls the API server from a pod (CoreDNS, the CNI, controllers) refuses it. Cure: `kubeadm init phase certs "
        "apiserver` there, with the right serviceSubnet in its configuration, once the file and its key are moved "
        f"away; then start the API server anew. Where {own} is the wrong one: give the API server its range of before.",
        (f"{name}:{OWN_CERTIFICATE}: {', '.join(_addresses(certificate))}", f"default/kubernetes: clusterIP {own}"),
        severity=Severity.WARNING,
        facts=FileFacts(name),
    )


def _addresses(certificate: CertificateView) -> list[str]:
    return [n for n in certificate.names if n.replace(".", "").isdecimal() or ":" in n]
