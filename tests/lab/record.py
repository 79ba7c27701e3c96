"""Record what a lab cluster says at this moment, for `tests/unit/test_diagnose_lab.py`.

    python -m tests.lab.record CLUSTER NAME [--memory STATE_DIR]

It writes tests/unit/fixtures/lab-NAME.json; `expect` is filled in with what is found now.

The memory of a healthy time is taken from the journal of a daemon that watched the cluster, when its state directory is given.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from recoverd.config import load
from recoverd.diagnose import diagnose
from recoverd.journal import Journal
from recoverd.live import LiveWorld
from recoverd.model.memory import Memory
from recoverd.model.observation import Observation
from recoverd.model.settings import ClusterSettings
from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster

FIXTURES = Path(__file__).parents[1] / "unit" / "fixtures"


def _dumped(kind: Any, value: Any) -> Any:
    return TypeAdapter(kind).dump_python(value, mode="json")


async def record(number: int, name: str, memory: Memory) -> Path:
    """Observe the cluster once and write the recording; gives its path."""
    bastion = Bastion(Cluster(number))
    try:
        config = load(bastion.config).clusters[0]
        world = LiveWorld(config, bastion.home / "state")
        try:
            observation = await world.observe(1, memory)
        finally:
            await world.close()
    finally:
        bastion.remove()
    diagnosis = diagnose(observation, memory, config.settings)
    recording = {
        "observation": _dumped(Observation, observation),
        "settings": _dumped(ClusterSettings, config.settings),
        "memory": _dumped(Memory, memory),
        "expect": {"state": diagnosis.state, "faults": [list(f.key) for f in diagnosis.faults]},
    }
    path = FIXTURES / f"lab-{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(recording, indent=1, sort_keys=True) + "\n")
    print(path, diagnosis.state, diagnosis.summary)
    return path


def remembered(state_dir: Path, cluster: str) -> Memory:
    """What the journal in a state directory holds; only while no daemon uses it."""
    journal = Journal(state_dir / "journal.sqlite3")
    try:
        return journal.saved(cluster).memory
    finally:
        journal.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cluster", type=int)
    parser.add_argument("name")
    parser.add_argument("--memory", type=Path)
    a = parser.parse_args()
    asyncio.run(record(a.cluster, a.name, remembered(a.memory, f"lab{a.cluster}") if a.memory else Memory()))
