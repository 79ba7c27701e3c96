"""`restore-etcd-snapshot`: puts every member back to a restore point, as one new cluster, when no
member holds the data any more.

Sources: etcd's disaster recovery guide (restore on every member with the same snapshot and a new cluster token;
`--bump-revision` and `--mark-compacted`, so that no watcher keeps what it saw of the lost history); observed on real
clusters: without the bump kubelet, kube-proxy and the controllers wait for revisions of the future, so they are
restarted here, as `restart-node-agents` does it: one kubelet first, which has to be seen to stay up, then all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from recoverd.diagnose.loss import holders, unaccounted
from recoverd.model.catalogue import Code
from recoverd.model.facts import Fate, LossFacts
from recoverd.model.finding import Finding
from recoverd.model.mounts import unmounted_above
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation, Wait
from recoverd.playbooks.restore_steps import gathered, steps
from recoverd.playbooks.restoring import Restore, aside, chosen, destroys, held, taken_at
from recoverd.playbooks.sizes import moving
from recoverd.playbooks.starts import not_mounted

NAME = "restore-etcd-snapshot"
BOOTED = 600.0
"""Seconds after a boot within which a disk may be mounted late, as after a check of its file system."""


@dataclass(frozen=True, slots=True)
class RestoreEtcdSnapshot:
    name: str = NAME
    summary: str = "put etcd back to a restore point on every control plane, when its data is lost on all of them"
    destructive: bool = True
    order: int = 70
    for_nodes: bool = True
    repairs: frozenset[str] = frozenset({Code.ETCD_DATA_LOST})

    def propose(self, finding: Finding, situation: Situation) -> Answer:
        if reset := [f.subject for f in situation.diagnosis.faults if f.code == Code.CONTROL_PLANE_RESET]:
            return Refusal(
                f"{', '.join(reset)} has been reset: without its certificates and kubelet's configuration nothing "
                "would serve what is restored (rebuild-control-plane puts both back)"
            )
        since = situation.seen_since(finding.key)
        assert isinstance(finding.facts, LossFacts)
        fates = finding.facts.fates
        if wait := _mounting(finding, fates, situation):
            return wait
        return self._proposal(gathered(fates, since, (finding.key,), situation), finding.evidence, situation)

    def asked(self, situation: Situation) -> Answer:
        """The data is there and a person says that it is wrong, as after a deletion by mistake or a
        restore of the wrong snapshot.
        """
        if not situation.point:
            return Refusal(
                "etcd's data is not lost, and whether it is wrong is for a person to say: name the restore point to "
                "go back to with --point; "
                f"`recoverctl restore-points {situation.settings.name}` lists them"
            )
        scene = situation.scene
        hosts = holders(scene)
        if (strangers := unaccounted(scene)) and not situation.nodes:
            return Refusal(
                f"etcd had members that are not in the configuration ({', '.join(strangers)}), and all are restored or "
                "none. When they are gone for "
                f"good, say so by naming those that are left: {' '.join(f'--node {h}' for h in hosts)}"
            )
        if situation.nodes and (left_out := [h for h in hosts if h not in situation.nodes]):
            return Refusal(
                f"{', '.join(left_out)} held etcd's data and is in the configuration: all are restored or none. A "
                "machine that is gone for good is "
                "taken out of the configuration first"
            )
        taken = next((p.taken_at for p in situation.memory.points if p.id == situation.point), 0.0)
        restore = gathered(hosts, datetime.fromtimestamp(taken, UTC), (), situation)
        return self._proposal(
            restore,
            (f"asked for: the data of {situation.settings.name} is to be as it was in {situation.point}",),
            situation,
        )

    @staticmethod
    def _proposal(restore: Restore | Refusal, evidence: tuple[str, ...], situation: Situation) -> Proposal | Refusal:
        if isinstance(restore, Refusal):
            return restore
        point, names = restore.point, ", ".join(m.host for m in restore.members)
        kept = [m.host for m in restore.members if not m.empty]
        return Proposal(
            summary=f"restore etcd on {names} from {point.id} (taken {taken_at(point)}, "
            f"revision {point.revision})" + (f", with revisions raised by {restore.bump}" if restore.bump else ""),
            steps=tuple(steps(restore, situation)),
            basis=restore.requires,
            evidence=(*evidence, *chosen(restore, situation)),
            destroys=tuple(destroys(restore, situation)),
            undo=(
                "until the first API server is started again: everything is taken back by itself"
                + (f", the old data of {', '.join(kept)} included" if kept else ""),
                *(
                    f"afterwards, by hand: the old data of {m.host} is kept there as {aside(restore, m)}"
                    for m in restore.members
                    if not m.empty
                ),
                *(
                    f"etcd on {empty} is never started again without data: its manifest stays in {held(restore)} "
                    "when the plan is taken back"
                    for empty in [", ".join(m.host for m in restore.members if m.empty)]
                    if empty
                ),
            ),
            resolves=restore.requires,
            verify_within=180.0,
            rounds=1 + len(restore.members) // 2,
            own_point=True,
            moving=2 * len(restore.members) * moving(point.size),
        )


def _mounting(finding: Finding, fates: Mapping[str, Fate], situation: Situation) -> Wait | Refusal | None:
    """A directory that is empty beneath a disk that is to be mounted there holds the data still, as far as anybody
    knows. One that is empty on a machine that was booted only minutes ago may be a disk that is not mounted yet.
    """
    patience = situation.settings.bounds.member_down_after
    views = {h: view for h, fate in fates.items() if fate is Fate.EMPTY and (view := situation.host(h)) is not None}
    for host, view in views.items():
        if view.etcd_data and (at := unmounted_above(view, view.etcd_data.path)):
            return Refusal(not_mounted(host, at))
    young = [h for h, view in views.items() if view.uptime < BOOTED]
    if not young or situation.by_hand or situation.age(finding) >= patience:
        return None
    return Wait(
        f"{finding.message} Restoring it is offered when that has lasted {patience:g} s (bound `member_down_after`): "
        f"{', '.join(young)} was booted "
        "only now, and a disk that is not mounted yet looks the same"
    )


PLAYBOOK = RestoreEtcdSnapshot()
