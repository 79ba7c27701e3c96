"""Manifests of static pods that are none of kubeadm's, as kube-vip's, haproxy's and keepalived's, which hold the API
server's address in kubeadm's guide to highly available clusters: gone, or damaged. Pure.

Whoever moves the address elsewhere takes them away on purpose. So one that is gone is a fault only where something is
missed: the API server is not ready behind its address, or the very pod stands on another control plane.
"""

from __future__ import annotations

from collections.abc import Iterator

from recoverd.diagnose.manifests import recorded
from recoverd.diagnose.scene import Scene
from recoverd.model.catalogue import Code
from recoverd.model.facts import ManifestFacts
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.memory import KnownManifest
from recoverd.model.observation import HostView, ManifestView
from recoverd.model.pki_operations import STATIC_PODS
from recoverd.model.static_pods import stands

EMPTY = "empty"
"""What is said of a file without anything in it: that is how some switch a pod off."""


def findings(scene: Scene) -> Iterator[Finding]:
    for name in scene.parts:
        host = scene.host(name)
        if host is None or host.manifests_unread:
            continue
        for component, known in scene.memory.manifests.get(name, {}).items():
            current = host.manifests.get(component)
            if component in STATIC_PODS or stands(known.pod, host.manifests.values()):
                continue
            if current is None or current.problem == EMPTY:
                yield _missing(scene, name, component, known, current)
            elif current.problem:
                yield _invalid(name, component, known, current)


def elsewhere(scene: Scene, name: str, known: KnownManifest) -> list[str]:
    """The other control planes on which a file that defines the same pod is in place."""
    hosts: list[tuple[str, HostView | None]] = [(n, scene.host(n)) for n in scene.parts if n != name]
    return [n for n, host in hosts if host is not None and stands(known.pod, host.manifests.values())]


def _missing(scene: Scene, name: str, component: str, known: KnownManifest, current: ManifestView | None) -> Finding:
    others, address = elsewhere(scene, name, known), scene.vip.address
    missed = bool(others) or not scene.vip_ready
    if not scene.vip_ready:
        why = f"the API server is not ready behind its address {address} ({scene.vip.health})"
    elif others:
        why = f"it stands on {', '.join(others)} still, so what it does has less to spare"
    else:
        why = (
            f"{address} answers without it, and it stands on no other control plane. Where that is meant, reject the "
            "plan or do nothing: it is forgotten after ten minutes. Else approve it"
        )
    return Finding(
        Code.OTHER_MANIFEST_MISSING,
        f"{name}/{component}",
        f"The manifest of the static pod {known.pod} on {name} is {'empty' if current else 'gone'} ({known.path}): "
        f"kubelet has ended it, and {why}.",
        (
            f"{name}:{known.path} {'is empty' if current else 'does not exist'}, and no other file there defines the "
            "pod",
            recorded(known),
        ),
        severity=Severity.FAULT if missed else Severity.WARNING,
        state=State.APISERVER_DOWN if missed else None,
        facts=ManifestFacts(name, component=component),
    )


def _invalid(name: str, component: str, known: KnownManifest, current: ManifestView) -> Finding:
    return Finding(
        Code.OTHER_MANIFEST_INVALID,
        f"{name}/{component}",
        f"The manifest of the static pod {known.pod} on {name} is none that kubelet can run any more: "
        f"{current.problem}. kubelet ends the pod, at its next look at the directory or its next start.",
        (
            f"{name}:{current.path} sha256 {current.sha256[:12]}, {len(current.content.encode())} bytes",
            recorded(known),
        ),
        state=State.APISERVER_DOWN,
        facts=ManifestFacts(name, component=component),
    )
