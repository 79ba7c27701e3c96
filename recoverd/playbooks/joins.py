"""What a plan that joins a control plane is made of, whoever asks for it: how long it may take, and how one member that
has lost its quorum by it is made a cluster of its own again. Pure.
"""

from __future__ import annotations

from recoverd.model.etcd import FORCE
from recoverd.model.join_operations import ForceAlone
from recoverd.playbooks.base import Refusal, Situation
from recoverd.playbooks.etcd_manifest import annotated, no_place_for, with_flag, without_flag
from recoverd.playbooks.sources import point_first

ALONE_SECONDS, TOGETHER_SECONDS = 12, 40
"""For the new member to start: without it there is no API server meanwhile; with quorum,
as long as kubeadm itself waits.
"""
JOIN_SECONDS = 240
"""For `kubeadm join` as a whole, its images included."""
STEP_SECONDS = JOIN_SECONDS + 45.0
"""For the step that joins, and for its taking back as well."""
SNAPSHOT_SECONDS, ETCD_SECONDS, API_SECONDS = 180.0, 60.0, 90.0
"""For the steps before and after it."""

BY_HAND = (
    "Join it by hand: `kubeadm reset -f` on it where something is left; on a control plane that works `kubeadm init "
    "phase upload-certs --upload-certs` and `kubeadm token create --print-join-command`; then what that prints with "
    "`--control-plane --certificate-key KEY` on the new one."
)
"""What a person does about a control plane whose etcd is elsewhere (kubeadm's page on high availability)."""


def needs(situation: Situation) -> tuple[float, float]:
    """Seconds that the bounds `step_deadline` and `plan_deadline` have to allow: the longest step, and until
    the last one may have to begin.

    A shorter `step_deadline` would cut the join and then its taking back; a shorter `plan_deadline` would have a
    join that went well taken back.
    """
    before_last = (*(() if point_first(situation) else (SNAPSHOT_SECONDS,)), STEP_SECONDS, ETCD_SECONDS)
    return max(*before_last, API_SECONDS), sum(before_last)


def if_it_fails(name: str, source: str, force: ForceAlone | None) -> tuple[str, ...]:
    cleaned = f"if it fails: everything that the join put on {name} (/etc/kubernetes, /var/lib/etcd, its containers)"
    if force is None:
        return (cleaned,)
    return (
        cleaned,
        f"if its member does not start: {source} becomes a one-member cluster by {FORCE}; nothing can be written "
        "meanwhile, nothing is lost",
    )


def force_alone(source: str, label: str, situation: Situation) -> ForceAlone | Refusal:
    """What has to be written on the only member in case it loses its quorum, made while all is well."""
    host = situation.host(source)
    manifest = host.manifests.get("etcd") if host else None
    if manifest is None or manifest.problem:
        return Refusal(
            f"the manifest of etcd on {source} is {manifest.problem if manifest else 'not there'}, so a "
            "join could not be taken back"
        )
    if FORCE in manifest.content:
        return Refusal(f"the manifest of etcd on {source} holds {FORCE} already; take it out first")
    flagged = with_flag(manifest.content)
    if flagged is None:
        return no_place_for(f"{FORCE}, by which a join is taken back,", manifest.path, source)
    return ForceAlone(manifest.path, manifest.sha256, flagged, annotated(without_flag(manifest.content), label))
