"""`force-new-cluster`: makes one surviving member a cluster of its own when quorum is gone for good.

Sources: etcd's disaster recovery guide (`--force-new-cluster` keeps the data and overwrites the membership);
observed on real clusters: a full snapshot is served without quorum, and only until kubelet's probe has etcd started
again (so its data are copied, see `safety_copy`); etcd is healthy 2.5 s after the flag is in the static manifest; and
old members that stay alive with their data make the new cluster panic or split from it, so they are stopped for good
first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from recoverd.diagnose.loss import began_anew, unread
from recoverd.model.bastion_operations import AwaitApi, AwaitEtcd, FetchSnapshot
from recoverd.model.catalogue import Code
from recoverd.model.etcd import FORCE, EtcdView, MemberEntry, accused
from recoverd.model.etcd_versions import FORCE_NEW_CLUSTER, Caveat, caveats
from recoverd.model.etcd_versions import told as told_of
from recoverd.model.finding import Finding
from recoverd.model.observation import HostView, ManifestView
from recoverd.model.operations import HELD, MANIFESTS, CopyPath, MovePath, WriteFile, sha256
from recoverd.model.plan import Step
from recoverd.model.unit_operations import AwaitContainerGone, AwaitFlag, Unstick
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation, Wait
from recoverd.playbooks.etcd_manifest import annotated, no_place_for, with_flag, without_flag
from recoverd.playbooks.safety_copy import SafetyCopy, safety_copy
from recoverd.playbooks.sizes import moving
from recoverd.playbooks.survivors import (
    Missing,
    behind_a_point,
    host_of,
    if_they_return,
    lost_writes,
    may_return,
    missing,
    newest_point,
    to_be_known,
)

READ_WITHIN = 60.0
"""Seconds in which what a member holds may be late to be read; then it can only be looked for in its snapshot."""


@dataclass(frozen=True, slots=True)
class ForceNewCluster:
    name: str = "force-new-cluster"
    summary: str = "make one surviving etcd member a cluster of its own when quorum is gone for good"
    destructive: bool = True
    order: int = 60
    repairs: frozenset[str] = frozenset({Code.ETCD_QUORUM_LOST})

    def propose(self, finding: Finding, situation: Situation) -> Answer:
        survivors = self._survivors(situation)
        if isinstance(survivors, Refusal):
            return survivors
        blind = sorted(n for n, v in survivors.items() if began_anew(situation.scene, v) is None)
        if blind and (not_read := _not_read(blind, finding, situation)):
            return not_read
        before = situation.chosen(FetchSnapshot, CopyPath)  # without a leader terms go on growing, the data do not
        name = min(survivors, key=lambda n: (-survivors[n].revision, n != before, -survivors[n].raft_term, n))
        view = survivors[name]
        known = caveats(FORCE_NEW_CLUSTER, view.version, view.members)
        if (unsafe := next((c for c in known if c.refused), None)) and not situation.by_hand:
            return _unsafe(name, view, unsafe, situation)
        gone = missing(view, survivors.values(), situation)
        not_yet = may_return(gone, len(survivors), view, situation) or behind_a_point(name, view, gone, situation)
        if not_yet and not situation.by_hand:
            return not_yet
        return self._plan(name, survivors, finding, situation, gone, blind)

    def _plan(
        self,
        name: str,
        survivors: dict[str, EtcdView],
        finding: Finding,
        situation: Situation,
        gone: Sequence[Missing],
        blind: list[str],
    ) -> Proposal | Refusal:
        view = survivors[name]
        others = [m for m in view.voters if m.id != view.member_id]
        host = situation.host(name)
        if isinstance(edit := _flagged(name, host), Refusal):
            return edit
        manifest, flagged = edit
        asked = situation.by_hand and name in blind  # a person says what it holds
        holds = _uid(situation) if name in blind and not asked else ""
        kept = safety_copy(name, view, manifest, (finding.key,), holds, situation)
        if isinstance(kept, Refusal):
            return kept
        before = "" if kept.aside else manifest.sha256
        steps = (
            *kept.steps,
            *self._stop_others(others, finding, situation),
            *self._force(name, view, manifest, before, flagged, finding, situation.kept),
        )
        return Proposal(
            summary=f"make {name} (revision {view.revision}, the highest of {_revisions(survivors)}) "
            "a one-member etcd cluster",
            steps=steps,
            basis=(finding.key,),
            evidence=(
                *finding.evidence,
                f"chosen: {name}, because its revision {view.revision} is the highest of {_revisions(survivors)}",
                newest_point(situation),
                *_known(name, view, holds),
            ),
            destroys=(
                *_unread(name, asked),
                *if_they_return(gone),
                *lost_writes(name, view, situation),
                *to_be_known(gone, situation),
                *self._destroys(others, situation),
            ),
            undo=_way_back(kept),
            resolves=(finding.key,),
            verify_within=120.0,
            moving=moving(view.db_size),
        )

    @staticmethod
    def _survivors(situation: Situation) -> dict[str, EtcdView] | Refusal:
        """The members from which a new cluster may be made, by host."""
        corrupt = accused(situation.etcd_views.values())
        members = {
            n: v
            for n, v in situation.etcd_views.items()
            if not v.learner and any(m.id == v.member_id for m in v.members)
        }
        survivors = {n: v for n, v in members.items() if v.member_id not in corrupt}
        if members and not survivors:
            return Refusal(
                f"etcd has raised the CORRUPT alarm against every member that answers ({', '.join(sorted(members))}): "
                "none may be the source of a "
                "new cluster; bring another member back, or restore a snapshot"
            )
        if anew := sorted(n for n, v in survivors.items() if began_anew(situation.scene, v)):
            return Refusal(
                f"etcd on {', '.join(anew)} has begun a new, empty cluster: that is nothing to go on from; a "
                "snapshot has to be restored"
            )
        if not survivors:
            return Refusal(
                "no etcd member answers, so there is no copy of the data to go on from; a snapshot has to be restored"
            )
        if len({v.cluster_id for v in survivors.values()}) > 1:
            return Refusal(
                "the members that answer belong to different clusters; which one holds the data has "
                "to be decided by a person"
            )
        return survivors

    @staticmethod
    def _stop_others(others: list[MemberEntry], finding: Finding, situation: Situation) -> list[Step]:
        """Manifest and data of every other member whose host can be reached go aside, so that it
        cannot come back as what it was.
        """
        steps: list[Step] = []
        for member in others:
            host = host_of(member, situation)
            view = situation.host(host) if host else None
            if host is None or view is None:
                continue
            aside = f"{HELD}/{situation.kept}"
            if "etcd" in view.manifests:
                move = MovePath(f"{MANIFESTS}/etcd.yaml", f"{aside}/etcd.yaml")
                steps.append(
                    Step(
                        host,
                        f"stop etcd on {host} for good: its manifest goes aside",
                        move,
                        20.0,
                        (finding.key,),
                        undo=move.inverse(),
                    )
                )
            steps.append(
                Step(host, f"wait until no etcd runs on {host}", AwaitContainerGone("etcd", 60), 75.0, (finding.key,))
            )
            data = view.etcd_data
            if data and data.holds:
                keep = MovePath(f"{data.path}/member", f"{data.path}/member.{situation.kept}")
                steps.append(
                    Step(
                        host, f"keep the data of etcd on {host} aside", keep, 20.0, (finding.key,), undo=keep.inverse()
                    )
                )
        return steps

    @staticmethod
    def _force(
        name: str, view: EtcdView, manifest: ManifestView, before: str, flagged: str, finding: Finding, incident: str
    ) -> tuple[Step, ...]:
        """`before`: digest of the manifest that is in place by then; "" where it is aside."""
        final = annotated(without_flag(manifest.content), incident)
        digest, flagged_digest = sha256(final), sha256(flagged)
        held = AwaitEtcd(members=1, min_revision=view.revision, min_nodes=view.nodes or 0, min_pods=view.pods or 0)
        take_out = WriteFile(manifest.path, final, digest, before=flagged_digest)
        return (
            Step(
                name,
                f"put {FORCE} into the manifest of etcd on {name}",
                WriteFile(manifest.path, flagged, flagged_digest, before=before),
                timeout=20.0,
                requires=(finding.key,),
                undo=take_out,
                commits=True,
                undo_always=True,
            ),
            Step(
                name,
                f"see etcd on {name} healthy and alone, with revision {view.revision} or later, {view.nodes} nodes and "
                f"{view.pods} pods as before",
                held,
                timeout=120.0,
            ),
            Step(name, f"take {FORCE} out again", take_out, timeout=20.0),
            Step(
                name,
                f"see etcd on {name} run without {FORCE}",
                AwaitFlag("etcd", FORCE, present=False, seconds=60),
                timeout=75.0,
            ),
            Step(name, f"see etcd on {name} healthy without the flag", held, timeout=90.0),
            Step(
                name,
                f"start the API server on {name} now if it waits in its crash-loop back-off",
                Unstick("kube-apiserver", 1),
                60.0,
            ),
            Step(name, f"see the API server on {name} ready", AwaitApi(), timeout=180.0),
        )

    @staticmethod
    def _destroys(others: list[MemberEntry], situation: Situation) -> list[str]:
        lines = []
        for member in others:
            label = member.name or f"the member at {', '.join(member.peer_urls) or member.id}"
            host = host_of(member, situation)
            if host and situation.host(host):
                lines.append(
                    f"the membership of {label}; its data is kept aside on {host} as member.{situation.kept} "
                    "and it has to be joined anew"
                )
            elif member.started:
                lines.append(
                    f"the membership of {label}, which cannot be reached to be stopped: keep it OFF. If it comes back "
                    "with its old data, and others "
                    "with it, they form a second cluster (split brain); wipe its etcd data before it is "
                    "powered on in this network"
                )
            else:
                lines.append(
                    f"the membership of {label}, which never started; stop the join that waits there (kubeadm "
                    "reset) before joining it again"
                )
        return lines


def _uid(situation: Situation) -> str:
    """By which the cluster is known; "" where it was not seen or is encrypted."""
    return situation.memory.watermark.uid if situation.memory.watermark else ""


def _unsafe(name: str, view: EtcdView, caveat: Caveat, situation: Situation) -> Refusal:
    cluster, data = situation.settings.name, situation.host(name)
    path = data.etcd_data.path if data and data.etcd_data else "/var/lib/etcd"
    return Refusal(
        f"{FORCE} is not safe on {name}: {told_of(caveat, view.version)}. Bring another member back; or make {name} a "
        f"new cluster of its own data by hand, as etcd's disaster recovery guide says: stop etcd everywhere, `etcdutl "
        f"snapshot restore {path}/member/snap/db --skip-hash-check` with {name} alone; or go back to a restore point: "
        f"`recoverctl run restore-etcd-snapshot {cluster}`. Who has looked and wants it nevertheless: `recoverctl run "
        f"force-new-cluster {cluster}`"
    )


def _known(name: str, view: EtcdView, holds: str) -> Iterator[str]:
    if holds:
        yield f"{unread(name)}: its snapshot is looked through for that before anything is changed"
    yield from (told_of(c, view.version) for c in caveats(FORCE_NEW_CLUSTER, view.version, view.members))


def _unread(name: str, asked: bool) -> tuple[str, ...]:
    return (f"WHAT {name} HOLDS WAS NOT READ: {unread(name)}",) if asked else ()


def _not_read(blind: list[str], finding: Finding, situation: Situation) -> Wait | Refusal | None:
    """An etcd of which was not read what it holds is waited for, and then is gone on from only where its snapshot
    can tell: reads need no quorum.
    """
    if situation.by_hand:
        return None
    if situation.age(finding) < READ_WITHIN:
        return Wait(f"{unread(*blind)}; it is read again in the next sweeps, and nothing is forced meanwhile")
    if _uid(situation):
        return None
    return Refusal(
        f"{unread(*blind)}, and by nothing that was remembered could its snapshot tell. Look: `etcdctl get --prefix "
        "/registry/minions --keys-only` "
        f"there; when it holds this cluster: `recoverctl run force-new-cluster {situation.settings.name}` and approve"
    )


def _revisions(views: dict[str, EtcdView]) -> str:
    return ", ".join(f"{n} {v.revision}" for n, v in sorted(views.items()))


def _way_back(kept: SafetyCopy) -> tuple[str, ...]:
    return (
        "before the flag is put in: everything moved aside is moved back by itself",
        f"afterwards: none by itself; {kept.way_back} is the way back, and {FORCE} is taken out even when a later step "
        "fails",
    )


def _flagged(name: str, host: HostView | None) -> tuple[ManifestView, str] | Refusal:
    """The manifest of etcd on the surviving member, and what it is with the flag."""
    manifest = host.manifests.get("etcd") if host else None
    if manifest is None or manifest.problem:
        return Refusal(
            f"the manifest of etcd on {name}, the surviving member, is "
            f"{manifest.problem if manifest else 'not there to be edited'}"
        )
    flagged = with_flag(manifest.content)
    if flagged is None:
        return no_place_for(FORCE, manifest.path, name)
    return manifest, flagged


PLAYBOOK = ForceNewCluster()
