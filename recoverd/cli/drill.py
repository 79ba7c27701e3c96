"""`recoverd drill`: a story played aloud on the model cluster, by the daemon's own loop, machine
and playbooks, in virtual time.
"""

from __future__ import annotations

import logging
import shlex
import sys
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import click
import structlog

from recoverd.cli.prompts import prompting
from recoverd.cli.render import Printer
from recoverd.control import shapes
from recoverd.control.changes import nothing, texts
from recoverd.engine.journal import Journal
from recoverd.model.etcd import EtcdView
from recoverd.model.events import Note
from recoverd.model.finding import Finding
from recoverd.model.history import History
from recoverd.model.joining import Check
from recoverd.model.observation import HostView, Observation
from recoverd.model.plan import Plan
from recoverd.model.text import meant, utc
from recoverd.simulate import faults
from recoverd.simulate.clock import EPOCH, moment, now, run, seconds
from recoverd.simulate.cluster import ModelCluster
from recoverd.simulate.script import WAITED, Player, Script, parse
from recoverd.simulate.stage import Ledger, Stage
from recoverd.simulate.world import SimulatedWorld

INDENT = 30
WORDS: Mapping[str, str] = {
    History.OPENED: "confirmed",
    History.FINDING: "found",
    History.PLAN_MADE: "decided",
    History.STEP_STARTED: "doing",
    History.STEP_DONE: "done",
    History.STEP_FAILED: "FAILED",
}
"""What a line of history is called aloud, where its own word is not plain enough."""
MEANT = frozenset(("join", "roll-deployment", "budget", "take-snapshot", "direct-controller", "heal"))
"""What people do, or what ends, among what the story calls faults."""
UNASKED: Mapping[str, str] = {
    "crash": "recoverd is killed (kill -9), and started again.",
    "bastion-dies": "The bastion dies; 10 s later another one takes the cluster over.",
}
TYPED: Mapping[str, str] = {
    "restore-point": "recoverctl restore-points take {cluster}",
    "join-control-plane": "recoverctl join-control-plane {cluster} {joins}",
    "ack": "recoverctl ack {incident}",
    "reject": "recoverctl reject {plan} --reason {reason}",
    "pause": "recoverctl pause {cluster} --reason {reason}",
    "resume": "recoverctl resume {cluster}",
}
"""What a line of a story is for whoever has recoverctl and not the story; an approval is told where it is asked."""


def scenarios() -> dict[str, str]:
    """Name and first line of every scenario."""
    return {name: parse(text).title for name, text in _texts().items()}


def drill(name: str, approve: bool) -> int:
    """Play one. Returns the exit code: 0 when the cluster is healthy at the end, 1 when not or not approved, 2
    when there is no such scenario.
    """
    text = _texts().get(name)
    if text is None:
        click.echo(f"there is no scenario {name} (recoverd drill lists them); {meant(name, _texts())}", err=True)
        return 2
    # what the log would say is told by the teller
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    with tempfile.TemporaryDirectory(prefix="recoverd-drill-") as directory:
        journal = Journal(Path(directory) / "journal.sqlite3")
        try:
            return run(_play(name, parse(text), approve, Ledger(journal)))
        finally:
            journal.close()


def _texts() -> dict[str, str]:
    folder = files("recoverd.simulate") / "scenarios"
    stories = sorted((f for f in folder.iterdir() if f.name.endswith(".txt")), key=lambda f: f.name)
    return {f.name.removesuffix(".txt"): f.read_text(encoding="utf-8") for f in stories}


async def _play(name: str, script: Script, approve: bool, ledger: Ledger) -> int:
    settings, joined = script.settings()
    cluster = script.model()
    teller = Teller(cluster, approve, settings.name)
    teller.introduce(name, script, joined)
    world = SimulatedWorld(cluster, settings.name, saw=teller.saw)
    stage = Stage(cluster, settings, ledger=ledger, world=world, told=teller.told)
    teller.stage = stage
    player = Player(stage, happens=teller.happens, refused=teller.refused, ask=teller.ask, checked=teller.checked)
    try:
        for block in script.blocks:
            await player.play(block)
    finally:
        await stage.kill()
    return teller.end(stage, player.stopped)


class Teller:
    """Says what happens, with the virtual time of day."""

    def __init__(self, cluster: ModelCluster, approve: bool, name: str) -> None:
        self._cluster = cluster
        self._approve = approve
        self._name = name
        self._printer = Printer()
        self._seen = self._waiting = ""
        self.stage: Stage | None = None
        self._notes: list[Note] = []
        self._pods = {uid: pod.started_at for m in cluster.machines.values() for uid, pod in m.pods.items()}

    def introduce(self, name: str, script: Script, joined: int) -> None:
        planes = [m.name for m in self._cluster.machines.values() if m.control_plane]
        workers = [m.name for m in self._cluster.machines.values() if not m.control_plane]
        spares = f"; spare: {', '.join(planes[joined:])}" if planes[joined:] else ""
        self._printer.line(f"Drill {name}: {script.title}", "bold")
        for line in script.comments[1:]:
            self._printer.line(line)
        self._printer.line(
            "The cluster and the clock are a model; the diagnosis, the decisions, the playbooks and the "
            "daemon's loop are the real ones.",
            "dim",
        )
        self._printer.line(
            f"Control planes: {', '.join(planes[:joined])}{spares}; workers: {', '.join(workers)}. A sweep every 5 s.",
            "dim",
        )
        self._printer.line()

    def happens(self, line: str) -> None:
        word, *rest = shlex.split(line)
        if word == "say":
            self._say("story", " ".join(rest), "bold")
        elif fault := faults.by_name().get(word):
            what = " ".join((fault.__doc__ or word).split()).rstrip(".")
            of = f": {', '.join(rest)}" if rest else "."
            self._say(*(("happens", f"{what}{of}", "bold") if word in MEANT else ("FAULT", f"{what}{of}", "bold red")))
        elif word in UNASKED:
            self._say("happens", UNASKED[word], "bold")
        elif word in TYPED:
            self._say("typed", self._typed(word, rest), "bold")

    def _typed(self, word: str, rest: list[str]) -> str:
        """What an operator would type where the story has a word of its own."""
        record = self.stage.machine.record if self.stage else None
        names = {
            "plan": record.plan.id if record and record.plan else "PLAN",
            "incident": record.incident.id if record and record.incident else "INCIDENT",
            "cluster": self._name,
            "reason": shlex.quote(" ".join(rest) or "no reason given"),
        }
        machine = self._cluster.machines.get(rest[0]) if rest else None
        joins = [*rest[:1], *([machine.address] if machine else []), *(f"--{option}" for option in rest[1:])]
        return TYPED[word].format(**names, joins=" ".join(joins))

    def saw(self, observation: Observation) -> None:
        """Say what is observed, once for as long as it stays the same."""
        text = described(observation)
        if text != self._seen:
            self._seen = text
            self._say("observed", text, "dim")

    def told(self, note: Note) -> None:
        self._notes.append(note)
        if note.entry.event == History.WAITING:
            what = WAITED.sub("", note.entry.detail)
            if what == self._waiting:
                return  # the same once more, some seconds later
            self._waiting = what
        word, style = WORDS.get(note.entry.event, note.entry.event), ""
        if note.entry.event in (History.CLOSED, History.PLAN_SUCCEEDED):
            style = "bold green"
        elif note.entry.event in (History.ESCALATED, History.STEP_FAILED, History.PLAN_FAILED):
            style = "bold red"
        finding = self._finding(note) if note.entry.event == History.FINDING else None
        self._say(
            word,
            f"{finding.code} {finding.subject}".rstrip() + f": {finding.message}" if finding else note.entry.detail,
            style,
            note,
        )
        for line in finding.evidence if finding else ():
            self._printer.line(f"| {line}", "dim", INDENT)

    def _finding(self, note: Note) -> Finding | None:
        diagnosis = self.stage.machine.diagnosis if self.stage else None
        found = diagnosis.findings if diagnosis else ()
        return next((f for f in found if note.entry.detail.startswith(f"{' '.join(filter(None, f.key))}: ")), None)

    def refused(self, reason: str) -> None:
        self._say("refused", reason, "bold red")

    def checked(self, check: Check) -> None:
        self._say(
            "checked" if check.ok else "CHECK FAILED", f"{check.name}: {check.detail}", "" if check.ok else "bold red"
        )

    def ask(self, plan: Plan) -> bool:
        """The plan whole, then yes or no."""
        self._printer.line()
        machine = self.stage.machine if self.stage else None
        there = texts(machine.observation, machine.memory) if machine and machine.observation else nothing
        self._printer.plan(shapes.plan(plan, there), shapes.moment(now()))
        self._printer.line()
        question = f"Approve plan {plan.id} ({plan.playbook})?"
        if self._approve:
            self._say("asked", f"{question} yes (--approve)", "bold")
            return True
        if not sys.stdin.isatty():
            click.echo(f"{question} Nobody can be asked here: give --approve, or run the drill on a terminal", err=True)
            return False
        try:
            with prompting():
                return click.confirm(question)
        except click.Abort:
            click.echo(err=True)
            return False

    def end(self, stage: Stage, stopped: str) -> int:
        """How it ended, and what is true of the model, which recoverd itself cannot know so well."""
        cluster = self._cluster
        healthy = stage.position == "healthy" and not stopped
        self._printer.line()
        self._printer.line(
            f"End: {stage.position}" + (f"; {stopped}" if stopped else ""), "bold green" if healthy else "bold red"
        )
        closed = next((n for n in reversed(self._notes) if n.entry.event == History.CLOSED), None)
        if closed:
            self._printer.line(closed.entry.detail, indent=2)
        elif not any(n.entry.event == History.OPENED for n in self._notes):
            self._printer.line("no incident was opened and nothing was done", indent=2)
        elif doing := stage.machine.status().explanation:
            self._printer.line(doing, indent=2)
        ran = [n for n in self._notes if n.entry.event == History.STEP_STARTED]
        restarted = sum(
            self._pods.get(uid) != pod.started_at for m in cluster.machines.values() for uid, pod in m.pods.items()
        )
        leaders = cluster.etcd.leaders()
        self._printer.line(
            f"recoverd carried out {len(ran)} step{'s' * (len(ran) != 1)}; {restarted} of {len(self._pods)} "
            "workload pods were restarted in all, by whoever did it",
            indent=2,
        )
        etcd = (
            f"revision {leaders[0].store.revision}, {len(leaders[0].store.voters)} voter(s)" if leaders else "no leader"
        )
        self._printer.line(f"etcd: {len(leaders)} cluster alive, {etcd}", indent=2)
        self._printer.line(f"{seconds():.0f} s of virtual time since {utc(EPOCH)}", indent=2)
        return 0 if healthy else 1

    def _say(self, word: str, text: str, style: str = "", note: Note | None = None) -> None:
        at = note.entry.at if note else moment(seconds())
        first, *rest = text.split("\n")
        self._printer.line(f"{at:%H:%M:%S} UTC  {word:<14}  {first}", style)
        for line in rest:
            self._printer.line(line, style, INDENT)


def described(observation: Observation) -> str:
    """What a sweep saw, in one line, without what changes all the time."""
    members = ", ".join(f"{name} {view.health}" for name, view in observation.api.members.items())
    etcd = ", ".join(f"{name} {_member(view)}" for name, view in observation.etcd.items())
    unseen = [name for name, view in observation.hosts.items() if not isinstance(view, HostView)]
    away = f"; not reachable over SSH: {', '.join(unseen)}" if unseen else ""
    return f"API server: {observation.api.vip.address} {observation.api.vip.health}, {members}; etcd: {etcd}{away}"


def _member(view: object) -> str:
    if not isinstance(view, EtcdView):
        return str(getattr(view, "kind", "unseen"))
    return (
        f"{'leader' if view.leader == view.member_id else 'follower' if view.leader else 'NO LEADER'}, "
        f"{len(view.voters)} voter(s)"
    )
