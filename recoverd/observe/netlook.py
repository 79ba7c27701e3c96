"""What `network.sh` printed, in the model's words. Pure, and tolerant: what is missing or makes no sense is
unseen or a line in `problems`.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise

from recoverd.model.network import NOT_ASKED, Link, ProbeAnswer, ProcessView
from recoverd.model.network_operations import ROUTE_STATES, destination
from recoverd.observe.kernel import Counts, counts_of
from recoverd.observe.look import TICKS, LookError, Section, sections
from recoverd.observe.rulelook import Rules, hexadecimal, rules_of, rules_of_ipv6

DIALLED = re.compile(r"/dev/(?:tcp|udp)/([0-9a-fA-F.:]+)/(\d+): (.+)$")
ADDRESS = re.compile(r"[0-9.]+|[0-9a-f]*:[0-9a-f:.]+")
BRACKETED = re.compile(r"\[[0-9a-f:.]+\]:\d+")
LINK = re.compile(r"\d+: ([^:@\s]+)(?:@[^:]*)?: <([^>]*)>")
KINDS = (
    "bridge",
    "vxlan",
    "ipip",
    "geneve",
    "wireguard",
    "gre",
    "gretap",
    "ip6tnl",
    "dummy",
    "tun",
    "openvswitch",
    "vlan",
    "bond",
    "macvlan",
    "ipvlan",
)
"""Of `ip -d link`."""
POD_LINK = re.compile(
    r"cni\d*|cbr0|flannel.*|vxlan\.calico|tunl0|wireguard\.cali|cilium_.*|weave|antrea-.*|kube-bridge|genev_sys_.*|ovn-k8s-.*"
)
ADDS = {"vxlan": 50, "ipip": 20, "wireguard": 60}
"""Bytes around a packet, over IPv4: Ethernet's 14, VXLAN's 8, UDP's 8 and IP's 20; IP's; WireGuard's 32, UDP's, IP's.
What is `external` (Cilium's, OVN's, Weave's) is told the size by routes and flows, and its own says nothing.
"""
TEMPORARY = frozenset({"dynamic", "temporary", "deprecated", "tentative", "dadfailed"})
"""Words of `ip addr` behind addresses of IPv6 that go by themselves, or are not the machine's yet."""
ROUTES = 2048
"""How many of each family are read; the script prints one more."""
LINKS = 512
"""As `ROUTES`, of devices that are not of single pods, and of their addresses."""


@dataclass(frozen=True, slots=True)
class Routes:
    """The routes of one machine as they were read, and by what the machine tells that they are the same."""

    lines: tuple[str, ...] | None = ()
    """None where there are more than `ROUTES`: what is not among the first would seem to be gone."""
    digest: str = ""
    """sha256 of what was sent; "" where it has to be sent again whatever it is."""


UNKNOWN = Routes()


@dataclass(frozen=True, slots=True)
class HostLook:
    """One machine's answer."""

    forwarding: bool | None
    forwarding6: bool | None
    bridge_netfilter: bool | None
    bridge_netfilter6: bool | None
    dropping: tuple[str, ...] | None
    links: tuple[Link, ...] | None
    """All but those of single pods; None where they could not be listed."""
    veths: tuple[int, int] | None
    routes: tuple[str, ...] | None
    processes: Mapping[str, ProcessView] | None
    """None where not all were listed."""
    pods: tuple[str, ...] | None
    rules: Rules
    rules6: Rules
    tool: str
    answers: Mapping[str, ProbeAnswer | None]
    """By probe id; None where it could not be made or told."""
    problems: tuple[str, ...] = field(default=())
    known: Routes = UNKNOWN
    """Its routes, as the next look need not send them."""
    counts: Counts | None = None
    refusing: tuple[str, ...] | None = None
    cluster_cidr: str = ""


def parse_look(
    output: str,
    marker: str,
    probes: Mapping[str, tuple[str, int]],
    *,
    middle: datetime,
    truncated: bool = False,
    known: Routes = UNKNOWN,
) -> HostLook:
    """`probes` are those that were asked for, by id; `middle` is the bastion's clock at the look; `known` are the
    routes whose digest the script was given. Raises `LookError` for something else.
    """
    read = sections(output, marker)
    ended = not truncated and any(s.name == "end" for s in read)
    if not ended and read and read[-1].name != "tool":
        del read[-1]  # of which the rest is missing: an address that did not come would pass for one that is gone
    found = {s.name: s for s in read if s.name != "probe"}
    if "forwarding" not in found:
        raise LookError(f"the look at the network printed no known section, but: {output[:200]!r}")
    problems: list[str] = []
    if not ended:
        problems.append("the look at the network was cut short")
    routes, cut = _routes(found, known), not ended and "tool" not in found
    return HostLook(
        forwarding=_switch(found.get("forwarding")),
        forwarding6=_switch(found.get("forwarding6")),
        bridge_netfilter=_switch(found.get("bridge-nf")),
        bridge_netfilter6=_switch(found.get("bridge-nf6")),
        dropping=_dropping(found.get("dropping"), found.get("dropping-of-iptables")) if "clock" in found else None,
        links=_links(found.get("links"), found["addresses"], problems) if "addresses" in found else None,
        veths=_pair(found.get("veths")),
        routes=routes.lines,
        processes=_processes(found["processes"], found.get("clock"), middle, problems)
        if "processes" in found
        else None,
        pods=tuple(line for line in found["pods"].lines if line) if "pods" in found else None,
        rules=rules_of(found, cut=cut),
        rules6=rules_of_ipv6(found, cut=cut),
        tool=(found["tool"].word if "tool" in found else "") or ("" if ended and "tool" in found else NOT_ASKED),
        answers=_answers(output, marker, probes, found["tool"].word if "tool" in found and ended else ""),
        problems=tuple(problems),
        known=routes,
        refusing=_told(found.get("refusing"), found.get("refusing-of-iptables")) if "clock" in found else None,
        cluster_cidr=found["cluster-cidr"].word if "cluster-cidr" in found else "",
        counts=counts_of(found["sysctls"].lines, found["tables"].lines) if "tables" in found else None,
    )


def _switch(section: Section | None) -> bool | None:
    """A kernel parameter that is on or off; one whose module is not loaded is off."""
    return {"1": True, "0": False, "absent": False}.get(section.text.strip() if section else "")


def _dropping(*sections: Section | None) -> tuple[str, ...] | None:
    """Chains as `NodeNetworkView.dropping` has them; None where no tool could say, or not of each."""
    lines = _told(*sections)
    return None if lines is None else tuple(sorted(lines))


def _told(*sections: Section | None) -> tuple[str, ...] | None:
    """The lines in their order, each once, as rules stand in `NodeNetworkView.refusing`."""
    read = [s for s in sections if s is not None]
    lines = dict.fromkeys(line for s in read for line in s.lines if line)
    return tuple(lines) if read and "unread" not in lines else None


def _routes(found: Mapping[str, Section], known: Routes) -> Routes:
    """As `ip route add` takes them; those with an expiry are somebody else's. That there are too many is no problem of
    the look: on an overlay of thousands of nodes it is so on all of them and for good.
    """
    if (same := found.get("routes-same")) is not None:
        if not known.digest or same.word != known.digest:
            raise LookError(f"the look says that the routes are those of {same.word!r}, which were not asked for")
        return known
    section = found.get("routes")
    lines = section.lines if section else ()
    whole = hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    # of what was cut short, or of a machine without the tool, nothing is the same
    digest = whole if section and section.word == whole else ""
    if len(lines) > ROUTES:
        of_ipv6 = sum(":" in line and ":" in destination(line) for line in lines)
        if max(of_ipv6, len(lines) - of_ipv6) > ROUTES:
            return Routes(None, digest)
    return Routes(tuple(line for line in map(_route, lines) if line and " expires " not in line), digest)


@lru_cache(maxsize=1 << 16)
def _route(line: str) -> str:
    """Without the words that only say how it fares. On an overlay all nodes have nearly the same routes, and so they
    are one text and not as many as there are nodes.
    """
    return " ".join(w for w in line.replace("\\", " ").split() if w not in ROUTE_STATES)


def _pair(section: Section | None) -> tuple[int, int] | None:
    words = section.text.split() if section else []
    return (int(words[0]), int(words[1])) if len(words) == 2 and all(w.isdigit() for w in words) else None


def _links(links: Section | None, addresses: Section, problems: list[str]) -> tuple[Link, ...] | None:
    """None too where there are too many: what is not among the first would seem to be gone, and a bridge that is made
    anew would be made without its address.
    """
    for section, what in ((links, "network devices"), (addresses, "addresses on its devices")):
        if section and len([line for line in section.lines if line]) > LINKS:
            problems.append(
                f"it has more than {LINKS} {what} beside those of its pods, which are too many to be gone by"
            )
            return None
    of: dict[str, list[str]] = {}
    for line in addresses.lines:
        words = line.split()
        if len(words) > 3 and words[2] in ("inet", "inet6") and not (words[2] == "inet6" and TEMPORARY & set(words)):
            of.setdefault(words[1].split("@")[0], []).append(words[3])
    made = []
    for line in links.lines if links else ():
        match = LINK.match(line)
        if match:
            words = line.split()
            kind = next((w for w in words if w in KINDS), "")
            up, rest = "UP" in match[2].split(","), words[words.index(kind) + 1 :] if kind else []
            adds = ADDS.get(kind, 0) if "external" not in rest else 0
            if ":" in _after("local", rest):
                adds += 20  # IPv6's header is so much longer
            (mtu, port), over = (_number(_after(w, words)) for w in ("mtu", "dstport")), _after("dev", rest)
            made.append(Link(match[1], kind, up, tuple(of.get(match[1], ())), mtu, adds, over, port=port))
    return tuple(made) or None  # the machine's own interface is always among them


def _number(word: str) -> int:
    return int(word) if word.isdecimal() else 0


def _after(word: str, words: Sequence[str]) -> str:
    """The one that follows it; "" where none does."""
    return next((value for key, value in pairwise(words) if key == word), "")


def laid(links: Sequence[Link], address: str) -> list[Link]:
    """The same, those that add something to packets with the MTU of the device that these leave by: the one that they
    name, else the one with the node's own address.
    """
    by_name = {link.name: link for link in links}
    own = next((n.name for n in links if any(a.partition("/")[0] == address for a in n.addresses)), "")
    made = []
    for link in links:
        below = by_name.get(link.over or own) if link.adds else None
        made.append(replace(link, over=below.name, below=below.mtu) if below and below is not link else link)
    return made


def _processes(
    section: Section, clock: Section | None, middle: datetime, problems: list[str]
) -> dict[str, ProcessView]:
    found: dict[str, ProcessView] = {}
    try:
        uptime = float(clock.text.split()[0]) if clock else 0.0
        for line in section.lines:
            name, _, stat = line.partition(" ")
            fields = stat.rpartition(")")[2].split()
            if len(fields) < 20 or fields[0] == "Z":
                continue
            started = middle - timedelta(seconds=max(0.0, uptime - int(fields[19]) / TICKS))
            if name not in found or started < found[name].started_at:
                found[name] = ProcessView(name, fields[0], started)
    except (ValueError, IndexError, OverflowError) as error:
        problems.append(f"processes could not be read: {error!r}")
    return found


def _answers(
    output: str, marker: str, probes: Mapping[str, tuple[str, int]], tool: str
) -> dict[str, ProbeAnswer | None]:
    """A probe without any word of it timed out: the tool reports everything else."""
    if not tool:
        return dict.fromkeys(probes)
    said: dict[str, ProbeAnswer | None] = {}
    output = output[output.rindex(f"{marker} tool ") :]  # what was found of rules and routes is no answer
    by_address: dict[tuple[str, str], ProbeAnswer | None] = {}
    for line in output.split("\n"):
        if line.startswith(f"{marker} probe "):
            words = line.split()
            said[words[2]] = {
                "ok": ProbeAnswer.OK,
                "refused": ProbeAnswer.REFUSED,
                "unreachable": ProbeAnswer.UNREACHABLE,
            }.get(words[-1])
        elif match := DIALLED.search(line):
            by_address[match[1], match[2]] = _reason(match[3])
    answers: dict[str, ProbeAnswer | None] = {}
    for id, (ip, port) in probes.items():
        if id.startswith("u") and tool != "bash":
            answers[id] = None
        else:
            answers[id] = said[id] if id in said else by_address.get((ip, str(port)), ProbeAnswer.TIMEOUT)
    return answers


def _reason(text: str) -> ProbeAnswer | None:
    """Of bash's message; its own words when it was built without /dev/tcp are about a file."""
    lower = text.lower()
    if "refused" in lower:
        return ProbeAnswer.REFUSED
    if "timed out" in lower:
        return ProbeAnswer.TIMEOUT
    if "route" in lower or "unreachable" in lower or "host is down" in lower:
        return ProbeAnswer.UNREACHABLE
    return None


def script(
    body: str,
    marker: str,
    probes: Mapping[str, tuple[str, int]],
    services: Sequence[str],
    seconds: int,
    known: Routes = UNKNOWN,
) -> str:
    """The script with what it is to look for, and the routes that it need not send. Addresses come from the API: only
    what is an address gets in.
    """
    lines = "\n".join(f"{id} {ip} {port}" for id, (ip, port) in probes.items() if ADDRESS.fullmatch(ip))
    wanted = [a for a in services if re.fullmatch(r"[0-9.]+:\d+", a)]
    in_hex, of_ipv6 = " ".join(map(hexadecimal, wanted)), [a for a in services if BRACKETED.fullmatch(a)]
    given = f"V='{' '.join(wanted)}'\nVX='{in_hex}'\nV6='{' '.join(of_ipv6)}'\nT={seconds}\nR='{known.digest}'\n"
    return f"M='{marker}'\nP='{lines}'\n{given}{body}"


def pod_links(links: Sequence[Link], pods: Sequence[str]) -> list[Link]:
    """Those that carry pods: by their name, or because the pods' addresses are in their network."""
    found = []
    for link in links:
        if POD_LINK.fullmatch(link.name) or (link.name != "docker0" and any(_holds(a, pods) for a in link.addresses)):
            found.append(link)
    return found


def _holds(network: str, pods: Sequence[str]) -> bool:
    try:
        inside = ipaddress.ip_interface(network).network
        return any(ipaddress.ip_address(ip) in inside for ip in pods[:8])
    except ValueError:
        return False
