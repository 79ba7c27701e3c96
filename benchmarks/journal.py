"""What it costs to journal one changed route of a cluster, against all that is remembered of it as one value.

    python -m benchmarks.journal [NODES...]      50 and 500; no root, no network

The cluster is healthy, and every node has a route to every other one. Printed are the bytes that SQLite writes (its
log) and those of the values for the bastions' etcd, with the CPU time of making and writing them, and the ratios. The
first write, of everything, is beside it. Whatever else the machine does, bytes are the same and ratios nearly so.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from recoverd.engine.journal import Journal
from recoverd.engine.journal_file import JournalFile
from recoverd.model.codec import dump
from recoverd.model.events import Remember, RememberPart
from recoverd.model.memory import Memory
from recoverd.model.memory_parts import Written
from recoverd.store.rows import packed, rows
from tests.unit.memories import full, network

ROUNDS = 5
Cost = tuple[int, float]
"""Bytes, and CPU seconds."""


def changed(memory: Memory, nodes: int, number: int) -> Memory:
    """One machine has one route more, another one each time."""
    more = f"10.{number}.0.0/16 via 10.0.0.3 dev eth0"
    return replace(memory, networks={**memory.networks, "w7": network(9, nodes, more)})


def in_file(write: Callable[[Memory], None], log: Path, empty: Callable[[], None]) -> Callable[[Memory], Cost]:
    """What a write costs whose bytes are those of SQLite's log, which is emptied before it."""

    def cost(memory: Memory) -> Cost:
        empty()
        began = time.process_time()
        write(memory)
        return log.stat().st_size, time.process_time() - began

    return cost


def whole_in_file(home: Path) -> Callable[[Memory], Cost]:
    file = JournalFile(home / "whole")

    def write(memory: Memory) -> None:
        with file.transaction() as db:
            db.execute("INSERT OR REPLACE INTO cluster (name, memory) VALUES ('prod', ?)", (dump(memory),))

    return in_file(write, home / "whole-wal", lambda: _truncate(file))


def parts_in_file(home: Path) -> Callable[[Memory], Cost]:
    journal = Journal(home / "parts")
    return in_file(
        lambda memory: journal.write([Remember("prod", memory)]),
        home / "parts-wal",
        lambda: _truncate(journal._file),
    )


def _truncate(file: JournalFile) -> None:
    file.rows("PRAGMA wal_checkpoint(TRUNCATE)")


def whole_in_etcd(memory: Memory) -> Cost:
    began = time.process_time()
    return len(packed([Remember("prod", memory)])), time.process_time() - began


def parts_in_etcd() -> Callable[[Memory], Cost]:
    written = Written(indexed=True)

    def cost(memory: Memory) -> Cost:
        began = time.process_time()
        changes = written.changes(memory)
        values = rows("/r/", "", [RememberPart("prod", part, text) for part, text in changes.puts.items()])
        written.adopt(changes)
        return sum(map(len, values.values())), time.process_time() - began

    return cost


def main(sizes: list[int]) -> None:
    for nodes in sizes:
        memory = full(nodes)
        with tempfile.TemporaryDirectory() as home:
            ways = {
                "SQLite": (whole_in_file(Path(home)), parts_in_file(Path(home))),
                "etcd": (whole_in_etcd, parts_in_etcd()),
            }
            for where, (whole, parts) in ways.items():
                first = parts(memory)
                told = [(whole(c), parts(c)) for c in (changed(memory, nodes, n) for n in range(ROUNDS))]
                before, now = (_median([pair[k] for pair in told]) for k in (0, 1))
                print(
                    f"{nodes} nodes, {where}: one value {_said(before)}; parts {_said(now)}; parts / one value = "
                    f"{now[0] / before[0]:.4f} of the bytes, {now[1] / before[1]:.3f} of the CPU; the first time "
                    f"{_said(first)}",
                    flush=True,
                )


def _median(costs: list[Cost]) -> Cost:
    return round(statistics.median(c[0] for c in costs)), statistics.median(c[1] for c in costs)


def _said(cost: Cost) -> str:
    return f"{cost[0] / 1000:.1f} kB, {cost[1] * 1000:.1f} ms"


if __name__ == "__main__":
    main([int(nodes) for nodes in sys.argv[1:]] or [50, 500])
