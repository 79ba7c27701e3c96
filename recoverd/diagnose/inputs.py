"""Rules of a node's own firewall that drop the packets in which those of other nodes' pods come. Pure.

Pods' packets come in packets of the node itself where there is a tunnel, so that they pass its chain INPUT: a rule
there against a port of UDP, or against IP in IP, cuts the node's pods off, in both directions, since answers come the
same way. The node is Ready meanwhile, and every agent and device is well. Ports: VXLAN's 4789 (RFC 7348), the kernel's
own 8472, which flannel and Cilium use, Geneve's 6081 (RFC 8926), WireGuard's 51820 (flannel, Calico) and 51871
(Cilium). Such a rule is often meant, for packets from elsewhere: it is named beside paths that are broken, and only
where it is against what other nodes send, by the device that this comes in by, and has met a packet where it counts.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Iterator

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
SOURCE = re.compile(r"(! )?(?:ip6? saddr|-s) (!= )?(\{[^}]*\}|\S+)")
DEVICE = re.compile(r"(! )?(?:\biif(?:name)?|-i) (!= )?(\{[^}]*\}|\S+)")
ACCEPTS = re.compile(r"(?: |^)(?:accept|-j ACCEPT)(?: |$)")
ESTABLISHED = re.compile(r"(?:ct state|--ctstate|--state) (?!.*\bnew\b)", re.IGNORECASE)
"""What answers a packet; a tunnel's answers are packets of their own, from another port."""
COUNTED = re.compile(r" (?:counter packets (\d+) bytes \d+|-c (\d+) \d+)")


def findings(scene: Scene, view: NetworkView, beside: Iterable[Finding]) -> Iterator[Finding]:
    """`beside` are the findings of services and paths."""
    broken = [f for f in beside if f.code in BETWEEN]
    nodes = scene.objects.nodes if scene.objects else ()
    for name, host in view.hosts.items():
        node = scene.node(name)
        if not isinstance(host, NodeNetworkView) or not host.refusing or node is None:
            continue
        if away(scene, name) or not any(name in concerned(f) for f in broken):
            continue
        others = [n.address for n in nodes if n.address and n.name != node.name]
        found = ((rule, link) for link in host.links or () if (rule := against(host.refusing, link, others)))
        if (first := next(found, None)) is not None:
            yield _finding(scene, name, *first)


def against(rules: Iterable[str], link: Link, others: Collection[str]) -> str:
    """The first of these rules, as `NodeNetworkView.refusing` has them, that drops what other nodes send to this
    device, from whatever of these addresses nothing lets pass: no rule of its chain before it, and none of another
    chain of its table, which may come before it; "" where none does.
    """
    told = [(rule, rule.partition(": ")[0]) for rule in rules]
    lets = {i: _of(rule, others) for i, (rule, _) in enumerate(told) if ACCEPTS.search(rule) and _lets_pass(rule, link)}
    for at, (rule, chain) in enumerate(told):
        if ACCEPTS.search(rule) or not refuses(rule, link):
            continue
        before = (of for i, of in lets.items() if _comes_before(told[i][1], chain, before=i < at))
        if _of(rule, others).difference(*before):
            return rule
    return ""


def _comes_before(one: str, other: str, *, before: bool) -> bool:
    """Whether rules of one chain may be asked before those of another; of the same chain, where they stand `before`."""
    return before if one == other else one.rpartition(" ")[0] == other.rpartition(" ")[0]


def _of(rule: str, addresses: Collection[str]) -> set[str]:
    return {a for a in addresses if _concerns(rule, a)}


def refuses(rule: str, link: Link) -> bool:
    """Whether a rule is against the packets by which this device gets others, whoever sends them."""
    count = COUNTED.search(rule)
    if (count and int(count[1] or count[2]) == 0) or _comes_by(rule, link) is not True or "saddr @" in rule:
        return False
    return _is_for(rule, link)


def _lets_pass(rule: str, link: Link) -> bool:
    """Whether a rule may let them pass: as well where that is not certain."""
    if ESTABLISHED.search(rule) or _comes_by(rule, link) is False:
        return False
    return _is_for(rule, link) or not (TO_PORTS.search(rule) or IN_IP.search(rule))


def _is_for(rule: str, link: Link) -> bool:
    """Whether it is for the port, or the protocol, of the device."""
    if link.kind == "ipip":
        return IN_IP.search(rule) is not None
    ports = (link.port,) if link.port else CARRIES.get(link.kind, ())
    return "udp" in rule and any(_takes(found, port) for found in TO_PORTS.finditer(rule) for port in ports)


def _comes_by(rule: str, link: Link) -> bool | None:
    """Whether it is for what comes in by the device below; None where that is not known."""
    found = DEVICE.search(rule)
    if found is None:
        return True
    names = [w for w in re.split(r"[\s,{}\"]+", found[3]) if w]
    if names == ["lo"]:
        return bool(found[1] or found[2])
    if not link.over:
        return None
    named = any(link.over == n or (n[-1] in "+*" and link.over.startswith(n[:-1])) for n in names)
    return named is not bool(found[1] or found[2])


def _concerns(rule: str, address: str) -> bool:
    """Whether it is for what comes from this address; a set by name may hold it."""
    found = SOURCE.search(rule)
    if found is None or found[3].startswith("@"):
        return True
    named = any(_within(address, word) for word in re.split(r"[\s,{}]+", found[3]) if word)
    return named is not bool(found[1] or found[2])


def _within(address: str, source: str) -> bool:
    try:
        if "-" in source:
            low, high = (ipaddress.ip_address(s) for s in source.split("-", 1))
            return int(low) <= int(ipaddress.ip_address(address)) <= int(high)
        return ipaddress.ip_address(address) in ipaddress.ip_network(source, strict=False)
    except ValueError:
        return False


def _takes(found: re.Match[str], port: int) -> bool:
    """Whether the ports that a rule is for hold this one: one, a range of them, or several of both."""
    named = False
    for word in re.split(r"[\s,{}]+", found[3]):
        first, _, last = re.sub(r"[-:]", "-", word).partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            named = named or int(first) <= port <= int(last or first)
    return named is not bool(found[1] or found[2])


def _finding(scene: Scene, name: str, counted: str, link: Link) -> Finding:
    rule = COUNTED.sub("", counted)  # what it counts is another number in each sweep
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
