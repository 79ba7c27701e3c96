"""What of the pod network could not be looked at, so that nothing is concluded of it."""

from __future__ import annotations

from collections.abc import Iterator

from recoverd.diagnose.nodes import away, judged
from recoverd.diagnose.reach import source
from recoverd.diagnose.scene import Scene
from recoverd.model.finding import Finding
from recoverd.model.network import NetworkView, NodeNetworkView
from recoverd.model.observation import Unseen, UnseenKind


def findings(scene: Scene) -> Iterator[Finding]:
    view = scene.observation.network
    if isinstance(view, Unseen) and view.kind is not UnseenKind.NOT_TRIED:
        yield source("network", "The pod network could not be looked at; nothing is concluded about it.", view.reason)
    if isinstance(view, NetworkView) and scene.objects is not None and scene.api_ready:
        yield from _parts(scene, view)


def _parts(scene: Scene, view: NetworkView) -> Iterator[Finding]:
    if view.unseen:
        yield source(
            "network/lists",
            f"The API server did not give {', '.join(sorted(view.unseen))}: less is known of the "
            "pod network. Check the RBAC.",
            "; ".join(u.reason for u in view.unseen.values()),
        )
    if many := sum(isinstance(h, NodeNetworkView) and h.routes is None for h in view.hosts.values()):
        what = f"{many} machines have" if many > 1 else "One machine has"
        yield source(
            "network/routes",
            f"{what} too many routes to be gone by: that one of them is lost is found by probes of pods alone.",
            "there are more than are read of each",
        )
    for node, pods in view.pods.items():
        if isinstance(pods, Unseen):
            yield source(
                f"{node}/pods",
                f"What kubelet on {node} runs could not be compared with the API's list ({pods.kind}).",
                pods.reason,
            )
    for name, host in view.hosts.items():
        if not isinstance(host, NodeNetworkView):
            continue
        if host.problems and scene.node(name) is not None and not away(scene, name):
            what = f"Parts of the pod network of {name} could not be looked at; nothing is concluded about them."
            yield source(f"{name}/network", what, "; ".join(host.problems))
        if not host.tool and view.probes and judged(scene, name):
            yield source(
                f"{name}/probes",
                f"{name} cannot probe the pod network: it has none of bash with timeout, curl and nc.",
                "no tool was found",
            )
