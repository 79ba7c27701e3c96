"""What must be seen before a step that changes something is begun or taken back, whoever asked for it. Pure.

Each guard answers "" when the step may go on, else what is waited for or why not, in words for the operator. Scripts on
the machines check most of it once more (a sweep is a moment old); here it is refused before anything is sent, and said.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeGuard

from recoverd import bounds
from recoverd.diagnose import people, together
from recoverd.diagnose.histories import in_the_way
from recoverd.diagnose.scene import Scene
from recoverd.model.catalogue import Code
from recoverd.model.effects import PUTS_BACK, READ_AT_START, STARTS, moves_data, rewrites
from recoverd.model.etcd import EtcdView, quorum_of
from recoverd.model.facts import ManifestFacts
from recoverd.model.finding import Diagnosis, FindingKey, State
from recoverd.model.fleet import Around, CommonCause
from recoverd.model.observation import ObjectsView, Observation
from recoverd.model.operations import Operation
from recoverd.model.pki_operations import PutBackPki
from recoverd.model.plan import Plan, Step
from recoverd.model.record import Run, SharedFault
from recoverd.model.unit_operations import RestartStaticPod

LATE = 60.0
"""Seconds without recoverd from which on people may have repaired things themselves."""
EXISTING = "--initial-cluster-state=existing"


@dataclass(frozen=True, slots=True)
class Evidence:
    """The newest sweep, what it adds up to, and the time now."""

    scene: Scene
    diagnosis: Diagnosis
    now: datetime
    unended: Mapping[FindingKey, str] = field(default_factory=dict)
    """What the incident was opened for and this sweep neither finds nor shows to be gone, and why."""
    around: Around = field(default_factory=Around)
    """What goes on in other clusters."""
    cause: CommonCause | None = None
    """Of what is found here and in many others, unless a person has said that it is not waited for."""
    shared: tuple[SharedFault, ...] = ()
    """What is the same on all machines of a kind, under the same condition."""

    @property
    def observation(self) -> Observation:
        return self.scene.observation

    @property
    def blind(self) -> bool:
        return self.diagnosis.state is State.UNOBSERVABLE

    @property
    def age(self) -> float:
        """Seconds since the newest sweep began."""
        return (self.now - self.observation.started_at).total_seconds()


def too_old(evidence: Evidence) -> str:
    """The newest sweep is no ground for an act any more, as when sweeps break or take for ever."""
    limit = evidence.scene.settings.stale_after
    if evidence.age < -1.0:
        return "the next sweep, since the clock was set back after the newest one"
    return (
        f"a sweep that is not older than {limit:g} s (the newest began {evidence.age:.0f} s ago)"
        if evidence.age > limit
        else ""
    )


def strict(step: Step) -> bool:
    """Whether the step rests on a sweep that began after the step before it had ended, and
    not only after the newest change.
    """
    return bool(step.commits or step.stops_member or step.skip_unless or step.takes_down or moves_data(step.operation))


def not_yet_seen(step: Step, evidence: Evidence, since: datetime, changed_at: datetime | None) -> str:
    """The sweep that the step rests on has not ended yet. `since`: when its turn came."""
    after = since if strict(step) else changed_at if step.requires else None
    return "the next sweep" if after and evidence.observation.started_at < after else ""


def second_history(basis: Collection[FindingKey], evidence: Evidence) -> str:
    """Two etcd clusters live, or will as soon as something is started: which one is right is for a person to
    say, before anything is restarted.

    A plan that was made for just that, or for data that are lost, is the way out of it.
    """
    second = in_the_way(evidence.diagnosis.findings, evidence.unended, (code for code, _ in basis))
    return (
        "etcd has more than one history, and nothing is restarted or moved before a person has "
        f"said which is right: {second}"
        if second
        else ""
    )


def defined_twice(host: str, operation: Operation, diagnosis: Diagnosis) -> str:
    """Another file there defines the static pod whose manifest it moves or writes: kubelet would go on with that one,
    as with an etcd from under which the data are moved.
    """
    return next(
        (
            f.message
            for f in diagnosis.findings
            if f.code == Code.MANIFEST_COPY
            and isinstance(f.facts, ManifestFacts)
            and f.facts.host == host
            and rewrites(operation, f.facts.component)
        ),
        "",
    )


def rereads(plan: Plan, run: Run, part: str = "") -> bool:
    """Files are in place, of the `part` or of any, that what runs has to be started anew for; they are the cause
    of a sweep that finds nothing.
    """
    done = (i for i in range(run.done + 1) if i not in run.back and part in ("", plan.steps[i].part))
    return any(isinstance(plan.steps[i].operation, READ_AT_START) for i in done)


def moved_on(plan: Plan, run: Run, evidence: Evidence, *, past: bool) -> str:
    """recoverd was away for long, and what the plan was made for is gone: people repaired it, and their work is not
    gone over. Or it rests on what an etcd said before that, and the plan has committed nothing (`past`): quorum may
    have come back meanwhile, or somebody be at work on the data.

    While recoverd is there a finding that goes away is the plan's own doing, or a machine that came back.
    """
    if run.away < LATE:
        return ""
    away, seen = f"recoverd was away for {run.away:.0f} s", evidence.observation.etcd.items()
    old = [] if past else sorted(n for n, v in seen if isinstance(v, EtcdView) and v.remembered)
    if old and plan.steps[run.index].requires:
        told = f"{away}, and what etcd on {', '.join(old)} said is of before that"
        return f"{told}; whether it holds is for a person to say anew"
    left = [key for key in plan.basis if key in evidence.diagnosis.keys]
    if left or evidence.diagnosis.state is not State.HEALTHY or rereads(plan, run):
        return ""
    return f"{away}, and the cluster is healthy without it"


def helped(plan: Plan, run: Run, evidence: Evidence) -> bool:
    """The same after any restart, for a plan that runs unasked: whatever was in flight has helped, and
    nothing that is well is touched.
    """
    return (
        plan.automatic
        and run.away > 0
        and not rereads(plan, run)
        and evidence.diagnosis.state is State.HEALTHY
        and not any(k in evidence.diagnosis.keys for k in plan.basis)
    )


def undo_overtaken(plan: Plan, undo: Operation, away: float, evidence: Evidence) -> str:
    """The same for putting back a file or directory: also when another fault is there than
    that for which it was taken away.
    """
    if away < LATE or not isinstance(undo, PUTS_BACK):
        return ""
    gone = plan.basis and not any(key in evidence.diagnosis.keys for key in plan.basis)
    if gone or evidence.diagnosis.state is State.HEALTHY:
        return (
            f"recoverd was away for {away:.0f} s, and what the plan was made for is gone: whoever repaired it "
            "may need things as they are"
        )
    return ""


def no_better(plan: Plan, step: Step, run: Run, evidence: Evidence) -> str:
    """Certificates that a plan has put in stay where those before them cannot be better, so that taking them back would
    only make it worse: they are over; or the API server serves with the new ones; or the plan only stops, and nothing
    shows that the new ones do not work.
    """
    if not isinstance(step.undo, PutBackPki):
        return ""
    if any(code == Code.CERTIFICATE_EXPIRED and subject.startswith(f"{step.host}:") for code, subject in plan.basis):
        return "certificates that were in place before are over"
    if step.host in evidence.scene.ready_members:
        return f"the API server on {step.host} serves with those that are in place now"
    if run.superseded:
        return (
            "those that were in place before are what the plan was made for, and nothing shows that the "
            "ones in place now do not work"
        )
    return ""


def live_data(host: str, operation: Operation, evidence: Evidence) -> str:
    """etcd runs on the data that would be moved, or may."""
    if not moves_data(operation):
        return ""
    view = evidence.scene.host(host)
    if view is None:
        return f"{host} to be looked at: whether etcd runs there is not known"
    member = evidence.observation.etcd.get(host)
    if view.runs("etcd") or (isinstance(member, EtcdView) and not member.remembered):
        return f"etcd on {host} to end: it runs, and its data must not be moved from under it"
    return ""


def empty_behind(host: str, operation: Operation, evidence: Evidence) -> str:
    """What is started would find a manifest of etcd and no data, and begin a second, empty cluster."""
    view = evidence.scene.host(host)
    if (
        not _may_start_etcd(operation)
        or view is None
        or (manifest := view.manifests.get("etcd")) is None
        or EXISTING in manifest.content
    ):
        return ""
    data = view.etcd_data
    if data is None:
        return f"etcd's data directory on {host} to be looked at, since {operation.title} may start etcd there"
    if not data.holds:
        return (
            f"etcd's data on {host}: {data.path} holds none, its manifest is in place, and whatever starts "
            "kubelet there starts a second, "
            f"empty cluster. Move the manifest away or put the data back first"
        )
    return ""


def _may_start_etcd(operation: Operation) -> TypeGuard[STARTS]:
    if isinstance(operation, RestartStaticPod):
        return operation.static
    return isinstance(operation, STARTS)


def quorum_without(host: str, evidence: Evidence) -> str:
    """Stopping the member of `host` would leave too few; "" where quorum holds without it, or is not there to be lost.

    A member is alive that follows the leader, or whose API server is ready: that of kubeadm asks the etcd of its own
    machine. Of one or two members every one is needed, and a restart is a moment's outage that the plan tells: there
    only all the others have to be alive.
    """
    membership = evidence.scene.membership
    voters = {m.id: membership.host_of(m) for m in membership.voters}
    alive = {v.member_id for v in membership.camp.values() if v.has_leader and not v.remembered}
    alive |= {id for id, name in voters.items() if name in evidence.scene.ready_members}
    alive &= set(voters)
    mine = {id for id, name in voters.items() if name == host}
    if not alive & mine:
        return ""
    needed = quorum_of(len(voters)) if len(voters) > 2 else len(voters) - 1
    if len(alive - mine) >= needed:
        return ""
    silent = ", ".join(sorted(name or id for id, name in voters.items() if id not in alive | mine))
    return (
        f"quorum without {host}: of {len(voters)} voters {len(alive - mine)} others are seen "
        f"alive and {needed} are needed" + (f" (not seen: {silent})" if silent else "")
    )


KUBELET_STABLE = 15.0
"""Seconds that a kubelet has to run which systemd had to start again, until its node counts as there."""


def still_down(taken: Collection[str], evidence: Evidence, ahead: Collection[str] = ()) -> str:
    """Which workers are down beside those that a step takes down, where that would be too many; `ahead` are those whose
    turn has not come in the same plan, which is there to bring them back.

    One that is cordoned and not Ready counts, as one that an earlier plan has rebooted and that has not come back; and
    one whose kubelet is seen not to run, as after a restart that failed: its node is called Ready for 40 s more.
    """
    objects = evidence.observation.api.objects
    if not taken or not isinstance(objects, ObjectsView):
        return ""
    others = [n for n in objects.nodes if not n.control_plane and n.name not in taken]
    gone = [n.name for n in others if n.unschedulable and not n.ready]
    without = [n.name for n in others if n.name not in {*gone, *ahead} and _without_kubelet(n.name, evidence)]
    allowed = evidence.scene.settings.bounds.nodes_at_once
    down = [*gone, *without]
    if not down or len(down) + len(taken) <= allowed:
        return ""
    cordoned, silent = "cordoned and not Ready", f"kubelet does not run, or stay up, on {', '.join(without)}"
    why = " and ".join(([cordoned] if gone else []) + ([silent] if without else []))
    return (
        f"{', '.join(down)} to come back: {why}, and no more than {allowed} may be down at once "
        "(bound `nodes_at_once`). "
        f"Where it is gone for good: kubectl delete node {down[0]}"
    )


def _without_kubelet(node: str, evidence: Evidence) -> bool:
    host = evidence.scene.host(evidence.scene.machines.get(node, ""))
    unit = host.units.get("kubelet") if host else None
    if unit is None or unit.load != "loaded":
        return False
    # systemd starts one that ends at once every 10 s (kubeadm's unit): some sweeps see it between its start and its end
    age = evidence.scene.age(unit.since)
    return unit.active != "active" or (unit.restarts > 0 and age is not None and age < KUBELET_STABLE)


def at_work(host: str, evidence: Evidence) -> str:
    """A person is at work there: what runs unasked is not gone on with."""
    return people.at_work(host, evidence.scene)


def above(evidence: Evidence) -> str:
    """The same fault began in many clusters together: what runs unasked would be done to all of them, and cures none;
    "" where that is not so.
    """
    return f"{bounds.above(evidence.cause)}; nothing is done to any of them unasked" if evidence.cause else ""


def on_all(plan: Plan, run: Run, step: Step, evidence: Evidence) -> str:
    """The plan runs unasked, and what it is for turns out to be on all machines of a kind: what it has begun of one of
    them is brought to its end, and no other is begun; "" where it may go on.
    """
    begun = any(not s.looks and s.part == step.part for s in plan.steps[: run.reached + 1])
    if begun or not plan.automatic:
        return ""
    shared = (s for s in evidence.shared if s.code not in together.GENTLE and together.concerns(s, plan.basis))
    return next((f"{together.above(s)} Nothing more is done about it unasked" for s in shared), "")


def gone(requires: Collection[FindingKey], evidence: Evidence) -> list[FindingKey]:
    return [key for key in requires if key not in evidence.diagnosis.keys]


def over(started: datetime, deadline: float, now: datetime) -> bool:
    return now - started > timedelta(seconds=deadline)
