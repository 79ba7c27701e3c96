"""The status page and the post-mortem: what comes from a cluster is text in them and nothing else."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from markdown_it import MarkdownIt

from recoverd.machine.lifecycle import moves
from recoverd.model.finding import PHASED_STATES, Phase, State
from recoverd.page import board
from recoverd.page.board import DIAGRAMS
from recoverd.report import pages, words
from recoverd.report.diagram import HEIGHT, WIDTH, diagram
from recoverd.report.postmortem import post_mortem

EVIL = "<script>alert(1)</script> [x](http://e) `a` | b\n# c <img src=x> \x1b[31m\x07 &amp; **d**"
MOMENT = "2026-03-05T19:10:00.000Z"


class Read(HTMLParser):
    """What a browser would make of a page: its elements, its text, and what asks for something elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.elsewhere: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        asks = [v for n, v in attrs if n in ("href", "src", "action") and v]
        self.elsewhere += [v for v in asks if not v.startswith(("#", "data:"))]
        assert not any(n.startswith("on") or n == "style" for n, _ in attrs), attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def cluster(**other: Any) -> dict[str, Any]:
    finding = {"code": "c", "subject": EVIL, "severity": "fault", "message": EVIL, "evidence": [EVIL]}
    calm = {
        "name": EVIL, "state": "etcd-stuck", "phase": "awaiting-approval", "since": MOMENT, "fault_since": MOMENT,
        "mode": "act", "paused": True, "pause_reason": EVIL, "summary": EVIL, "explanation": EVIL,
        "findings": [finding] * 5, "incident": EVIL, "plan": EVIL, "last_sweep": MOMENT,
        "lasts": 5.0, "old": 90.0, "calm": False, "course": None,
        "lines": [{"at": MOMENT, "event": EVIL, "detail": EVIL}],
    }  # fmt: skip
    return calm | other


def page(*clusters: dict[str, Any], **other: Any) -> str:
    empty: dict[str, Any] = {"notices": [], "plans": [], "incidents": []}
    return pages.page(generated_at=MOMENT, clusters=clusters, diagrams=DIAGRAMS, **empty | other)


def plan(**other: Any) -> dict[str, Any]:
    step = {"host": EVIL, "node": None, "description": EVIL, "command": f"echo\n```\n{EVIL}"}
    made = {
        "id": EVIL, "incident": EVIL, "cluster": EVIL, "playbook": EVIL, "summary": EVIL, "destructive": True,
        "destroys": [EVIL], "status": "failed", "reason": EVIL, "automatic": False, "steps": [step, step],
        "created_at": MOMENT, "expires_at": MOMENT, "left": 60.0,
        "results": [{"index": 0, "undo": False, "intent_at": MOMENT, "ended_at": MOMENT, "ok": False, "detail": EVIL}],
        "decisions": [{"approved": True, "by": EVIL, "reason": EVIL, "at": MOMENT}],
    }  # fmt: skip
    return made | other


def report(**other: Any) -> dict[str, Any]:
    lines = [{"at": MOMENT, "event": e, "detail": EVIL} for e in ("opened", "finding", "step-started", EVIL)]
    made = {
        "id": EVIL, "cluster": EVIL, "state": "etcd-stuck", "summary": EVIL, "opened_at": MOMENT, "fault_since": MOMENT,
        "closed_at": None, "outcome": None, "acknowledged_by": EVIL, "timeline": lines, "plans": [plan()],
    }  # fmt: skip
    return made | other


def test_markup_and_control_characters_are_text_on_the_page() -> None:
    text = page(cluster(), notices=[EVIL], plans=[plan(status="awaiting-approval"), plan(status="running")])
    read = Read(text)
    assert read.tags.count("script") == 1 and "img" not in read.tags, "the page's own script is the only one"
    assert "<script>alert(1)</script> [x](http://e)" in read.text and "\\x1b[31m\\x07 &amp; **d**" in read.text
    assert "\x1b" not in text and "\x07" not in text
    assert set(read.elsewhere) == {"api/v1/status", "metrics", "runbooks/"}


def test_a_post_mortem_in_html_needs_no_other_file_and_runs_nothing() -> None:
    text = pages.in_html(post_mortem(report(), "2026-03-05T19:20:00Z"))
    read = Read(text)
    assert not {"script", "img"} & set(read.tags) and not read.elsewhere
    assert "\x1b" not in text and "default-src 'none'" in text
    assert "still open, for 10 min by now" in read.text and "1 of 2 steps was not begun" in read.text


def test_a_step_that_is_carried_out_now_is_told_as_such_and_one_that_a_stop_cut_off_as_that() -> None:
    begun = {"index": 0, "undo": False, "intent_at": MOMENT, "ended_at": None, "ok": None, "detail": None}
    of = {
        status: post_mortem(report(plans=[plan(status=status, results=[begun, begun])]), MOMENT).plans[0].done
        for status in ("running", "failed")
    }
    stopped = "not known: the daemon stopped first"
    assert [(d.verdict, d.took) for d in of["running"]] == [(stopped, "no end"), ("is carried out now", "so far")]
    assert {(d.verdict, d.took) for d in of["failed"]} == {(stopped, "no end")}


def test_nothing_in_a_post_mortem_is_markup_to_markdown() -> None:
    """A real parser finds the page's own headings, tables, lists and code, and nothing of the cluster's."""
    text = pages.in_markdown(post_mortem(report(), "2026-03-05T19:20:00Z"))
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    inline = {c.type for t in tokens for c in t.children or ()}
    assert inline <= {"text", "text_special", "strong_open", "strong_close"}, inline
    strong = [t.content for t in tokens if t.type == "inline" and "**" in t.content and "\\*" not in t.content]
    assert strong and all(s.startswith("**") for s in strong), "the lengths alone are strong"
    blocks = {t.type for t in tokens}
    assert not blocks & {"html_block", "blockquote_open", "ordered_list_open", "code_block", "hr"}, blocks
    assert len([t for t in tokens if t.type == "fence"]) == 2, "a fence in a command ends no block"
    rows = _rows(tokens)
    assert len(rows) == 4 and all(len(set(map(len, table))) == 1 for table in rows), "no cell was torn apart"
    assert rows[1][1][1].startswith("<script>alert(1)</script>") and "| b # c" in rows[1][1][1]
    assert "\x1b" not in text


def _rows(tokens: list[Any]) -> list[list[list[str]]]:
    tables: list[list[list[str]]] = []
    for token, following in itertools.pairwise(tokens):
        match token.type:
            case "table_open":
                tables.append([])
            case "tr_open":
                tables[-1].append([])
            case "th_open" | "td_open":
                tables[-1][-1].append("".join(c.content for c in following.children))
    return tables


@pytest.mark.parametrize("text", ["- a", "+ a", "# a", "1. a", "1) a", "> a", "a\n\nb", "a|b", "`a", "<b>", "~~a~~"])
def test_a_line_that_begins_like_markup_is_none(text: str) -> None:
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(f"- {pages.markdown(text)}\n")
    kinds = [t.type for t in tokens]
    assert kinds == ["bullet_list_open", "list_item_open", "paragraph_open", "inline", "paragraph_close",
                     "list_item_close", "bullet_list_close"]  # fmt: skip
    assert "".join(c.content for c in tokens[3].children or ()) == " ".join(text.split())


def test_a_length_of_time_is_no_list_and_stays_readable() -> None:
    assert pages.markdown("0.5 s") == "0.5 s"


@pytest.mark.parametrize("state", PHASED_STATES)
def test_the_diagram_draws_every_state_and_a_line_for_every_move(state: State) -> None:
    drawn = diagram(moves(state))
    named = {name for way in moves(state) for name in way}
    assert {b.name for b in drawn.boxes} == named
    assert all(b.x >= 0 and b.x + b.width <= WIDTH and b.y >= 0 and b.y + b.height <= HEIGHT for b in drawn.boxes)
    phases = {frozenset(way) for way in moves(state) if not set(way) & {"healthy", "unobservable"}}
    outside = 3  # healthy and the frame, unobservable and the frame, and both of them
    assert len(drawn.lines) == len(phases) + outside
    assert "remediating" in drawn.kept, "no repair that is at work is left for healthy"


def test_what_is_shown_by_reference_is_styled_wherever_it_stands() -> None:
    """What a `use` element shows has no ancestors: a rule for `svg text` leaves it black, in the dark too."""
    style = pages._shipped("style.css")
    symbol = page(cluster()).split("<symbol")[1].split("</symbol>")[0]
    drawn = set(re.findall(r'class="(\w+)"', symbol))
    assert drawn == {"frame", "way", "box"}
    for selector in ("text", *(f"\\.{name}" for name in drawn)):
        rule = rf"(?:^|}} ?){selector} \{{[^}}]*(?:fill|stroke): var"
        assert re.search(rule, style, re.MULTILINE), selector


@pytest.mark.parametrize("phase", Phase)
def test_where_a_cluster_stands_is_marked(phase: Phase) -> None:
    text = page(cluster(name="prod", phase=str(phase), findings=[]))
    marked = text.split('class="mark"')
    assert len(marked) == 2 and f">{phase}</text>" in marked[1].split("</svg>")[0]
    assert f'aria-label="prod is etcd-stuck/{phase}"' in text


@pytest.mark.parametrize("state", ["healthy", "unobservable"])
def test_a_state_without_phases_is_marked_too(state: str) -> None:
    text = page(cluster(state=state, phase=None))
    assert f">{state}</text>" in text.split('class="mark"')[1].split("</svg>")[0]


def test_the_command_to_type_is_whole_and_there_is_no_button() -> None:
    waiting = plan(id="prod-1.1", status="awaiting-approval")
    text = page(cluster(), plans=[waiting])
    assert "<pre>recoverctl approve prod-1.1</pre>" in text and "WHAT IS LOST" in text
    assert not {"button", "form", "input"} & set(Read(text).tags)


def test_what_needs_a_person_stands_first_of_a_hundred_clusters() -> None:
    """One that had come to its end stood behind those that repair themselves, and offered maintenance before all."""
    named = {
        "waits": {"phase": "awaiting-approval"},
        "escalated": {"phase": "escalated", "plan": None},
        "held": {"phase": "paused", "plan": None},
        "dark": {"state": "unobservable", "phase": None, "plan": None, "paused": False},
        "repairs": {"phase": "remediating", "paused": False},
        "offered": {"state": "healthy", "phase": None, "paused": False},
        "unfinished": {"phase": "escalated", "plan": None, "paused": False, "never_healthy": True},
        "warned": {"state": "healthy", "phase": None, "plan": None, "paused": False},
        "well": {"state": "healthy", "phase": None, "plan": None, "paused": False, "findings": []},
    }
    wanted = [cluster(name=name, **other) for name, other in named.items()]
    mixed = [cluster(name=f"w{n}", **named["well"]) for n in range(91)] + wanted[::-1]
    assert [c["name"] for c in board._worst_first(mixed)][:3] == ["held", "escalated", "waits"], "in their order there"
    seen = [words.urgency(c) for c in wanted]
    assert seen == sorted(seen) == [0, 0, 0, 1, 2, 3, 3, 4, 5]
    plans = [plan(id="m", cluster="offered"), plan(id="late", cluster="waits", expires_at="2026-03-05T20:00:00Z"),
             plan(id="soon", cluster="waits", expires_at="2026-03-05T19:30:00Z")]  # fmt: skip
    assert [p["id"] for p in board._soonest_first(plans, wanted)] == ["soon", "late", "m"]


@pytest.mark.parametrize("text", ["page", "report"])
def test_a_screen_reader_finds_its_way(text: str) -> None:
    """Headings without a gap, a header for each column, a name for each figure, and the page's language."""
    made = page(cluster(), plans=[plan(status="awaiting-approval")]) if text == "page" else pages.in_html(
        post_mortem(report(), "2026-03-05T19:20:00Z")
    )  # fmt: skip
    levels = [int(n) for n in re.findall(r"<h([1-6])", made)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels)), levels
    for table in re.findall(r"<table>.*?</table>", made, re.DOTALL):
        head, _, rest = table.partition("</tr>")
        assert head.count('<th scope="col"') == head.count("<th") == rest.partition("</tr>")[0].count("<td") > 0
    assert all("aria-label" in svg or "aria-hidden" in svg for svg in re.findall(r"<svg[^>]*>", made))
    assert '<html lang="en">' in made
    if text == "page":  # what is told as it changes is told on top, where it is seen, and aloud
        assert made.index('id="live" class="faint" role="status"') < made.index("<main")
