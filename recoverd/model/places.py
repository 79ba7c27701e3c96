"""Where things are on a machine of the cluster, as its own files say: the flags of its static pod manifests. Pure.

kubeadm's own places are the fallback where a flag is not there, and nothing else: its configuration and patches change
every one of them.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit


def flag(manifest: str, name: str) -> str:
    """The value of a flag on its own line, as kubeadm writes it; "" where it is not there."""
    found = re.search(rf"^\s*- [\"']?{re.escape(name)}=(\S+)\s*$", manifest, flags=re.MULTILINE)
    return found[1].strip("\"'") if found else ""


def is_loopback(host: str) -> bool:
    """Whether a host in a URL is the machine itself."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@lru_cache(maxsize=256)
def etcd_elsewhere(api: str) -> tuple[str, ...]:
    """The etcd servers that this manifest of an API server names, where none is on the machine itself, as with
    kubeadm's `etcd.external`; () where one is, as with kubeadm's own etcd, or none is named.
    """
    servers = tuple(filter(None, flag(api, "--etcd-servers").split(",")))
    return () if any(is_loopback(urlsplit(s).hostname or "") for s in servers) else servers
