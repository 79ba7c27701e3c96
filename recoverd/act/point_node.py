"""What a restore point takes from one control plane over SSH: what kubeadm wrote there, but for private keys, which
are copied on the node itself.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from recoverd.clients.hosts import HostPool, HostUnseen
from recoverd.model.call import Call
from recoverd.model.pem import describe, load
from recoverd.model.points import PKI_ASIDE
from recoverd.observe.look import Section, sections

OUTPUT = 16 << 20


@dataclass(slots=True)
class NodeFiles:
    """What came of one control plane. `content` is by path below the point's directory."""

    host: str
    content: dict[str, bytes] = field(default_factory=dict)
    configmaps: bytes = b""
    lacks: list[str] = field(default_factory=list)
    pod_files: list[str] = field(default_factory=list)
    """As in `RestorePoint`."""


async def take_node(
    hosts: HostPool,
    host: str,
    id: str,
    seconds: float,
    *,
    keys: bool,
) -> NodeFiles:
    """Copy the private keys aside on the node, and bring the rest. Never raises for the node."""
    marker = f"=={secrets.token_hex(8)}"
    taken = NodeFiles(host)
    try:
        result = await hosts.ask(
            host, Call.of("take_point", marker, PKI_ASIDE, id, keys), timeout=seconds, max_output=OUTPUT
        )
    except HostUnseen as unseen:
        taken.lacks.append(f"nothing of {host}: {unseen}")
        return taken
    found = sections(result.stdout, marker)
    if not found or found[-1].name != "end":
        said = " / ".join(result.stderr.strip().splitlines()[-2:])[:300]
        taken.lacks.append(f"{host} gave only a part of what was asked ({said or 'cut short'})")
    _take_in(found, taken)
    return taken


def absent(configmaps: bytes) -> list[str]:
    """kubeadm's ConfigMaps that are not in what kubectl gave; before 1.24 kubelet's ends in the minor version."""
    names = (b"kubeadm-config", b"kubelet-config")
    return [n.decode() for n in names if not re.search(rb"^ +name: %b(-1\.\d+)?$" % n, configmaps, re.MULTILINE)]


async def forget_keys(hosts: HostPool, host: str, ids: Sequence[str], seconds: float) -> bool:
    """Remove the keys' copies of points that are gone; whether the node could be reached."""
    try:
        await hosts.ask(host, Call.of("remove", *(f"{PKI_ASIDE}/{i}" for i in ids)), timeout=seconds)
    except HostUnseen:
        return False
    return True


def _take_in(found: Sequence[Section], taken: NodeFiles) -> None:
    certificates = []
    for section in found:
        try:
            if section.name == "pki" and section.text.strip() != "done":
                taken.lacks.append(
                    f"the private keys of {taken.host} are not kept aside there: {' '.join(section.text.split())[:300]}"
                )
            elif section.name == "tar":
                taken.content[f"{taken.host}/pki.tar"] = _decoded(section)
            elif section.name == "pod-files" and f"{taken.host}/pki.tar" in taken.content:
                rows = [line.split(" ", 1) for line in section.lines if " " in line]
                taken.pod_files += [f"{taken.host}:{path} {digest}" for digest, path in rows]
            elif section.name == "file":
                taken.content[f"{taken.host}/files/{_below(section.word)}"] = _decoded(section)
            elif section.name == "configmaps":
                taken.configmaps = _decoded(section)
            elif section.name in ("cert", "kubeconfig") and (row := _certificate(section)):
                certificates.append(row)
        except (ValueError, binascii.Error, IndexError) as error:
            taken.lacks.append(f"{section.word or section.name} of {taken.host} could not be read: {error}")
    taken.content[f"{taken.host}/certificates.json"] = json.dumps(certificates, indent=1).encode()


def _certificate(section: Section) -> dict[str, object] | None:
    """Digest of the file, and of its first certificate what identifies it; None for a kubeconfig that holds none."""
    digest, *rest = [line for line in section.lines if line.strip()]
    text = "\n".join(rest)
    if not text:
        return {"path": section.word, "sha256": digest}
    pem = text.encode() if section.name == "cert" else base64.b64decode(text, validate=True)
    said = describe(load(pem)[0])
    return {
        "path": section.word,
        "sha256": digest,
        "subject": said.subject,
        "issuer": said.issuer,
        "serial": said.serial,
        "not_before": said.not_before.isoformat(),
        "not_after": said.not_after.isoformat(),
    }


def _decoded(section: Section) -> bytes:
    return base64.b64decode("".join(section.text.split()), validate=True)


def _below(path: str) -> str:
    """The path as one below a directory of ours. Raises `ValueError` for one that would lead out of it."""
    parts = PurePosixPath(path).parts
    if not path.startswith("/") or ".." in parts or len(parts) < 2 or "\0" in path:
        raise ValueError(f"{path!r} is no plain path")
    return str(Path(*parts[1:]))
