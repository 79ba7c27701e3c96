"""etcd's data went back in time: a finding at once, before any symptom, and until every program that followed the
lost history is restarted. Pure.

Whoever restarts them, and however (a playbook, a person, a reboot): what counts is when their processes started.
Hosts that cannot be seen are not counted either way; the other witnesses (`pods-not-on-node`,
`service-rules-stale`) tell about those.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from recoverd.diagnose.etcd import describe
from recoverd.diagnose.foreign import elsewhere
from recoverd.diagnose.loss import began_anew
from recoverd.diagnose.scene import Scene
from recoverd.model.catalogue import Code
from recoverd.model.facts import SetbackFacts
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.memory import Setback, Watermark
from recoverd.model.network import NetworkView, NodeNetworkView
from recoverd.model.text import some, utc

BUMP = 1_000_000_000
"""How far a restore with --bump-revision lets revisions go on beyond all that was ever handed out
(etcd's disaster recovery guide).
"""
CONTROLLERS = ("kube-controller-manager", "kube-scheduler")


def current(scene: Scene) -> Setback | None:
    """The setback that is remembered, or that this very sweep shows; None when there is none, or a restored
    cluster took the old one's place.

    Shown for the first time it is not `proven` yet. In a split brain nothing is compared: the other side's
    history is not ours gone back.
    """
    watermark, remembered = scene.mark, scene.memory.setback
    lead = scene.history.lead
    if watermark is None or lead is None or scene.history.strangers:
        return remembered
    anew = began_anew(scene, lead)
    if anew is None:
        # older data of this cluster, or a new, empty one: beside the one agents are restarted,
        # beside the other they must not be
        return remembered
    found = _compared(scene, watermark, remembered)
    if anew and found is None:  # it has grown beyond the old one
        again = remembered is not None and remembered.cluster_id == scene.history.cluster_id
        found = Setback(
            scene.now, watermark.at, watermark.revision, lead.revision, scene.history.cluster_id, proven=again
        )
    return replace(found, anew=anew) if found else None


def comparable(scene: Scene, watermark: Watermark) -> tuple[int, int] | None:
    """The furthest revision, and the furthest index of a raft log (0 where that is not known), that go on the
    history of the watermark: seen of a member that was there. None where no such member is seen.

    Members of the same cluster id that were not may be those whom --force-new-cluster left behind, and
    who have come back with old data.
    """
    if scene.history.strangers:
        return None
    own = [v for v in scene.history.camp.values() if not watermark.members or v.member_id in watermark.members]
    return (max(v.revision for v in own), max(v.raft_index for v in own)) if own else None


def log_anew(index: int, watermark: Watermark) -> bool:
    """Whether a log that has come to `index` is not the one that was seen, but was begun when a snapshot was restored.

    That shows what revisions do not: data that were older than what was seen by little, or that have been written to so
    much since that their revision is beyond it again (a bastion that was off or under load meanwhile). What is
    committed stays so under each later leader (Raft, leader completeness), and only a member that is left alone by
    --force-new-cluster cuts off a few entries that the others may have known as committed: hence half, and not less.
    """
    return 0 < index < watermark.index // 2


def bumped(revision: int, watermark: Watermark) -> bool:
    """Whether it was restored with a bump: whoever watched is told that it was compacted away, and lists anew."""
    return revision >= watermark.revision + BUMP // 2


def _compared(scene: Scene, watermark: Watermark, remembered: Setback | None) -> Setback | None:
    """By cluster id, revision and how far the log has come alone."""
    id, top, index = scene.history.cluster_id, scene.history.revision, 0
    ours = id == watermark.cluster_id
    if ours:
        of_ours = comparable(scene, watermark)
        if of_ours is None:
            return remembered
        top, index = of_ours
    beyond = bumped(top, watermark)
    if ours and top >= watermark.revision and (beyond or not log_anew(index, watermark)):
        return remembered if remembered and remembered.proven else None
    if not ours and beyond:
        return None
    if not ours and (_half_unseen(scene) if scene.external_etcd else elsewhere(scene, watermark)):
        return remembered  # the old history may live on at another member: that is another finding
    if remembered and remembered.cluster_id == id and top >= remembered.now:
        return replace(remembered, proven=True)
    proven = remembered is not None and remembered.proven
    return Setback(
        scene.now, remembered.noticed_at if remembered else watermark.at, watermark.revision, top, id, proven=proven
    )


def _half_unseen(scene: Scene) -> bool:
    """Of an etcd elsewhere so many servers were not seen that they may be the cluster that it was."""
    return 2 * len(scene.outside) <= len(scene.observation.outside)


def stale(scene: Scene, setback: Setback) -> tuple[str, ...]:
    """HOST/AGENT of what has been running since before."""
    found = []
    view = scene.observation.network
    for name in (*scene.control_plane_names, *(w.name for w in scene.workers)):
        host = scene.host(name)
        if host is None or not host.joined:
            continue
        starts = {
            c: host.containers[c].started_at for c in CONTROLLERS if c in host.containers and host.containers[c].running
        }
        kubelet = host.units.get("kubelet")
        if kubelet is not None and kubelet.running:
            starts["kubelet"] = kubelet.since
        of_network = view.hosts.get(name) if isinstance(view, NetworkView) else None
        if isinstance(of_network, NodeNetworkView):
            starts |= {process.name: process.started_at for process in of_network.processes.values()}
        found += [
            f"{name}/{agent}" for agent, at in sorted(starts.items()) if at is not None and at < setback.reference
        ]
    return tuple(found)


def findings(scene: Scene) -> Iterator[Finding]:
    setback = current(scene)
    if setback is None or (setback == scene.memory.setback and not setback.proven):
        return  # what one sweep showed and this one does not show again is no finding
    if setback.anew:
        yield _anew(scene, setback)
        return
    left = stale(scene, setback)
    fault = bool(left) and scene.api_ready and not setback.acknowledged
    watermark = scene.mark
    if watermark and watermark.cluster_id != setback.cluster_id:
        why = f"the cluster id was {watermark.cluster_id} and is {setback.cluster_id}"
    elif watermark and setback.now >= setback.was:
        why = (
            f"its log was at index {watermark.index} at {utc(setback.reference)} and has begun anew "
            "since, as when a snapshot is restored"
        )
    else:
        why = f"revision {setback.now} is below {setback.was}, seen at {utc(setback.reference)}"
    agents = (
        f"{len(left)} agents have been running since before and may be deaf: {some(left, 8)}"
        if left
        else ("every agent that can be seen has been restarted since")
    )
    yield Finding(
        Code.ETCD_REVISION_WENT_BACK,
        "",
        f"etcd's data went back: {why}. It was restored from older data, and what watched the API before may hear "
        f"nothing of it any more; {agents}.",
        (
            *(describe(n, v) for n, v in sorted(scene.history.camp.items())),
            f"noticed at {utc(setback.noticed_at)}" + (", acknowledged" if setback.acknowledged else ""),
            "other programs that watch the API (CoreDNS, ingress controllers, operators) are deaf "
            "too until they are restarted",
        ),
        severity=Severity.FAULT if fault else Severity.NOTICE,
        state=State.WORKER_NETWORK_BROKEN if fault else None,
        facts=SetbackFacts(stale=tuple(left)),
    )


def _anew(scene: Scene, setback: Setback) -> Finding:
    """No agent is named as stale: each goes on with the pods it has, and would end them
    if it asked the empty cluster.
    """
    camp = sorted(scene.history.camp.items())
    emptied = [n for n, v in camp if began_anew(scene, v)]
    where = ", ".join(emptied) or "a member that is not seen now"
    return Finding(
        Code.ETCD_REVISION_WENT_BACK,
        "",
        f"etcd on {where} has begun a new, empty cluster: nothing of the one that was seen is in it "
        f"(revision {setback.was} at "
        f"{utc(setback.reference)}). Nodes go on with the pods they have until their kubelet "
        "is restarted: restart none.",
        (
            *(describe(n, v) for n, v in camp),
            *(
                f"{n}: the UID of the namespace kube-system is {v.uid or 'none, it is not there'}"
                for n, v in camp
                if v.uid is not None
            ),
            f"noticed at {utc(setback.noticed_at)}",
            "a cluster that was made anew on purpose gets another name in the configuration of recoverd",
        ),
        state=State.ETCD_STUCK,
        facts=SetbackFacts(anew=tuple(emptied)),
    )
