"""Plays one story: moves on the model, people, and a daemon that dies and comes back; then the world is
mended, and the end is judged.
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from recoverd.clients.lease import Bastion
from recoverd.engine.journal_file import JournalError
from recoverd.model.catalogue import Code
from recoverd.model.events import Acknowledged, Approved, Event, Note, Paused, PlanRequested, Refused, Rejected, Resumed
from recoverd.model.finding import Severity
from recoverd.model.plan import Plan, PlanStatus
from recoverd.model.points import PointSettings
from recoverd.model.settings import Approval
from recoverd.simulate import clock, faults
from recoverd.simulate.clock import now, seconds
from recoverd.simulate.cluster import ModelCluster, settings_for
from recoverd.simulate.stage import Stage
from tests.soak.hands import BY_HAND, heal_everything
from tests.soak.moves import PLAYBOOKS, Move, Story
from tests.soak.promises import Promises
from tests.soak.rules import Rules, Wrong
from tests.soak.truth import Truth
from tests.soak.world import TroubledLedger, TroubledWorld

FAULTS = faults.by_name()
EPOCH = clock.EPOCH
WARM = 25.0
GRAVE = ("ill api none", "ill etcd leaders", "ill etcd full", "ill server", "ill kubelet", "ill down", "ill mute")
"""What `healthy` must not be said of, or for a worker whose machine is off, not without a warning that names it."""
TOLD_WITHIN = 150.0
"""Seconds within which it is not called healthy any more: a node is not Ready after 40, and a sweep sees that twice."""


@dataclass
class Outcome:
    """What came of one story."""

    story: Story
    wrong: list[Wrong]
    told: list[str]
    steps: int
    seconds: float
    plans: dict[str, int] = field(default_factory=dict)
    """By `playbook status`."""
    healthy: bool = False


class Second:
    """A recoverd on another bastion, with a journal of its own, that watches the same cluster for a while."""

    def __init__(self, player: Player) -> None:
        self._player = player
        self.rules = Rules(player.cluster, player.truth, player.settings.bounds)
        self.rules.wrong = player.rules.wrong
        self.saved: list[Plan] = []
        self.stage: Stage
        self._until = 0.0
        self._task: asyncio.Task[None] | None = None

    def begin(self, duration: float) -> None:
        """Or let one that is there go on."""
        self._until = seconds() + duration
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        player = self._player
        ledger, world = TroubledLedger(), TroubledWorld(player.cluster, self.rules, Bastion("z", "bastion-z"))
        self.rules.forgotten()
        self.stage = world.stage = Stage(player.cluster, player.settings, ledger=ledger, world=world, told=self._hear)
        ledger.player = self
        try:
            while (left := self._until - seconds()) > 0:  # noqa: ASYNC110  # which may be put off meanwhile
                await asyncio.sleep(left)
        finally:
            await self.stage.kill()

    def _hear(self, note: Note) -> None:
        self._player.told.append(
            f"+{(note.entry.at - clock.EPOCH).total_seconds():.1f} (bastion-z) {note.entry.event}: "
            f"{note.entry.detail[:300]}"
        )

    async def end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


class Player:
    """One story at work."""

    def __init__(self, story: Story) -> None:
        self.story = story
        spares = 1 if any("cp9" in m.args for m in story.moves) else 0
        settings = settings_for(story.planes, story.workers, spares)
        points = PointSettings(interval=900.0, before_plans=True, keep=100) if story.points else PointSettings()
        approval = dict.fromkeys(PLAYBOOKS, Approval.AUTOMATIC) if story.eager else {}
        self.settings = replace(settings, points=points, approval=approval)
        self.spare = f"cp{story.planes + 1}" if spares else ""
        self.cluster = ModelCluster(self.settings, story.planes, story.external)
        self.truth = Truth(self.cluster)
        self.rules = Rules(self.cluster, self.truth, self.settings.bounds)
        self.told: list[str] = []
        self.saved: list[Plan] = []
        self.ledger = TroubledLedger()
        self.world = TroubledWorld(self.cluster, self.rules)
        advance = self.cluster.advance

        def watched(to: float) -> None:
            advance(to)
            self.truth.sample()

        self.cluster.advance = watched  # type: ignore[method-assign]
        self.stage = self._staged()
        self.second = Second(self)
        self._promises = Promises()
        self._well_since: float | None = None
        self._up = True
        self._tasks: set[asyncio.Task[None]] = set()

    def _staged(self) -> Stage:
        stage = Stage(self.cluster, self.settings, ledger=self.ledger, world=self.world, told=self._hear)
        self.ledger.player, self.world.stage = self, stage
        self._watch(stage)
        return stage

    def _watch(self, stage: Stage) -> None:
        """What breaks recoverd itself is logged by the loop, which goes on; here it is a broken promise."""
        handle = stage.loop.handle

        async def watched(event: Event) -> None:
            try:
                await handle(event)
            except (Refused, JournalError):
                raise
            except Exception as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                self.rules.broken(
                    "recoverd-itself-broke",
                    f"{type(event).__name__}: {error!r} at {where.filename.rsplit('/', 1)[-1]}:{where.lineno}",
                )
                raise

        stage.loop.handle = watched  # type: ignore[method-assign]

    def _hear(self, note: Note) -> None:
        self.told.append(
            f"+{(note.entry.at - clock.EPOCH).total_seconds():.1f} {note.entry.event}: {note.entry.detail[:300]}"
        )
        if "recoverd itself failed" in note.entry.detail:
            self.rules.broken("recoverd-itself-failed", note.entry.detail[:300])

    # --- the story ---

    async def play(self) -> Outcome:
        supervisor = asyncio.create_task(self._supervise())
        try:
            await self._wait(WARM)
            for move in self.story.moves:
                self.told.append(f"+{seconds():.1f} >>> {move}")
                await self._move(move)
                await self._wait(move.then)
                if self.rules.wrong:
                    break
            if not self.rules.wrong:
                await self._end()
        except Exception as error:
            self.rules.broken("broke", f"{error!r} {traceback.format_exc(limit=-3)}")
        finally:
            supervisor.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(supervisor, *self._tasks, return_exceptions=True)
            await self.second.end()
            await self.stage.kill()
        plans: dict[str, int] = {}
        for plan in {p.id: p for p in self.saved}.values():
            key = f"{plan.playbook} {plan.status}"
            plans[key] = plans.get(key, 0) + 1
        return Outcome(
            self.story,
            self.rules.wrong,
            self.told,
            self.world.steps,
            seconds(),
            plans,
            self.stage.position == "healthy",
        )

    async def _move(self, move: Move) -> None:
        name, args = move.what, tuple(self.spare if a == "cp9" else a for a in move.args)
        if name in ("approve", "reject", "ack", "pause", "resume", "run"):
            await self._ask(name, args)
        elif name in BY_HAND:
            task = asyncio.create_task(BY_HAND[name](self.cluster, self.truth, *args))
            self._tasks.add(task)
        elif name in FAULTS:
            with contextlib.suppress(ValueError, KeyError, IndexError):  # when it cannot happen as things are
                FAULTS[name](self.cluster, *args)
        else:
            await self._trouble(name, args)

    async def _ask(self, word: str, args: tuple[str, ...]) -> None:
        record, waiting = self.stage.machine.record, self.stage.waiting_plan
        events: dict[str, Callable[[], Event]] = {
            "approve": lambda: Approved(waiting.id if waiting else "", "alice", "", now()),
            "reject": lambda: Rejected(record.plan.id if record.plan else "", "alice", "no", now()),
            "ack": lambda: Acknowledged(record.incident.id if record.incident else "", "alice", now()),
            "pause": lambda: Paused("alice", "hands off", now()),
            "resume": lambda: Resumed("alice", now()),
            "run": lambda: PlanRequested(args[0], args[1:], "alice", "", now(), self._point(args[0])),
        }
        if not self._up:
            return  # no daemon
        try:
            await self.stage.give(events[word]())
            if word == "ack":
                self.rules.acknowledged()
            elif word == "pause":
                self.rules.paused()
        except (Refused, JournalError) as refusal:
            self.told.append(f"+{seconds():.1f} refused {word}: {str(refusal)[:200]}")

    def _point(self, playbook: str) -> str:
        points = self.stage.machine.memory.points
        return points[-1].id if playbook == "restore-etcd-snapshot" and points else ""

    async def _trouble(self, name: str, args: tuple[str, ...]) -> None:
        if name not in TROUBLES:
            raise ValueError(f"nobody knows how to {name} {args}")
        happens = TROUBLES[name](self, *args)
        if happens is not None:
            await happens

    async def _forget(self, away: str) -> None:
        self.ledger = TroubledLedger()
        await self._down_for(float(away), forget=True)

    def _jump(self, by: str) -> None:
        clock.EPOCH += timedelta(seconds=float(by))

    async def _reach_step(self, step: str) -> None:
        await self._until(lambda: (r := self.stage.machine.record.run) is not None and r.index >= int(step) - 1, 150)

    # --- the daemon ---

    async def _supervise(self) -> None:
        """systemd: whoever died within a step is started again, and so is a loop that ended by itself."""
        while True:
            await self._down_for(await self.world.dead.get())

    async def _down_for(self, away: float, *, forget: bool = False) -> None:
        if not self._up:
            return
        self._up = False
        await self.stage.kill()
        self.world.acting = 0
        until = seconds() + away
        # systemd starts one again and again that cannot open its journal
        while seconds() < until or (self.ledger.read_only and not forget and seconds() < self.ledger.full_until):
            await asyncio.sleep(min(5.0, max(until - seconds(), 1.0)))
            self.cluster.advance(seconds())
        if forget:
            self.rules.forgotten()
            self.saved.clear()  # what was open in a journal that is lost is nobody's plan any more
            self.stage = self._staged()
        else:
            self.stage.start()
            self._watch(self.stage)
        self._up = True

    # --- time ---

    async def _wait(self, duration: float) -> None:
        await self._until(lambda: False, duration)

    async def _until(self, condition: Callable[[], bool], within: float) -> bool:
        end = seconds() + within
        while not condition() and not self.rules.wrong:
            if seconds() >= end:
                return False
            await asyncio.sleep(min(0.5, max(end - seconds(), 0.001)))
            self.cluster.advance(seconds())
            self._judge_moment()
        return True

    def _judge_moment(self) -> None:
        """`healthy` is a promise, and where it is anything else, something is said of what is done."""
        running = self.stage._running
        if self._up and running is not None and running.done() and not running.cancelled():
            self.rules.broken("loop-ended", repr(running.exception()))
        self._judge_words()
        blind = self.cluster.network.blind or self.world.troubled or seconds() < self.ledger.full_until
        looked = self.stage.machine.diagnosis is not None  # recoverd that was just started says nothing of its own yet
        if not self._up or not looked or blind or self.stage.position != "healthy":
            self._well_since = None
            return
        self._well_since = seconds() if self._well_since is None else self._well_since
        if seconds() - self._well_since <= TOLD_WITHIN:
            return
        joined = {f" {n}" for n in self._nodes()}
        for fact, since in self.truth.since.items():
            if fact.startswith(GRAVE) and seconds() - since > TOLD_WITHIN:
                subject = fact.rpartition(" ")[2]
                if self._excused(fact, subject):
                    continue
                if fact.startswith("ill server") and self._unwarned(fact, subject):
                    self.rules.broken("called-healthy", f"{fact} for {seconds() - since:.0f} s, and nobody is warned")
                if fact in ("ill api none", "ill etcd leaders", "ill etcd full") or f" {subject}" in joined:
                    self.rules.broken(
                        "called-healthy", f"{fact} for {seconds() - since:.0f} s, and it is called healthy"
                    )

    def _judge_words(self) -> None:
        """Whoever asks at any moment is told what is done or waited for, and what is waited for comes to an end."""
        if not self._up or self.stage.position == "healthy":
            self._promises.forget()
            return
        said = self.stage.machine.status().explanation
        if not said:
            self.rules.broken("without-a-word", self.stage.position)
        if vain := self._promises.in_vain(said):
            self.rules.broken("waits-without-end", vain)

    def _excused(self, fact: str, subject: str) -> bool:
        """It is told in another way than by what the cluster is called. That a control plane is off is a warning only
        where nobody misses it, by a cordon, or where it was removed from etcd's members.
        """
        plane = subject in self.cluster.machines and self.cluster.machines[subject].control_plane
        if fact.startswith("ill down") and plane:
            return self._cordoned(subject) or self._removed(subject)
        if fact.startswith(("ill down", "ill mute")):
            return self._warned_of(subject)
        return fact.startswith("ill kubelet") and self._left_out(subject)

    def _cordoned(self, node: str) -> bool:
        store = self.cluster.api.store
        return store is not None and node in store.cordons

    def _removed(self, plane: str) -> bool:
        """That it is no member of etcd any more, and what makes it one again, is a warning that stands."""
        diagnosis = self.stage.machine.diagnosis
        return diagnosis is not None and any(
            f.key == (Code.NOT_JOINED, plane) and f.severity is Severity.WARNING for f in diagnosis.findings
        )

    def _left_out(self, plane: str) -> bool:
        """A control plane that was removed from etcd's members, as by a plan that a person approved after `kubeadm
        reset` there: that it is none any more, and what makes it one again, is a warning that stands. Or a machine
        that does not answer: only that its node is not Ready can be known, and that is one.
        """
        hidden = self.truth.lasts(f"seen {plane}") == 0.0 and self._warned_of(plane)
        return hidden or self._removed(plane)

    def _unwarned(self, fact: str, server: str) -> bool:
        """A server of an etcd on machines of its own that does not serve at this very moment has no warning."""
        told = self._warned_of(f"{self.cluster.apart[server].address}:2379")
        return not told and fact in set(self.truth.ills())  # what was sampled last may be over

    def _warned_of(self, worker: str) -> bool:
        """Or a person has cordoned it, and so does not miss it."""
        diagnosis = self.stage.machine.diagnosis
        told = diagnosis is not None and any(
            f.subject == worker and f.severity is Severity.WARNING for f in diagnosis.findings
        )
        return told or self._cordoned(worker)

    def _nodes(self) -> tuple[str, ...]:
        store = self.cluster.api.store
        return store.nodes if store else tuple(n for n, m in self.cluster.machines.items() if m.joined)

    # --- the end ---

    async def _end(self) -> None:
        """The world is mended, people help for a while, and what is well then must be called so."""
        self.world.next.clear()
        self.world.kill_before = self.world.kill_after = None
        self.world.torn.clear()
        self.world.slow.clear()
        self.world.behind = 0
        self.world.raises_until = self.ledger.full_until = 0.0
        await self.second.end()
        heal_everything(self.cluster, self.truth)
        await self._until(lambda: self._up, 5000)
        for _ in range(6):
            for word in ("resume", "approve", "ack"):
                await self._ask(word, ())
            await self._until(lambda: self.stage.position == "healthy" and self.truth.quiet_for() > 15, 60)
            if self.stage.position == "healthy" or self.rules.wrong:
                break
        if self.rules.wrong:
            return
        if self.truth.quiet_for() > 0 and self.stage.position != "healthy":
            await self._until(lambda: self.stage.position == "healthy" or self.truth.quiet_for() == 0, 1000)
            if self.truth.quiet_for() > 600 and self.stage.position != "healthy":
                self.rules.broken(
                    "well-and-not-called-so", f"{self.stage.position}: {self.stage.machine.record.explanation[:300]}"
                )
        self._judge_end()

    def _judge_end(self) -> None:
        self._judge_words()
        place, record = self.stage.position, self.stage.machine.record
        store = self.cluster.api.store
        marks = [n for n, by in store.cordons.items() if by] if store else []
        if marks and place == "healthy" and record.plan is None and self.truth.quiet_for() > 0:
            self.rules.broken("left-cordoned", f"{', '.join(marks)} carries recoverd's mark, and nothing is said")
        open_plans: set[str] = set()
        for plan in self.saved:
            (open_plans.add if plan.status.open else open_plans.discard)(plan.id)
            if len(open_plans) > 1:
                self.rules.broken("two-plans-open", str(open_plans))
        for plan in {p.id: p for p in self.saved}.values():
            self._judge_plan(plan)

    def _judge_plan(self, plan: Plan) -> None:
        """What was begun and not committed is taken back."""
        if (
            plan.status not in (PlanStatus.FAILED, PlanStatus.SUPERSEDED)
            or any(s.part for s in plan.steps)
            or "NOT taken back" in plan.reason
        ):
            return
        done = {i for i, undo in self.rules.effects[plan.id] if not undo}
        back = {i for i, undo in self.rules.effects[plan.id] if undo}
        if any(plan.steps[i].commits for i in done) or "may or may not" in plan.reason:
            return
        left = [i for i in done - back if plan.steps[i].undo is not None]
        if left and "point of no return" in plan.reason:
            self.rules.broken(
                "not-taken-back",
                f"{plan.playbook}: step {left[0] + 1} stays, and nothing was committed: {plan.reason[:200]}",
            )


def _next(kind: str) -> Callable[..., None]:
    return lambda p, amount="0": p.world.next.append((kind, float(amount)))


def _fill(*, read_only: bool) -> Callable[..., None]:
    return lambda p, duration: p.ledger.fill(float(duration), read_only=read_only)


def _kill(when: str) -> Callable[..., None]:
    return lambda p, away: setattr(p.world, when, float(away))


TROUBLES: dict[str, Callable[..., Awaitable[object] | None]] = {
    "crash": lambda p, away: p._down_for(float(away)),
    "forget": Player._forget,
    "kill-before": _kill("kill_before"),
    "kill-after": _kill("kill_after"),
    "fail-step": _next("fail-step"),
    "not-begun": _next("not-begun"),
    "lost-answer": _next("lost-answer"),
    "no-answer": _next("no-answer"),
    "slow-step": _next("slow-step"),
    "torn": lambda p, how, count: p.world.torn.extend([how] * int(count)),
    "lag": lambda p, behind: p.world.lag_behind(int(behind)),
    "sweeps-raise": lambda p, duration: setattr(p.world, "raises_until", seconds() + float(duration)),
    "slow-sweeps": lambda p, count, amount: p.world.slow.extend([float(amount)] * int(count)),
    "journal-full": _fill(read_only=False),
    "journal-read-only": _fill(read_only=True),
    "second-daemon": lambda p, duration: p.second.begin(float(duration)),
    "clock": Player._jump,
    "await-plan": lambda p, within: p._until(lambda: p.stage.waiting_plan is not None, float(within)),
    "await-step": Player._reach_step,
}
"""What each kind of trouble does."""


def play(story: Story) -> Outcome:
    """Play one story in virtual time."""
    clock.EPOCH = EPOCH

    async def begin() -> Outcome:
        return await Player(story).play()

    try:
        return clock.run(begin())
    finally:
        clock.EPOCH = EPOCH
