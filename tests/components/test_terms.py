"""Bastions that take over from each other, on the machines: a later owner of a cluster has the lease at once, and what
an earlier one sends comes too late, on control planes and workers. The shell is run under every sh there is here.
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from recoverd.act.kube import Kube, KubeFailure
from recoverd.clients.hosts import HostUnseen
from recoverd.clients.lease import Bastion, LeaseKeeper
from recoverd.model.call import Call
from recoverd.model.lease import Held, HeldBy
from recoverd.observe import hosts as looks
from tests.shells import sent

from .conftest import Sshd
from .test_api import Server, as_json
from .test_lease import SHELLS, Plane


@dataclass
class Owner:
    """A `Tenure` as the test has it."""

    number: int
    holder: str = "fleet"
    over: str = ""

    def lapsed(self) -> str:
        return self.over


@pytest.fixture(params=SHELLS)
def plane(request: pytest.FixtureRequest, tmp_path: Path) -> Plane:
    return Plane(tmp_path, request.param)


def keeper(plane: Plane, name: str, number: int) -> LeaseKeeper:
    return LeaseKeeper(Bastion(name, name), lambda: plane.now, Owner(number))


def swept(plane: Plane, by: LeaseKeeper) -> object:
    """What a sweep of the owner comes to, whose look is sent as it is sent to a real machine."""
    assert by.tenure
    id, name, lasts, fence, want, process = by.asked("cp1")
    asked = f"O='{by.tenure.holder} {by.tenure.number}'\n{looks.TERM}\n"
    asked += f"R='{id} {name} {lasts:.0f} {fence} {want:d} {process}'"
    said = plane.do(f'{asked}\n{looks.LEASE}\n[ -z "${{O-}}" ] || term_seen $O || R=""\n[ -z "$R" ] || lease $R').stdout
    text = f"@@ boot\nb\n@@ lease\n{said}@@ end\n"
    view = looks.parse(text, "@@", middle=looks.datetime.now(looks.UTC)).view if said else None
    return by.take({"cp1": view.lease if view else None})


def acts(plane: Plane, by: LeaseKeeper, host: str = "cp1") -> bool:
    return plane.do(f"{sent(by.guard(host))}\necho done").stdout == "done\n"


def test_the_next_owner_acts_at_once_and_the_one_before_no_more(plane: Plane) -> None:
    a, b = keeper(plane, "a", 10), keeper(plane, "b", 20)
    assert isinstance(swept(plane, a), Held) and acts(plane, a)
    assert isinstance(swept(plane, b), Held) and acts(plane, b), (
        "nobody waits a minute for the lease of one that is dead"
    )
    assert not acts(plane, a)
    assert not isinstance(swept(plane, a), Held | HeldBy), "a look that comes late takes nothing back"
    assert isinstance(swept(plane, b), Held) and acts(plane, b)
    # the same bastion may own it again later
    again = keeper(plane, "a", 30)
    assert isinstance(swept(plane, again), Held) and acts(plane, again) and not acts(plane, b)


def test_who_has_not_looked_yet_and_comes_late_takes_nothing(plane: Plane) -> None:
    """Stopped between its ownership and its first sweep: it knows no number of the machine's yet."""
    a, b = keeper(plane, "a", 10), keeper(plane, "b", 20)
    assert isinstance(swept(plane, b), Held)
    assert not isinstance(swept(plane, a), Held)
    assert isinstance(swept(plane, b), Held) and acts(plane, b)


def test_a_worker_that_a_later_owner_has_looked_at_refuses_an_earlier_one(plane: Plane) -> None:
    a, b = keeper(plane, "a", 10), keeper(plane, "b", 9007199254740993)
    assert acts(plane, a, "w1") and acts(plane, b, "w1"), "nobody has looked at it"
    plane.do(f"O='fleet 10'\n{looks.TERM}\nterm_seen $O")
    assert acts(plane, a, "w1")
    plane.do(f"O='fleet 20'\n{looks.TERM}\nterm_seen $O")
    assert not acts(plane, a, "w1") and acts(plane, b, "w1")
    assert acts(plane, LeaseKeeper(Bastion("c", "c"), tenure=Owner(1, "another")), "w1"), "numbers are one store's"


def test_who_may_not_act_any_more_by_its_own_clock_sends_nothing_that_acts(plane: Plane) -> None:
    owner = Owner(10)
    a = LeaseKeeper(Bastion("a", "a"), lambda: plane.now, owner)
    assert isinstance(swept(plane, a), Held)
    owner.over = "it slept"
    for host in ("cp1", "w1"):
        assert plane.do(f"{sent(a.guard(host))}\necho done").returncode == 3
        assert not acts(plane, a, host)


@pytest.mark.parametrize("content", ["", "garbage\n", "fleet x\n", "fleet\n"])
def test_what_makes_no_sense_stops_nobody(plane: Plane, content: str) -> None:
    plane.run.mkdir(exist_ok=True)
    (plane.run / "term").write_text(content)
    a = keeper(plane, "a", 10)
    assert acts(plane, a, "w1") and isinstance(swept(plane, a), Held) and acts(plane, a)
    assert (plane.run / "term").read_text() == "fleet 10\n"


def test_a_machine_on_which_nothing_can_be_written_is_looked_at_all_the_same(plane: Plane) -> None:
    shutil.rmtree(plane.run, ignore_errors=True)
    plane.run.write_text("a file where the directory would be")
    assert plane.do(f"O='fleet 10'\n{looks.TERM}\nterm_seen $O && echo seen").stdout == "seen\n"


async def test_over_ssh_a_guard_is_made_when_the_script_is_sent_and_no_tunnel_is_opened_late(sshd: Sshd) -> None:
    """The login takes so long that the ownership is over by then."""
    owner = Owner(10)
    keeper = LeaseKeeper(Bastion("a", "a"), tenure=owner)
    pool = sshd.pool("w1")
    pool.guard, pool.lapsed = keeper.guard, owner.lapsed
    acting = asyncio.create_task(pool.act("w1", Call.of("any_shell", "echo done"), timeout=10))
    await asyncio.sleep(0)  # it waits for its login
    owner.over = "it slept"
    said = await acting
    assert said.exit_status == 3 and "it slept" in said.stdout + said.stderr, said
    with pytest.raises(HostUnseen, match="it slept"):
        async with pool.tunnel("w1", 1, timeout=5):
            pass
    await pool.close()


async def test_nothing_is_asked_of_the_api_server_that_changes_anything(tmp_path: Path) -> None:
    server = Server(tmp_path, "127.0.0.1")
    server.answers["/api/v1/nodes/n"] = as_json({"kind": "Node"})
    await server.start()
    kube = Kube(server.kubeconfig, list, lambda: "it slept")
    assert (await kube.node("n"))["kind"] == "Node"
    with pytest.raises(KubeFailure, match="it slept"):
        await kube.patch_node("n", {})
    await kube.close()
    await server.stop()
