"""Every time that a person reads has its date and its zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

import recoverd
from recoverd.cli.render import happened
from recoverd.model.text import utc

PACKAGE = Path(recoverd.__file__).parent
WHOLE = re.compile(r"%Y-%m-%d %H:%M(:%S)?\} UTC")
FOR_PROGRAMS = re.compile(r"%Y%m%dT|%Y-%m-%dT%H:%M:%S\.%fZ")
ELSEWHERE = {"model/text.py", "report/words.py", "cli/drill.py"}
"""The one place that says how; and what stands below its date, or in a time that is not that of this world."""


def test_a_moment_has_its_date_and_its_zone() -> None:
    at = datetime(2026, 3, 5, 23, 10, 20, 500000, tzinfo=UTC)
    assert utc(at) == utc(at.astimezone(timezone(timedelta(hours=2)))) == "2026-03-05 23:10:20 UTC"


def test_a_line_that_is_told_as_it_happens_says_in_what_zone() -> None:
    entry = {"at": "2026-03-05T19:10:20.500Z", "event": "opened", "detail": "etcd has lost quorum"}
    assert happened(entry) == "19:10:20 UTC  opened           etcd has lost quorum"


@pytest.mark.parametrize("room", sorted(p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name != "simulate"))
def test_no_time_of_day_is_told_without_its_date_and_zone(room: str) -> None:
    """`since 19:10:20` of what stands for three days is read as of today, and in the zone of who reads."""
    for file in (PACKAGE / room).rglob("*.py"):
        if str(file.relative_to(PACKAGE)) in ELSEWHERE:
            continue
        for n, text in enumerate(file.read_text().splitlines(), 1):
            for found in re.finditer(r"[^{}\"]*%H[^\"]*", text):
                assert WHOLE.search(found[0]) or FOR_PROGRAMS.search(found[0]), f"{file}:{n}: {text.strip()}"
