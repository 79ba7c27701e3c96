"""What recoverctl prints for people: plain text that can be pasted, 80 columns wide where it
can be, commands never wrapped.
"""

from __future__ import annotations

import re
import textwrap
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from recoverd.cli.folding import Block, folded, generic
from recoverd.cli.program import Paper
from recoverd.model.text import clean, exactly, lasting
from recoverd.report.words import (
    Alike,
    Shape,
    answers,
    asks,
    between,
    clock,
    grouped,
    observed,
    offset,
    pause,
    place,
    when,
)

if TYPE_CHECKING:
    from recoverd.report.postmortem import Done, Told


EVIDENCE, CHANGES, GIST = 6, 8, 160
"""Lines of evidence and of changes in a file, and columns of a command, that fit one screen of a plan."""
BESIDE = 115
"""Columns of a step with its command, up to which they share a line."""
WIDE = 1000
STYLES = {"healthy": "green", "unobservable": "yellow", "maintenance": "yellow"}


def seconds(text: str, until: str | None = None) -> str:
    """How long from one moment to another, or to now."""
    return lasting(between(text, until or _now()))


def _now() -> str:
    return datetime.now(UTC).isoformat()


def happened(entry: Shape) -> str:
    """One line of history, for a terminal."""
    return clean(f"{clock(entry['at'])}  {entry['event']:16} {entry['detail']}")


class Printer:
    """Prints shapes of the control API. Colour only on a terminal, and never with NO_COLOR (rich's own rule)."""

    def __init__(self) -> None:
        self._console = Paper(highlight=False)

    def line(self, text: object = "", style: str = "", indent: int = 0) -> None:
        """One line, wrapped by nobody."""
        for part in clean(text).split("\n"):
            self._console.print(Text(" " * indent + part, style=style), soft_wrap=True)

    def prose(self, text: object, indent: int = 0, hanging: int | None = None, style: str = "") -> None:
        """A sentence: wrapped at words on a terminal, and one line where a program may read it."""
        if not self._console.is_terminal:
            return self.line(text, style, indent)
        first, rest = " " * indent, " " * (indent if hanging is None else hanging)
        for part in clean(text).split("\n"):
            width = max(40, self._console.width)
            lines = textwrap.wrap(
                part,
                width,
                initial_indent=first,
                subsequent_indent=rest,
                break_long_words=False,
                break_on_hyphens=False,
            )
            for line in lines or [""]:
                self._console.print(Text(line, style=style), soft_wrap=True)

    def _table(self, table: Table) -> None:
        """A table that is as wide as it has to be: an id that is cut cannot be typed."""
        Paper(highlight=False, width=WIDE).print(table)

    def status(self, clusters: list[Shape], notices: list[str] | None = None, *, full: bool = False) -> None:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("CLUSTER", "STATE", "SINCE", "INCIDENT", "PLAN"):
            table.add_column(column, no_wrap=True)
        for c in clusters:
            stands = place(c) + (" (paused)" if c["paused"] else "") + (" (only observed)" if observed(c) else "")
            stands += f" (watched by {c['watched_by']})" if c.get("watched_by") else ""
            cells = (
                c["name"],
                Text(stands, style=STYLES.get(c["state"], "bold red")),
                seconds(c["fault_since"] or c["since"]),
                c["incident"] or "-",
                c["plan"] or "-",
            )
            table.add_row(*cells)
        self._table(table)
        for c in clusters:
            if c["state"] != "healthy" or c["paused"] or observed(c) or c["findings"]:
                self._cluster(c, full=full)
        for notice in notices or ():
            self.line()
            self.prose(f"recoverd: {notice}", 0, 2, "yellow")

    def _cluster(self, c: Shape, *, full: bool) -> None:
        self.line()
        self.prose(f"{c['name']}: {c['summary']}", 0, 2, "bold")
        if c["paused"]:
            self.line(f"{pause(c)}; recoverctl resume {c['name']}", "yellow", 2)
        if c.get("withheld"):
            self.line(c["withheld"], "yellow", 2)
        elif observed(c):
            self.line(
                f"only observed (mode: observe), nothing is done; what would have been: recoverctl shadow {c['name']}",
                "yellow",
                2,
            )
        for alike in grouped(c["findings"], full=full):
            self._findings(alike)
        if c["explanation"]:
            self.prose(f"now: {c['explanation']}", 2, 4)
        if asks(c):
            self.line("to do:", indent=2)
            for command in answers(c["plan"]):
                self.line(command, "bold", 4)

    def _findings(self, alike: Alike) -> None:
        """Findings of one kind: each, or the first and the subjects of the others where there are many."""
        for f in alike.told:
            kind = "" if f["severity"] == "fault" else f"{f['severity']} "
            self.line(f"{kind}{f['code']} {f['subject']}".rstrip(), indent=2)
            self.prose(f["message"], 4)
            for line in f["evidence"]:
                self.prose(f"| {line}", 4, 6, "dim")
        if alike.others:
            self.prose(f"{len(alike.others)} more of this kind (--full): {', '.join(alike.others)}", 4)

    def plans(self, plans: list[Shape], script: str = "", *, full: bool = False) -> None:
        """`script`: the functions that their steps call, printed once, as a shell takes them."""
        if not plans:
            self.line("no plan is open (recoverctl plans --all shows the others)")
        for plan in plans:
            self.plan(plan, full=full)
            self.line()
        if script:
            self.line("# what these steps call on the machines, as root, in POSIX sh", "bold")
            self.line(script)

    def shadows(self, shadows: list[Shape]) -> None:
        """What would have been done to clusters that are only observed."""
        if not shadows:
            self.line("there is no shadow plan: nothing would have been done, or no cluster is only observed")
        for s in shadows:
            self.line(
                f"{when(s['at'])}  {s['plan']}  {s['playbook']}{'  DESTRUCTIVE' if s['destructive'] else ''}", "bold"
            )
            self.prose(f"{s['would']}: {s['summary']}", 2)
            for text in s["destroys"]:
                self.prose(f"WHAT WOULD BE LOST: {text}", 4, 6)
        if shadows:
            self.line()
            self.line("recoverctl plans PLAN shows the steps of one; nothing of it was done")

    def plan(self, p: Shape, now: str | None = None, *, full: bool = False) -> None:
        """One screen of a plan: what is lost stands last, next to where one approves. `full`: every step
        and command, and all evidence.

        `now` is the present time where it is not that of this machine.
        """
        self.line(f"{p['id']}  {p['playbook']}  {p['status']}{'  DESTRUCTIVE' if p['destructive'] else ''}", "bold")
        self.prose(p["summary"], 2)
        if p["reason"]:
            self.prose(f"why {p['status']}: {p['reason']}", 2)
        waits = p["status"] == "awaiting-approval"
        if waits:
            self.line(
                f"expires {when(p['expires_at'])} (in {seconds(now or _now(), p['expires_at'])})",
                indent=2,
            )
        if others := p.get("waits_for"):
            self.prose(f"waits for its turn: {others}; then it begins by itself", 2, 4, "yellow")
        if waits and (first := p.get("first_approval")):
            self.line(
                f"1 of 2 persons has approved it: {first['by']} at {when(first['at'])}; another person must",
                "yellow",
                2,
            )
        self._listed("evidence", p["evidence"], most=None if full else EVIDENCE)
        self._steps(p["steps"], full=full)
        self._listed("how it is undone", p["undo"])
        self._listed("WHAT IS LOST", p["destroys"], "bold red")
        if waits:
            if full:
                self.line(f"digest {p['digest']}", indent=2)
            self.line(f"recoverctl approve {p['id']}", "bold", 2)

    def _listed(self, title: str, texts: list[str], style: str = "", most: int | None = None, indent: int = 2) -> None:
        if texts:
            self.line(f"{title}:", style, indent)
        for text in texts[:most]:
            self.prose(f"- {text}", indent + 2, indent + 4)
        if most is not None and len(texts) > most:
            self.line(f"... {len(texts) - most} more (--full)", "dim", 4)

    def _steps(self, steps: list[Shape], *, full: bool) -> None:
        blocks = [Block(n, n, (s["host"],), (s,)) for n, s in enumerate(steps, 1)] if full else list(folded(steps))
        told = "" if full else f" ({len(steps)}, alike ones told once; --full: each with its commands)"
        self.line(f"steps{told}:", indent=2)
        for block in blocks:
            hosts = ", ".join(dict.fromkeys(block.hosts))
            turn = len(block.steps) > 1
            if turn:
                self.line(f"{block.numbers}. {hosts}, one after the other:", indent=4)
            for step in block.steps:
                several = len(block.hosts) > 1
                what = generic(step["description"], step["host"]) if several else step["description"]
                mark = "  <- point of no return" if step["point_of_no_return"] else ""
                limit = f"(at most {step['timeout']:g} s{' each' if several else ''})"
                text = f"- {what} {limit}{mark}" if turn else f"{block.numbers}. {hosts}: {what} {limit}{mark}"
                gist = "" if full or step["looks"] else _gist(step, several=several)
                beside = gist and len(text) + len(gist) <= BESIDE
                self.prose(f"{text}  # {gist}" if beside else text, 7 if turn else 4, 9)
                self._command(step, "" if beside else gist, full=full)

    def _command(self, step: Shape, gist: str, *, full: bool) -> None:
        """What a step runs: the one command that matters, where it is not told yet, and the lines that it changes;
        `full`: all of it.
        """
        if not full:
            if gist:
                self.line(gist, "dim", 9)
            changed = step["changes"] if len(step["changes"]) <= CHANGES else [*step["changes"][:CHANGES], "..."]
            for line in changed:
                self.line(line, {"+": "green", "-": "red"}.get(line[0], "dim"), 11)
            return
        for text in step["command"].split("\n"):
            self.line(text, "dim", 9)

    def incidents(self, incidents: list[Shape]) -> None:
        if not incidents:
            self.line("no incident is known")
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("INCIDENT", "STATE", "OPENED", "LASTED", "OUTCOME"):
            table.add_column(column, no_wrap=True)
        for i in incidents:
            table.add_row(
                i["id"],
                i["state"],
                when(i["opened_at"]),
                lasting(offset(i, i["closed_at"] or _now())),
                i["outcome"] or "open",
            )
        self._table(table)
        self.line("recoverctl show INCIDENT tells one whole")

    def restore_points(self, points: list[Shape]) -> None:
        if not points:
            self.line(
                "there is no restore point; recoverctl restore-points take CLUSTER takes one of a healthy cluster"
            )
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        several = ("ON",) if any(p.get("bastion") for p in points) else ()
        for column in (
            "RESTORE POINT",
            "TAKEN",
            "AGE",
            "FROM",
            "REVISION",
            "KEYS",
            "SIZE",
            "VERIFIED",
            "WHY",
            *several,
        ):
            table.add_column(column, no_wrap=True)
        for p in points:
            verified = Text("yes", style="green") if p["verified_at"] else Text("no", style="yellow")
            age, size = seconds(p["taken_at"]), f"{p['size'] / (1 << 20):.1f} MiB"
            cells = (
                p["id"],
                when(p["taken_at"]),
                age,
                p["host"],
                str(p["revision"]),
                str(p["keys"] or "?"),
                size,
                verified,
                p["why"],
                *((p["bastion"] or "-",) if several else ()),
            )
            table.add_row(*cells)
        self._table(table)
        last = points[-1]
        self.line(f"{last['id']}: {last['how_verified']}")
        for text in last["lacks"]:
            self.line(f"lacks {text}", "yellow", 2)
        on = f" on {last['bastion']}" if last.get("bastion") else ""
        self.line(f"in {last['directory']}{on}", indent=2)

    def report(self, r: Shape) -> None:
        """A post-mortem."""
        from recoverd.report.postmortem import post_mortem  # with the model of plans, for which `status` need not wait

        seen = post_mortem(r, _now())
        self.line(f"Incident {r['id']} of {r['cluster']}: {r['state']}", "bold")
        self.line(r["summary"])
        self.line()
        self.line(f"first seen  {when(r['fault_since'])}")
        self.line(f"confirmed   {when(r['opened_at'])} (after {exactly(offset(r, r['opened_at']))})")
        self.line(f"healthy     {seen.ended}")
        self.line(f"this took   {', '.join(f'{kind} {exactly(n)}' for kind, n in seen.course.lengths())}")
        if r["acknowledged_by"]:
            self.line(f"acknowledged by {r['acknowledged_by']}")
        self.line()
        if seen.evidence:
            self._listed("evidence", list(seen.evidence), indent=0)
            self.line()
        self.line("Timeline (seconds since it was first seen)", "bold")
        for entry in seen.timeline:
            self.line(f"{entry.clock} {f'+{entry.since}':>6}  {entry.event:16} {entry.detail}", indent=2)
        for told in seen.plans:
            self.line()
            self.plan(told.plan)
            self._done(told)

    def _done(self, told: Told) -> None:
        """What came of a plan: who decided, and every step that was begun, node by node where
        the plan goes from node to node.
        """
        plan, results = told.plan, told.plan["results"]
        for d in plan["decisions"]:
            reason = f": {d['reason']}" if d["reason"] else ""
            self.line(
                f"{'approved' if d['approved'] else 'rejected'} by {d['by']} at {when(d['at'])}{reason}", indent=2
            )
        if not results:
            return
        nodes = list(dict.fromkeys(s["node"] for s in plan["steps"]))
        self.line(
            f"what was done{', node by node' if nodes != [None] else ''}{_whole(results, ', {} in all')}:", indent=2
        )
        for node in nodes:
            mine = [
                (r, d) for r, d in zip(results, told.done, strict=True) if plan["steps"][r["index"]]["node"] == node
            ]
            if nodes != [None]:
                spent = f"(from {mine[0][1].began}{_whole([r for r, _ in mine], ', {}')})" if mine else "nothing"
                self.line(f"{node or 'the cluster'}: {spent}", "bold", 4)
            for _, done in mine:
                self.line(_result(done), indent=6 if nodes != [None] else 4)


def _gist(step: Shape, *, several: bool) -> str:
    """The one command of a step that matters, on several hosts with HOST for the name."""
    gist = generic(step["gist"], step["host"]) if several else step["gist"]
    return gist if len(gist) <= GIST else f"{gist[:GIST]}..."


def _whole(results: list[Shape], words: str) -> str:
    """How long these took together, in these words; "" while none has ended."""
    ends = [r["ended_at"] for r in results if r["ended_at"]]
    return words.format(seconds(results[0]["intent_at"], ends[-1])) if ends else ""


def _result(done: Done) -> str:
    detail = ": " + re.sub(r"\n", " | ", done.detail) if done.detail else ""
    what = f"{'undo of ' if done.undo else ''}step {done.number}, {done.description}"
    return f"{done.began}  {done.took:>7}  {what}: {done.verdict}{detail}"
