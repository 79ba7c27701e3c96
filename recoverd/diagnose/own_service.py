"""Addresses behind the service `kubernetes`, by which pods call the API server, at which no node reaches one. Pure.

An API server writes its own `--advertise-address` there, and a lease with it. One that stays behind, or was never
right, takes its share of all calls with it while every API server and every node is ready: after a machine was given
another address, or with an old lease that an API server goes on keeping (kubernetes/kops #9327, k3s-io/k3s #14594).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from recoverd.diagnose.nodes import judged
from recoverd.diagnose.scene import API, Scene
from recoverd.model.catalogue import Code
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.network import OWN_SERVICE, NetworkView, ProbeAnswer
from recoverd.model.observation import EndpointHealth
from recoverd.model.places import flag, host_of, ip_of

LASTS = 60.0
"""Seconds for which an address has to be there: that of an API server which has ended goes with its lease, after 15."""


def findings(scene: Scene, view: NetworkView) -> Iterator[Finding]:
    """That of a control plane is no matter of this: what is wrong with that one is found of itself, and one that is
    ready by the bastion is too busy for the nodes, or a firewall is between them. Nor is the cluster's own address,
    which an API server may be told to give out, or one at which an API server is to be that is not ready.
    """
    tried, own, given_out = _tried(scene, view), _own(scene), _given_out(scene)
    ready = {a: name for a, name in given_out.items() if scene.endpoint_health(name) is EndpointHealth.READY}
    excused = own | (given_out.keys() - ready.keys())
    dead = {a: of for a, of in tried.items() if ProbeAnswer.OK not in of.values() and _ip(a) not in excused}
    for address, of in dead.items():
        yield _finding(address, of, ready.get(_ip(address), ""), alive=len(dead) < len(tried))


def still_dead(address: str, network: object) -> str:
    """What shows that the finding is not gone though it is not made; "" where a node reaches it, or it is not there."""
    probes = [p for p in network.services if p.service == OWN_SERVICE] if isinstance(network, NetworkView) else []
    if not probes:
        return "no node was seen to try the addresses of the service kubernetes"
    answers = [p.endpoints[address] for p in probes if address in p.endpoints]
    return f"no node reaches an API server at {address}" if answers and ProbeAnswer.OK not in answers else ""


def _tried(scene: Scene, view: NetworkView) -> Mapping[str, dict[str, ProbeAnswer]]:
    """What came of each address, by the node's machine that has tried it."""
    found: dict[str, dict[str, ProbeAnswer]] = {}
    for probe in view.services:
        if probe.service == OWN_SERVICE and probe.steady >= LASTS and judged(scene, probe.source):
            for address, answer in probe.endpoints.items():
                found.setdefault(address, {})[probe.source] = answer
    return found


def _ip(address: str) -> str:
    return ip_of(host_of(address))


def _own(scene: Scene) -> frozenset[str]:
    """The addresses of control planes, as configured and as their nodes have them, and the cluster's own."""
    planes = [node for name in scene.control_plane_names if (node := scene.node(name))]
    planes += [node for node in (scene.objects.nodes if scene.objects else ()) if node.control_plane]
    configured = [scene.addresses[name] for name in scene.control_plane_names]
    named = (*configured, *(a for node in planes for a in (node.address, *node.more_addresses)))
    return frozenset(map(ip_of, named)) | {_ip(scene.vip.address)}


def _given_out(scene: Scene) -> dict[str, str]:
    """By address that the manifest of an API server tells it to give out as its own: the control plane."""
    manifests = {
        name: host.manifests[API] for name in scene.parts if (host := scene.host(name)) and API in host.manifests
    }
    return {ip_of(flag(m.content, "--advertise-address")): name for name, m in manifests.items()}


def _finding(address: str, of: Mapping[str, ProbeAnswer], giver: str, *, alive: bool) -> Finding:
    what = "a part of what pods call the API server for fails" if alive else "no pod reaches the API server"
    whose, cure = (
        (
            f"which the API server on {giver} is told to give out (--advertise-address) and no node has by its list",
            f"put --advertise-address in its manifest on {giver} right, or the way from the nodes to that address",
        )
        if giver
        else (
            "which is that of no control plane",
            "put --advertise-address in the manifest of the API server that writes it right; where none does, delete "
            "its key below /registry/masterleases/ in etcd, and then `kubectl delete endpoints kubernetes`, which the "
            "API servers write anew",
        )
    )
    return Finding(
        Code.OWN_SERVICE_ENDPOINT,
        address,
        f"The service kubernetes leads to {address}, {whose}, and no node reaches an API server there: {what}. "
        f"Cure: {cure}.",
        tuple(f"{host} to {address}: {answer}" for host, answer in list(of.items())[:6]),
        severity=Severity.WARNING if alive else Severity.FAULT,
        state=None if alive else State.WORKER_NETWORK_BROKEN,
    )
