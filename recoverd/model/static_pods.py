"""Static pods that are none of kubeadm's, as kube-vip, haproxy and keepalived, by what their manifests say. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import yaml

from recoverd.model.pki_operations import STATIC_PODS
from recoverd.model.pod_yaml import read_yaml

PLAIN = re.compile(r"[A-Za-z0-9._-]{1,100}")
"""Names of files and programs that no shell reads anything into."""
COMM = 15
"""Characters that the kernel keeps of a process's name."""
MOST = 16
"""Of other pods on one machine so many are looked at: the first by name."""
SOUNDS = r"(pass|pwd|secret|token|auth|credential|cookie|private|key|bgp_peers)"
"""In the name of what is a secret most likely; kube-vip's `bgp_peers` has passwords within."""
NAMED = re.compile(SOUNDS, re.IGNORECASE)
GIVEN = re.compile(SOUNDS + r"[\w.-]*[\"']?[=: ]+[\"']?[^\s/-]", re.IGNORECASE)
"""Such a one in a command line with its value. A path is none."""
BY_ITSELF = re.compile(r"PRIVATE KEY|://[^/@\s]*:[^/@\s]*@")


class Text(Protocol):
    """A manifest, as it is seen."""

    @property
    def content(self) -> str: ...
    @property
    def problem(self) -> str: ...


@dataclass(frozen=True, slots=True)
class StaticPod:
    """What a manifest says of its pod."""

    name: str
    """NAMESPACE/NAME."""
    programs: tuple[str, ...]
    """Names that its processes may have: of its containers, of what they start, of their images."""


@lru_cache(maxsize=4096)  # a few of each control plane of all clusters, as seen and as remembered
def static_pod(manifest: str) -> StaticPod | None:
    """The pod of a manifest; None where it cannot be read."""
    try:
        pod = read_yaml(manifest)
        meta, containers = pod["metadata"], pod["spec"]["containers"]
        programs = dict.fromkeys(word for c in containers for word in _programs(c) if PLAIN.fullmatch(word))
        return StaticPod(f"{meta.get('namespace') or 'default'}/{meta['name']}", tuple(programs))
    except (yaml.YAMLError, TypeError, KeyError, AttributeError, IndexError, ValueError, RecursionError):
        return None


def _programs(container: Mapping[str, Any]) -> Iterator[str]:
    image = str(container["image"]).rpartition("/")[2].partition("@")[0].partition(":")[0]
    command = container.get("command") or ()
    for word in (str(container["name"]), *(str(w).rpartition("/")[2] for w in command[:1]), image):
        yield word[:COMM]


def others(manifests: Mapping[str, Text]) -> Iterator[tuple[str, StaticPod]]:
    """The pods among a machine's manifests that are none of kubeadm's and that just one file defines, each under the
    name of its file.
    """
    pods = {key: pod for key, m in manifests.items() if not m.problem and (pod := static_pod(m.content))}
    names = [pod.name for pod in pods.values()]
    for key, pod in sorted(pods.items()):
        own = key in STATIC_PODS or pod.name.rpartition("/")[2] in STATIC_PODS
        if not own and names.count(pod.name) == 1:
            yield key, pod


def stands(pod: str, manifests: Iterable[Text]) -> bool:
    """Whether any of these files defines the pod NAMESPACE/NAME, whatever its own name: kubelet takes every one. No for
    "".
    """
    return bool(pod) and any(
        not m.problem and (found := static_pod(m.content)) and found.name == pod for m in manifests
    )


def processes(manifests: Mapping[str, Text]) -> tuple[tuple[str, str], ...]:
    """Names of files and of processes that their pods may run as, which a machine is asked about."""
    found = [(key, pod) for key, pod in others(manifests) if PLAIN.fullmatch(key)][:MOST]
    return tuple((key, program) for key, pod in found for program in pod.programs)


@lru_cache(maxsize=1024)
def may_hold_secret(manifest: str) -> bool:
    """Whether a password, token or key may stand in it, as in the environment of a keepalived: it stays on its
    machine. So does one that cannot be read.
    """
    if BY_ITSELF.search(manifest):
        return True
    try:
        pod = read_yaml(manifest)
        containers = [c for kind in ("initContainers", "containers") for c in pod["spec"].get(kind) or ()]
        given = (" ".join(str(w) for kind in ("command", "args") for w in c.get(kind) or ()) for c in containers)
        variables = (v for c in containers for v in c.get("env") or ())
        return any(map(GIVEN.search, given)) or any(
            NAMED.search(str(v["name"])) and not str(v.get("value", "/")).startswith("/") for v in variables
        )
    except (yaml.YAMLError, TypeError, KeyError, AttributeError, ValueError, RecursionError):
        return True
