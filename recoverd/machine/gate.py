"""The gate: whether the next step of a plan may be begun or taken back, by what the newest sweep
shows. Nothing goes round it. Pure.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from recoverd.bounds import out_of_turn, too_few_ready
from recoverd.diagnose.absence import doubt
from recoverd.diagnose.absence_of_nodes import witness_unseen
from recoverd.diagnose.scene import SETTLING, just_booted
from recoverd.machine import guards
from recoverd.machine.account import committed, parts
from recoverd.machine.guards import Evidence
from recoverd.model.catalogue import Code, Of, codes
from recoverd.model.effects import looks, moves_data, restarts_member
from recoverd.model.finding import Diagnosis, Finding, FindingKey, State
from recoverd.model.join_operations import TakeBackJoin
from recoverd.model.lease import forbids
from recoverd.model.network import NetworkView, NodeNetworkView
from recoverd.model.node_operations import AwaitNodeWell
from recoverd.model.observation import HostView, ObjectsView, Observation, Unseen
from recoverd.model.operations import Operation
from recoverd.model.pki_operations import PutBackPki
from recoverd.model.plan import Plan, Step
from recoverd.model.record import Pause, Run
from recoverd.model.settings import Bounds
from recoverd.playbooks.nodes import node_of

PATIENCE = 60.0
"""Seconds that a step is held which needs ready workers or a sweep that sees the cluster; a node that just came
back takes a moment to show it.
"""

PATHS = codes(Of.PATHS)
"""Faults that show on a node and may have their cause on the node at the other end."""


BLIND_PATIENCE = 600.0
"""The same while the cluster cannot be seen at all and the plan has changed something: what cannot be
seen cannot be taken back either.
"""


EVERY_MACHINE = "the next sweep, which looks at every machine"
"""What is waited for where the newest sweep has views that are older than itself: nothing is done by those."""


class Verdict(Enum):
    GO = "go"
    SKIP = "skip"
    HOLD = "hold"
    STOP = "stop"
    OVER = "over"
    """What the plan was made for is gone: the steps that are left are not needed."""
    WAIT = "wait"
    """Others are acting: it waits for its turn, for as long as that takes."""


@dataclass(frozen=True, slots=True)
class Gate:
    verdict: Verdict
    reason: str = ""
    superseded: bool = False
    """With STOP: the cause is a change of what is found or a person's will, and no failure of the plan."""
    owed: bool = False
    """With STOP, of a step that is not taken back: it should have been, and a person has to."""


def forwards(plan: Plan, run: Run, pause: Pause | None, evidence: Evidence) -> Gate:
    """May the step whose turn it is be begun? Not by a sweep with views that are older than itself."""
    return Gate(Verdict.HOLD, EVERY_MACHINE) if evidence.observation.carried else _forwards(plan, run, pause, evidence)


def _forwards(plan: Plan, run: Run, pause: Pause | None, evidence: Evidence) -> Gate:
    step = plan.steps[run.index]
    past = committed(plan, run, step.part)
    if why := evidence.scene.settings.hands_off:
        # what it has changed stays as it is, and that is for a person to look at
        return Gate(Verdict.STOP, why, superseded=all(s.looks for s in plan.steps[: run.reached + 1]))
    # whoever has begun has its turn
    others = out_of_turn(evidence.around, unasked=plan.automatic) if run.reached < 0 else ""
    if stop := _called_off(plan, run, step, pause, evidence, past=past, waits=bool(others or plan.waits_for)):
        return stop
    if others:
        return Gate(Verdict.WAIT, others)
    if step.looks and not isinstance(step.operation, AwaitNodeWell):
        return Gate(Verdict.GO)
    if evidence.blind:
        return Gate(Verdict.HOLD, f"the cluster to be seen again ({evidence.diagnosis.summary})")
    if why := forbids(evidence.observation.lease, unasked=plan.automatic):
        return Gate(Verdict.HOLD, f"this bastion to be the one that acts ({why})")
    why = guards.moved_on(plan, run, evidence, past=past) or guards.on_all(plan, run, step, evidence)
    if why and not step.looks:
        return Gate(Verdict.STOP, why, superseded=True)
    if guards.helped(plan, run, evidence) and not step.looks:
        return Gate(Verdict.OVER, "recoverd was restarted, and what the plan was made for is gone")
    if (not past or plan.automatic) and (
        why := unwanted(step, plan.basis, plan.automatic, plan.requested_by, evidence)
    ):
        # what is found to be common to many is asked about, and no failure of the plan
        return Gate(Verdict.STOP, why, superseded=plan.automatic and evidence.cause is not None)
    if why := guards.too_old(evidence) or guards.not_yet_seen(
        step, evidence, run.held_since or evidence.now, run.changed_at
    ):
        return Gate(Verdict.HOLD, why)
    shown = may_begin(
        step, evidence.diagnosis, evidence.observation, evidence.scene.settings.bounds, run.held_since or evidence.now
    )
    ahead = {*parts(plan)} - {s.part for s in plan.steps[: run.reached + 1]}
    if shown.verdict is Verdict.GO and (why := obstacle(step, evidence, ahead)):
        return Gate(Verdict.HOLD, why)
    return shown


def unwanted(step: Step, basis: Collection[FindingKey], automatic: bool, requested_by: str, evidence: Evidence) -> str:
    """Why nothing may be done, as it is for a person to say; "" when something may. A request without a
    finding says which history is right.
    """
    if step.looks or (requested_by and not basis):
        return ""
    return guards.second_history(basis, evidence) or (
        (guards.above(evidence) or guards.at_work(step.host, evidence)) if automatic else ""
    )


def obstacle(step: Step, evidence: Evidence, ahead: Collection[str]) -> str:
    """What would be made worse by the step as things are seen now, whatever it was planned on; "" when nothing.
    `ahead`: parts of its plan whose turn has not come.
    """
    return (
        guards.live_data(step.host, step.operation, evidence)
        or guards.defined_twice(step.host, step.operation, evidence.diagnosis)
        or guards.empty_behind(step.host, step.operation, evidence)
        or (guards.quorum_without(step.host, evidence) if step.stops_member else "")
        or guards.still_down(step.takes_down, evidence, ahead)
    )


def _called_off(
    plan: Plan, run: Run, step: Step, pause: Pause | None, evidence: Evidence, *, past: bool, waits: bool
) -> Gate | None:
    """Findings that are gone, a pause, a playbook that was switched off, the deadline: why the rest of the plan is not
    wanted any more. While it waits for its turn no time counts.
    """
    if gone := guards.gone(step.requires, evidence):
        names = ", ".join(f"{code} {subject}".strip() for code, subject in gone)
        if why := doubt(gone, evidence.diagnosis, evidence.observation):
            if waits:
                return None
            return Gate(Verdict.HOLD, f"a sweep that shows whether {names} is still there ({why})")
        return Gate(Verdict.STOP, f"{names}, on which the plan was made, is not seen any more", superseded=True)
    if past:
        return None
    if why := evidence.scene.settings.forbids(plan.playbook, unasked=plan.automatic):
        return Gate(Verdict.STOP, why, superseded=True)
    if pause:
        return Gate(Verdict.STOP, f"paused by {pause.by} ({pause.reason})", superseded=True)
    if not waits and guards.over(run.started_at, plan.deadline, evidence.now):
        return Gate(Verdict.STOP, f"the plan's deadline of {plan.deadline:g} s is over")
    return None


def backwards(plan: Plan, run: Run, evidence: Evidence) -> Gate:
    """May the step be taken back? A pause does not keep what was taken away from being put
    back: it is what stopped the plan.

    What may not be now is waited for, and then left, which is told. A flag that must not stay is taken out in any case:
    left in, it throws members out at the next start of etcd.
    """
    step = plan.steps[run.index]
    undo = step.undo
    if undo is None or looks(undo):
        return Gate(Verdict.GO)
    if why := evidence.scene.settings.hands_off:
        return Gate(Verdict.STOP, why)
    held = (evidence.now - run.held_since).total_seconds() if run.held_since else 0.0
    if why := _unseen(evidence):
        patience = PATIENCE if step.undo_always else BLIND_PATIENCE
        if held <= patience:
            return Gate(Verdict.HOLD, why)
        if not step.undo_always:
            return Gate(Verdict.STOP, f"waited {held:.0f} s in vain for {why}", owed=True)
    if evidence.observation.carried:
        return Gate(Verdict.HOLD, EVERY_MACHINE)
    if why := forbids(evidence.observation.lease, unasked=False):
        return _wait_or_owe(f"this bastion to be the one that acts ({why})", held)
    if step.undo_always:
        return Gate(Verdict.GO) if not _heavy(undo) else _back_heavily(plan, step, undo, run, evidence, held)
    if why := guards.undo_overtaken(plan, undo, run.away, evidence):
        return Gate(Verdict.STOP, why)
    if why := _unwanted_back(plan, step, undo, evidence):
        return _wait_or_owe(why, held)
    return _back_heavily(plan, step, undo, run, evidence, held) if _heavy(undo) else Gate(Verdict.GO)


def _unseen(evidence: Evidence) -> str:
    """What has to be seen before anything is taken back."""
    if evidence.blind:
        return f"the cluster to be seen again ({evidence.diagnosis.summary})"
    return guards.too_old(evidence)


def _unwanted_back(plan: Plan, step: Step, undo: Operation, evidence: Evidence) -> str:
    """As of a step forwards: no second history, and nobody at work where nobody was asked. A join that is taken back
    looks at each of its writes by itself, and ends what it has begun beside the cluster.
    """
    if isinstance(undo, TakeBackJoin) or (plan.requested_by and not plan.basis):
        return ""
    return guards.second_history(plan.basis, evidence) or (
        guards.at_work(step.host, evidence) if plan.automatic else ""
    )


def _heavy(undo: Operation) -> bool:
    return moves_data(undo) or restarts_member(undo) or isinstance(undo, PutBackPki)


def _back_heavily(plan: Plan, step: Step, undo: Operation, run: Run, evidence: Evidence, held: float) -> Gate:
    """What moves etcd's data, or ends a member, on a sweep that began after its turn had come."""
    if run.held_since and evidence.observation.started_at < run.held_since:
        return Gate(Verdict.HOLD, "the next sweep")
    if why := guards.no_better(plan, step, run, evidence):
        return Gate(Verdict.STOP, why)
    quorum = guards.quorum_without(step.host, evidence) if restarts_member(undo) else ""
    if why := guards.live_data(step.host, undo, evidence) or quorum:
        return _wait_or_owe(why, held)
    return Gate(Verdict.GO)


def _wait_or_owe(why: str, held: float) -> Gate:
    """It is waited for, and then left to a person."""
    return Gate(Verdict.STOP, why, owed=True) if held > PATIENCE else Gate(Verdict.HOLD, why)


def may_begin(
    step: Step, diagnosis: Diagnosis | None, observation: Observation | None, bounds: Bounds, since: datetime
) -> Gate:
    """May `step` be begun (or, for `AwaitNodeWell`, is it done)? Only sweeps that began after `since`
    count, for steps that look at all.
    """
    settled = step.operation if isinstance(step.operation, AwaitNodeWell) else None
    if not (step.skip_unless or step.takes_down or settled):
        return Gate(Verdict.GO)
    if diagnosis is None or observation is None or observation.started_at < since:
        return Gate(Verdict.HOLD, "the next sweep")
    if diagnosis.state is State.UNOBSERVABLE:
        return Gate(Verdict.HOLD, f"the cluster to be seen again ({diagnosis.summary})")
    if step.skip_unless and not any(key in diagnosis.keys for key in step.skip_unless):
        if why := doubt(step.skip_unless, diagnosis, observation) or _silent(step, observation):
            return Gate(Verdict.HOLD, f"a sweep that sees more ({why})")
        codes = ", ".join(sorted({code for code, _ in step.skip_unless}))
        return Gate(Verdict.SKIP, f"what was found of it is gone by itself ({codes})")
    if step.takes_down:
        objects = observation.api.objects
        if isinstance(objects, Unseen):
            return Gate(Verdict.HOLD, f"the API server to list the nodes ({objects.reason})")
        if blocked := too_few_ready(step.takes_down, objects.nodes, bounds):
            return Gate(Verdict.HOLD, f"ready workers: {blocked.reason}")
    if settled and (trouble := _trouble(settled, step.host, diagnosis, observation)):
        return Gate(Verdict.HOLD, trouble)
    return Gate(Verdict.GO)


def _silent(step: Step, observation: Observation) -> str:
    """Which fault of the node only its pods would show, while it has none that does: they may have
    been evicted. "" when they speak.
    """
    network = observation.network
    if not isinstance(network, NetworkView):
        return ""
    view = network.hosts.get(step.host)
    empty = isinstance(view, NodeNetworkView) and not view.pods
    reached = {p.target for p in network.probes if p.source != p.target and p.answer.arrived}
    for code, subject in step.skip_unless:
        target = subject.partition(">")[2] or step.host
        if code in (Code.POD_NETWORK_BROKEN, Code.POD_PATH_BROKEN) and target not in reached:
            return f"no pod on {target} has answered another node"
        if code in (Code.POD_DEVICE_MISSING, Code.PODS_NOT_ON_NODE) and empty:
            return f"no pod of the pod network is on {step.host}"
    return ""


def _trouble(settled: AwaitNodeWell, host: str, diagnosis: Diagnosis, observation: Observation) -> str:
    """What is not yet well with the node, in words; "" when it is seen and nothing is."""
    objects = observation.api.objects
    node = (
        next((n for n in objects.nodes if n.name == settled.node), None) if isinstance(objects, ObjectsView) else None
    )
    if node is None:
        return f"{settled.node} to be listed by the API server"
    if not node.ready:
        return f"{settled.node} to be Ready"
    view = observation.hosts.get(host)
    if not isinstance(view, HostView):
        return f"{host} to be looked at ({view.reason if view else 'it is not watched'})"
    if just_booted(view):
        return f"{host} to be up for {SETTLING:g} s, since nothing is said of a network that is just starting"
    if unseen := witness_unseen(host, settled.node, observation):
        return unseen
    elsewhere = any(
        f.code not in PATHS and node_of(f) not in ("", settled.node) and _of_nodes(f) for f in diagnosis.faults
    )
    left = [f for f in diagnosis.faults if node_of(f) == settled.node and _of_nodes(f)]
    # what cannot be reached may be a node that is itself broken and whose turn has not come
    left = [f for f in left if not (elsewhere and f.code in PATHS)]
    return "; ".join(f.message for f in left)


def _of_nodes(finding: Finding) -> bool:
    return finding.state is State.WORKER_NETWORK_BROKEN and finding.code != Code.ETCD_REVISION_WENT_BACK
