"""The cluster's address, in the kubeconfig: it does not answer as an API server though one is ready behind its own
address, or it is on several machines at once; and which machine has it. Pure.

Where keepalived or kube-vip run on the control planes themselves, the address is on one of them, and moves. Seen in the
lab with keepalived 2.2.7 and haproxy 2.6 as kubeadm's guide to high availability writes them: haproxy ends, and the
address stays for 30 s; keepalived is killed, and the address stays for good while another machine takes it as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from recoverd.diagnose.api import answer, refuses_us
from recoverd.diagnose.scene import Scene
from recoverd.model.catalogue import Code
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.node_look import NodeLook
from recoverd.model.observation import EndpointHealth
from recoverd.model.places import host_of

DOWN = State.APISERVER_DOWN
BALANCERS = ("keepalived", "kube-vip", "haproxy")
"""Static pods that hold the address or listen there, by the names that their guides give them."""


def findings(scene: Scene) -> Iterator[Finding]:
    yield from _wrong(scene)
    yield from _on_several(scene)


def does_not_answer(scene: Scene) -> bool:
    """Nothing answers as an API server at the address in the kubeconfig, and one is ready behind its own."""
    answers = (EndpointHealth.READY, EndpointHealth.NOT_READY, EndpointHealth.NOT_TRIED)
    return scene.vip.health not in answers and bool(scene.ready_members) and not refuses_us(scene.vip)


def holders(scene: Scene) -> dict[str, dict[str, NodeLook]]:
    """By IP address of the cluster's that is on a control plane's own interface: the machines that have it, by name."""
    found: dict[str, dict[str, NodeLook]] = {}
    for name, look in _looks(scene).items():
        for address in look.held or ():
            if not ip_address(address).is_loopback:
                found.setdefault(address, {})[name] = look
    return found


def _looks(scene: Scene) -> dict[str, NodeLook]:
    """Of the control planes of which it was told in this sweep who has the address that the kubeconfig names."""
    named, found = host_of(scene.vip.address), dict[str, NodeLook]()
    for name in scene.control_plane_names:
        host = scene.host(name)
        look = host.node if host else None
        if look and look.held is not None and named in (host_of(look.server), *(look.addresses or ())):
            found[name] = look
    return found


def _wrong(scene: Scene) -> Iterator[Finding]:
    vip = scene.vip
    if not does_not_answer(scene):
        return
    # before the cluster was ever seen through this address, a wrong kubeconfig is as likely as a fault
    proven = scene.memory.healthy_at is not None
    what = {
        EndpointHealth.UNRESOLVED: "does not resolve (DNS)",
        EndpointHealth.TLS: "does not show a certificate that the kubeconfig's CA accepts",
        EndpointHealth.REFUSED: "refuses connections",
    }.get(vip.health, "does not answer as an API server")
    doubt = "" if proven else " It was never seen to work, so the kubeconfig may simply name a wrong one."
    where, proof = _where(scene)
    yield Finding(
        Code.VIP_WRONG,
        "",
        f"The API server's address in the kubeconfig, {vip.address}, {what}, and {', '.join(scene.ready_members)} "
        f"{'is ready behind its own address' if len(scene.ready_members) == 1 else 'are ready behind their own'}: "
        f"{where}.{doubt}",
        (answer(vip), *(answer(scene.endpoint(n)) for n in scene.ready_members), *proof),
        severity=Severity.FAULT if proven else Severity.NOTICE,
        state=DOWN if proven else None,
    )


def _where(scene: Scene) -> tuple[str, tuple[str, ...]]:
    """Where to look, and what proves it: on which machine the address is, and what is missing there."""
    looks, held = _looks(scene), holders(scene)
    everywhere = "look at the virtual IP, the load balancer, DNS, or the kubeconfig"
    if not looks:
        return everywhere, ()
    proof = tuple(f"{name}: {_told(scene, name, look)}" for name, look in looks.items())
    whose = {name: look for machines in held.values() for name, look in machines.items()}
    if not whose:
        unlooked = [n for n in scene.control_plane_names if n not in looks]
        if unlooked:
            return f"{everywhere}. None of {', '.join(looks)} has it on an interface", proof
        balanced = [n for n in looks if _pods(scene, n)]
        none = "no control plane has it on an interface"
        if balanced:
            return f"{none}: see why {_named(scene, balanced)} does not hold it", proof
        return f"{none}: look at what else is to hold it, a balancer before them or keepalived, and at DNS", proof
    deaf = [name for name, look in whose.items() if look.reaches is False]
    on = f"it is on {' and '.join(whose)}"
    if deaf:
        return (
            f"{on}, and nothing answers there on {looks[deaf[0]].server.rpartition(':')[2]} (asked on "
            f"{', '.join(deaf)} itself): see haproxy, or what else balances there",
            proof,
        )
    return f"{on}, which {'reaches' if len(whose) == 1 else 'reach'} it there: look at the way to it, and behind", proof


def _told(scene: Scene, name: str, look: NodeLook) -> str:
    has = f"has {', '.join(look.held)}" if look.held else "does not have it"
    reached = "connects to it" if look.reaches else f"does not connect to it ({look.said or 'no answer within 2 s'})"
    pods = ", ".join(_pods(scene, name)) or "none"
    return (
        f"{has}, {'was not asked to connect' if look.reaches is None else reached}; static pods of a balancer: {pods}"
    )


def _pods(scene: Scene, name: str) -> tuple[str, ...]:
    host = scene.host(name)
    return tuple(p for p in host.manifests if p in BALANCERS) if host else ()


def _named(scene: Scene, names: list[str]) -> str:
    return " and ".join(dict.fromkeys(p for n in names for p in _pods(scene, n) if p != "haproxy")) or "keepalived"


def _on_several(scene: Scene) -> Iterator[Finding]:
    for address, machines in holders(scene).items():
        if len(machines) > 1:
            yield Finding(
                Code.ADDRESS_ON_SEVERAL,
                address,
                f"The cluster's address {address} is on {' and '.join(machines)} at once: who asks there is sent to "
                "one or the other, and connections break as that changes. See why they do not hear each other "
                "(keepalived: VRRP, IP protocol 112, between them; its log), and take the address off a machine "
                "where nothing of it runs any more (`ip addr del`).",
                tuple(f"{name}: {_told(scene, name, look)}" for name, look in machines.items()),
                severity=Severity.WARNING,
            )
