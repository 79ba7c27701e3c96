"""Stories: what happens to a model cluster, line by line, in the field's words; a block's
expected outcome stands after `----`.

    # The first line says what it is about.

    cluster control-planes=1 spares=1 workers=2

    block-peer-port cp2
    join cp2
    until etcd-stuck/awaiting-approval within 60
    ----
    ...what is decided, one line each...

The drill plays such a file aloud; the tests compare what is told with what is expected (as etcd's raft does with its
testdata). Lines: `cluster KEY=NUMBER ...` (control-planes, workers, spares, `external`: machines of etcd's own, any
bound of the configuration, person-at-work=ignore, mode=observe, persons=2, emergency=yes); every fault of `faults` by
its name; `wait SECONDS`; `until STATE[/PHASE] within SECONDS`; `restore-point` (one is taken); `join-control-plane
NAME [take-back-single-member]`; `approve [as NAME]`, `approve as NAME in emergency REASON`, `reject REASON`, `pause
REASON`, `resume`, `ack`; `crash` (kill -9 and a start); `bastion-dies` (another one takes the cluster over 10 s
later); `elsewhere CLUSTER acts`, `elsewhere CLUSTER has CODE` (the fault begins there), `elsewhere CLUSTER rests`;
`say TEXT`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace

from recoverd.model.events import Acknowledged, Approved, Event, JoinRequested, Note, Paused, Refused, Rejected, Resumed
from recoverd.model.history import History
from recoverd.model.joining import Check, JoinRequest
from recoverd.model.plan import Plan
from recoverd.model.settings import Bounds, ClusterSettings, Mode, PersonsNeeded
from recoverd.simulate import faults
from recoverd.simulate.clock import now
from recoverd.simulate.cluster import ModelCluster, settings_for
from recoverd.simulate.stage import Stage

OPERATOR = "operator"
PEOPLE = {OPERATOR: 1000, "alice": 1001, "alice (as root)": 1001, "bob": 1002, "root": None}
"""Who may approve in a story, and the uid of the person; None: nobody knows who that is."""
RULE = "----"
WAITED = re.compile(r", \d+ s$")
"""How a line ends that comes with every sweep while a step waits."""


class ScriptError(ValueError):
    """A line of a story that cannot be understood."""


@dataclass(frozen=True, slots=True)
class Block:
    lines: tuple[str, ...]
    expected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Script:
    title: str
    comments: tuple[str, ...]
    blocks: tuple[Block, ...]

    def model(self, settings: ClusterSettings | None = None) -> ModelCluster:
        """The cluster of the first line as it stands before the story; `settings` are others than that line's."""
        own, joined = self.settings()
        return ModelCluster(settings or own, joined, int(self._given().get("external", 0)))

    def _given(self) -> dict[str, str]:
        words = shlex.split(self.blocks[0].lines[0]) if self.blocks else []
        if not words or words[0] != "cluster":
            raise ScriptError("a story begins with a `cluster` line")
        return {k.replace("-", "_"): v for k, _, v in (w.partition("=") for w in words[1:])}

    def settings(self) -> tuple[ClusterSettings, int]:
        """Those of that cluster, and how many of its control planes have joined."""
        given = self._given()
        given.pop("external", None)
        mode = Mode(given.pop("mode", Mode.ACT))
        persons = PersonsNeeded(int(given.pop("persons", 1)), given.pop("emergency", "no") == "yes")
        at_work = given.pop("person_at_work", Bounds().person_at_work)
        values = {k: float(v) for k, v in given.items()}
        sizes = {k: int(values.pop(k)) for k in ("control_planes", "workers", "spares") if k in values}
        bounds = {k: int(v) if isinstance(getattr(Bounds(), k), int) else v for k, v in values.items()}
        settings = replace(
            settings_for(**sizes),
            bounds=replace(Bounds(), person_at_work=_seconds(at_work), **bounds),  # type: ignore[arg-type]
            mode=mode,
            persons=persons,
        )
        return settings, sizes.get("control_planes", 1)


def _seconds(value: str | float) -> str | float:
    return float(value) if str(value).isdigit() else value


def parse(text: str) -> Script:
    comments: list[str] = []
    blocks: list[Block] = []
    for chunk in text.strip().split("\n\n"):
        lines = [line.rstrip() for line in chunk.splitlines()]
        if all(line.startswith("#") for line in lines):
            comments += [line.removeprefix("#").strip() for line in lines]
            continue
        cut = lines.index(RULE) if RULE in lines else len(lines)
        blocks.append(Block(tuple(lines[:cut]), tuple(lines[cut + 1 :])))
    return Script(comments[0] if comments else "", tuple(comments), tuple(blocks))


def written(script: Script) -> str:
    """The inverse of `parse`."""
    parts = ["\n".join(f"# {c}".rstrip() for c in script.comments)]
    for block in script.blocks:
        parts.append("\n".join((*block.lines, *((RULE, *block.expected) if block.expected else ()))))
    return "\n\n".join(parts) + "\n"


class Player:
    """Plays one story. `told` gets each line of history, `happens` each line of the story before it is
    played, `ask` decides about a plan.
    """

    def __init__(
        self,
        stage: Stage,
        *,
        happens: Callable[[str], None] = lambda _: None,
        refused: Callable[[str], None] = lambda _: None,
        ask: Callable[[Plan], bool] = lambda _: True,
        checked: Callable[[Check], None] = lambda _: None,
    ) -> None:
        self.stage = stage
        self._faults = faults.by_name()
        self._happens = happens
        self._refused = refused
        self._ask = ask
        self._checked = checked
        self.stopped = ""
        """Why the story was not played to its end."""

    async def play(self, block: Block) -> None:
        for line in block.lines:
            if self.stopped:
                return
            await self._line(line)

    async def _line(self, line: str) -> None:
        word, *rest = shlex.split(line)
        stage = self.stage
        if word == "cluster" or word.startswith("#"):
            return
        self._happens(line)
        match word, rest:
            case "wait", [duration]:
                await stage.wait(float(duration))
            case "until", [place, "within", duration]:
                if not await stage.until(lambda: self._there(place), float(duration)):
                    self._refused(f"after {duration} s it is not {place} but {stage.position}")
            case (("crash" | "bastion-dies"), []):
                await (stage.crash() if word == "crash" else stage.succeed())
            case "restore-point", []:
                await stage.keep_point()
            case "join-control-plane", [name, *options]:
                await self._join(name, "take-back-single-member" in options)
            case "approve", []:
                await self._approve(OPERATOR)
            case "approve", ["as", name, *emergency] if name in PEOPLE:
                await self._approve(name, " ".join(emergency[2:]), emergency=emergency[:2] == ["in", "emergency"])
            case (("reject" | "pause" | "resume" | "ack"), _):
                await self._give(self._request(word, " ".join(rest) or "no reason given"))
            case _ if word != "say":
                self._fault(line, word, rest)

    def _fault(self, line: str, word: str, names: list[str]) -> None:
        if word not in self._faults and word != "elsewhere":
            raise ScriptError(f"{line!r} is no line of a story; the faults are: {', '.join(sorted(self._faults))}")
        try:
            if word == "elsewhere":
                self.stage.elsewhere(names[0], names[1:])
            else:
                self._faults[word](self.stage.cluster, *names)
        except (TypeError, LookupError, ValueError) as error:
            raise ScriptError(f"{line!r} cannot be done: {error}") from error

    def _there(self, place: str) -> bool:
        return self.stage.position == place or self.stage.position.startswith(f"{place}/")

    async def _approve(self, who: str, reason: str = "", *, emergency: bool = False) -> None:
        plan = self.stage.waiting_plan or self.stage.machine.record.shadow
        if plan is None:
            self._refused("no plan waits for approval")
        elif not self._ask(plan):
            self.stopped = f"plan {plan.id} ({plan.playbook}) was not approved"
        else:
            await self._give(
                Approved(plan.id, who, reason, now(), plan.digest, person=PEOPLE[who], emergency=emergency)
            )

    async def _join(self, name: str, take_back_single: bool) -> None:
        """As the service does it: checks, then the plan at once."""
        loop, machine = self.stage.loop, self.stage.machine
        request = JoinRequest(name, self.stage.cluster.machines[name].address, take_back_single=take_back_single)
        try:
            machine.joinable()
            facts = await loop.survey(request, *machine.join_through())
        except Refused as refusal:
            self._refused(str(refusal))
            return
        for check in machine.judged(request, facts):
            self._checked(check)
        await self._give(JoinRequested(request, facts, OPERATOR, "", now()))

    def _request(self, word: str, reason: str) -> Event:
        record = self.stage.machine.record
        match word:
            case "reject":
                return Rejected(record.plan.id if record.plan else "", OPERATOR, reason, now())
            case "pause":
                return Paused(OPERATOR, reason, now())
            case "resume":
                return Resumed(OPERATOR, now())
            case _:
                return Acknowledged(record.incident.id if record.incident else "", OPERATOR, now())

    async def _give(self, event: Event) -> None:
        try:
            await self.stage.give(event)
        except Refused as refusal:
            self._refused(str(refusal))


def terse(note: Note, began: float) -> str:
    """One line of history for a test: when, what, and in which words; "" for what a
    reader of the story does not need.
    """
    event, detail = note.entry.event, note.entry.detail
    if event in (History.STEP_DONE, History.VERIFYING, History.PKI_KEPT, History.POD_FILES_KEPT) or (
        event == History.WAITING and WAITED.search(detail)
    ):
        return ""
    if event in (History.FINDING, History.OPENED, History.CAUSE):
        detail = detail.split(": ", 1)[0] if event != History.CAUSE else detail
    return f"{began:+.1f} {event}: {detail}".rstrip()
