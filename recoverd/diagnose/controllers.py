"""kube-controller-manager and kube-scheduler: nobody notices at once when they are gone, and
everything slowly goes wrong. Pure.

A warning and no fault: what ends them (a manifest, a certificate, an API server that does not serve) is a fault of
its own where it can be proven.
"""

from __future__ import annotations

from collections.abc import Iterator

from recoverd.diagnose.manifests import up
from recoverd.diagnose.scene import Scene
from recoverd.model.catalogue import Code
from recoverd.model.finding import Finding, Severity
from recoverd.model.observation import ContainerView

EFFECTS = {
    "kube-controller-manager": "services keep leading to pods that are gone, and what ends is not made anew",
    "kube-scheduler": "new pods get no node",
}


def findings(scene: Scene) -> Iterator[Finding]:
    if not scene.api_ready:
        return  # they end themselves without it
    for component, effect in EFFECTS.items():
        seen = {name: c for name in scene.parts if (c := scene.container(name, component)) is not None}
        if seen and len(seen) == len(scene.parts) and not any(c.running for c in seen.values()):
            yield _down(scene, component, effect, seen)


def _down(scene: Scene, component: str, effect: str, seen: dict[str, ContainerView]) -> Finding:
    return Finding(
        Code.CONTROLLER_DOWN,
        component,
        f"No {component} runs on any control plane: {effect}. If that lasts, look on {' and '.join(seen)}: crictl "
        f"ps -a --name {component}, "
        "then crictl logs.",
        tuple(
            line
            for name, c in seen.items()
            for line in (f"{component} on {name}: {up(scene, c)}", *(f"it says: {x}" for x in c.log_tail[-3:]))
        ),
        severity=Severity.WARNING,
    )
