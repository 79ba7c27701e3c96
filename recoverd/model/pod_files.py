"""The files of the machine that static pods name in their manifests: by a flag, or as the mount of one file; and what
some of these name further, as an AdmissionConfiguration and the kubeconfigs of webhooks do. Pure.

What kubeadm itself makes and `restore-pki` puts back as a whole (certificates and kubeconfigs) is not among them, but
for the kubeconfigs of people, which kube-vip mounts. Sources: Kubernetes' pages on encryption at rest and on auditing,
whose files are in a directory that is mounted whole; kubeadm's page on high availability, which mounts
/etc/haproxy/haproxy.cfg, /etc/keepalived/keepalived.conf and kube-vip's /etc/kubernetes/admin.conf.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from itertools import zip_longest
from typing import Any, Protocol

import yaml

from recoverd.model.kubeadm import made_by_kubeadm
from recoverd.model.pod_yaml import read_yaml

COPIES = "/var/lib/recoverd/pod-files"
"""On each control plane: copies of these files under the SHA-256 of what they hold, for root only."""
ENCRYPTION = "--encryption-provider-config"
EMPTY = hashlib.sha256(b"").hexdigest()
"""What kubelet makes of a file that is gone, where the mount is `FileOrCreate`."""
PKI = "/etc/kubernetes/pki/"
MOST = 64
"""Files that are looked at on one machine: the first so many."""
FOLLOWED = frozenset(
    {
        "--admission-control-config-file",
        "--audit-webhook-config-file",
        "--authentication-token-webhook-config-file",
        "--authorization-config",
        "--authorization-webhook-config-file",
        "--egress-selector-config-file",
    }
)
"""Flags whose files name further files: AdmissionConfiguration, and kubeconfigs of webhooks."""
KEYS = (
    "path", "kubeConfigFile", "certificate-authority", "client-certificate", "client-key", "tokenFile",
    "caBundle", "clientCert", "clientKey",
)  # fmt: skip
"""How these do it: AdmissionConfiguration, the configuration of an admission plugin, a kubeconfig, an
EgressSelectorConfiguration.
"""
ONWARDS = ("path", "kubeConfigFile")
"""What is named by these keys may name further files itself."""
DEEP = 3
"""From the file of the flag: a plugin's configuration, a kubeconfig, a key."""
PLAIN = re.compile(r"/[A-Za-z0-9._/@+-]{1,250}")
"""A path that no shell reads anything into. Others are left alone."""
NEVER = ("/dev/", "/proc/", "/sys/", "/run/", "/var/run/", "/var/log/", "/var/lib/etcd/", "/var/lib/recoverd/")
"""What is there changes all the time, or is made anew by whoever needs it."""
WRITTEN = re.compile(r"--(?:log-|[a-z-]*-log-path|cert-dir|data-dir|wal-dir|v$|vmodule$)")
"""Flags that name what a program writes."""
PEOPLES = ("/etc/kubernetes/admin.conf", "/etc/kubernetes/super-admin.conf")


class Is(StrEnum):
    """What is at the path of such a file."""

    FILE = "file"
    GONE = "no"
    DIRECTORY = "directory"
    """What a container runtime makes of a mount whose file is gone."""
    OTHER = "other"
    UNSEEN = "unseen"
    """It could not be told."""


@dataclass(frozen=True, slots=True)
class Named:
    """A file as a manifest names it."""

    path: str
    """On the machine."""
    pod: str
    """The component, or the name of the manifest's file without .yaml."""
    flag: str = ""
    """As `--audit-policy-file`; "" where only a mount names it."""

    def __str__(self) -> str:
        return f"{self.flag} of {self.pod}" if self.flag else f"a mount of {self.pod}"


@dataclass(frozen=True, slots=True)
class PodFileView:
    """One such file as it stands on the machine. What it holds is not in it."""

    what: Is
    size: int = 0
    sha256: str = ""
    """Of what it holds; "" where it was not read, as one that is larger than 256 KiB."""
    mode: str = ""
    """In octal, as `600`."""
    owner: str = ""
    """UID:GID."""
    modified_at: datetime | None = None
    """By the machine's own clock, as the next."""
    changed_at: datetime | None = None
    """When its inode was changed: a file that was moved into place keeps its older `modified_at`."""
    keyed: bool = False
    """It has a line `secret:`, as an encryption configuration with a key in it."""
    names: tuple[str, ...] = ()
    """Of one of `FOLLOWED`, or that such a one names: further files, as it names them, each with its key before it."""

    @property
    def lacking(self) -> bool:
        """There is nothing: no file, a directory in its place, or an empty one that kubelet has made."""
        return self.what in (Is.GONE, Is.DIRECTORY) or (self.what is Is.FILE and self.sha256 == EMPTY)


class Text(Protocol):
    """A manifest, as it is seen or remembered."""

    @property
    def content(self) -> str: ...


class Naming(Protocol):
    """A file, as it is seen or remembered."""

    @property
    def names(self) -> tuple[str, ...]: ...


NOTHING: Mapping[str, Naming] = {}


def by_path(manifests: Mapping[str, Text], files: Mapping[str, Naming] = NOTHING) -> dict[str, tuple[Named, ...]]:
    """What the manifests of a machine, by component, name: by path, the flags before the mounts; and what `files` of
    these name further.
    """
    found: dict[str, tuple[Named, ...]] = {}
    for pod, manifest in manifests.items():
        first = named_in(pod, manifest.content)
        for named in dict.fromkeys((*first, *_further(pod, manifest.content, first, files))):
            found[named.path] = (*found.get(named.path, ()), named)
    return {p: tuple(sorted(n, key=lambda each: not each.flag)) for p, n in list(found.items())[:MOST]}


def naming(seen: Mapping[str, PodFileView] | None, known: Mapping[str, Naming]) -> dict[str, Naming]:
    """The files of a machine to go by for what they name: as they are seen, and as they are known where one is gone."""
    there = {p: view for p, view in (seen or {}).items() if view.what is Is.FILE}
    return {**known, **there}


def unread(manifests: Mapping[str, Text], seen: Mapping[str, PodFileView] | None) -> tuple[str, ...]:
    """Files that may name further ones and were not read in this sweep."""
    there = {p for p, view in (seen or {}).items() if view.what is Is.FILE and view.sha256}
    named = by_path(manifests, seen or {})
    return tuple(p for p, by in named.items() if p not in there and any(_onwards(n) for n in by))


def followed(named: Mapping[str, tuple[Named, ...]]) -> tuple[str, ...]:
    """Those of these files that may name further ones."""
    return tuple(path for path, by in named.items() if any(_onwards(n) for n in by))


def _onwards(named: Named) -> bool:
    return named.flag in FOLLOWED or named.flag.partition(" ")[0] in ONWARDS


def _further(pod: str, manifest: str, first: tuple[Named, ...], files: Mapping[str, Naming]) -> Iterator[Named]:
    """What files that a manifest names do name themselves, and so on, as far as they are seen or known."""
    frontier, met = [n.path for n in first if n.flag in FOLLOWED], set[str]()
    for _ in range(DEEP):
        named = [n for path in frontier if path in files for n in _inner(pod, manifest, path, files[path].names)]
        yield from named
        met |= set(frontier)
        frontier = [n.path for n in named if _onwards(n) and n.path not in met]


@lru_cache(maxsize=4096)
def _inner(pod: str, manifest: str, path: str, names: tuple[str, ...]) -> tuple[Named, ...]:
    """What one such file names: a path that is not absolute is beside it (kubeconfigs; AdmissionConfiguration)."""
    found = []
    for name in names:
        key, _, value = name.partition(" ")
        at = value if value.startswith("/") else f"{path.rpartition('/')[0]}/{value.removeprefix('./')}"
        there = next(iter(_hosted(manifest, at)), "") if value.startswith("/") else at
        if key in KEYS and value and _counts(there):
            found.append(Named(there, pod, f"{key} in {path}"))
    return tuple(found)


def _hosted(manifest: str, path: str) -> Iterator[str]:
    """Where a path of a container is on the machine, by each of the pod's containers that mounts anything there."""
    spec = read_yaml(manifest)["spec"]
    volumes = {v["name"]: v["hostPath"] for v in spec.get("volumes") or () if "hostPath" in v}
    for container in spec.get("containers") or ():
        yield _on_machine(path, _mounts(container, volumes))


@lru_cache(maxsize=4096)  # four of each control plane of all clusters, as seen and as remembered
def named_in(pod: str, manifest: str) -> tuple[Named, ...]:
    """The files that one manifest names, each flag once; none where it cannot be read."""
    try:
        spec = read_yaml(manifest)["spec"]
        volumes = {v["name"]: v["hostPath"] for v in spec.get("volumes") or () if "hostPath" in v}
        containers = [c for kind in ("initContainers", "containers") for c in spec.get(kind) or ()]
        found = [Named(path, pod, flag) for c in containers for flag, path in _flags(c, volumes)]
        found += [Named(str(h["path"]), pod) for h in volumes.values() if _of_file(h)]
    except (yaml.YAMLError, TypeError, KeyError, AttributeError, ValueError, RecursionError):
        return ()
    return tuple(dict.fromkeys(n for n in found if _counts(n.path)))


def _flags(container: Mapping[str, Any], volumes: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Flags with the paths that they name, on the machine."""
    words = [str(w) for kind in ("command", "args") for w in container.get(kind) or ()]
    mounts = _mounts(container, volumes)
    for word, after in zip_longest(words, words[1:], fillvalue=""):
        flag, _, value = word.partition("=")
        if not flag.startswith("--") or WRITTEN.match(flag):
            continue
        for part in (value or after).split(","):
            if part.startswith("/"):
                yield flag, _on_machine(part.partition(":")[0], mounts)


def _mounts(
    container: Mapping[str, Any], volumes: Mapping[str, Mapping[str, Any]]
) -> list[tuple[str, Mapping[str, Any] | None]]:
    """Where what is mounted in a container, the deepest first."""
    return sorted(
        ((str(m["mountPath"]).rstrip("/"), volumes.get(m["name"])) for m in container.get("volumeMounts") or ()),
        key=lambda mount: -len(mount[0]),
    )


def _on_machine(path: str, mounts: Iterable[tuple[str, Mapping[str, Any] | None]]) -> str:
    """Where that is outside of the container; "" for what is in a volume of another kind."""
    for at, volume in mounts:
        if path == at or path.startswith(f"{at}/"):
            return f"{str(volume['path']).rstrip('/')}{path.removeprefix(at)}" if volume else ""
    return path


def _of_file(volume: Mapping[str, Any]) -> bool:
    """Whether a hostPath may be one file. One without a type may be a directory as well, which the look tells."""
    return volume.get("type") in (None, "", "File", "FileOrCreate")


def _counts(path: str) -> bool:
    ours = made_by_kubeadm(path) and path.startswith("/etc/kubernetes/") and path not in PEOPLES
    return bool(PLAIN.fullmatch(path)) and not path.startswith(NEVER) and "/../" not in path and not ours
