"""Addresses behind the service `kubernetes`, by which pods call the API server, at which no node reaches one. Pure.

An API server writes its own `--advertise-address` there, and a lease with it. One that stays behind, or was never
right, takes its share of all calls with it while every API server and every node is ready: after a machine was given
another address, or with an old lease that an API server goes on keeping (kubernetes/kops #9327, k3s-io/k3s #14594).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from recoverd.diagnose.nodes import judged
from recoverd.diagnose.scene import Scene
from recoverd.model.catalogue import Code
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.network import OWN_SERVICE, NetworkView, ProbeAnswer

LASTS = 60.0
"""Seconds for which an address has to be there: that of an API server which has ended goes with its lease, after 15."""


def findings(scene: Scene, view: NetworkView) -> Iterator[Finding]:
    """That of a control plane is no matter of this: what is wrong with that one is found of itself, and one that is
    ready by the bastion is too busy for the nodes, or a firewall is between them.
    """
    tried = _tried(scene, view)
    dead = {a: of for a, of in tried.items() if ProbeAnswer.OK not in of.values() and not _of_control_plane(scene, a)}
    for address, of in dead.items():
        yield _finding(address, of, alive=len(dead) < len(tried))


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


def _of_control_plane(scene: Scene, address: str) -> bool:
    at = address.rpartition(":")[0].strip("[]")
    named = ((name, scene.node(name)) for name in scene.control_plane_names)
    return any(at in (scene.addresses[name], node.address if node else "") for name, node in named)


def _finding(address: str, of: Mapping[str, ProbeAnswer], *, alive: bool) -> Finding:
    what = "a part of what pods call the API server for fails" if alive else "no pod reaches the API server"
    return Finding(
        Code.OWN_SERVICE_ENDPOINT,
        address,
        f"The service kubernetes leads to {address}, which is that of no control plane, and no node reaches an API "
        f"server there: {what}. Cure: put --advertise-address in the manifest of the API server that writes it right; "
        "where none does, delete its key below /registry/masterleases/ in etcd, and then `kubectl delete endpoints "
        "kubernetes`, which the API servers write anew.",
        tuple(f"{host} to {address}: {answer}" for host, answer in list(of.items())[:6]),
        severity=Severity.WARNING if alive else Severity.FAULT,
        state=None if alive else State.WORKER_NETWORK_BROKEN,
    )
