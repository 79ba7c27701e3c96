"""Members of etcd that serve a history of their own. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from recoverd.diagnose.etcd import describe
from recoverd.diagnose.scene import Scene
from recoverd.model.catalogue import Code
from recoverd.model.facts import MemberFacts
from recoverd.model.finding import Finding, State
from recoverd.model.memory import Watermark


def findings(scene: Scene) -> Iterator[Finding]:
    for name, why in sorted(scene.membership.strangers.items()):
        yield _foreign(scene, name, why)
    watermark, camp = scene.memory.watermark, scene.membership.camp
    if watermark is None or scene.membership.cluster_id in ("", watermark.cluster_id):
        return
    if others := ", ".join(sorted(elsewhere(scene, watermark))):
        for name in sorted(camp):
            yield _foreign(
                scene,
                name,
                f"cluster id {scene.membership.cluster_id}; before, with {others}, it was {watermark.cluster_id}",
            )


def elsewhere(scene: Scene, watermark: Watermark) -> set[str]:
    """Control planes that may still hold the old cluster's data, when every seen member has a new cluster id: none
    in a cluster that was rebuilt.
    """
    moved = {e.name for e in scene.membership.entries if e.started} | set(scene.etcd_views)
    old = (set(watermark.members.values()) & set(scene.control_plane_names)) - moved
    return {
        n
        for n in old
        if (host := scene.host(n)) is None or (host.joined and (host.etcd_data is None or host.etcd_data.holds))
    }


def _foreign(scene: Scene, name: str, why: str) -> Finding:
    view, camp = scene.etcd_views[name], sorted(scene.membership.camp)
    last = (
        (f"the history that was seen last while all was well is that of {', '.join(camp)}",)
        if name not in camp and scene.memory.watermark
        else ()
    )
    return Finding(
        Code.ETCD_FOREIGN_CLUSTER,
        name,
        f"etcd on {name} serves a cluster of its own ({why}). Two histories must never be mixed: which one is right is "
        "for a person to say, and "
        "recoverd does nothing unasked meanwhile. Where the wrong one runs, etcd is stopped for good: "
        "its manifest goes out of "
        "/etc/kubernetes/manifests, then member/ of its data directory aside; then the machine "
        "is reset and joined anew.",
        (*(describe(n, v) + f", cluster id {v.cluster_id}" for n, v in sorted(scene.etcd_views.items())), *last),
        state=State.ETCD_STUCK,
        facts=MemberFacts(name, member_id=view.member_id),
    )
