"""Where things are on a machine of the cluster, as its own files say: the flags of its static pod manifests. Pure.

kubeadm's own places are the fallback where a flag is not there, and nothing else: its configuration and patches change
every one of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from itertools import pairwise
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

import yaml

from recoverd.model.pod_yaml import read_yaml

API_PORT = 6443
"""kubeadm's, where `localAPIEndpoint.bindPort` says nothing else."""
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Socket:
    """What listens on the machine: an address there, and whether it speaks TLS."""

    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        return authority(self.host, self.port)


@dataclass(frozen=True, slots=True)
class Places:
    """Where the components of a control plane listen."""

    api: int = API_PORT
    """The API server's own port, which is not that of a balancer before it, or beside it on the machine."""
    etcd: Socket = Socket(LOOPBACK, 2379, tls=True)
    """etcd's JSON gateway."""
    metrics: Socket = Socket(LOOPBACK, 2381, tls=False)
    registry: str = "/registry"
    """Under which the API server keeps its objects in etcd (`--etcd-prefix`)."""


def authority(host: str, port: int | str) -> str:
    """HOST:PORT as a URL has it, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


KUBEADM = Places()
"""Where they listen unless somebody has chosen otherwise."""


class Text(Protocol):
    """A manifest, as it is seen or remembered."""

    @property
    def content(self) -> str: ...


def places_in(*manifests: Mapping[str, Text], before: Places = KUBEADM) -> Places:
    """Where they listen by the manifests of one machine, by component: those to go by first."""
    api, etcd = ([m[c].content for m in manifests if c in m] for c in ("kube-apiserver", "etcd"))
    return places_of(api, etcd, before)


def places_of(api: Iterable[str], etcd: Iterable[str], before: Places = KUBEADM) -> Places:
    """Where they listen by their manifests: texts of each, the one to go by first. Where that does not say it (cut
    short, a mistyped flag), the next one does, and `before` where none does.
    """
    api = tuple(api)
    port = next((int(p) for text in api if (p := flag(text, "--secure-port")).isdigit()), before.api)
    texts = tuple(etcd)
    # its gateway is not on the client URLs any more where HTTP has URLs of its own (etcd 3.4.25, 3.5.8, 3.6)
    clients = (_listens(text, "--listen-client-http-urls", "--listen-client-urls") for text in texts)
    metrics = (_listens(text, "--listen-metrics-urls") for text in texts)
    return Places(
        port,
        next(filter(None, clients), None) or before.etcd,
        next(filter(None, metrics), None) or before.metrics,
        # a manifest that does not name one has the API server's own default
        next((registry_of(text) for text in api if flag(text, "--etcd-servers")), before.registry),
    )


def registry_of(api: str) -> str:
    """Under which keys this manifest of an API server keeps its objects, as /registry."""
    return "/" + (flag(api, "--etcd-prefix") or KUBEADM.registry).strip("/")


def _listens(manifest: str, *flags: str) -> Socket | None:
    """Where the first of these flags that is there lets it listen, by preference on the machine's own loopback."""
    urls = next((value for name in flags if (value := flag(manifest, name))), "")
    sockets = [found for url in urls.split(",") if (found := _socket(urlsplit(url))) is not None]
    return next((s for s in sockets if is_loopback(s.host)), sockets[0] if sockets else None)


def _socket(url: SplitResult) -> Socket | None:
    try:
        if url.scheme not in ("http", "https") or not url.hostname or not url.port:
            return None
    except ValueError:  # no number between 1 and 65535
        return None
    anywhere = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104  # told apart, not bound to
    return Socket(anywhere.get(url.hostname, url.hostname), url.port, url.scheme == "https")


def flag(manifest: str, name: str) -> str:
    """The value of a flag of the component that a manifest is for, however it is written there; "" where it is not
    there. Of several the last counts, as it does for the program. Where the manifest is no whole YAML, lines as kubeadm
    writes them are read.
    """
    if (flags := _flags(manifest)) is not None:
        return flags.get(name, "")
    found = re.search(rf"^\s*- [\"']?{re.escape(name)}=(\S+)\s*$", manifest, flags=re.MULTILINE)
    return found[1].strip("\"'") if found else ""


@lru_cache(maxsize=4096)  # four of each control plane of all clusters, as seen and as remembered
def own_container(manifest: str) -> Mapping[str, Any] | None:
    """The container of a manifest that bears the pod's name, or the first: others stand beside it and have flags and
    images of their own (a KMS plugin, a proxy of metrics). None where the manifest cannot be read.
    """
    try:
        pod = read_yaml(manifest)
        containers = [dict(c) for c in pod["spec"]["containers"]]
        return next((c for c in containers if c.get("name") == pod["metadata"]["name"]), containers[0])
    except (yaml.YAMLError, TypeError, KeyError, IndexError, ValueError, RecursionError):
        return None


@lru_cache(maxsize=4096)
def _flags(manifest: str) -> Mapping[str, str] | None:
    """Those of that container; None where they cannot be read."""
    own = own_container(manifest)
    given = [(own or {}).get(kind) or () for kind in ("command", "args")]
    if own is None or not all(isinstance(words, list | tuple) for words in given):
        return None
    found = dict[str, str]()
    for word, after in pairwise((*(str(word) for words in given for word in words), "")):
        name, written, value = word.partition("=")
        if name.startswith("-"):  # etcd takes one dash as well
            found[f"--{name.lstrip('-')}"] = value if written else "" if after.startswith("-") else after
    return found


def host_of(address: str) -> str:
    """The host of HOST:PORT, an IPv6 address without its brackets and as `spelt`; "" where there is no port."""
    return spelt(address.rpartition(":")[0].strip("[]"))


def spelt(host: str) -> str:
    """One spelling of each IP address, as fd00::1 for `fd00:0::1`; a name as it is, in small letters."""
    return ip_of(host) or host.lower()


def of_ipv6(address: str) -> bool:
    """Whether IP:PORT, [IP]:PORT, an IP or a network is one of IPv6."""
    return address.startswith("[") or address.count(":") > 1


def ip_of(host: str) -> str:
    """The host where it is an IP address, "" where it is a name."""
    try:
        return str(ip_address(host))
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether a host in a URL is the machine itself."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@lru_cache(maxsize=4096)  # one of each control plane of all clusters
def etcd_elsewhere(api: str) -> tuple[str, ...]:
    """The etcd servers that this manifest of an API server names, where none is on the machine itself, as with
    kubeadm's `etcd.external`; () where one is, as with kubeadm's own etcd, or none is named.
    """
    servers = tuple(filter(None, flag(api, "--etcd-servers").split(",")))
    return () if any(is_loopback(urlsplit(s).hostname or "") for s in servers) else servers


@dataclass(frozen=True, slots=True)
class OutsideEtcd:
    """How an API server reaches an etcd that is none of the cluster's static pods."""

    servers: tuple[Socket, ...]
    files: tuple[str, ...] = ()
    """On its machine: the CA's certificate, and its own certificate and key; () where it has none."""
    registry: str = KUBEADM.registry


def outside_etcd(api: str) -> OutsideEtcd | None:
    """What this manifest of an API server says of it; None where etcd is on the machine itself, or none is named."""
    sockets = tuple(s for url in etcd_elsewhere(api) if (s := _socket(urlsplit(url))) is not None)
    files = tuple(flag(api, name) for name in ("--etcd-cafile", "--etcd-certfile", "--etcd-keyfile"))
    return OutsideEtcd(sockets, files if all(files) else (), registry_of(api)) if sockets else None
