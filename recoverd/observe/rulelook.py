"""What `network.sh` printed of kube-proxy's rules, in the model's words. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from recoverd.observe.look import Section

UNREAD = "unread"
"""In the place of a mode, where the rules of IPv6 could not be read."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Service rules as read: `mode` "" when the tools were there and kube-proxy's rules were not."""

    mode: str
    programmed: Mapping[str, frozenset[str] | None]
    """By the service's IP:PORT or [IP]:PORT: its endpoints; None where they cannot be told. Services without a rule are
    absent.
    """
    unseen: str = ""
    """Why nothing can be said; "" when the rules were read."""
    told: str = ""
    """The mode that kube-proxy itself said; "" where it was not asked or did not answer."""
    unread: tuple[str, ...] = ()
    """Modes whose rules could not be looked for."""


def rules_of(found: Mapping[str, Section], *, cut: bool) -> Rules:
    """Those of IPv4."""
    section = found.get("rules")
    if section is None or cut:
        return Rules("", {}, "the look at its service rules was cut short")
    mode = section.word
    told = found["told"].word if "told" in found else ""
    unread = tuple(found["unread"].word.split()) if "unread" in found else ()
    if not mode and (told in unread or {"iptables", "nftables"} <= set(unread)):
        which = told or " or ".join(unread)
        return Rules(
            "", {}, f"has no tool that can read kube-proxy's rules ({which}): missing, failing or too old", told, unread
        )
    return Rules(mode, _programmed(section.lines, _plain if mode != "ipvs" else _unhex), told=told, unread=unread)


def rules_of_ipv6(found: Mapping[str, Section], *, cut: bool) -> Rules:
    """The same of IPv6, which lie beside them in tables of their own; of IPVS they are not read."""
    section = found.get("rules6")
    if section is None or cut:
        return Rules("", {}, "was asked for no service of IPv6, or the look at its rules was cut short")
    if section.word == UNREAD:
        return Rules("", {}, "has no tool that can read kube-proxy's rules of IPv6: missing, failing or too old")
    return Rules(section.word, _programmed(section.lines, _plain))


def _programmed(lines: Sequence[str], readable: Callable[[str], str]) -> dict[str, frozenset[str] | None]:
    chains: dict[str, str] = {}
    endpoints: dict[str, set[str]] = {}
    for line in lines:
        words = line.split()
        if len(words) == 3 and words[0] == "svc":
            chains[readable(words[1])] = words[2]
        elif len(words) == 3 and words[0] == "ep":
            endpoints.setdefault(words[1], set()).add(readable(words[2]))
    programmed: dict[str, frozenset[str] | None] = {}
    for address, chain in chains.items():
        of = endpoints.get(chain, set())
        programmed[address] = None if "?" in of else frozenset(of)
    return programmed


def _plain(word: str) -> str:
    return word


def _unhex(word: str) -> str:
    """`0A600050:0050` of /proc/net/ip_vs as `10.96.0.80:80`."""
    host, _, port = word.partition(":")
    try:
        number, to = int(host, 16), int(port, 16)
    except ValueError:
        return "?"
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0)) + f":{to}"


def hexadecimal(address: str) -> str:
    """`10.96.0.80:80` as /proc/net/ip_vs has it."""
    host, _, port = address.partition(":")
    return "".join(f"{int(part):02X}" for part in host.split(".")) + f":{int(port):04X}"
