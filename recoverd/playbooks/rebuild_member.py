"""`rebuild-member`: one member's copy of the data is corrupt or gone while the others have quorum: it is made anew
from its peers, not a snapshot.

Sources: etcd's runtime reconfiguration guide (remove the member, add it again, start it with an empty directory and
`--initial-cluster-state=existing`) and its learner design (a new member has no vote until it has caught
up, so quorum holds throughout).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from recoverd.diagnose.loss import began_anew, unaccounted
from recoverd.model.bastion_operations import AwaitApi, AwaitEtcd, FetchSnapshot, RemoveMember
from recoverd.model.catalogue import Code
from recoverd.model.etcd import WHOLE, EtcdView, MemberEntry, accused, quorum_of
from recoverd.model.etcd_operations import AddMember, DisarmAlarm, PromoteMember
from recoverd.model.etcd_versions import LEARNERS, adds_learners, caveats, told
from recoverd.model.facts import MemberFacts
from recoverd.model.finding import Finding
from recoverd.model.mounts import unmounted_above
from recoverd.model.operations import HELD, MANIFESTS, MovePath, WriteFile, sha256
from recoverd.model.places import flag
from recoverd.model.plan import Step
from recoverd.model.unit_operations import AwaitContainerGone, Unstick
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation, Wait
from recoverd.playbooks.etcd_manifest import (
    annotated,
    content_of,
    data_directory,
    log_elsewhere,
    no_place_for,
    peer_url,
    with_flags,
    without_flag,
)
from recoverd.playbooks.sizes import moving, sized
from recoverd.playbooks.sources import member_to_ask, point_first
from recoverd.playbooks.starts import not_mounted, services
from recoverd.playbooks.survivors import host_of

API = "kube-apiserver"


class Saved(Enum):
    """What is kept of the data from before, as the plan tells it."""

    POINT = "; a restore point from before is kept (recoverctl restore-points)"
    SNAPSHOT = "; a snapshot from before is kept in the state directory of recoverd"
    NOTHING = ""


@dataclass(frozen=True, slots=True)
class Rebuild:
    """Everything that the steps are made of."""

    host: str
    asked: str
    """Host of the member that is asked."""
    view: EtcdView
    """What that member says."""
    entry: MemberEntry | None
    """The old member's row; None when it has been removed already."""
    peer_url: str
    data: str
    stamp: str
    manifest: str
    """Of etcd, as it is put in: with all peers, state `existing`."""
    in_place: bool
    """A manifest of etcd is there now."""
    empty: bool
    alarms: tuple[str, ...]
    """The members that CORRUPT alarms name which are its own: its id, and `WHOLE`."""
    finding: Finding
    saved: Saved
    """What of its peers' data is kept first."""
    services: tuple[Step, ...]
    """What starts kubelet and the runtime there, where they do not run."""

    @property
    def learner(self) -> bool:
        """Members are added without a vote where etcd can do that safely."""
        return adds_learners(self.view.version)

    @property
    def left(self) -> int:
        """How many voters there are without the member."""
        return len(self.view.voters) - (1 if self.entry is not None and not self.entry.learner else 0)


@dataclass(frozen=True, slots=True)
class RebuildMember:
    name: str = "rebuild-member"
    summary: str = "make a corrupt or emptied etcd member anew from its peers, while quorum is present without it"
    destructive: bool = True
    order: int = 35
    repairs: frozenset[str] = frozenset(
        {Code.ETCD_MEMBER_CORRUPT, Code.ETCD_CORRUPT, Code.ETCD_DATA_EMPTY, Code.ETCD_SPLIT_BRAIN}
    )

    def propose(self, finding: Finding, situation: Situation) -> Answer:
        host = finding.facts.host
        if situation.diagnosis.find(Code.ETCD_DATA_LOST) or situation.diagnosis.find(Code.ETCD_QUORUM_LOST):
            return None  # there is nobody to rebuild it from
        if isinstance(finding.facts, MemberFacts) and finding.facts.member_id == WHOLE:
            return Refusal(
                f"{finding.message} recoverd sees no majority with the same data: compare their hashes once all of "
                "them run (`etcdctl endpoint hashkv --cluster`), or take all back to a point from before: "
                f"`recoverctl run restore-etcd-snapshot {situation.settings.name} --point ID`"
            )
        view = situation.host(host)
        if view is None or view.etcd_data is None:
            return Refusal(f"{host or finding.subject} cannot be looked at now over SSH, so its member is not rebuilt")
        source = member_to_ask(situation, without=host)
        if source is None:
            return Refusal(
                f"no other member than {host} is seen with a leader, so there is nobody to rebuild it from; see to "
                "etcd on the others first (its log "
                f"says why it does not come up){_strangers(situation)}{_gone(situation)}"
            )
        scene = situation.scene
        if others := [
            n for n in scene.membership.strangers if n != host and not began_anew(scene, scene.etcd_views[n])
        ]:
            return Refusal(
                f"etcd on {', '.join(sorted(others))} serves a history of its own: which one is right is "
                "for a person to say first"
            )
        if not view.etcd_data.holds and (at := unmounted_above(view, view.etcd_data.path)):
            return Refusal(not_mounted(host, at))
        patience = situation.settings.bounds.member_down_after
        if finding.code == Code.ETCD_DATA_EMPTY and situation.age(finding) < patience and not situation.by_hand:
            return Wait(
                f"{finding.message} Rebuilding the member from its peers is offered when that has lasted {patience:g} "
                "s (bound `member_down_after`): "
                "a disk that is not mounted yet after a boot looks the same"
            )
        rebuild = _gathered(host, *source, finding, situation)
        if isinstance(rebuild, Refusal):
            return rebuild
        alive = _alive(rebuild, situation)
        needed = max(rebuild.view.quorum, 0 if rebuild.learner else quorum_of(rebuild.left + 1))
        if alive < needed:
            return Refusal(
                f"without {host} {alive} of {len(rebuild.view.voters)} voters are seen to follow the leader, "
                f"and {needed} are needed: "
                f"rebuilding it would take quorum away; bring another member back first"
            )
        return _proposal(rebuild, alive, situation)


def _proposal(rebuild: Rebuild, alive: int, situation: Situation) -> Proposal:
    host, left, voters = rebuild.host, rebuild.left, len(rebuild.view.voters)
    added = (
        f"added as a learner it does not count until it votes: then {left + 1} voters, {quorum_of(left + 1)} "
        f"needed, {alive + 1} healthy"
    )
    if not rebuild.learner:
        added = (
            f"added as a voter: {left + 1} voters, {quorum_of(left + 1)} needed, {alive} healthy until it has started"
        )
    old = f" as {_aside(rebuild)}" if not rebuild.empty else ": there is none"
    return Proposal(
        summary=f"rebuild the etcd member on {host} from its peers, asked of {rebuild.asked}; quorum holds throughout",
        steps=tuple(_steps(rebuild)),
        basis=(rebuild.finding.key,),
        evidence=(
            *rebuild.finding.evidence,
            f"now {voters} voters, {rebuild.view.quorum} needed, {alive} healthy without it; removed: {left} voters, "
            f"{quorum_of(left)} needed, "
            f"{alive} healthy; {added}",
            *(told(c, rebuild.view.version) for c in caveats(LEARNERS, rebuild.view.version) if rebuild.learner),
        ),
        destroys=(f"the membership of {host} until it has caught up; its own copy of the data is kept aside{old}",),
        undo=(
            "before the member is removed: everything is taken back by itself",
            f"afterwards: none is needed, its peers hold the data{rebuild.saved.value}. Etcd on {host} "
            "is started only with --initial-cluster-state=existing",
        ),
        verify_within=120.0,
        moving=2 * moving(rebuild.view.db_size),
    )


def _strangers(situation: Situation) -> str:
    """Members that were there and that recoverd cannot look at, as more of a sentence; "" when there is none."""
    names = unaccounted(situation.scene)
    return (
        f". {', '.join(names)} held the data too: a control plane that is in the configuration is looked at"
        if names
        else ""
    )


def _gone(situation: Situation) -> str:
    """What a person does when every machine that could hold the data is dark for good; ""
    where one that is seen may hold it.
    """
    planes = [h.name for h in situation.settings.control_planes]
    seen = {n: view for n in planes if (view := situation.host(n)) is not None}
    dark = [n for n in planes if n not in seen]
    if not (dark or unaccounted(situation.scene)) or not all(
        v.etcd_data is not None and not v.etcd_data.holds for v in seen.values()
    ):
        return ""
    name, nodes = situation.settings.name, " ".join(f"--node {n}" for n in seen)
    away = f"{', '.join(dark)} may hold the data and cannot be looked at: bring it back. " if dark else ""
    first = f"take {', '.join(dark)} out of the configuration, restart recoverd, and " if dark else ""
    return (
        f". {away}Only when it is gone for good: {first}`recoverctl run restore-etcd-snapshot {name} --point ID "
        f"{nodes}` puts the others back"
    )


def _alive(rebuild: Rebuild, situation: Situation) -> int:
    """Voters other than it that are seen to follow the same leader."""
    ids = {m.id for m in rebuild.view.voters if rebuild.entry is None or m.id != rebuild.entry.id}
    views = {n: v for n, v in situation.etcd_views.items() if n != rebuild.host}
    return sum(v.member_id in ids and v.leader == rebuild.view.leader for v in views.values())


def _gathered(host: str, asked: str, view: EtcdView, finding: Finding, situation: Situation) -> Rebuild | Refusal:
    own = without_flag(content_of("etcd", host, situation))
    if not own:
        return Refusal(
            f"there is no usable manifest of etcd on {host}, and no known-good one was recorded; `kubeadm "
            "join` makes the machine anew"
        )
    if refused := log_elsewhere(own, data_directory(own, host, situation), host):
        return refused
    url = peer_url(own, host, situation)
    entry = next((m for m in view.members if url in m.peer_urls), None) or next(
        (m for m in view.members if host_of(m, situation) == host), None
    )
    if entry is not None and entry.learner and finding.code == Code.ETCD_DATA_EMPTY:
        return Refusal(f"{host} is a learner already: somebody is joining it")
    others = [m for m in view.members if m is not entry]
    if unstarted := [m for m in others if not m.started]:
        return Refusal(
            f"a member at {', '.join(unstarted[0].peer_urls)} was added and has never started; "
            "that has to be settled first"
        )
    name = flag(own, "--name") or host
    cluster = ",".join([*(f"{m.name}={m.peer_urls[0]}" for m in others), f"{name}={url}"])
    text = with_flags(own, {"--initial-cluster": cluster, "--initial-cluster-state": "existing"})
    if text is None:
        return no_place_for("what tells it of its peers", "the manifest of etcd", host)
    host_view = situation.host(host)
    data = host_view.etcd_data if host_view else None
    alarms = _alarms(entry, situation)
    since = situation.seen_since(finding.key)  # when it is lost again, later in the incident, that is another one
    stamp = f"{situation.kept}-{since:%Y%m%dT%H%M%SZ}"
    return Rebuild(
        host=host,
        asked=asked,
        view=view,
        entry=entry,
        peer_url=url,
        data=data_directory(own, host, situation),
        stamp=stamp,
        manifest=annotated(text, stamp),
        in_place=bool(host_view and "etcd" in host_view.manifests),
        empty=data is None or not data.holds,
        alarms=alarms,
        finding=finding,
        saved=_saved(bool(alarms), situation),
        services=tuple(services(host, situation)),
    )


def _alarms(entry: MemberEntry | None, situation: Situation) -> tuple[str, ...]:
    """The members that those CORRUPT alarms name which are over once this one is removed."""
    views = situation.etcd_views.values()
    mine = (entry.id, WHOLE) if entry is not None and entry.id in accused(views) else ()
    raised = {a.member_id for v in views for a in v.alarms if a.alarm == "CORRUPT"}
    return tuple(m for m in mine if m in raised)


def _saved(alarmed: bool, situation: Situation) -> Saved:
    if point_first(situation):
        return Saved.POINT
    # a member with a leader that is not healthy, as without space, serves one all the same; with the alarm
    # raised none could be trusted
    return Saved.NOTHING if alarmed else Saved.SNAPSHOT


def _aside(rebuild: Rebuild) -> str:
    return f"{rebuild.data}/member.{rebuild.stamp}"


def _steps(rebuild: Rebuild) -> Iterator[Step]:
    host, asked, requires = rebuild.host, rebuild.asked, (rebuild.finding.key,)
    path = f"{MANIFESTS}/etcd.yaml"
    if rebuild.saved is Saved.SNAPSHOT:
        yield sized(
            Step(asked, f"fetch a snapshot from {asked}", FetchSnapshot("before-rebuild-member"), 120.0, requires),
            rebuild.view.db_size,
        )
    if rebuild.in_place:
        move = MovePath(path, f"{HELD}/{rebuild.stamp}/etcd.yaml")
        # over an empty directory it must not come back as it is
        undo = None if rebuild.empty else replace(move.inverse(), needs=f"{rebuild.data}/member/snap/db")
        yield Step(
            host, f"stop etcd on {host}: its manifest goes aside", move, 20.0, requires, undo=undo, stops_member=True
        )
    yield from rebuild.services
    # nothing has been changed yet where no manifest was in place
    yield Step(
        host,
        f"wait until no etcd runs on {host}",
        AwaitContainerGone("etcd", 60),
        75.0,
        () if rebuild.in_place else requires,
    )
    old = rebuild.entry.id if rebuild.entry else ""
    if rebuild.entry is not None:
        yield Step(
            asked, f"remove the member {rebuild.entry.name or host} ({old})", RemoveMember(old), 20.0, commits=True
        )
    for member in rebuild.alarms:
        whose = f"of the removed member {member}" if member != WHOLE else "that names no member"
        yield Step(asked, f"take back the CORRUPT alarm {whose}", DisarmAlarm(member, "CORRUPT"), 20.0)
    yield Step(
        host, f"keep its data on {host} aside", MovePath(f"{rebuild.data}/member", _aside(rebuild), optional=True), 20.0
    )
    how = "as a learner, without a vote" if rebuild.learner else "as a voter"
    # etcd accepts a new member only once its members have been connected for 5 s
    yield Step(asked, f"add {host} again, {how}", AddMember(rebuild.peer_url, rebuild.learner, old), 60.0, commits=True)
    write = WriteFile(path, rebuild.manifest, sha256(rebuild.manifest), before="")
    yield Step(host, f"start etcd on {host} with all its peers and --initial-cluster-state=existing", write, 20.0)
    if rebuild.learner:
        promote = Step(
            asked, f"wait until {host} has caught up, and give it its vote", PromoteMember(rebuild.peer_url), 240.0
        )
        yield sized(promote, rebuild.view.db_size)
    served = AwaitEtcd(members=rebuild.left + 1)
    yield Step(host, f"see etcd on {host} healthy, one of {rebuild.left + 1} voters", served, 240.0)
    yield Step(host, f"start the API server on {host} now if it waits in its crash-loop back-off", Unstick(API), 60.0)
    yield Step(host, f"see the API server on {host} ready", AwaitApi(), 180.0)


PLAYBOOK = RebuildMember()
