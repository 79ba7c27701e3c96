"""A real world over real sshds: who is reached, and by which host key, before, during and after a join."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncssh
import pytest

from recoverd.config import ClusterConfig
from recoverd.daemon.live import LiveWorld
from recoverd.model.joining import JoinRequest, MachineFacts
from recoverd.model.memory import Guest, Memory
from recoverd.model.observation import Unseen, UnseenKind
from recoverd.model.operations import Shell
from recoverd.model.places import Places
from recoverd.model.plan import Step
from recoverd.model.settings import ClusterSettings, HostSettings
from recoverd.observe import joining

from .conftest import Sshd, free_port

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="as on real machines, root is asked")
CP1, CP2 = "127.0.0.1", "127.0.0.2"


class Live:
    """cp1 is configured, cp2 is not, and known_hosts does not know it."""

    def __init__(self, start: Callable[..., Sshd], state: Path) -> None:
        first = start(address=CP1)
        known = first.settings.known_hosts.read_text()
        second = start(address=CP2, like=first)
        first.settings.known_hosts.write_text(known)
        self.key = Path(f"{second.host_key}.pub").read_text().strip()
        self.cluster = ClusterConfig(
            ClusterSettings("test", (HostSettings("cp1", CP1),)), 5.0, state / "no-kubeconfig", first.settings
        )
        self.world = LiveWorld(self.cluster, state)

    async def reaches(self, name: str) -> bool:
        result = await self.world.perform(Step(name, "a step", Shell("true"), 5.0), undo=False, resume=False)
        return result.ok


def wrong() -> str:
    return asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()


@pytest.fixture
async def live(start_sshd: Callable[..., Sshd], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Live]:
    # etcd and the API server of this very machine, if it has any, are nobody's business
    monkeypatch.setattr(joining, "ETCD_PORTS", (free_port(),))
    made = Live(start_sshd, tmp_path / "state")
    made.world._hosts.places["cp1"] = Places(api=free_port())
    yield made
    await made.world.close()


async def test_a_host_key_that_is_given_for_a_configured_machine_changes_nothing(live: Live) -> None:
    assert await live.reaches("cp1")
    async with asyncio.TaskGroup() as group:
        survey = group.create_task(live.world.survey(JoinRequest("cp1", CP1, wrong()), "cp1", ("cp1",)))
        meanwhile = [await live.reaches("cp1") for _ in range(3)]
    assert isinstance(survey.result().machines["cp1"], MachineFacts), "it is asked by what known_hosts says"
    assert survey.result().api_port == live.world._hosts.places_of("cp1").api, "as the sweeps have learnt it"
    assert all(meanwhile) and await live.reaches("cp1")
    live.world.learn(Memory(guest=Guest("cp1", CP1, wrong())))
    assert await live.reaches("cp1"), "nor does one that an earlier version remembered"


async def test_a_machine_that_asks_to_join_is_reached_once_it_was_let_in_and_as_long_as_that_is_remembered(
    live: Live,
) -> None:
    refused = (await live.world.survey(JoinRequest("cp2", CP2, wrong()), "cp1", ("cp1",))).machines["cp2"]
    assert isinstance(refused, Unseen) and refused.kind is UnseenKind.UNTRUSTED
    assert isinstance(
        (await live.world.survey(JoinRequest("cp2", CP2, live.key), "cp1", ("cp1",))).machines["cp2"], MachineFacts
    )
    assert not await live.reaches("cp2"), "a survey lets nobody in"
    live.world.learn(Memory(guest=Guest("cp2", CP2, live.key)))
    assert await live.reaches("cp2")
    await live.world.survey(JoinRequest("cp2", CP2, wrong()), "cp1", ("cp1",))
    assert await live.reaches("cp2"), "nor does a later one turn anybody out"
    live.world.learn(Memory())
    assert not await live.reaches("cp2")


async def test_after_a_restart_who_was_let_in_is_reached(live: Live, tmp_path: Path) -> None:
    again = LiveWorld(live.cluster, tmp_path / "state", Memory(guest=Guest("cp2", CP2, live.key)))
    try:
        result = await again.perform(Step("cp2", "a step", Shell("true"), 5.0), undo=False, resume=False)
        assert result.ok, result.detail
    finally:
        await again.close()
