"""Whose memory it is: a machine that was put in another's place, or given another part of the pod network, is not held
to what was known of the one before.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from recoverd.diagnose.scene import Scene
from recoverd.memory.machines import OF_MACHINES, of_those_there
from recoverd.model.memory import KnownNode, Memory
from recoverd.model.observation import Unseen, UnseenKind
from tests.unit.builders import Cluster
from tests.unit.memories import full


def known() -> Memory:
    """Of cp1 to cp3 and w1, once their nodes were listed."""
    return after(replace(full(4), nodes={}), cluster())[0]


def cluster(of: str = "w1", **changes: Any) -> Cluster:
    """With these changes of what the node says of itself."""
    made = Cluster(3, 1)
    for name in ("cp1", "cp2", "cp3", "w1"):
        mine = changes if name == of else {}
        made.node(name, **{"machine_id": f"id of {name}", "pod_cidrs": (f"10.244.{name[-1]}.0/24",), **mine})
    return made


def after(memory: Memory, seen: Cluster) -> tuple[Memory, tuple[str, ...]]:
    return of_those_there(Scene(seen.observation(), memory, seen.settings))


def about(memory: Memory, host: str) -> dict[str, Any]:
    return {name: getattr(memory, name).get(host) for name in OF_MACHINES}


def test_who_is_there_is_noted_once_and_what_is_known_stays() -> None:
    memory = replace(full(4), nodes={})
    noted, told = after(memory, cluster())
    assert noted.nodes["w1"] == KnownNode("id of w1", ("10.244.1.0/24",)) and not told
    assert all(about(noted, host) == about(memory, host) for host in ("cp1", "w1"))
    again, told = after(noted, cluster())
    assert again is noted and not told


@pytest.mark.parametrize("name", ["w1", "cp2"])
def test_of_another_machine_nothing_is_known(name: str) -> None:
    memory = known()
    assert memory.networks[name] and memory.files[name]
    less, told = after(memory, cluster(name, machine_id="another one"))
    assert not any(about(less, name).values()) and name not in less.worked
    assert [line.partition(":")[0] for line in told] == [name]
    assert about(less, "cp1") == about(memory, "cp1") and less.workers == memory.workers
    assert after(less, cluster(name, machine_id="another one")) == (less, ())


def test_with_another_part_of_the_pod_network_only_that_of_its_network_is_forgotten() -> None:
    memory = known()
    less, told = after(memory, cluster(pod_cidrs=("10.244.7.0/24",)))
    assert "w1" not in less.networks and less.files == memory.files
    assert told == ("w1: its part of the pod network was 10.244.1.0/24 and is 10.244.7.0/24",)


@pytest.mark.parametrize("says", [{"machine_id": ""}, {"pod_cidrs": ()}, {"machine_id": "", "pod_cidrs": ()}])
def test_nothing_is_concluded_from_what_a_node_does_not_say(says: dict[str, Any]) -> None:
    memory = known()
    assert after(memory, cluster(**says)) == (memory, ())


def test_who_is_not_listed_is_whom_it_was() -> None:
    memory, seen = known(), cluster(machine_id="another one")
    seen.objects = Unseen(UnseenKind.REFUSED, "no API server is ready")
    assert after(memory, seen) == (memory, ())
