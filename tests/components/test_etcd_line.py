"""Connections to a member that are kept from view to view, against a real etcd behind a real sshd: what only a new
connection shows is seen as it was, and what ends a kept one is no fault of the member.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace

import pytest

from recoverd.clients import etcd_line
from recoverd.clients.etcd import EtcdClient, EtcdUnseen
from recoverd.clients.hosts import HostPool
from recoverd.model.etcd import EtcdView
from recoverd.model.observation import ApiView, EndpointHealth, EndpointView, HostView, Unseen, UnseenKind
from recoverd.observe.members import in_doubt
from tests.authority import Authority
from tests.unit.builders import Cluster

from .conftest import EtcdNode, Sshd

MakeEtcd = Callable[..., list[EtcdNode]]
SECONDS = 20.0
"""Of one view: a machine that runs tests may be slow."""


class Door:
    """A port that leads to a member's. It counts who comes in, and can hold what is in, or leave who comes standing."""

    def __init__(self, to: int) -> None:
        self.came, self.somebody = 0, asyncio.Event()
        self.takes, self.passes = asyncio.Event(), asyncio.Event()
        self.takes.set()
        self.passes.set()
        self._to = to
        self._inside: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._enter, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came += 1
        self.somebody.set()
        task = asyncio.current_task()
        assert task
        self._inside.add(task)
        try:
            await self.takes.wait()
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
            await asyncio.gather(self._copy(reader, back), self._copy(there, writer), return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._inside.discard(task)
            writer.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self.passes.wait()
                writer.write(data)
        finally:
            writer.close()

    async def cut(self) -> None:
        """End every connection, as a firewall that is loaded anew does."""
        inside = list(self._inside)
        for task in inside:
            task.cancel()
        await asyncio.gather(*inside, return_exceptions=True)

    async def stop(self) -> None:
        self._server.close()
        await self.cut()


@pytest.fixture
async def pool(sshd: Sshd) -> AsyncIterator[HostPool]:
    pool = sshd.pool("cp1")
    yield pool
    await pool.close()


@pytest.fixture
async def door(etcd: EtcdNode) -> AsyncIterator[Door]:
    door = Door(etcd.port)
    await door.start()
    yield door
    await door.stop()


@pytest.fixture
async def asked(pool: HostPool, etcd: EtcdNode, door: Door) -> AsyncIterator[EtcdClient]:
    """A client that has kept its connections."""
    client = EtcdClient(pool, "cp1", port=door.port, metrics_port=etcd.metrics_port, pki=str(etcd.pki))
    await well(client)
    assert door.came
    yield client
    await client.close()


async def well(client: EtcdClient) -> EtcdView:
    """A view with which nothing is wrong, which a busy machine does not always give in time."""
    async with asyncio.timeout(60):
        while True:
            view = await client.view(timeout=SECONDS, kept=True)
            if view.healthy and view.nodes is not None and view.pods is not None:
                return view


async def unseen(client: EtcdClient, *, seconds: float = SECONDS, kept: bool = True) -> Unseen:
    began = time.monotonic()
    with pytest.raises(EtcdUnseen) as caught:
        await client.view(timeout=seconds, kept=kept)
    assert time.monotonic() - began < seconds + 1
    return caught.value.unseen


async def test_they_are_kept_from_view_to_view(asked: EtcdClient, door: Door, etcd: EtcdNode) -> None:
    came, before = door.came, await well(asked)
    etcd.put({"/registry/minions/n2": "v"})
    after = await well(asked)
    assert door.came == came, "no connection was made"
    assert after.revision > before.revision and after.nodes == (before.nodes or 0) + 1, "and what it says is of now"
    assert after.quota == before.quota == 2 << 30


async def test_whoever_does_not_ask_for_it_gets_new_ones(asked: EtcdClient, door: Door) -> None:
    came = door.came
    assert (await asked.view(timeout=SECONDS)).healthy
    assert door.came > came
    came = door.came
    await well(asked)
    assert door.came > came, "and after that none are left"


async def test_they_are_made_anew_when_they_are_old(
    asked: EtcdClient, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(etcd_line, "RENEWED_SECONDS", 0.0)
    came = door.came
    await well(asked)
    assert door.came > came


async def test_a_member_that_takes_no_new_connections_is_seen_as_soon_as_they_are_old(
    asked: EtcdClient, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    door.takes.clear()
    await well(asked)
    monkeypatch.setattr(etcd_line, "RENEWED_SECONDS", 0.0)
    assert (await unseen(asked, seconds=2.0)).kind is UnseenKind.TIMEOUT


async def test_a_member_that_takes_no_new_connections_is_seen_at_once_while_anything_is_found(
    asked: EtcdClient, door: Door
) -> None:
    door.takes.clear()
    assert (await unseen(asked, seconds=2.0, kept=False)).kind is UnseenKind.TIMEOUT


async def test_a_kept_one_that_hangs_or_was_cut_is_no_fault_of_the_member(asked: EtcdClient, door: Door) -> None:
    came = door.came
    await door.cut()
    await well(asked)
    assert door.came > came
    door.passes.clear()
    door.somebody.clear()
    hanging = asyncio.create_task(asked.view(timeout=SECONDS, kept=True))
    async with asyncio.timeout(SECONDS):
        await door.somebody.wait()  # new ones are made long before the deadline
    door.passes.set()
    assert (await hanging).has_leader


async def test_a_member_that_was_restarted_or_is_gone_is_seen_as_it_is(asked: EtcdClient, etcd: EtcdNode) -> None:
    etcd.kill()
    await asyncio.to_thread(etcd.start)
    await well(asked)
    etcd.kill()
    # the door takes connections, and behind it nobody does
    assert (await unseen(asked)).kind is UnseenKind.UNREACHABLE


async def test_without_an_ear_on_the_port_the_member_is_refused(pool: HostPool, etcd: EtcdNode) -> None:
    client = EtcdClient(pool, "cp1", port=etcd.port, metrics_port=etcd.metrics_port, pki=str(etcd.pki))
    await well(client)
    etcd.kill()
    assert (await unseen(client)).kind is UnseenKind.REFUSED
    await client.close()


async def test_a_serving_certificate_that_is_over_or_another_authoritys_is_seen_when_they_are_old(
    asked: EtcdClient, etcd: EtcdNode, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """etcd reads its certificate at each handshake."""
    other = Authority(tmp_path_factory.mktemp("other"))
    other.issue("server")
    for kind in ("crt", "key"):
        (etcd.pki / f"server.{kind}").write_bytes((other.directory / f"server.{kind}").read_bytes())
    await well(asked)
    monkeypatch.setattr(etcd_line, "RENEWED_SECONDS", 0.0)
    assert (await unseen(asked)).kind is UnseenKind.UNTRUSTED


async def test_a_lost_quorum_is_told_in_time(pool: HostPool, start_etcd: MakeEtcd) -> None:
    left, lost = start_etcd(("cp1", "cp2"))
    client = EtcdClient(pool, "cp1", port=left.port, metrics_port=left.metrics_port, pki=str(left.pki))
    await well(client)
    lost.kill()
    async with asyncio.timeout(60):
        while (view := await client.view(timeout=5, kept=True)).has_leader:
            pass
    assert not view.healthy and view.health_reason and len(view.members) == 2
    await client.close()


async def test_another_leader_is_told_by_new_connections(pool: HostPool, start_etcd: MakeEtcd) -> None:
    """What is new is believed only over a connection that is."""
    nodes = start_etcd(("cp1", "cp2", "cp3"))
    door = Door(nodes[0].port)
    await door.start()
    client = EtcdClient(pool, "cp1", port=door.port, metrics_port=nodes[0].metrics_port, pki=str(nodes[0].pki))
    before = await well(client)
    by_id = {m.id: m.name for m in before.members}
    other = next(m.id for m in before.members if m.id != before.leader)
    leads = next(n for n in nodes if n.name == by_id[before.leader])
    came = door.came
    leads.ctl("move-leader", other)
    async with asyncio.timeout(60):
        while (await well(client)).leader != other:
            pass
    assert door.came > came
    await client.close()
    await door.stop()


async def test_a_bastion_that_may_not_ask_any_more_does_not(asked: EtcdClient, pool: HostPool) -> None:
    pool.lapsed = lambda: "it lost the cluster"
    assert (await unseen(asked)).kind is UnseenKind.NOT_TRIED


async def test_a_cancelled_view_keeps_nothing_that_is_in_use(asked: EtcdClient, door: Door) -> None:
    door.passes.clear()
    task = asyncio.create_task(asked.view(timeout=SECONDS, kept=True))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    door.passes.set()
    assert (await well(asked)).has_leader


@pytest.mark.parametrize("what", ["nothing", "vip", "member", "lists", "machine", "etcd"])
def test_what_makes_it_matter_in_a_sweep_whether_etcd_takes_connections(what: str) -> None:
    sweep = Cluster(3).observation()
    gone = Unseen(UnseenKind.TIMEOUT, "it did not answer")
    api: ApiView = sweep.api
    etcd: Mapping[str, EtcdView | Unseen] = sweep.etcd
    hosts: Mapping[str, HostView | Unseen] = sweep.hosts
    down = EndpointView("10.0.0.1:6443", EndpointHealth.REFUSED)
    if what == "vip":
        api = replace(api, vip=down)
    elif what == "member":
        api = replace(api, members={**api.members, "cp2": down})
    elif what == "lists":
        api = replace(api, objects=gone)
    elif what == "machine":
        hosts = {**hosts, "cp1": gone}
    elif what == "etcd":
        etcd = {**etcd, "cp3": gone}
    assert in_doubt(api, etcd, hosts) is (what != "nothing")
