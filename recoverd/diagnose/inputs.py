"""Rules of a node's own firewall that drop the packets in which those of other nodes' pods come. Pure.

Pods' packets come in packets of the node itself where there is a tunnel, so that they pass its chain INPUT: a rule
there against a port of UDP, or against IP in IP, cuts the node's pods off, in both directions, since answers come the
same way. The node is Ready meanwhile, and every agent and device is well. Ports: VXLAN's 4789 (RFC 7348), the kernel's
own 8472, which flannel and Cilium use, Geneve's 6081 (RFC 8926), WireGuard's 51820 (flannel, Calico) and 51871
(Cilium). Such a rule may be meant, for packets from elsewhere: it is named only beside paths that are broken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from recoverd.diagnose.nodes import away, node_of
from recoverd.diagnose.scene import Scene
from recoverd.diagnose.tables import BETWEEN, concerned
from recoverd.model.catalogue import Code
from recoverd.model.facts import CureFacts
from recoverd.model.finding import Finding, State
from recoverd.model.network import Link, NetworkView, NodeNetworkView

CARRIES = {"vxlan": (8472, 4789), "geneve": (6081,), "wireguard": (51820, 51821, 51871)}
"""Ports of UDP by which a tunnel's packets come, by its kind, where the device does not tell its own."""
IN_IP = re.compile(r"(?:\b(?:protocol|l4proto)|-p) (?:4|ipv4|ipip|ipencap)\b")
TO_PORTS = re.compile(r"(!\s*)?(?:udp dport|--dports?) (!= )?(\{[^}]*\}|\S+)")


def findings(scene: Scene, view: NetworkView, beside: Iterable[Finding]) -> Iterator[Finding]:
    """`beside` are the findings of services and paths."""
    broken = [f for f in beside if f.code in BETWEEN]
    for name, host in view.hosts.items():
        if not isinstance(host, NodeNetworkView) or not host.refusing or scene.node(name) is None:
            continue
        if away(scene, name) or not any(name in concerned(f) for f in broken):
            continue
        found = ((rule, link) for rule in host.refusing for link in host.links or () if refuses(rule, link))
        if (first := next(found, None)) is not None:
            yield _finding(scene, name, *first)


def refuses(rule: str, link: Link) -> bool:
    """Whether a rule, as `NodeNetworkView.refusing` has it, is against the packets by which this device gets others."""
    if link.kind == "ipip":
        return IN_IP.search(rule) is not None
    ports = (link.port,) if link.port else CARRIES.get(link.kind, ())
    return "udp" in rule and any(_takes(found, port) for found in TO_PORTS.finditer(rule) for port in ports)


def _takes(found: re.Match[str], port: int) -> bool:
    """Whether the ports that a rule is for hold this one: one, a range of them, or several of both."""
    named = False
    for word in re.split(r"[\s,{}]+", found[3]):
        first, _, last = re.sub(r"[-:]", "-", word).partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            named = named or int(first) <= port <= int(last or first)
    return named is not bool(found[1] or found[2])


def _finding(scene: Scene, name: str, rule: str, link: Link) -> Finding:
    chain, _, text = rule.partition(": ")
    what = "IP in IP (protocol 4)" if link.kind == "ipip" else f"UDP to port {_port(rule, link)}"
    how = (
        f"`iptables {text.replace('-A ', '-D ', 1)}`"
        if text.startswith("-A ")
        else f"`nft -a list chain {chain}` shows its handle N, `nft delete rule {chain} handle N` takes it out"
    )
    cure = (
        f"take that rule out on {name} ({how}), and let {what} in where the rules are kept (ufw, firewalld, "
        "/etc/nftables.conf, /etc/iptables, a script)"
    )
    return Finding(
        Code.TUNNEL_FILTERED,
        node_of(scene, name),
        f"{name} drops the packets in which those of other nodes' pods come: a rule in {chain} is against {what}, by "
        f"which {link.name} ({link.kind}) gets them, and paths from or to its pods are broken. No restart and no "
        f"reboot changes that for long. Cure: {cure}.",
        (f"{name}: {rule}", f"{name}: {link.name} ({link.kind}) is its device to other nodes' pods"),
        state=State.WORKER_NETWORK_BROKEN,
        facts=CureFacts(name, node_of(scene, name), cure),
    )


def _port(rule: str, link: Link) -> int:
    ports = (link.port,) if link.port else CARRIES[link.kind]
    return next(p for p in ports if any(_takes(found, p) for found in TO_PORTS.finditer(rule)))
