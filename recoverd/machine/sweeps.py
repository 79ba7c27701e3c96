"""What one more sweep means: counted, judged, remembered, and taken to whoever has to act on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from recoverd.diagnose import diagnose, people
from recoverd.diagnose.scene import Scene
from recoverd.machine import chores, deciding, incidents, maintenance, outlook, restore_points, running, verifying
from recoverd.machine.sight import UNSTEADY, flaps, gap, interrupted, name_of, sighted, silent, standing
from recoverd.machine.state import Sweep
from recoverd.machine.turn import Turn
from recoverd.memory import machines
from recoverd.memory.recall import last_words, recall
from recoverd.memory.remember import notice, remember
from recoverd.memory.static_pods import worked_since
from recoverd.model.events import Diagnosed, Observed
from recoverd.model.finding import FAULT_STATES, Diagnosis, FindingKey, Phase, State
from recoverd.model.history import History
from recoverd.model.observation import Observation
from recoverd.model.plan import Incident, PlanStatus

PARTLY = 3
"""So many times `confirm_sweeps` sweeps may lack something that `healthy` rests on before the
cluster is called unobservable.
"""


def observed(turn: Turn, event: Observed) -> None:
    """One more sweep: judge it, then go on with the plan that runs, or with what the cluster needs by it."""
    observation = event.observation
    _since_last_sweep(turn, observation)
    turn.set(witnessed=last_words(observation, turn.record.witnessed))
    observation = recall(observation, turn.record.witnessed)
    _forget_others(turn, observation)
    diagnosis = diagnose(observation, turn.memory, turn.settings, _busy(turn))
    if diagnosis.state is not State.HEALTHY and turn.sweep and turn.sweep.diagnosis.state is State.HEALTHY:
        turn.write_down()  # whoever is started after a crash must know as much of the time before
    healthy = diagnosis.state is State.HEALTHY
    turn.become(sweep=Sweep(observation, diagnosis), seen_healthy=turn.state.seen_healthy or healthy)
    turn.emit(Diagnosed(turn.name, diagnosis))
    dark = diagnosis.state is State.UNOBSERVABLE
    turn.set(unseen={} if dark and not diagnosis.partial else silent(turn.record.unseen, observation))
    if not dark:
        turn.set(sightings=sighted(turn.record.sightings, diagnosis, observation, turn.settings), dark_sweeps=0)
    if turn.record.incident:
        incidents.note_cause_above(turn, turn.record.incident)
        incidents.note_shared(turn, turn.record.incident)
    turn.learn(notice(observation, turn.memory, turn.settings))
    scene = Scene(observation, turn.memory, turn.settings, _busy(turn))
    turn.learn(worked_since(scene))
    seen = people.sights(scene)
    if seen != turn.memory.at_work:
        turn.learn(replace(turn.memory, at_work=seen))
    depends = turn.record.sightings or turn.record.witnessed or turn.record.unseen or turn.record.incident
    turn.set(swept_at=observation.at if depends else None)
    if run := turn.record.run:
        turn.set(run=replace(run, seen_at=turn.now))
        running.look_again(turn)  # other steps are taken or stopped in `_next_step`, on the findings just noted
        return
    verifying.judge(turn)
    if dark:
        _dark(turn, diagnosis)
    elif diagnosis.state is State.HEALTHY:
        _calm(turn, diagnosis)
    else:
        _fault(turn, diagnosis)
        restore_points.consider_beside(turn)


def _busy(turn: Turn) -> str:
    """The id of the plan that has begun and has not ended."""
    return turn.record.plan.id if turn.record.plan and turn.record.run else ""


def _forget_others(turn: Turn, observation: Observation) -> None:
    """Before anything is judged by it: what is known of machines in whose place others are is not of these."""
    memory, told = machines.of_those_there(Scene(observation, turn.memory, turn.settings))
    if memory is not turn.memory:
        turn.learn(memory)
    for what in told:
        turn.note(History.ANOTHER_MACHINE, f"{what}; what was known of the machine before is forgotten")


def _since_last_sweep(turn: Turn, observation: Observation) -> None:
    """After a time without a sweep, by a restart of any length or otherwise, nothing counts on from before it.

    What etcd's members said last is kept, and is said with its time (`recoverd.memory.recall`): one that has been
    restarted without quorum says nothing more, so that without it nobody could tell what is wrong, nor approve the
    plan that waits (observed: recoverd was restarted, as by a reboot of the bastion, after the probe had ended etcd).
    """
    if not (seconds := gap(turn.record.swept_at, observation, turn.settings)):
        return
    turn.become(sights={})
    turn.set(sightings=interrupted(turn.record.sightings), unseen={}, fault_sweeps=0, calm_sweeps=0)
    if turn.record.incident:
        turn.note(History.LOOKED_AGAIN, f"after {seconds:.0f} s without a sweep everything is confirmed anew")


def _dark(turn: Turn, diagnosis: Diagnosis) -> None:
    """Nothing is concluded from one blind sweep; after `confirm_sweeps` the cluster is
    unobservable and its waiting plan void.

    Where only something was not seen that `healthy` rests on, or recoverd itself was late, that takes longer: under
    load one source or another is late.
    """
    bounds = turn.settings.bounds
    loaded = diagnosis.partial or turn.newest.observation.late
    enough = bounds.confirm_sweeps * (PARTLY if loaded else 1)
    turn.set(
        dark_sweeps=min(turn.record.dark_sweeps + 1, PARTLY * bounds.confirm_sweeps), fault_sweeps=0, calm_sweeps=0
    )
    if turn.record.dark_sweeps < enough or turn.lifecycle.state is State.UNOBSERVABLE:
        return
    if turn.record.verify_since:
        return  # its own deadline ends it
    if turn.waiting_plan:
        turn.close_plan(PlanStatus.SUPERSEDED, "the cluster cannot be seen any more")
    turn.move("go_dark")
    turn.set(sightings=interrupted(turn.record.sightings))
    turn.explain(f"nothing is done while the cluster cannot be seen: {diagnosis.summary}", History.UNOBSERVABLE)


def _calm(turn: Turn, diagnosis: Diagnosis) -> None:
    """Nothing is found: remember how the cluster is now, and see to what is done while it is
    healthy; or close the incident.
    """
    bounds = turn.settings.bounds
    if turn.record.incident and (left := outlook.unended(turn)):
        _wait_for(turn, left)
        return
    turn.set(
        calm_since=turn.record.calm_since if turn.record.calm_sweeps else turn.now,
        calm_sweeps=min(turn.record.calm_sweeps + 1, bounds.recover_sweeps),
        fault_sweeps=0,
    )
    if turn.record.incident is None:
        if turn.lifecycle.state is not State.HEALTHY:
            turn.move("recover")
            if not turn.waiting_plan:
                turn.set(explanation="")
        turn.set(fault_since=None)
        memory, sights = remember(turn.newest.observation, diagnosis, turn.memory, turn.settings, turn.state.sights)
        turn.become(memory=memory, sights=sights)
        maintenance.maintain(turn)
        chores.consider(turn)
        return
    if turn.record.calm_sweeps < bounds.recover_sweeps or turn.record.verify_since is not None:
        return
    if why := outlook.coming_back(turn):
        turn.explain(f"nothing is found any more; the incident closes when {why}", History.WAITS_FOR_PODS)
        return
    if why := incidents.may_return(turn, turn.record.incident):
        turn.explain(f"nothing is found any more; the incident closes when {why}", History.WAITS_TO_SEE)
        return
    incidents.close(turn, turn.record.incident)


def _wait_for(turn: Turn, left: Mapping[FindingKey, str]) -> None:
    """Nothing is found any more, and what was found is not seen to be gone: the incident stays
    open, and says what it waits for.
    """
    incident = turn.record.incident
    assert incident is not None
    turn.set(calm_sweeps=0, fault_sweeps=0)
    if turn.lifecycle.state is State.UNOBSERVABLE and incident.state in FAULT_STATES:
        turn.move(f"reopen_{incident.state}")
    if turn.record.verify_since:
        return
    if turn.lifecycle.phase is Phase.VERIFYING:
        turn.move("reconsider")
    if plan := turn.waiting_plan:
        if turn.now >= plan.expires_at and not turn.record.pause:
            deciding.decide(turn)
        return
    if outlook.by_turns(turn, left):
        return
    names = "; ".join(f"{name_of(key).strip()} ({why})" for key, why in left.items())
    turn.explain(
        f"nothing is found any more, but it was not seen that this is gone: {names}. The incident closes when a "
        "sweep shows it, or when what "
        "it is about is no part of the cluster any more (a member removed, a node deleted, a machine taken "
        "out of the configuration); "
        f"`recoverctl ack {incident.id}` closes it without that",
        History.WAITS_TO_SEE,
    )


def _fault(turn: Turn, diagnosis: Diagnosis) -> None:
    """A fault is found: suspect it, confirm it, and decide what is done about it."""
    turn.set(
        calm_sweeps=0,
        fault_sweeps=turn.record.fault_sweeps + 1,
        fault_since=turn.record.fault_since or turn.newest.observation.started_at,
    )
    if turn.lifecycle.state in (State.HEALTHY, State.UNOBSERVABLE):
        turn.move(f"{'reopen' if turn.record.incident else 'suspect'}_{diagnosis.state}")
    elif turn.lifecycle.state is not diagnosis.state and not outlook.hidden(turn):
        _shift(turn, diagnosis)
    if turn.lifecycle.phase is Phase.SUSPECTED and _lasts(turn):
        incidents.open_fault(turn, diagnosis)
    if turn.record.incident is None:
        return
    turn.set(sightings=standing(turn.record.sightings, outlook.confirmed(turn)))
    incidents.note_cause_above(turn, turn.record.incident)
    incidents.note_shared(turn, turn.record.incident)
    if not outlook.hidden(turn):
        _summarise(turn, turn.record.incident, diagnosis)
    if turn.record.verify_since:
        return
    if turn.lifecycle.phase is Phase.VERIFYING:
        turn.move("reconsider")
    if turn.lifecycle.phase is not Phase.PAUSED and not turn.record.pause:
        deciding.decide(turn)


def _summarise(turn: Turn, incident: Incident, diagnosis: Diagnosis) -> None:
    """Say of the incident what comes first now; a summary alone changes with every second that it counts."""
    if incident.summary != diagnosis.summary or incident.state is not diagnosis.state:
        turn.save_incident(summary=diagnosis.summary, state=diagnosis.state)
    if (cause := name_of(diagnosis.faults[0].key)) != turn.record.cause:
        turn.set(cause=cause)
        turn.note(History.CAUSE, diagnosis.summary)


def _lasts(turn: Turn) -> bool:
    """A fault was seen often enough on end, or comes and goes; or there is one in every
    sweep, be it another each time.
    """
    sweeps, confirmed = turn.settings.bounds.confirm_sweeps, outlook.confirmed(turn)
    if confirmed and turn.record.fault_sweeps >= sweeps:
        return True
    flapping = any(flaps(turn.record.sightings[name_of(f.key)], sweeps) for f in confirmed)
    return flapping or turn.record.fault_sweeps >= UNSTEADY * sweeps


def _shift(turn: Turn, diagnosis: Diagnosis) -> None:
    """Another state of the same incident: the cause came to light, or one fault was repaired and another is left."""
    turn.move(f"shift_{diagnosis.state}")
    if turn.lifecycle.phase is Phase.CONFIRMED and turn.waiting_plan:
        turn.move("offer")  # the plan stands until it is seen to be stale
