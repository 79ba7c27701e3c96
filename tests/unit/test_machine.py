"""The state machine: events in, instructions out. Sweeps are made by hand, steps are answered by the test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from recoverd.machine import ClusterMachine
from recoverd.model.bastion_operations import RemoveMember
from recoverd.model.etcd import AlarmEntry
from recoverd.model.events import (
    Acknowledged,
    Approved,
    Event,
    Instruction,
    Note,
    Observed,
    Paused,
    Perform,
    PlanRequested,
    Refused,
    Rejected,
    Restarted,
    Resumed,
    SaveIncident,
    SavePlan,
    SaveRecord,
    StepEnded,
    StepIntent,
    Stopping,
)
from recoverd.model.finding import Phase, State
from recoverd.model.history import ENDS, History
from recoverd.model.observation import DiskView, EndpointHealth, HostView, Observation, UnseenKind
from recoverd.model.plan import Outcome, Plan, PlanStatus, StepResult
from recoverd.model.settings import Bounds
from recoverd.model.text import utc
from recoverd.playbooks import registry
from tests.unit.builders import NOW, Cluster, member_id, unseen

Change = Callable[[Cluster], object]


class Script:
    """Drives one machine: a sweep every 5 s of a cluster that the test describes anew for each."""

    def __init__(self, control_planes: int = 1, spares: int = 1, **bounds: float) -> None:
        self.shape = (control_planes, spares)
        cluster = Cluster(control_planes, spares=spares)
        self.settings = replace(cluster.settings, bounds=Bounds(**bounds))  # type: ignore[arg-type]
        self.memory = cluster.memory()
        self.now = NOW
        self.machine = ClusterMachine(self.settings, registry(), now=NOW, memory=self.memory)
        self.seen: list[Instruction] = []
        self.shows: Change = lambda c: c
        """What the newest sweep saw, and every further one that a plan waits for sees as well."""

    def give(self, event: Event) -> list[Instruction]:
        out = self.machine.handle(event)
        self.seen += out
        return out

    def sweep(self, change: Change = lambda c: c, times: int = 1) -> list[Instruction]:
        out: list[Instruction] = []
        self.shows = change
        for _ in range(times):
            self.now += timedelta(seconds=5)
            cluster = Cluster(self.shape[0], spares=self.shape[1], now=self.now)
            change(cluster)
            out = self.give(Observed(cluster.observation()))
        return out

    def approve(self) -> list[Instruction]:
        return self._looked(self.give(Approved(self.plan.id, "alice", "", self.now)))

    def answer(self, what: Perform, result: StepResult) -> list[Instruction]:
        self.now += timedelta(seconds=1)
        return self._looked(self.give(StepEnded(what.plan.id, what.index, what.undo, result, self.now)))

    def restart(self) -> list[Instruction]:
        """kill -9 and a start; nothing has been seen yet."""
        self.machine = ClusterMachine(
            self.settings, registry(), now=self.now, record=self.machine.record, memory=self.memory
        )
        return self.give(Restarted(self.now))

    def _looked(self, out: list[Instruction]) -> list[Instruction]:
        """With the sweep for which the plan waits, where it waits for one."""
        run = self.machine.record.run
        waits = run is not None and run.held_since is not None and not [i for i in out if isinstance(i, Perform)]
        return [*out, *self.sweep(self.shows)] if waits else out

    def run_all(self, out: list[Instruction]) -> list[str]:
        """Answer every step with success; the descriptions in order."""
        done = []
        while work := [i for i in out if isinstance(i, Perform)]:
            assert len(work) == 1
            done.append(work[0].plan.steps[work[0].index].description)
            out = self.answer(work[0], StepResult(True, "ok"))
        return done

    @property
    def plan(self) -> Plan:
        assert self.machine.record.plan is not None
        return self.machine.record.plan

    @property
    def where(self) -> tuple[State, Phase | None]:
        return self.machine.lifecycle.state, self.machine.lifecycle.phase

    def events(self) -> list[str]:
        return [i.entry.event for i in self.seen if isinstance(i, Note)]


def performing(out: list[Instruction]) -> Perform:
    (only,) = [i for i in out if isinstance(i, Perform)]
    return only


def manifest_gone(cluster: Cluster) -> object:
    return cluster.manifest("cp1", "kube-apiserver", None).container("cp1", "kube-apiserver", running=False).api_down()


def stuck(cluster: Cluster) -> object:
    return cluster.join_stuck()


def stuck_without_room(cluster: Cluster) -> object:
    """The first step of the plan only looks: it fetches a snapshot, since a copy of the data has no room."""
    return cluster.join_stuck().host("cp1", disks=(DiskView("/var/lib/etcd", 100 << 30, 64 << 20),))


def off_and_on(s: Script, calm: int) -> list[str]:
    """The API server is down for four sweeps, and up for so many: ids of the incidents that were closed meanwhile."""
    before = len(s.seen)
    s.sweep(lambda c: c.api_down(), 4)
    s.sweep(times=calm)
    return [i.incident.id for i in s.seen[before:] if isinstance(i, SaveIncident) and i.incident.closed_at]


def test_what_comes_back_again_and_again_is_one_incident_until_it_stays_away() -> None:
    """It was an incident a turn, each recovered by itself, and somebody was called for each."""
    s = Script(spares=0)
    assert off_and_on(s, 4) == ["prod-1"], "nobody knows yet that it comes back"
    assert [off_and_on(s, 4) for _ in range(5)] == [[]] * 5
    assert "closes when that lasts for 60 s, since the same came back" in s.machine.record.explanation
    assert off_and_on(s, 14) == ["prod-2"]
    assert off_and_on(s, 20) == [] and off_and_on(s, 26) == ["prod-3"], "it is waited for longer the next time"
    s.now += timedelta(seconds=700)
    assert off_and_on(s, 4) == ["prod-4"], "what comes back much later is another one"


def test_whoever_acknowledges_it_does_not_wait_for_that() -> None:
    s = Script(spares=0)
    off_and_on(s, 4)
    off_and_on(s, 4)
    s.give(Acknowledged("prod-2", "alice", s.now))
    s.sweep()
    assert s.machine.record.incident is None
    assert s.machine.record.spell is None, "a person has seen to it"


def test_one_sweep_is_a_suspicion_two_are_an_incident() -> None:
    s = Script()
    s.sweep()
    s.sweep(stuck)
    assert s.where == (State.ETCD_STUCK, Phase.SUSPECTED)
    assert s.machine.record.incident is None
    s.sweep(stuck)
    assert s.where == (State.ETCD_STUCK, Phase.AWAITING_APPROVAL)
    assert s.plan.playbook == "force-new-cluster" and s.plan.destructive and not s.plan.automatic


def test_a_flap_opens_no_incident_and_a_flap_within_an_incident_opens_no_second() -> None:
    s = Script()
    for _ in range(3):
        s.sweep(stuck)
        s.sweep()
    assert s.where == (State.HEALTHY, None) and not [i for i in s.seen if isinstance(i, SaveIncident)]
    s.sweep(stuck, times=2)
    s.sweep()
    s.sweep(stuck, times=3)
    assert {i.incident.id for i in s.seen if isinstance(i, SaveIncident)} == {"prod-1"}


def test_a_reversible_local_repair_runs_unasked_and_closes_the_incident() -> None:
    s = Script()
    out = s.sweep(manifest_gone, times=2)
    assert performing(out).plan.playbook == "restore-manifest"
    done = s.run_all(out)
    assert done[-1] == "wait for the API server on cp1"
    assert s.where == (State.APISERVER_DOWN, Phase.VERIFYING)
    s.sweep()
    s.sweep()
    assert s.where == (State.HEALTHY, None)
    (closed,) = [i.incident for i in s.seen if isinstance(i, SaveIncident) and i.incident.closed_at]
    assert closed.outcome is Outcome.RECOVERED


def test_every_step_is_journalled_before_it_is_carried_out() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    out = s.approve()
    while work := [i for i in out if isinstance(i, Perform)]:
        before = out[: out.index(work[0])]
        assert [(i.plan, i.index, i.undo) for i in before if isinstance(i, StepIntent)] == [
            (work[0].plan.id, work[0].index, work[0].undo)
        ]
        assert any(isinstance(i, SaveRecord) for i in before)
        out = s.answer(work[0], StepResult(True, "ok"))


def test_a_failed_step_before_the_point_of_no_return_takes_everything_back() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    out = s.approve()
    moved = performing(out)
    assert moved.index == 0
    assert "manifest goes aside" in moved.plan.steps[moved.index].description
    out = s.answer(moved, StepResult(True, "moved"))
    out = s.answer(performing(out), StepResult(False, "etcd still runs after 60 s"))
    undo = performing(out)
    assert undo.undo and undo.index == moved.index
    s.answer(undo, StepResult(True, "moved back"))
    assert s.where == (State.ETCD_STUCK, Phase.ESCALATED)
    assert (
        "etcd still runs after 60 s" in s.machine.record.explanation
        and "recoverctl ack" in s.machine.record.explanation
    )


def test_a_failed_step_after_it_takes_only_the_flag_out() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    out = s.approve()
    while not performing(out).plan.steps[performing(out).index].commits:
        out = s.answer(performing(out), StepResult(True, "ok"))
    flag = performing(out)
    out = s.answer(flag, StepResult(True, "ok"))
    out = s.answer(performing(out), StepResult(False, "not healthy within 120 s"))
    undo = performing(out)
    assert undo.undo and undo.index == flag.index
    out = s.answer(undo, StepResult(True, "flag out"))
    assert not [i for i in out if isinstance(i, Perform)]
    assert s.where == (State.ETCD_STUCK, Phase.ESCALATED)


def test_what_failed_is_not_offered_again_until_acknowledged() -> None:
    s = Script()
    s.sweep(stuck_without_room, times=2)
    first = s.plan.id
    out = s.approve()
    s.answer(performing(out), StepResult(False, "no space left"))
    s.sweep(stuck, times=5)
    assert s.where == (State.ETCD_STUCK, Phase.ESCALATED) and s.machine.record.plan is None
    s.give(Acknowledged("prod-1", "alice", s.now))
    s.sweep(stuck)
    assert s.where == (State.ETCD_STUCK, Phase.AWAITING_APPROVAL) and s.plan.id != first


def test_whoever_listens_knows_of_a_line_which_plan_it_is_about_and_whether_that_ends_with_it() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    first = s.plan.id
    s.give(Rejected(first, "alice", "", s.now))
    s.give(Acknowledged("prod-1", "alice", s.now))
    s.sweep(stuck, times=2)
    second = s.plan.id
    s.give(Rejected(second, "alice", "", s.now))
    lines = [(i.entry.event, i.plan) for i in s.seen if isinstance(i, Note)]
    assert lines[0] == (History.OPENED, "")
    assert [plan for event, plan in lines if event in ENDS] == [first, second] and first != second


def test_a_rejected_plan_is_not_offered_again_for_the_same_findings() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    s.give(Rejected(s.plan.id, "alice", "I do it by hand", s.now))
    s.sweep(stuck, times=3)
    assert s.machine.record.plan is None and "I do it by hand" in s.machine.record.explanation
    s.sweep(times=2)
    closed = [i.incident for i in s.seen if isinstance(i, SaveIncident)][-1]
    assert closed.outcome is Outcome.RECOVERED_BY_HAND


def test_a_plan_stops_when_its_findings_change_while_it_runs() -> None:
    s = Script()
    s.sweep(stuck_without_room, times=2)
    out = s.approve()
    s.sweep()  # the joining member came up after all
    out = s.answer(performing(out), StepResult(True, "snapshot"))
    assert not [i for i in out if isinstance(i, Perform)]
    assert "plan-superseded" in s.events()


def test_what_a_plan_has_moved_is_moved_back_when_its_findings_change_while_it_runs() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    out = s.approve()
    s.sweep()
    undo = performing(s.answer(performing(out), StepResult(True, "moved")))
    assert undo.undo and undo.index == 0
    assert not [i for i in s.answer(undo, StepResult(True, "moved back")) if isinstance(i, Perform)]
    assert "plan-superseded" in s.events()


def test_an_expired_plan_cannot_be_approved_and_a_fresh_one_takes_its_place() -> None:
    s = Script(plan_expiry=60)
    s.sweep(stuck, times=2)
    first = s.plan
    s.now += timedelta(seconds=90)
    with pytest.raises(Refused, match="expired"):
        s.give(Approved(first.id, "alice", "", s.now))
    s.sweep(stuck, times=2)  # nobody looked for 90 s
    assert s.plan.id != first.id and s.where[1] is Phase.AWAITING_APPROVAL
    (why,) = (i.entry.detail for i in s.seen if isinstance(i, Note) and i.entry.event == "plan-expired")
    assert f"nobody approved it before {utc(first.expires_at)}" in why
    with pytest.raises(Refused, match="not open any more"):
        s.give(Approved(first.id, "alice", "", s.now))


def test_a_plan_that_nothing_takes_the_place_of_leaves_nothing_waiting() -> None:
    def not_editable(cluster: Cluster) -> object:
        cluster.join_stuck()
        view = cluster.hosts["cp1"]
        assert isinstance(view, HostView)
        etcd = view.manifests["etcd"]
        return cluster.manifest("cp1", "etcd", replace(etcd, content=etcd.content.replace("- etcd\n", "- /bin/etcd\n")))

    s = Script()
    s.sweep(stuck, times=2)
    s.sweep(not_editable, times=2)
    assert s.machine.record.plan is None and s.where == (State.ETCD_STUCK, Phase.ESCALATED)
    assert "a word a line with `- etcd` first, so --force-new-cluster" in s.machine.record.explanation


def test_an_approval_is_refused_while_the_newest_sweep_does_not_see_the_findings() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    s.sweep()
    with pytest.raises(Refused, match="does not see etcd-quorum-lost") as refused:
        s.approve()
    assert not refused.value.passing, "it is seen to be gone"


def test_a_plan_of_a_cluster_that_is_let_go_is_open_no_more_and_what_was_open_of_it_goes_on() -> None:
    """`recoverctl plans` listed it for good, and nobody could approve, reject or expire it."""
    s = Script()
    s.sweep(stuck, 4)
    waits = s.plan
    assert waits.status is PlanStatus.AWAITING_APPROVAL
    s.give(Stopping(s.now))
    assert s.machine.record.plan == waits, "the daemon alone ends, and goes on with it"
    out = s.give(Stopping(s.now, let_go=True))
    assert [p.plan.status for p in out if isinstance(p, SavePlan)] == [PlanStatus.SUPERSEDED]
    assert s.machine.record.plan is None and s.machine.record.incident is not None
    s.sweep(stuck, 1)
    assert s.plan.id != waits.id, "where it is watched again it is made anew"


def test_pause_keeps_hands_off_and_is_kept_over_a_restart() -> None:
    s = Script()
    s.give(Paused("alice", "maintenance", s.now))
    out = s.sweep(manifest_gone, times=4)
    assert not [i for i in out if isinstance(i, Perform)] and s.where == (State.APISERVER_DOWN, Phase.PAUSED)
    s.machine = ClusterMachine(s.settings, registry(), now=s.now, record=s.machine.record, memory=s.memory)
    s.give(Restarted(s.now))
    s.sweep(manifest_gone, times=2)
    assert s.where == (State.APISERVER_DOWN, Phase.PAUSED)
    s.give(Resumed("alice", s.now))
    assert performing(s.sweep(manifest_gone)).plan.playbook == "restore-manifest"


def test_whoever_asks_at_any_moment_is_told_what_is_waited_for() -> None:
    s = Script()
    doing = lambda: s.machine.status().explanation  # noqa: E731
    assert doing() == "", "of a cluster that is well there is nothing to say"
    s.sweep(stuck)
    assert s.where == (State.ETCD_STUCK, Phase.SUSPECTED) and "found in 2 sweeps on end" in doing()
    s.sweep(stuck)
    waits = doing()
    assert f"recoverctl approve {s.plan.id}" in waits
    s.give(Paused("alice", "maintenance", s.now))
    s.give(Resumed("alice", s.now))
    s.sweep(stuck)
    assert s.where == (State.ETCD_STUCK, Phase.AWAITING_APPROVAL) and doing() == waits, "also after a pause"
    s.run_all(s.approve())
    s.sweep()
    assert s.where == (State.ETCD_STUCK, Phase.VERIFYING) and "prod-1 closes when" in doing(), "it has helped"
    s.sweep(stuck)
    assert "closes when" not in doing(), "it is found once more"


def test_a_pause_stops_a_running_plan_before_its_point_of_no_return() -> None:
    s = Script()
    s.sweep(stuck_without_room, times=2)
    out = s.approve()
    s.give(Paused("alice", "stop", s.now))
    out = s.answer(performing(out), StepResult(True, "snapshot"))
    assert not [i for i in out if isinstance(i, Perform)] and s.machine.record.run is None
    assert s.where == (State.ETCD_STUCK, Phase.PAUSED)


def test_bounds_refuse_the_repeat_of_a_repair_and_say_until_when() -> None:
    s = Script(cooldown=600)
    for _ in range(2):
        out = s.sweep(manifest_gone, times=2)
        s.run_all(out)
        s.sweep(times=3)
    assert s.events().count("plan-started") == 1
    s.sweep(manifest_gone, times=2)
    assert s.where == (State.APISERVER_DOWN, Phase.ESCALATED)
    assert "bound `cooldown`" in s.machine.record.explanation and "UTC" in s.machine.record.explanation
    s.give(Acknowledged(s.machine.record.incident.id if s.machine.record.incident else "", "alice", s.now))
    assert performing(s.sweep(manifest_gone)).plan.playbook == "restore-manifest"


def test_after_a_crash_the_step_in_flight_is_asked_about() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    out = s.approve()
    out = s.answer(performing(out), StepResult(True, "snapshot"))
    flight = performing(out)
    assert not [i for i in s.restart() if isinstance(i, Perform)], "not before a sweep"
    again = performing(s.sweep(stuck))
    assert (again.index, again.undo, again.resume) == (flight.index, False, True)
    s.answer(again, StepResult(False, "cannot be told", uncertain=True))
    assert s.where == (State.ETCD_STUCK, Phase.ESCALATED)


def test_in_the_dark_nothing_is_done_and_the_waiting_plan_is_void() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    s.sweep(lambda c: c.everything_dark())
    assert s.machine.record.plan is not None
    with pytest.raises(Refused, match="cannot be seen"):
        s.approve()
    s.sweep(lambda c: c.everything_dark())
    assert s.where == (State.UNOBSERVABLE, None) and s.machine.record.plan is None
    s.sweep(stuck, times=2)
    assert s.where == (State.ETCD_STUCK, Phase.AWAITING_APPROVAL)
    assert {i.incident.id for i in s.seen if isinstance(i, SaveIncident)} == {"prod-1"}


def test_a_repair_that_does_not_help_is_said_to_have_failed() -> None:
    s = Script()
    s.run_all(s.sweep(manifest_gone, times=2))
    s.sweep(manifest_gone, times=30)
    assert s.where == (State.APISERVER_DOWN, Phase.ESCALATED) and "did not help" in s.machine.record.explanation


@pytest.mark.parametrize("restarted", [False, True])
def test_a_clock_that_goes_back_makes_nothing_wait_until_it_has_come_as_far_again(restarted: bool) -> None:
    s = Script(cooldown=600)
    s.run_all(s.sweep(manifest_gone, times=2))
    s.now -= timedelta(hours=2)
    if restarted:
        s.machine = ClusterMachine(s.settings, registry(), now=s.now, record=s.machine.record, memory=s.memory)
        s.give(Restarted(s.now))
    s.sweep(manifest_gone, times=30)
    assert s.where == (State.APISERVER_DOWN, Phase.ESCALATED) and "did not help" in s.machine.record.explanation, (
        "the verification ended in time"
    )
    assert ("clock-went-back" in s.events()) is not restarted
    s.sweep(times=3)
    assert s.where == (State.HEALTHY, None)
    s.now += timedelta(seconds=600)
    assert performing(s.sweep(manifest_gone, times=2)).plan.playbook == "restore-manifest", (
        "the cooldown is over, by the clock as it is now"
    )


def test_a_repair_is_not_taken_to_have_helped_by_a_sweep_that_does_not_see_its_host() -> None:
    s = Script()
    s.run_all(s.sweep(manifest_gone, times=2))
    s.sweep(lambda c: c.ssh_fails("cp1"))
    assert "plan-succeeded" not in s.events()
    s.sweep()
    assert "plan-succeeded" in s.events()


def test_a_plan_by_hand_needs_a_finding_and_a_known_playbook_and_node() -> None:
    s = Script()
    s.sweep()

    def ask(playbook: str, *nodes: str) -> None:
        s.give(PlanRequested(playbook, nodes, "alice", "", s.now))

    with pytest.raises(Refused, match="nothing is confirmed"):
        ask("restore-manifest")
    with pytest.raises(Refused, match="no playbook") as missing:
        ask("pray")
    assert missing.value.missing
    s.sweep(stuck, times=2)
    with pytest.raises(Refused, match="no node cp9"):
        ask("force-new-cluster", "cp9")
    ask("force-new-cluster")
    assert s.plan.requested_by == "alice" and s.plan.status is PlanStatus.AWAITING_APPROVAL


def crash_loops(cluster: Cluster) -> object:
    started = cluster.now - timedelta(seconds=3 + cluster.now.second % 7)
    return cluster.container("cp1", "kube-apiserver", started_at=started, restarts=4).api_down()


def test_the_same_cause_is_told_once_however_its_seconds_count() -> None:
    s = Script()
    s.sweep(crash_loops, times=6)
    assert s.events().count("opened") == 1 and "cause" not in s.events()
    s.sweep(manifest_gone)
    assert s.events().count("cause") == 1


def test_a_plan_to_remove_a_member_stays_the_same_while_the_cluster_is_written_to() -> None:
    s = Script(3, force_after=60.0)

    def dead(cluster: Cluster) -> object:
        return (
            cluster.powered_off("cp3")
            .node("cp3", ready=False)
            .etcd_changed(revision=2000 + int(cluster.now.timestamp()) % 1000)
        )

    s.sweep(dead, times=15)
    waiting = s.plan
    assert waiting.playbook == "remove-member"
    s.sweep(dead, times=10)
    assert s.plan == waiting and "plan-superseded" not in s.events()


def test_a_waiting_plan_stands_while_one_of_its_hosts_does_not_answer_in_time() -> None:
    s = Script()

    s.sweep(stuck, times=2)
    waiting = s.plan
    assert {step.host for step in waiting.steps} == {"cp1", "cp2"}
    s.sweep(lambda c: c.join_stuck().ssh_fails("cp2", kind=UnseenKind.TIMEOUT), times=5)
    assert s.plan == waiting
    s.sweep(stuck)
    assert s.plan == waiting and "plan-superseded" not in s.events()


def unseen_etcd(cluster: Cluster) -> Cluster:
    """As on a bastion that is overloaded, and came too late to ask."""
    cluster.join_stuck().container("cp1", "kube-apiserver", running=False, restarts=4).etcd["cp1"] = unseen(
        UnseenKind.NOT_TRIED
    )
    return cluster


def test_a_waiting_plan_stands_while_it_is_not_seen_whether_what_it_is_for_is_there() -> None:
    """Seen on a busy lab: withdrawn again and again, it could not be approved for four minutes."""
    s = Script()
    s.sweep(stuck, times=2)
    waiting = s.plan
    s.sweep(unseen_etcd, times=40)
    assert s.plan == waiting and s.where[1] is Phase.AWAITING_APPROVAL
    s.sweep(stuck)
    assert "plan-superseded" not in s.events()
    assert performing(s.approve()).index == 0, "the newest sweep shows all that it is for"


def damaged(cluster: Cluster) -> Cluster:
    return cluster.etcd_stopped("cp2", restarts=4, log_tail=("panic: invalid page type: 17: 0",))


def late(cluster: Cluster) -> Observation:
    """The same of a recoverd that came too late to see the peers."""
    for name in ("cp1", "cp3"):
        damaged(cluster).etcd[name] = unseen(UnseenKind.OWN)
    return replace(cluster.observation(), late=True)


def test_what_recoverd_itself_came_too_late_for_neither_takes_a_plan_back_nor_calls_a_person() -> None:
    """Seen on an overloaded lab: a rebuild was offered seven times under seven names, and could not be approved."""
    s = Script(3, spares=0)
    s.sweep(damaged, times=2)
    waiting = s.plan
    assert waiting.playbook == "rebuild-member"
    for _ in range(20):
        s.now += timedelta(seconds=5)
        s.give(Observed(late(Cluster(3, spares=0, now=s.now))))
    assert s.plan == waiting and s.where[1] is Phase.AWAITING_APPROVAL
    s.sweep(damaged)
    assert "plan-superseded" not in s.events() and "escalated" not in s.events()
    assert performing(s.approve()).index == 0


def test_where_recoverd_is_late_from_the_beginning_it_does_not_say_that_nothing_can_be_done() -> None:
    s = Script(3, spares=0)
    for _ in range(4):
        s.now += timedelta(seconds=5)
        s.give(Observed(late(Cluster(3, spares=0, now=s.now))))
    assert s.where[1] is Phase.CONFIRMED and "came too late" in s.machine.status().explanation
    s.sweep(damaged)
    assert s.plan.playbook == "rebuild-member" and "escalated" not in s.events()


def test_nothing_is_said_of_what_has_not_lasted() -> None:
    s = Script()
    s.sweep(crash_loops, times=3)
    s.sweep(manifest_gone)
    assert "nothing that lasted" not in s.machine.record.explanation


def test_after_a_crash_the_next_step_waits_for_a_sweep() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    flight = performing(s.approve())
    s.restart()
    assert (performing(out := s.sweep(stuck)).index, performing(out).resume) == (flight.index, True), (
        "a snapshot is simply taken once more"
    )
    s.machine.handle(StepEnded(s.plan.id, flight.index, False, StepResult(True, "snapshot"), s.now))
    for _ in range(2):  # and more crashes while the next waits
        assert not [i for i in s.restart() if isinstance(i, Perform)]
    assert performing(s.sweep(stuck)).index == flight.index + 1
    assert "plan-superseded" not in s.events()


def test_after_a_crash_the_plan_stops_when_the_first_sweep_does_not_see_its_findings() -> None:
    s = Script()
    s.sweep(stuck_without_room, times=2)
    s.approve()
    s.restart()
    assert not [i for i in s.sweep() if isinstance(i, Perform)]
    assert "plan-superseded" in s.events()


def test_after_a_crash_a_step_that_was_not_done_is_begun_only_on_what_a_fresh_sweep_shows() -> None:
    """The daemon may have been down for hours, and a person may have repaired the cluster meanwhile."""
    s = Script()
    s.sweep(stuck, times=2)
    out = s.approve()
    while (
        performing(out).plan.steps[performing(out).index].undo is None
        or not performing(out).plan.steps[performing(out).index].commits
    ):
        out = s.answer(performing(out), StepResult(True, "ok"))
    flight = performing(out)  # the flag is about to be put in
    for healed in (False, True):
        assert not [i for i in s.restart() if isinstance(i, Perform)]
        asked = performing(s.sweep(*(() if healed else (stuck,))))
        assert (asked.index, asked.resume) == (flight.index, True)
        after = [
            i
            for i in s.answer(asked, StepResult(False, "not done yet", undone=True))
            if isinstance(i, Perform) and not i.undo
        ]
        assert [(i.index, i.resume) for i in after] == ([] if healed else [(flight.index, False)])
    assert "undo-started" in s.events() and "step-failed" not in s.events()


def told(s: Script) -> str:
    return next(i.entry.detail for i in reversed(s.seen) if isinstance(i, Note) and i.entry.event == "escalated")


def until_undoable(s: Script, out: list[Instruction], commits: bool = False) -> Perform:
    """Answer steps with success until one is in flight that has an undo (and commits)."""
    while (what := performing(out)).plan.steps[what.index].undo is None or what.plan.steps[
        what.index
    ].commits is not commits:
        out = s.answer(what, StepResult(True, "ok"))
    return what


def test_what_may_have_been_moved_is_not_said_to_have_been_moved_back() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    moved = until_undoable(s, s.approve())
    assert not [
        i for i in s.answer(moved, StepResult(False, "the connection broke", uncertain=True)) if isinstance(i, Perform)
    ]
    assert "was moved back" not in told(s)
    assert f"NOT taken back, see to it by hand: step {moved.index + 1} on cp1" in told(s)


def test_a_failed_undo_is_told_and_what_stands_on_other_hosts_is_taken_back_nevertheless() -> None:
    s = Script(3, 0)
    s.sweep()

    def two_stopped(c: Cluster) -> object:
        return c.etcd_stopped("cp2").etcd_stopped("cp3").no_leader("cp1").api_down()

    s.sweep(two_stopped, times=15)
    assert s.machine.record.plan is None, "their data is whole, so they are to be started"
    s.give(PlanRequested("force-new-cluster", (), "alice", "", s.now))
    out, undone, last = s.approve(), [], None
    while (what := performing(out)).undo is False:
        last = what
        fails = (
            what.plan.steps[what.index].commits is False
            and what.plan.steps[what.index].host == "cp3"
            and what.plan.steps[what.index].undo
        )
        out = s.answer(what, StepResult(not fails, "no space left on device" if fails else "ok"))
    assert last is not None
    while work := [i for i in out if isinstance(i, Perform)]:
        undone.append(work[0].plan.steps[work[0].index].host)
        out = s.answer(work[0], StepResult(work[0].plan.steps[work[0].index].host != "cp3", "the host is gone"))
    assert undone[0] == "cp3" and undone.count("cp3") == 1 and "cp2" in undone
    assert "NOT taken back" in told(s) and "on cp3" in told(s) and "was moved back" not in told(s)


def test_the_flag_is_taken_out_even_when_it_cannot_be_told_whether_it_was_put_in() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    flag = until_undoable(s, s.approve(), commits=True)
    undo = performing(s.answer(flag, StepResult(False, "the connection broke", uncertain=True)))
    assert (undo.index, undo.undo) == (flag.index, True)
    assert not [i for i in s.answer(undo, StepResult(True, "out")) if isinstance(i, Perform)], (
        "past the point of no return only the flag is"
    )


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_plan_that_would_not_be_made_now_cannot_be_approved(by_hand: bool) -> None:
    """cp1 was the only survivor; now cp2 answers and holds more than cp1, and quorum is still lost."""
    s = Script(5, 0, force_after=60.0)
    s.sweep()

    def alone(c: Cluster) -> object:
        return c.powered_off("cp2", "cp3", "cp4", "cp5").no_leader().api_down("cp1")

    def joined(c: Cluster) -> object:
        c.powered_off("cp3", "cp4", "cp5").no_leader().api_down("cp1", "cp2")
        return c.etcd_changed("cp2", revision=1300)

    s.sweep(alone, times=15)
    if by_hand:
        s.give(PlanRequested("force-new-cluster", (), "alice", "", s.now))
    s.sweep(alone)
    assert "make cp1" in s.plan.summary
    s.sweep(joined)
    with pytest.raises(Refused, match="not what would be planned now"):
        s.approve()
    s.sweep(joined)
    assert "make cp2" in s.plan.summary, "and it is superseded"


def test_nothing_is_planned_by_hand_before_the_first_sweep_after_a_restart() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    s.machine = ClusterMachine(s.settings, registry(), now=s.now, record=s.machine.record, memory=s.memory)
    s.give(Restarted(s.now))
    with pytest.raises(Refused, match="not been looked at"):
        s.give(PlanRequested("force-new-cluster", (), "alice", "", s.now))


def test_what_is_asked_for_one_node_is_never_planned_for_another() -> None:
    """Two of five are gone; cp5 is scrap and cp4 comes back in ten minutes."""
    s = Script(5, 0)
    s.sweep()
    s.sweep(lambda c: c.powered_off("cp4", "cp5"), times=4)
    s.give(PlanRequested("remove-member", ("cp5",), "alice", "cp5 is scrap", s.now))
    assert (
        "remove the etcd member cp5" in s.plan.summary and len([x for x in s.plan.steps if "cp4" in x.description]) == 0
    )
    with pytest.raises(
        Refused,
        match="nothing is confirmed of cp2 that remove-member repairs; what is: etcd-member-down "
        "cp4, etcd-member-down cp5",
    ):
        s.give(PlanRequested("remove-member", ("cp2",), "alice", "", s.now))


def test_what_is_lost_for_the_whole_cluster_is_not_asked_of_one_node() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    with pytest.raises(
        Refused, match="nothing is confirmed of cp1 that force-new-cluster repairs; what is: etcd-quorum-lost"
    ):
        s.give(PlanRequested("force-new-cluster", ("cp1",), "alice", "", s.now))


def test_a_step_is_begun_three_times_at_the_most() -> None:
    """recoverd is ended again and again before it knows what came of it, and the fault is still there."""
    s = Script()
    out = s.sweep(manifest_gone, times=2)
    begun = [performing(out)]
    for _ in range(5):
        s.restart()
        out = s.sweep(manifest_gone)
        if not (asked := [i for i in out if isinstance(i, Perform)]):
            break
        assert asked[0].resume
        out = s.answer(asked[0], StepResult(False, "it has not been done yet", undone=True))
        begun += [i for i in out if isinstance(i, Perform) and not i.undo]
    assert len(begun) == 3 and "begun 3 times" in s.machine.record.explanation, s.machine.record.explanation
    assert s.where == (State.APISERVER_DOWN, Phase.ESCALATED)


def test_a_member_that_was_stopped_to_be_removed_is_started_again_when_the_removal_fails() -> None:
    """cp2 has the CORRUPT alarm and votes; the third dies while its etcd is being stopped, and
    without quorum nothing is removed.
    """
    s = Script(3, 0)
    s.sweep()

    def alarmed(c: Cluster) -> object:
        return c.etcd_changed(alarms=(AlarmEntry(member_id("cp2"), "CORRUPT"),))

    s.sweep(alarmed, times=3)
    assert s.plan.playbook == "rebuild-member"
    out, undone = s.approve(), list[str]()
    for _ in range(20):
        work = [i for i in out if isinstance(i, Perform)]
        if not work:
            if s.machine.record.run is None:
                break
            out = s.sweep(alarmed)
            continue
        step = work[0].plan.steps[work[0].index]
        if work[0].undo:
            undone.append(step.description)
        refused = isinstance(step.operation, RemoveMember)
        out = s.answer(
            work[0], StepResult(not refused, "etcdserver: no leader" if refused else "ok", untouched=refused)
        )
    assert any("stop etcd on cp2" in line for line in undone), told(s)


def test_an_api_server_that_does_not_answer_has_a_minute_before_a_person_is_called() -> None:
    """As after an edit of its manifest; it was paged for at once."""
    s = Script()
    s.sweep()

    def away(c: Cluster) -> object:
        return c.api_down("cp1", health=EndpointHealth.REFUSED)

    s.sweep(away, times=10)
    assert s.where == (State.APISERVER_DOWN, Phase.CONFIRMED) and "escalated" not in s.events()
    s.sweep(away, times=4)
    assert s.where == (State.APISERVER_DOWN, Phase.ESCALATED) and "no playbook" in told(s)
    s.sweep(times=3)
    assert s.where[0] is State.HEALTHY
