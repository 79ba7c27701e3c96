"""A machine with a rolling reboot, step by step, whose findings a test writes down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from recoverd.diagnose import diagnose
from recoverd.machine import ClusterMachine
from recoverd.model.codec import dump, load
from recoverd.model.events import Approved, Instruction, Note, Observed, Perform, SavePlan, StepEnded
from recoverd.model.finding import Diagnosis, Finding, State
from recoverd.model.memory import Memory
from recoverd.model.observation import EndpointHealth, Observation
from recoverd.model.plan import Plan, StepResult
from recoverd.model.record import Declined, Record
from recoverd.model.settings import Bounds, ClusterSettings
from recoverd.playbooks import registry
from tests.unit.builders import NOW, Cluster
from tests.unit.rungs import OK, STALE, fault

ONE = ["cordon {}", "drain {}", "reboot {}", "wait until {} is in a new boot", "wait until {} is Ready", "uncordon {}"]


class Rolling:
    """A machine with a rolling reboot approved; each test says what sweeps find and how steps end."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        workers: int = 3,
        sick: tuple[str, ...] = ("w1", "w2"),
        approve: bool = True,
        of: Callable[[str], Finding] = lambda n: fault(STALE, n),
        **bounds: object,
    ) -> None:
        self.of = of
        self.sick = set(sick)
        self.unready: set[str] = set()
        self.cordoned: set[str] = set()
        self.dark = False
        self.blind = False
        self.uptime = 86400.0
        cluster = Cluster(1, workers)
        self.workers = workers
        self.settings = replace(cluster.settings, bounds=Bounds(**bounds))  # type: ignore[arg-type]
        self.now = NOW
        self.memory = cluster.memory()
        self.seen: list[Instruction] = []
        monkeypatch.setattr("recoverd.machine.sweeps.diagnose", self.diagnosed)
        self.machine = ClusterMachine(self.settings, registry(), now=NOW, memory=self.memory)
        spent = Declined("restart-node-agents", tuple(of(n).key for n in sick), "did not help")
        for _ in range(2):
            self.machine.state = replace(self.machine.state, record=replace(self.machine.record, declined=(spent,)))
            self.sweep()
        assert self.machine.record.plan and self.machine.record.plan.playbook == "rolling-worker-reboot"
        if approve:
            self.out = self.give(Approved(self.machine.record.plan.id, "alice", "", self.now))
            self.sweep()

    def diagnosed(self, observation: Observation, memory: Memory, settings: ClusterSettings, busy: str) -> Diagnosis:
        real = diagnose(observation, memory, settings, busy)
        if real.state is not State.HEALTHY or not self.sick:
            return real
        found = tuple(self.of(n) for n in sorted(self.sick))
        return Diagnosis(State.WORKER_NETWORK_BROKEN, (*found, *real.findings), found[0].message)

    def give(self, event: object) -> list[Instruction]:
        out = self.machine.handle(event)  # type: ignore[arg-type]
        self.seen += out
        # what is saved is what a restarted daemon goes on from
        assert load(Record, dump(self.machine.record)) == self.machine.record
        return out

    def sweep(self, times: int = 1) -> None:
        for _ in range(times):
            self.now += timedelta(seconds=5)
            cluster = Cluster(1, self.workers, now=self.now)
            for name in cluster.workers:
                cluster.host(name, uptime=self.uptime)
            for name in self.unready:
                cluster.node(name, ready=False)
            for name in self.cordoned:
                cluster.node(name, unschedulable=True)
            if self.dark:
                cluster.everything_dark()
            if self.blind:
                cluster.address_answers(EndpointHealth.TIMEOUT)
            self.out = self.give(Observed(cluster.observation()))

    @property
    def work(self) -> Perform | None:
        """The step that is being carried out."""
        run, plan = self.machine.record.run, self.machine.record.plan
        if run is None or plan is None or run.held_since:
            return None
        return Perform(plan, run.index, run.undoing, False)

    def end(self, result: StepResult = OK) -> str:
        """Answer the step in flight; what it was. The node's reboot heals it, unless the test says otherwise."""
        what = self.work
        assert what is not None, f"nothing is being carried out: {self.machine.record.run}"
        step = what.plan.steps[what.index]
        self.now += timedelta(seconds=1)
        self.out = self.give(StepEnded(what.plan.id, what.index, what.undo, result, self.now))
        return f"{'undo ' if what.undo else ''}{step.description}"

    def until(self, description: str) -> None:
        """Answer steps with success until this one is in flight."""
        for _ in range(60):
            if self.work is None:
                self.sweep()
            elif self.work.plan.steps[self.work.index].description == description and not self.work.undo:
                return
            else:
                what = self.end()
                if what.startswith("reboot "):
                    self.sick.discard(what.removeprefix("reboot "))
        raise AssertionError(f"{description} never came: {self.story()}")

    def finish(self) -> list[str]:
        done = []
        for _ in range(80):
            if self.machine.record.run is None:
                return done
            if self.work is None:
                self.sweep()
                continue
            done.append(self.end())
            if done[-1].startswith("reboot "):
                self.sick.discard(done[-1].removeprefix("reboot "))
        raise AssertionError(self.story())

    @property
    def last(self) -> Plan:
        return [i.plan for i in self.seen if isinstance(i, SavePlan) and not i.plan.status.open][-1]

    def story(self) -> list[str]:
        return [f"{i.entry.event} {i.entry.detail}" for i in self.seen if isinstance(i, Note)]


def steps_of(*names: str) -> list[str]:
    return [text.format(n) for n in names for text in ONE]
