"""What recoverd concludes from what real clusters said: observations recorded on the lab.

A recording is `fixtures/lab-*.json`: an observation, or {"observation": ..., "settings": ..., "memory": ..., "expect": {"state": ..., "faults":
[[code, subject], ...]}} of which all but the observation may be absent. Without `expect` it is only seen that diagnosing it does not fail.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from recoverd.diagnose import diagnose
from recoverd.model.finding import State
from recoverd.model.memory import Memory
from recoverd.model.observation import Observation
from recoverd.model.settings import ClusterSettings, HostSettings

RECORDINGS = sorted((Path(__file__).parent / "fixtures").glob("lab-*.json"))


def settings_of(observation: Observation) -> ClusterSettings:
    """From the observation itself, where the recording has none: those with an etcd are control planes."""

    def host(name: str) -> HostSettings:
        endpoint = observation.api.members.get(name)
        return HostSettings(name, endpoint.address.rsplit(":", 1)[0] if endpoint else f"{name}.invalid")

    planes = tuple(host(n) for n in observation.etcd)
    return ClusterSettings(observation.cluster, planes, tuple(host(n) for n in observation.hosts if n not in observation.etcd))


@pytest.mark.skipif(not RECORDINGS, reason="no recordings in tests/unit/fixtures")
@pytest.mark.parametrize("path", RECORDINGS, ids=lambda p: p.stem)
def test_recorded_on_a_real_cluster(path: Path) -> None:
    recording: dict[str, Any] = json.loads(path.read_text())
    observation = TypeAdapter(Observation).validate_python(recording.get("observation", recording))
    settings = TypeAdapter(ClusterSettings).validate_python(recording["settings"]) if "settings" in recording else settings_of(observation)
    memory = TypeAdapter(Memory).validate_python(recording.get("memory", {}))
    diagnosis = diagnose(observation, memory, settings)
    expect = recording.get("expect") or EXPECTED.get(path.stem)
    if expect is not None:
        assert diagnosis.state is State(expect["state"]), diagnosis.summary
        assert [list(f.key) for f in diagnosis.faults] == expect["faults"]


EXPECTED: dict[str, dict[str, Any]] = {}
"""By the recording's name, for recordings that are bare observations."""
