"""What the playbooks that give etcd members data again need of a static pod manifest: its flags, and changed copies of its text."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from recoverd.playbooks.base import Refusal, Situation


def flag(manifest: str, name: str) -> str:
    """The value of a flag on its own line, as kubeadm writes it; "" where it is not there."""
    found = re.search(rf"^\s*- {re.escape(name)}=(\S+)\s*$", manifest, flags=re.MULTILINE)
    return found[1].strip("\"'") if found else ""


def with_flags(manifest: str, flags: dict[str, str]) -> str | None:
    """The manifest's text with these flags and no others of their names; None where the command line is not as kubeadm writes it."""
    text = manifest
    for name in flags:
        text = re.sub(rf"^\s*- {re.escape(name)}(=\S*)?\s*\n", "", text, flags=re.MULTILINE)
    lines = "".join(rf"\n\g<1>- {name}={value}" for name, value in flags.items())
    changed, count = re.subn(r"^(\s*)- etcd[ \t]*$", rf"\g<0>{lines}", text, count=1, flags=re.MULTILINE)
    return changed if count else None


def content_of(component: str, host: str, situation: Situation) -> str:
    """The manifest of a component on a host: what is in place and can be run, else the known-good one; "" where there is neither."""
    view, known = situation.host(host), situation.memory.manifests.get(host, {}).get(component)
    current = view.manifests.get(component) if view else None
    if current is not None and not current.problem:
        return current.content
    return known.content if known else ""


def data_directory(manifest: str, host: str, situation: Situation) -> str:
    view = situation.host(host)
    return flag(manifest, "--data-dir") or (view.etcd_data.path if view and view.etcd_data else "/var/lib/etcd")


def peer_url(manifest: str, host: str, situation: Situation) -> str:
    """What the others reach it under."""
    for name in ("--initial-advertise-peer-urls", "--listen-peer-urls"):
        url = flag(manifest, name).split(",")[0]
        if url and urlsplit(url).hostname not in ("0.0.0.0", "::", "127.0.0.1", None):  # noqa: S104  # told apart, not bound to
            return url
    address = next(h.address for h in situation.settings.control_planes if h.name == host)
    return f"https://{f'[{address}]' if ':' in address else address}:2380"


def log_elsewhere(manifest: str, data: str, host: str) -> Refusal | None:
    """etcd that writes its log outside of its data directory would start on the old log beside the new data."""
    log = flag(manifest, "--wal-dir")
    if not log or log.rstrip("/") == f"{data}/member/wal":
        return None
    return Refusal(
        f"etcd on {host} keeps its log apart (--wal-dir={log}), which recoverd does not move: by hand, as etcd's disaster recovery guide says, with "
        "--wal-dir for the restore too"
    )
