"""recoverd with faults added to what it finds by itself, so that the repairs can be tried on
nodes of which nothing is wrong.

`python -m tests.lab.sick FILE run --config ...`: FILE holds {"NODE": {"boot_id": ID}}; the node's pods are found not to
be on it for as long as it runs in that boot ("" for always). Everything else is the daemon itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from recoverd.cli.daemon import main
from recoverd.engine.loop import ClusterLoop
from recoverd.machine import sweeps
from recoverd.model.catalogue import Code
from recoverd.model.events import Perform, StepEnded
from recoverd.model.facts import Facts
from recoverd.model.finding import Diagnosis, Finding, State
from recoverd.model.memory import Memory
from recoverd.model.observation import HostView, Observation
from recoverd.model.settings import ClusterSettings

FILE = Path(sys.argv[1])
real = sweeps.diagnose


def diagnose(observation: Observation, memory: Memory, settings: ClusterSettings, busy: str) -> Diagnosis:
    """What is found, and the faults of the file with it, where the cluster is healthy otherwise."""
    found = real(observation, memory, settings, busy)
    sick = tuple(
        _fault(n) for n, word in json.loads(FILE.read_text()).items() if _still(observation, n, word["boot_id"])
    )
    if not sick or found.state not in (State.HEALTHY, State.WORKER_NETWORK_BROKEN):
        return found
    return Diagnosis(State.WORKER_NETWORK_BROKEN, (*sick, *found.findings), sick[0].message)


def _still(observation: Observation, node: str, boot_id: str) -> bool:
    view = observation.hosts.get(node)
    return not boot_id or not isinstance(view, HostView) or view.boot_id == boot_id


def _fault(node: str) -> Finding:
    facts = Facts(node, node)
    return Finding(
        Code.PODS_NOT_ON_NODE,
        node,
        f"{node} is sick.",
        (f"{node}: said by the test",),
        state=State.WORKER_NETWORK_BROKEN,
        facts=facts,
    )


PACE = os.environ.get("LAB_PACE", "")


async def perform(loop: ClusterLoop, what: Perform) -> None:
    """As the real one, at the pace of the file. What is asked about after a crash is not held up again."""
    number = 0 if what.resume or what.undo else what.index + 1
    while number > _until():  # noqa: ASYNC110  # a file wakes nobody
        await asyncio.sleep(0.05)
    _perhaps_killed(number, "before")
    step = what.plan.steps[what.index]
    result = await loop._carried(step, what.plan.incident, undo=what.undo, resume=what.resume)
    _perhaps_killed(number, "after")
    await loop._take_in(StepEnded(what.plan.id, what.index, what.undo, result, loop._clock()))


def _until() -> int:
    return int(Path(PACE).read_text().split()[0])


def _perhaps_killed(number: int, when: str) -> None:
    _, chosen, moment = Path(PACE).read_text().split()
    if (number, when) == (int(chosen), moment):
        with suppress(FileExistsError):  # one of them, once
            os.close(os.open(f"{PACE}.{number}", os.O_CREAT | os.O_EXCL))
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    if PACE:
        ClusterLoop._perform = perform
    sweeps.diagnose = diagnose
    main(sys.argv[2:], prog_name="recoverd")
