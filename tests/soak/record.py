"""What random runs found, in docs/soak-results.md: a row for each run that was played with `--record`."""

from __future__ import annotations

import re
import time
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from tests.lab.runner import results

TABLE = Path(__file__).resolve().parents[2] / "docs" / "soak-results.md"
HEAD = """# What random runs found

Runs of `python -m tests.soak` (stories on the model cluster) and `python -m tests.lab.soak` (episodes on a real one)
that were played with `--record`. Each is played again by its seed, on its commit. Wrong: a promise was broken, or a
broken cluster was called healthy.

{total}

| day | commit | where | seed | runs | time | outcome | wrong |
| --- | --- | --- | ---: | ---: | ---: | --- | ---: |
"""


@dataclass(frozen=True)
class Row:
    """One run: `where` is `model` or the lab's shape, `runs` counts stories or episodes, `time` is the cluster's."""

    day: str
    commit: str
    where: str
    seed: int
    runs: int
    time: str
    outcome: str
    wrong: int


def read(text: str) -> list[Row]:
    """The rows of the table, oldest first."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == len(fields(Row)) and cells[4].replace(",", "").isdigit():
            day, commit, where, seed, runs, took, outcome, wrong = cells
            found.append(Row(day, commit, where, int(seed), int(runs.replace(",", "")), took, outcome, int(wrong)))
    return found


def written(rows: list[Row]) -> str:
    """The page, with how many runs there are of each kind."""
    model = sum(row.runs for row in rows if row.where == "model")
    lab = sum(row.runs for row in rows if row.where != "model")
    wrong = sum(row.wrong for row in rows)
    total = f"Together {model:,} stories and {lab:,} episodes, {wrong} of them wrong."
    lines = [
        "| " + " | ".join(f"{cell:,}" if i == 4 else str(cell) for i, cell in enumerate(astuple(row))) + " |\n"
        for row in rows
    ]
    return HEAD.format(total=total) + "".join(lines)


def append(where: str, seed: int, runs: int, took: str, outcome: str, wrong: int) -> None:
    """Write a row more. `outcome` is words, such as `12 ended healthy`."""
    rows = read(TABLE.read_text()) if TABLE.exists() else []
    outcome = re.sub(r"\s*\|\s*", ", ", outcome)
    rows.append(Row(time.strftime("%F"), results.commit(TABLE), where, seed, runs, took, outcome, wrong))
    TABLE.write_text(written(rows))
