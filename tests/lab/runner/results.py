"""What runs of the lab saw: the lines that pytest writes while it runs, and docs/lab-results.md, a
row for each test, made of them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

HEAD = """# What the lab saw

Each test on real kubeadm clusters, as it was last run: `make lab-all` writes this by itself, and so does
`scripts/lab-test --record`. Seconds are the test's own, without the time to bring up its cluster. `flaky`: failed once
and passed then, on another cluster. A commit with a `+` had changes.

| test | outcome | seconds | Kubernetes | etcd | runtime | commit | day |
| --- | --- | ---: | --- | --- | --- | --- | --- |
"""
FIELDS = ("outcome", "seconds", "kubernetes", "etcd", "runtime", "commit", "day")
PROFILE = re.compile(r" \(([\w-]+)\)$")
TURN = re.compile(r"(?<=[\[-])turn\d+-?|-?turn\d+(?=\])")


@dataclass(frozen=True)
class Row:
    """How one test ended."""

    outcome: str
    seconds: str
    kubernetes: str = "?"
    etcd: str = "?"
    runtime: str = "?"
    commit: str = "?"
    day: str = "?"


@dataclass
class Seen:
    """One test, or one turn of it, in one run of pytest."""

    name: str
    """As in the table, with its turn where it has one."""
    nodeid: str
    failed: bool = False
    skipped: bool = False
    seconds: float = 0.0
    evidence: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


def commit(table: Path) -> str:
    """The commit of this tree, with a `+` where something but the table that is written differs from it."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=table.parent, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--", ":/", f":!/{table.parent.name}/{table.name}")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def name_of(nodeid: str) -> str:
    """`test_join::test_x[a]`, of what pytest calls it."""
    path, _, rest = nodeid.partition("::")
    return f"{Path(path).stem}::{rest}" if rest else Path(path).stem


def without_turn(name: str) -> str:
    """The test's name, of the name of one of its turns."""
    return TURN.sub("", name).removesuffix("[]")


def line_of(report: object) -> str:
    """One phase of a test as a line for `read`."""
    kept = {"nodeid": report.nodeid, "when": report.when, "outcome": report.outcome, "seconds": report.duration}  # type: ignore[attr-defined]
    return json.dumps(kept | {"properties": dict(report.user_properties)}) + "\n"  # type: ignore[attr-defined]


def read(lines: Iterable[str]) -> dict[str, Seen]:
    """The tests of one run of pytest, by name, of the lines of their phases."""
    found: dict[str, Seen] = {}
    unended: dict[str, bool] = {}
    profile = os.environ.get("LAB_PROFILE", "")
    for line in map(json.loads, lines):
        name = name_of(line["nodeid"]) + (f" ({profile})" if profile else "")
        test = found.setdefault(name, Seen(name, line["nodeid"]))
        unended[name] = line["when"] == "setup" and line["outcome"] == "passed"
        test.failed |= line["outcome"] == "failed"
        test.skipped |= line["outcome"] == "skipped"
        test.seconds = line["seconds"] if line["when"] == "call" else test.seconds
        test.evidence = line["properties"].get("evidence", test.evidence)
        test.versions = line["properties"].get("versions", test.versions)
    for name, test in found.items():
        test.failed |= unended[name]  # it was begun, and the run was cut off: nobody has seen it pass
    return found


def rows(first: Mapping[str, Seen], again: Mapping[str, Seen], commit: str, day: str) -> dict[str, Row]:
    """A row for each test of a run; `again` is what was tried a second time."""
    made: dict[str, Row] = {}
    turns: dict[str, list[Seen]] = {}
    for test in first.values():
        turns.setdefault(without_turn(test.name), []).append(test)
    for name, tests in turns.items():
        failed = sum(t.failed for t in tests)
        if len(tests) > 1:
            outcome = f"passed {len(tests) - failed} of {len(tests)}"
        elif failed:
            outcome = "flaky" if name in again and not again[name].failed else "FAILED"
        else:
            outcome = "skipped" if tests[0].skipped else "passed"
        last = again.get(name, tests[-1])
        made[name] = Row(outcome, f"{last.seconds:.0f}", commit=commit, day=day, **last.versions)
    return made


def load(path: Path) -> dict[str, Row]:
    """The rows of the table; none where there is no file."""
    found: dict[str, Row] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == len(FIELDS) + 1 and cells[0] not in ("test", "---"):
            found[cells[0].strip("`")] = Row(**dict(zip(FIELDS, cells[1:], strict=True)))
    return found


def profile_of(name: str) -> str:
    """`sudo`, of the name of a test in the table that was run on that profile; "" for the lab's ordinary one."""
    found = PROFILE.search(name)
    return found[1] if found else ""


def merge(old: Mapping[str, Row], new: Mapping[str, Row], *, whole: bool) -> dict[str, Row]:
    """The newest outcome of each test. After a run of the `whole` what its profile had no test for is gone."""
    run = {profile_of(name) for name in new} if whole else set()
    return {name: row for name, row in old.items() if profile_of(name) not in run} | dict(new)


def save(path: Path, table: Mapping[str, Row]) -> None:
    """Write the table, sorted by name, so that a run changes only the rows of its own tests."""
    lines = []
    for name, row in sorted(table.items()):
        cells = [f"`{name}`", *(str(getattr(row, field)) for field in FIELDS)]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    path.write_text(HEAD + "".join(lines))


def every_turn(outcome: str) -> bool:
    """Whether it says that all turns of a test have passed."""
    turns = re.fullmatch(r"passed (\d+) of (\d+)", outcome)
    return bool(turns) and turns[1] == turns[2]
