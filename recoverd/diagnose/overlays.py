"""MTUs of the devices over which pods of different nodes talk. Pure.

A probe, a name, a TCP handshake are small, and pass; what is large is lost on the way, or cut in two. It is not tried
out: that takes a raw socket. What is compared is what the machines say of their devices: one that takes more than the
device below it leaves it, as after the MTU of an uplink was lowered, and one that takes another size than the same
device elsewhere. Different uplinks in one cluster may be meant so, and what follows from them is a notice
(flannel-io/flannel #463).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from recoverd.diagnose.nodes import away, facts_of, node_of
from recoverd.diagnose.scene import Scene
from recoverd.model.catalogue import Code
from recoverd.model.finding import Finding, Severity
from recoverd.model.network import Link, NetworkView, NodeNetworkView

CURE = (
    "then make the pod of the CNI's agent on {name} anew, which sets it at its start; where it is set by hand "
    "(flannel: MTU in its backend, Calico: veth_mtu and the like), there; pods keep what they were started with"
)


def findings(scene: Scene, view: NetworkView) -> Iterator[Finding]:
    named = set[str]()
    of_device: dict[str, dict[str, Link]] = {}
    for name, host in view.hosts.items():
        if not isinstance(host, NodeNetworkView) or scene.node(name) is None or away(scene, name):
            continue
        for link in host.links or ():
            if not (link.up and link.addresses and link.adds and link.mtu):
                continue
            of_device.setdefault(link.name, {})[name] = link
            if link.below and link.mtu > link.room and name not in named:
                named.add(name)
                yield _too_large(scene, name, link)
    for links in of_device.values():
        yield from _other(scene, {n: link for n, link in links.items() if n not in named})


def _too_large(scene: Scene, name: str, link: Link) -> Finding:
    return Finding(
        Code.OVERLAY_MTU,
        node_of(scene, name),
        f"Packets of pods may be of {link.mtu} bytes on {link.name} of {name}, and {link.over} below it takes "
        f"{link.below}, which leaves {link.room} with the {link.adds} that {link.kind} adds: small ones pass, and "
        f"large ones to other nodes are lost or cut in two. Cure: give {link.over} the MTU back that it had (`ip link "
        f"set {link.over} mtu {link.mtu + link.adds}`, and where the system sets it), or `ip link set {link.name} mtu "
        f"{link.room}`; {CURE.format(name=name)}.",
        (f"{name}: {link.name} ({link.kind}) mtu {link.mtu}; {link.over} mtu {link.below}",),
        severity=Severity.WARNING,
        facts=facts_of(scene, name),
    )


def _other(scene: Scene, links: Mapping[str, Link]) -> Iterator[Finding]:
    """Those that have another MTU than most, or a larger one than as many others."""
    counts = Counter(link.mtu for link in links.values())
    if len(counts) < 2:
        return
    usual = max(counts, key=lambda mtu: (counts[mtu], -mtu))
    peer = next(n for n, link in links.items() if link.mtu == usual)
    for name, link in links.items():
        if link.mtu == usual:
            continue
        meant = link.below > 0 and link.below - link.mtu == links[peer].below - usual
        larger, smaller = (name, peer) if link.mtu > usual else (peer, name)
        yield Finding(
            Code.OVERLAY_MTU,
            node_of(scene, name),
            f"{link.name} takes packets of {link.mtu} bytes on {name} and of {usual} on {peer}: what {larger} sends to "
            f"{smaller} in large packets is lost where the network between them takes no more. Cure: one MTU for the "
            f"uplinks of both; {CURE.format(name=name)}.",
            tuple(f"{n}: {link.name} mtu {links[n].mtu}{_below(links[n])}" for n in (name, peer)),
            severity=Severity.NOTICE if meant else Severity.WARNING,
            facts=facts_of(scene, name),
        )


def _below(link: Link) -> str:
    return f"; {link.over} mtu {link.below}" if link.below else ""
