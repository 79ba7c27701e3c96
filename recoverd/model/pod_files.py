"""The files of the machine that static pods name in their manifests: by a flag, or as the mount of one file. Pure.

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

COPIES = "/var/lib/recoverd/pod-files"
"""On each control plane: copies of these files under the SHA-256 of what they hold, for root only."""
ENCRYPTION = "--encryption-provider-config"
EMPTY = hashlib.sha256(b"").hexdigest()
"""What kubelet makes of a file that is gone, where the mount is `FileOrCreate`."""
PKI = "/etc/kubernetes/pki/"
MOST = 64
"""Files that are looked at on one machine: the first so many."""
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

    @property
    def lacking(self) -> bool:
        """There is nothing: no file, a directory in its place, or an empty one that kubelet has made."""
        return self.what in (Is.GONE, Is.DIRECTORY) or (self.what is Is.FILE and self.sha256 == EMPTY)


class Text(Protocol):
    """A manifest, as it is seen or remembered."""

    @property
    def content(self) -> str: ...


def by_path(manifests: Mapping[str, Text]) -> dict[str, tuple[Named, ...]]:
    """What the manifests of a machine, by component, name: by path, the flags before the mounts."""
    found: dict[str, tuple[Named, ...]] = {}
    for pod, manifest in manifests.items():
        for named in named_in(pod, manifest.content):
            found[named.path] = (*found.get(named.path, ()), named)
    return {p: tuple(sorted(n, key=lambda each: not each.flag)) for p, n in list(found.items())[:MOST]}


@lru_cache(maxsize=4096)  # four of each control plane of all clusters, as seen and as remembered
def named_in(pod: str, manifest: str) -> tuple[Named, ...]:
    """The files that one manifest names, each flag once; none where it cannot be read."""
    try:
        spec = yaml.load(manifest, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["spec"]  # noqa: S506
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
    mounts = sorted(
        ((str(m["mountPath"]).rstrip("/"), volumes.get(m["name"])) for m in container.get("volumeMounts") or ()),
        key=lambda mount: -len(mount[0]),
    )
    for word, after in zip_longest(words, words[1:], fillvalue=""):
        flag, _, value = word.partition("=")
        if not flag.startswith("--") or WRITTEN.match(flag):
            continue
        for part in (value or after).split(","):
            if part.startswith("/"):
                yield flag, _on_machine(part.partition(":")[0], mounts)


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
