"""Which numbers of clusters the tests have: 1 to 9, or those of LAB_NUMBERS, and of these never one that somebody has
brought up by hand.

For each number there is a file. Its lock is held by the process whose cluster it is, so that the kernel
frees it, however that ends. Its text names the run, so that what a run has left can be found and taken
down, and nothing else with it.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

from tests.lab.kubelab.cluster import Cluster
from tests.lab.kubelab.host import CACHE, say

FIRST, _, LAST = os.environ.get("LAB_NUMBERS", "1-9").partition("-")
NUMBERS = range(int(FIRST), int(LAST or FIRST) + 1)
SHAPES = ((1, 1, 2), (3, 0, 1), (1, 0, 3), (1, 2, 1))
"""Control planes, spares and workers that tests ask for. Each is tried on a number of its own first, since a
number's machines are kept as images.
"""


class NoNumber(Exception):
    """Every number of the tests is taken."""


@dataclass
class Claim:
    """One number, held by this process until `release`."""

    number: int
    _file: IO[str] = field(repr=False)

    def release(self) -> None:
        """Say that the cluster is down, and let others have the number."""
        self._file.truncate(0)
        self._file.close()


def preferred(control_planes: int = 1, spares: int = 0, workers: int = 2) -> Iterator[int]:
    """The numbers to try for a shape: its own, the one that it has beside that, then any other."""
    shape = (control_planes, spares, workers)
    at = SHAPES.index(shape) if shape in SHAPES else len(NUMBERS)
    own = NUMBERS[at :: len(SHAPES)][:2]
    yield from own
    yield from (n for n in reversed(NUMBERS) if n not in own)


def claim(run: str, numbers: Iterable[int]) -> Claim:
    """The first of `numbers` that no process holds and no person uses; raises NoNumber."""
    for number in numbers:
        file = _open(number)
        if not _lock(file):
            file.close()
            continue
        if not file.read() and Cluster(number).dir.exists():  # brought up by hand
            file.close()
            continue
        file.seek(0)
        file.truncate()
        file.write(run)
        file.flush()
        return Claim(number, file)
    raise NoNumber(
        f"all cluster numbers from {NUMBERS[0]} to {NUMBERS[-1]} are in use; `tests/lab/lab clusters` lists them"
    )


def take_down(run: str | None, seconds: float = 60) -> list[int]:
    """Take down what the run has left, or with None what any run has left that lives no more; the numbers.

    The processes of a run that is ending are waited for. A number that one holds even then is left as it is.
    """
    taken = []
    for number in NUMBERS:
        with _open(number) as file:
            owner = file.read()
            if not owner or run not in (None, owner):
                continue
            deadline = time.monotonic() + (seconds if run else 0)
            while not (free := _lock(file)) and time.monotonic() < deadline:
                time.sleep(0.2)
            if free:
                Cluster(number).down()
                file.truncate(0)
                taken.append(number)
            elif run:
                say(f"cluster {number} is held by a process of this run still, and was left as it is")
    return taken


def _open(number: int) -> IO[str]:
    directory = CACHE / "tests"
    directory.mkdir(parents=True, exist_ok=True)
    return os.fdopen(os.open(directory / str(number), os.O_RDWR | os.O_CREAT, 0o644), "r+")


def _lock(file: IO[str]) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
