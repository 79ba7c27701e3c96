"""What `node.sh` printed, as a `NodeLook`. Pure; what makes no sense is taken as not asked."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from recoverd.model.node_look import AddressPool, FileView, Heard, NodeLook, PodLog
from recoverd.model.places import authority, spelt
from recoverd.observe.sockets import peers
from recoverd.observe.text import printable

HANGS = ("deadlineexceeded", "deadline exceeded", "timed out", "i/o timeout")
"""How crictl and ctr say that a socket took the connection and nothing came back."""
ABSENT = (
    "connection refused",
    "no such file",
    "couldn't connect to server",  # curl's word for it
    "could not connect to server",  # Debian 13's, 8.14
    "cannot connect to the docker daemon",
)
TEXT = 300
NO_LOGS: Mapping[str, PodLog] = MappingProxyType({})


def node_look(lines: Iterable[str], files: Mapping[str, str], logs: Mapping[str, PodLog] = NO_LOGS) -> NodeLook:
    """The view, of the lines of the section `node`, the text of each section `node-file` by its path, and `logs`."""
    said: dict[str, list[str]] = {}
    for line in lines:
        word, _, rest = line.partition(" ")
        said.setdefault(word, []).append(printable(rest.strip(), TEXT))
    asked = said.get("asked", [])
    server, proxy = (_address(said.get(word, [""])[0]) for word in ("server", "proxy"))
    reach = said.get("reach", [])
    proxied = reach if server == proxy else said.get("proxied", [])
    kubelet, runtime = _heard(said.get("kubelet", []), "said HTTP"), _heard(said.get("runtime", []), "answered")
    return NodeLook(
        server=server,
        addresses=tuple(map(spelt, said.get("address", []))) if "name" in asked else None,
        held=tuple(map(spelt, said.get("held", []))) if "held" in asked else None,
        reaches=_reaches(reach),
        said="" if _reaches(reach) else _told(reach),
        proxy=proxy,
        proxy_reaches=_reaches(proxied) if proxy else None,
        proxy_said="" if not proxy or _reaches(proxied) else _told(proxied),
        hosts=tuple(" ".join(line.split()) for line in said.get("hosts", [])),
        kubelet=kubelet,
        kubelet_said=_told(said.get("kubelet", [])),
        runtime=runtime,
        runtime_said=_told(said.get("runtime", [])),
        cni=tuple(said.get("cni", [])) if "cni" in asked else None,
        pools=tuple(p for line in said.get("pool", []) if (p := _pool(line))),
        resolv=said.get("resolv", [""])[0],
        parts=said.get("parts", [""])[0],
        bgp=_sessions(said.get("bgp", [])) if "bgp" in asked else None,
        files={path: view for path, text in files.items() if (view := _file(text)) is not None},
        logs=logs,
    )


def _address(words: str) -> str:
    host, _, port = words.partition(" ")
    return authority(spelt(host), port) if host and port.isdigit() else ""


def _sessions(lines: list[str]) -> dict[str, bool] | None:
    try:
        return peers(lines)
    except ValueError:
        return None


def _reaches(said: list[str]) -> bool | None:
    return True if "connected" in said else False if said and "unknown" not in said else None


def _pool(line: str) -> AddressPool | None:
    held, leaked, directory = [*line.split(" ", 2), "", ""][:3]
    return AddressPool(directory, int(held), int(leaked)) if held.isdigit() and leaked.isdigit() and directory else None


def _heard(lines: list[str], answer: str) -> Heard:
    text = "\n".join(lines).lower()
    if any(line.startswith(answer) for line in lines):
        return Heard.ANSWERS
    if any(sign in text for sign in ABSENT):
        return Heard.REFUSED
    # connected, and nothing more before the time was over
    if "connected" in lines or any(sign in text for sign in HANGS) or (answer == "answered" and "over" in lines):
        return Heard.SILENT
    return Heard.UNKNOWN


def _told(lines: list[str]) -> str:
    """What was printed beside the words of the protocol; "" where the time ran out without a word."""
    return " / ".join(
        line.removeprefix("said ") for line in lines if line not in ("connected", "over", "unknown", "answered")
    )[:TEXT]


def _file(text: str) -> FileView | None:
    first, _, rest = text.partition("\n")
    size, *modified = first.split()
    try:
        data = base64.b64decode("".join(rest.split()), validate=True)
        content = data.decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    if len(data) != int(size):
        return None
    at = datetime.fromtimestamp(int(modified[0]), UTC) if modified else None
    return FileView(hashlib.sha256(data).hexdigest(), content, at)
