"""The promises, checked on the truth at the moment when something is done, and on what was journalled. Each
broken one is a word and a sentence.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

from recoverd.model.bastion_operations import AwaitApi, AwaitEtcd, FetchSnapshot, RemoveMember
from recoverd.model.effects import restarts_member
from recoverd.model.etcd import FORCE
from recoverd.model.etcd_operations import AwaitRestored
from recoverd.model.events import SaveDecision, StepIntent
from recoverd.model.file_operations import KeepPodFiles
from recoverd.model.finding import State
from recoverd.model.join_operations import CheckJoin
from recoverd.model.node_operations import (
    AwaitControllers,
    AwaitEndpoints,
    AwaitNodeReady,
    AwaitNodeUnready,
    AwaitNodeWell,
    AwaitReboot,
    Cordon,
    Drain,
    Reboot,
    RestartDaemonPods,
    Uncordon,
)
from recoverd.model.operations import Operation, WriteFile
from recoverd.model.pki_operations import KeepPki
from recoverd.model.plan import Plan, PlanStatus, Step
from recoverd.model.point_operations import LookAtRestorePoints, TakeRestorePoint
from recoverd.model.settings import Bounds
from recoverd.model.unit_operations import AwaitContainerGone, AwaitFlag, AwaitUnit
from recoverd.model.webhook_operations import AwaitService, RelaxWebhook, TightenWebhook
from recoverd.playbooks.pki import WITHOUT_QUORUM
from recoverd.simulate.act_nodes import PROCESS
from recoverd.simulate.clock import seconds
from recoverd.simulate.cluster import ModelCluster
from recoverd.simulate.pki import etcd_trouble, trouble
from recoverd.simulate.stage import Stage
from recoverd.simulate.texts import ETCD_DIR, command_of, path_of
from tests.soak.truth import UID, Truth, data_dir, good_data, lineage

_WAITS = (
    AwaitApi
    | AwaitContainerGone
    | AwaitControllers
    | AwaitEndpoints
    | AwaitEtcd
    | AwaitFlag
    | AwaitNodeReady
    | AwaitNodeUnready
    | AwaitReboot
    | AwaitService
    | CheckJoin
)
LOOKS = (
    _WAITS
    | AwaitRestored
    | AwaitUnit
    | FetchSnapshot
    | KeepPki
    | KeepPodFiles
    | LookAtRestorePoints
    | AwaitNodeWell
    | TakeRestorePoint
)
OF_OBJECTS = Cordon | Drain | Uncordon | RelaxWebhook | TightenWebhook
"""What asks the API server alone."""
UNASKED = {
    "restore-manifest",
    "end-back-off",
    "start-node-services",
    "restore-node-files",
    "restore-pod-files",
    "restore-node-network",
    "restart-node-agents",
    "restart-controller",
}
LACKS = re.compile("not given its vote instead: .*(not seen to serve|refuses connections|not in sync|not healthy)")
"""What is said against a learner that does not serve."""
LATE = 9.0
"""Seconds that something has held, and could be seen, before an act against it is a wrong one: a sweep that waits for
somebody silent, the command, and the sweep that ended just before.
"""
KNOWN = 60.0
"""The same of an image that is gone from a node, before the first step of a plan: a process may be away for 15 s."""
TAKES_OVER = 20.0
"""Seconds after an act of one bastion in which the other one must not act, whatever happened to the first."""
STALE = 45.0
"""Seconds since the newest sweep began after which no act may rest on it."""


@dataclass(frozen=True)
class Wrong:
    """A promise that was broken: `what` is a short stable word."""

    what: str
    detail: str
    at: float

    def __str__(self) -> str:
        return f"+{self.at:.1f} {self.what}: {self.detail}"


@dataclass(frozen=True)
class Host:
    """What one operation may change on its machine."""

    kubelet: bool
    runtime: bool
    manifests: dict[str, str]
    data: frozenset[str]
    etcd: object | None
    """Its process, or None."""
    follows: bool
    boots: tuple[int, bool]
    expired: bool
    members: frozenset[str]
    """Ids that its own etcd lists."""
    living: dict[str, str]
    """Machines by the id of the member on them that follows a leader."""
    learners: frozenset[str]
    """Ids of those of them that have no vote."""
    forced: bool


class Rules:
    """Holds what recoverd does against the truth."""

    def __init__(self, cluster: ModelCluster, truth: Truth, bounds: Bounds) -> None:
        self.cluster = cluster
        self.truth = truth
        self._bounds = bounds
        self.wrong: list[Wrong] = []
        self._down: dict[str, float] = {}
        """Nodes that recoverd took down, and when."""
        self._begun: dict[tuple[str, int, bool], int] = defaultdict(int)
        self._unasked: dict[str, list[tuple[float, str]]] = defaultdict(list)
        """By playbook: when each plan began that nobody was asked about, and its id."""
        self._first: dict[str, float] = {}
        """By plan: when its first step was tried."""
        self._changed: set[str] = set()
        """Plans of which something was really carried out."""
        self.effects: dict[str, set[tuple[int, bool]]] = defaultdict(set)
        """By plan: (step, undo) that changed something or were tried."""
        self._sweeps: dict[int, tuple[float, float]] = {}
        """By number: the virtual seconds in which each of this daemon's sweeps began and ended. The times of day that
        it noted itself say nothing where its clock was set meanwhile.
        """
        self._expired: dict[tuple[str, str], bool | None] = {}
        """By plan and machine: whether a certificate in place could not be used when the plan came to it."""
        self._paused_at = 0.0

    def broken(self, what: str, detail: str) -> None:
        if all(w.what != what for w in self.wrong):
            self.wrong.append(Wrong(what, detail, seconds()))

    # --- before a step ---

    def check_begin(self, stage: Stage, step: Step, *, undo: bool, resume: bool) -> None:
        """What may be done at all: `Perform` of one step has begun."""
        machine = stage.machine
        plan, run = machine.record.plan, machine.record.run
        if plan is None or run is None or plan.status is not PlanStatus.RUNNING:
            self.broken("step-without-plan", step.description)
            return
        intent = (plan.id, run.index, run.undoing)
        if not any(isinstance(e, StepIntent) and (e.plan, e.index, e.undo) == intent for e in stage.ledger.entries):
            self.broken("step-without-intent", step.description)
        if getattr(stage.ledger, "lacks_room", lambda _: False)(seconds()):
            self.broken("begun-without-a-journal", f"{plan.playbook}: {step.description}")
        operation = step.undo if undo else step.operation
        if machine.observation is None and not (isinstance(operation, LOOKS) or (resume and step.asks(undo=undo))):
            self.broken("before-anything-was-seen", f"{plan.playbook}: {step.description}")
        approved = any(isinstance(e, SaveDecision) and e.approved and e.plan == plan.id for e in stage.ledger.entries)
        if not approved and (plan.destructive or plan.playbook not in UNASKED):
            self.broken("without-decision", f"{plan.playbook}: {step.description}")

    def check_act(
        self, stage: Stage, plan: Plan, step: Step, operation: Operation, *, undo: bool, began: float
    ) -> None:
        """An operation that changes something was really carried out just now; `began` is when the command was sent."""
        machine = stage.machine
        self._changed.add(plan.id)
        run = machine.record.run
        if undo or run is None or run.committed:
            return
        told = f"{plan.playbook}: {step.description}"
        pause = machine.record.pause
        if pause and began - self._paused_at > 1:
            self.broken("while-paused", told)
        if machine.diagnosis is None or machine.observation is None:
            self.broken("before-anything-was-seen", told)
            return
        sweep_began, sweep_ended = self._sweeps[machine.observation.sequence]
        if machine.diagnosis.state is State.UNOBSERVABLE and began > sweep_ended:
            self.broken("while-unobservable", f"{told}: {machine.diagnosis.summary}")
        elif began - sweep_began > STALE:
            self.broken("on-old-evidence", f"{told}: the newest sweep began {began - sweep_began:.0f} s before")

    def check_alone(self, bastion: str, told: str) -> None:
        """Of two bastions one acts. Whoever takes over does so when the other's lease has
        run out, which takes a minute.
        """
        acted = self.truth.acted
        others = {
            name: self.truth.now - at
            for name, at in acted.items()
            if name != bastion and self.truth.now - at < TAKES_OVER
        }
        if others:
            name, ago = min(others.items(), key=lambda other: other[1])
            self.broken("two-bastions-at-once", f"{told}: {bastion} does it {ago:.0f} s after {name} did something")
        acted[bastion] = self.truth.now

    def check_count(self, plan: Plan, index: int, *, undo: bool) -> None:
        self._begun[plan.id, index, undo] += 1
        if self._begun[plan.id, index, undo] > 4:
            self.broken(
                "again-and-again",
                f"step {index + 1} of {plan.id} ({plan.playbook}) was carried out "
                f"{self._begun[plan.id, index, undo]} times",
            )

    # --- what one attempt did to its machine ---

    def host(self, name: str) -> Host:
        cluster = self.cluster
        machine, process = cluster.machines[name], cluster.etcd.processes.get(name)
        manifests = machine.manifests()
        over = (
            bool(trouble(machine.papers, cluster.now) or etcd_trouble(machine.papers, cluster.now))
            if machine.control_plane
            else False
        )
        return Host(
            machine.units["kubelet"].active and machine.up(cluster.now),
            machine.units["containerd"].active,
            manifests,
            frozenset(machine.data),
            process,
            bool(process and process.leader),
            (machine.boots, machine.on and machine.up(cluster.now)),
            over,
            frozenset(m.id for m in process.store.members) if process else frozenset(),
            {p.id: n for n, p in cluster.etcd.processes.items() if p.leader and p.store.uid},
            frozenset(p.id for p in cluster.etcd.processes.values() if p.id not in p.store.voters),
            FORCE in manifests.get("etcd", ""),
        )

    def check_effect(self, plan: Plan | None, step: Step, operation: Operation, before: Host) -> None:
        name, after = step.host, self.host(step.host)
        if plan is None:
            return
        told = f"{plan.playbook} ({plan.id}): {step.description}"
        unasked = plan.automatic
        first = self._first.setdefault(plan.id, self.truth.now)
        if isinstance(operation, RestartDaemonPods):
            gone = self.truth.since.get(f"imageless {operation.node} {PROCESS[operation.agent]}", first)
            if first - gone > KNOWN:
                self.broken("restarted-without-its-image", f"{told}: it is gone for {first - gone:.0f} s")
        self._of_data(plan, name, before, after, told)
        self._of_quorum(plan, operation, name, before, after, told)
        self._of_nodes(plan, step, operation, before, after, told)
        self._of_starts(name, before, after, told)
        if after.forced and not before.forced:
            self._of_force(plan, name, told)
        if before.members - after.members and after.members and isinstance(operation, RemoveMember):
            self._of_removal(operation, plan, before, told)
        if unasked and not isinstance(operation, LOOKS):
            if self.truth.lasts("split") > 20:
                self.broken("unasked-in-a-split", told)
            if self._hands(name) > LATE:
                self.broken("under-a-persons-hands", told)
        began = self._expired.setdefault((plan.id, name), before.expired)
        if before.expired is False and after.expired and not (began and operation == step.undo):
            self.broken("certificates-made-worse", told)  # unless it is taken back to what the plan began with

    def _hands(self, name: str) -> float:
        """For how long a person has been at work on a machine."""
        return self.truth.now - self.truth.people[name] if name in self.truth.people else 0.0

    def _of_data(self, plan: Plan, name: str, before: Host, after: Host, told: str) -> None:
        gone = {p for p in before.data - after.data if p.endswith("/member")}
        if not gone:
            return
        process = before.etcd
        if process is not None and getattr(process, "path", "") in gone:
            self.broken("data-moved-from-under-etcd", told)
        if plan.automatic:
            self.broken("data-moved-unasked", told)

    def _of_quorum(self, plan: Plan, operation: Operation, name: str, before: Host, after: Host, told: str) -> None:
        container = self.cluster.machines[name].container("etcd")
        ends = (
            container is None
            or container.stops_at is not None
            or path_of("etcd") not in self.cluster.machines[name].files
        )
        if isinstance(operation, OF_OBJECTS):
            return  # objects end no etcd: somebody's hands did at that moment
        if container is not None and isinstance(operation, WriteFile) and operation.content == container.content:
            return  # it is what etcd runs with: kubelet ends it for what stood there before, at its poll of 20 s
        if (
            before.etcd is None
            or not before.follows
            or not (ends or not after.boots[1])
            or plan.playbook == "restore-etcd-snapshot"
        ):
            return
        store = before.etcd.store  # type: ignore[attr-defined]
        if store.uid != UID or "begun anew" in store.history:
            return  # a cluster that somebody's mistake has begun beside the real one
        voters = store.voters
        alive = [
            n
            for n, p in self.cluster.etcd.processes.items()
            if p.id in voters and p.store.same_cluster(store) and (p.leader or n == name)
        ]
        others = [n for n in alive if n != name]
        lost = min(
            (
                self.truth.now - at
                for f, at in self.truth.ended.items()
                if f.startswith("follows ") and f[8:] not in alive
            ),
            default=1e9,
        )
        late = min(lost, self.truth.lasts(f"follows {name}"))  # a leader that came up a moment ago is in no sweep yet
        if len(voters) == 2 and others and restarts_member(operation):
            return  # a moment's outage that the plan tells, as the gate lets it be
        if restarts_member(operation) and WITHOUT_QUORUM in plan.evidence:
            # nobody trusts what they serve, so that none can come back alone: the plan that was
            # approved tells that outage as well
            return
        if len(voters) > 1 and 2 * len(others) <= len(voters) and late > LATE and before.etcd.id in voters:  # type: ignore[attr-defined]
            self.broken(
                "quorum-lost-by-act",
                f"{told}: {len(others)} of {len(voters)} voters are left, the last was lost {lost:.0f} s before",
            )

    def _of_nodes(self, plan: Plan, step: Step, operation: Operation, before: Host, after: Host, told: str) -> None:
        machines, now = self.cluster.machines, self.cluster.now
        for node in list(self._down):
            if machines[node].up(now) and machines[node].units["kubelet"].active:
                del self._down[node]
        if (before.kubelet and not after.kubelet) or (
            isinstance(operation, Reboot) and before.boots[1] and not after.boots[1]
        ):
            if others := [n for n in self._down if n != step.host]:
                self.broken("second-node-down", f"{told}: {', '.join(others)} is down by recoverd")
            self._down[step.host] = now

    def _of_starts(self, name: str, before: Host, after: Host, told: str) -> None:
        machine = self.cluster.machines[name]
        if not machine.control_plane:
            return
        text = after.manifests.get("etcd", "")
        flags = command_of(text).flags if text else {}
        anew = (
            bool(text)
            and flags.get("--initial-cluster-state", "new") == "new"
            and f"{data_dir(machine)}/member" not in machine.data
        )
        could = before.kubelet and before.runtime and before.manifests.get("etcd") == text and before.data == after.data
        if anew and after.kubelet and after.runtime and not could:
            lost = self.truth.now - self.truth.ended.get(f"data {name}", -1e9)
            if lost > LATE:
                self.broken("etcd-started-over-nothing", told)
        process = self.cluster.etcd.processes.get(name)
        put = "kube-apiserver" in after.manifests and "kube-apiserver" not in before.manifests
        if put and process is not None and "begun anew" in process.store.history:
            self.broken("api-before-an-empty-etcd", told)

    def _of_force(self, plan: Plan, name: str, told: str) -> None:
        cluster, truth = self.cluster, self.truth
        store = good_data(cluster.machines[name])
        if store is None:
            self.broken("forced-without-data", told)
            return
        seen = [n for n in cluster.machines if truth.lasts(f"seen {n}") > LATE]
        leading = [p for p in cluster.etcd.leaders() if p.store.same_cluster(store)]
        if (
            leading
            and truth.lasts(f"led {lineage(leading[0].store)}") > LATE
            and any(truth.lasts(f"follows {n}") > LATE for n in seen)
        ):
            self.broken("forced-while-quorum-lives", f"{told}: {leading[0].machine.name} leads")
        others = {
            n: s
            for n in seen
            if truth.lasts(f"data {n}") > LATE and (s := good_data(cluster.machines[n])) and s.same_cluster(store)
        }
        if newer := {n: s.revision for n, s in others.items() if s.revision > store.revision}:
            self.broken("forced-not-the-newest", f"{told}: it has {store.revision}, and {newer}")

    def _of_removal(self, operation: RemoveMember, plan: Plan, before: Host, told: str) -> None:
        if self.truth.lasts("split") > LATE:
            self.broken("removed-in-a-split", told)
        living = before.living.get(operation.member_id)
        seen = living and min(self.truth.lasts(f"follows {living}"), self.truth.lasts(f"seen {living}"))
        if not seen or seen <= LATE or plan.playbook != "remove-member":
            return
        said = [line for line in plan.evidence if "its vote" in line]
        if operation.member_id not in before.learners:
            self.broken("removed-a-living-member", told)
        elif not plan.requested_by and (not said or LACKS.search(" ".join(said))):
            # its vote is offered first; whoever does not want that is told so, as is why it cannot be given
            self.broken("removed-a-living-learner", told)

    # --- what is journalled ---

    def plan_saved(self, plan: Plan, stage: Stage) -> None:
        if plan.status is PlanStatus.AWAITING_APPROVAL:
            self._offered(plan, stage)
        elif plan.status is PlanStatus.RUNNING and plan.automatic:
            if plan.playbook not in UNASKED:
                self.broken("without-decision", f"{plan.playbook} runs unasked")
            if self.truth.quiet_for() > 45:
                self.broken(
                    "acted-on-nothing",
                    f"{plan.playbook}: {plan.summary}; nothing has been wrong for {self.truth.quiet_for():.0f} s",
                )
            started = [t for t in self._unasked[plan.playbook] if seconds() - t[0] < self._bounds.window]
            self._unasked[plan.playbook] = [*started, (seconds(), plan.id)]
            if len(started) + 1 > self._bounds.attempts:
                self.broken(
                    "bound-exceeded",
                    f"{plan.playbook} ran unasked {len(started) + 1} times within {self._bounds.window:g} s",
                )

        elif plan.status is PlanStatus.SUPERSEDED and plan.id not in self._changed:
            # one that gave way before it changed anything, to the same with another step, is no attempt
            self._unasked[plan.playbook] = [t for t in self._unasked[plan.playbook] if t[1] != plan.id]

    def swept(self, sequence: int, began: float) -> None:
        """A sweep has ended just now."""
        self._sweeps[sequence] = began, seconds()

    def paused(self) -> None:
        """A person has paused it just now."""
        self._paused_at = seconds()

    def acknowledged(self) -> None:
        """A person lets it try again."""
        self._unasked.clear()

    def forgotten(self) -> None:
        """The journal was moved away: what was counted is not known any more, and plans have the ids of others."""
        self._unasked.clear()
        self._begun.clear()
        self.effects.clear()

    def _offered(self, plan: Plan, stage: Stage) -> None:
        truth, cluster = self.truth, self.cluster
        if plan.playbook == "restore-etcd-snapshot" and not plan.requested_by:
            whole = [
                n
                for n in cluster.machines
                if truth.lasts(f"data {n}") > LATE
                and truth.lasts(f"seen {n}") > LATE
                and cluster.machines[n].control_plane
            ]
            if whole and "served" not in plan.summary:
                self.broken("restore-over-whole-data", f"{plan.summary}: {', '.join(whole)} has the data")
        if plan.playbook == "force-new-cluster" and not plan.requested_by:
            gone = seconds() - max((at for f, at in truth.ended.items() if f.startswith("follows ")), default=-1e9)
            # of data too: the etcd that lists a member may be restarted just now
            stores = [s for m in cluster.machines.values() for s in m.data.values()]
            joined = all(m.started for s in stores for m in s.members)
            spoilt = any(s.corrupt for s in stores)  # which no waiting mends
            if joined and gone < 45 and not spoilt:
                self.broken("forced-in-haste", f"offered {gone:.0f} s after a member was lost")
            self._of_offered_force(plan, stage)

    def _of_offered_force(self, plan: Plan, stage: Stage) -> None:
        """What its plan must say of what is known, and when there must be none."""
        mark, found = stage.machine.memory.watermark, re.search(r"make (\S+) \(revision (\d+)", plan.summary)
        own = good_data(self.cluster.machines[found[1]], (f"{ETCD_DIR}/member",)) if found else None
        # a mark of an earlier cluster id is of the history that a restore has ended, and its plan has told what is lost
        lacks = mark.revision - int(found[2]) if mark and found and own and mark.cluster_id == own.cluster_id else 0
        if lacks > 0 and not any("behind" in line for line in plan.destroys):
            self.broken("loss-not-told", f"{plan.summary}: {lacks} revisions that recoverd has seen are not in it")
        unseen = [n for n, m in self.cluster.machines.items() if m.joined and self.truth.lasts(f"seen {n}") == 0.0]
        if cure := self._curable():
            self.broken("forced-while-curable", f"{plan.summary}: {', '.join(cure)} answer and have their data")
        workers = [n for n, m in self.cluster.machines.items() if not m.control_plane]
        alive = [n for n in unseen if self.truth.lasts(f"follows {n}") > LATE]
        if workers and alive and not any(self.truth.lasts(f"seen {n}") for n in workers):
            self.broken(
                "forced-when-half-blind",
                f"{plan.summary}: {', '.join(alive)} have quorum, and no worker is seen either",
            )

    def _curable(self) -> list[str]:
        """Machines whose members do not serve and only have to be started for quorum to be back; none
        where that would not be enough.
        """
        cluster, truth = self.cluster, self.truth
        lists = {tuple(sorted(m.id for m in p.store.members)): p.store for p in cluster.etcd.processes.values()}
        if len(lists) != 1:
            return []
        (store,) = lists.values()
        serving = {p.id for p in cluster.etcd.processes.values()} & store.voters
        found: dict[str, str] = {}
        for name, machine in cluster.machines.items():
            own = good_data(machine, (f"{ETCD_DIR}/member",))
            whole = (
                own is not None
                and lineage(own) == lineage(store)
                and own.member_id in store.voters
                and data_dir(machine) == ETCD_DIR
            )
            lasts = truth.lasts(f"data {name}") > LATE and truth.lasts(f"seen {name}") > LATE
            if own is not None and whole and lasts and own.member_id not in serving:
                found[own.member_id] = name
        return sorted(found.values()) if found and 2 * len(serving | found.keys()) > len(store.voters) else []
