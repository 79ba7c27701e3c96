"""Room is made in a real etcd that has reached its quota."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web

from recoverd.clients.etcd import EtcdUnseen
from recoverd.clients.etcd_space import PrefixReader
from recoverd.model.etcd import EtcdView
from recoverd.model.etcd_operations import DisarmAlarm
from recoverd.model.observation import UnseenKind
from recoverd.model.plan import StepResult
from recoverd.model.space_operations import AwaitWrites, Compact, Defragment
from tests import filling

from .conftest import EtcdNode, Sshd
from .test_act import Hands
from .test_etcd import client, pretender
from .test_restore import StartEtcd

QUOTA = 24 << 20


def fill(node: EtcdNode, *, objects: bool = False) -> None:
    filling.fill(lambda key: node.ctl_command("put", f"/registry/events/{key}"), objects=objects)


async def view(hands: Hands, node: EtcdNode) -> EtcdView:
    return await client(hands.pool, node).view(timeout=10)


async def test_history_is_dropped_the_file_gets_small_and_writes_go_on(
    make_etcd: StartEtcd, sshd: Sshd, tmp_path: Path
) -> None:
    (node,) = make_etcd()
    node.start(f"--quota-backend-bytes={QUOTA}")
    node.ctl("put", "/registry/minions/n1", "node")
    fill(node)
    hands = Hands(sshd, tmp_path / "state", node)
    before = await view(hands, node)
    assert before.full and not before.healthy and before.db_size >= QUOTA * 0.9
    for operation in (Compact(), Defragment(QUOTA // 2), DisarmAlarm("", "NOSPACE")):
        result: StepResult = await hands.do(operation, timeout=60)
        assert result.ok, result.detail
        again = await hands.do(operation, timeout=60)
        assert again.ok, again.detail
    after = await view(hands, node)
    assert (
        not after.full
        and after.healthy
        and after.db_size < QUOTA // 2
        and (after.nodes, after.revision) == (1, before.revision)
    )
    assert not (await hands.do(AwaitWrites(), timeout=1)).ok
    node.ctl("put", "/registry/leases/n1", "renewed")
    await hands.pool.close()


async def test_where_objects_fill_it_the_defragmentation_says_so(
    make_etcd: StartEtcd, sshd: Sshd, tmp_path: Path
) -> None:
    (node,) = make_etcd()
    node.start(f"--quota-backend-bytes={QUOTA}")
    fill(node, objects=True)
    hands = Hands(sshd, tmp_path / "state", node)
    assert (await hands.do(Compact(), timeout=60)).ok
    result = await hands.do(Defragment(QUOTA // 2), timeout=5)
    assert not result.ok and "with more than 12 MiB writes soon end again" in result.detail, result.detail
    uses = await PrefixReader().read(client(hands.pool, node), timeout=20)
    assert (
        uses[0].prefix == "/registry/events/"
        and 15 < uses[0].keys < 24
        and uses[0].size == pytest.approx(uses[0].keys * 1_000_000, rel=0.01)
    )
    await hands.pool.close()


async def test_prefixes_are_told_apart(etcd: EtcdNode, sshd: Sshd, tmp_path: Path) -> None:
    hands = Hands(sshd, tmp_path / "state", etcd)
    for key in ("/registry/pods/a/b", "/registry/pods/c/d", "/registry/apps/x", "compact_rev_key", "fill/1", "fill/2"):
        etcd.ctl("put", key, "x" * 100)
    uses = {use.prefix: use.keys for use in await PrefixReader().read(client(hands.pool, etcd), timeout=20)}
    await hands.pool.close()
    assert uses == {
        "/registry/pods/": 2,
        "/registry/apps/": 1,
        "/registry/minions/": 1,
        "compact_rev_key": 1,
        "fill/": 2,
    }


async def test_what_was_read_is_kept_where_the_time_did_not_suffice(etcd: EtcdNode, sshd: Sshd, tmp_path: Path) -> None:
    """Seen on a busy lab: a sweep's three seconds were never enough for all prefixes, so that none was known."""
    hands = Hands(sshd, tmp_path / "state", etcd)
    names = [f"p{n:03}/" for n in range(250)]
    etcd.put({f"{name}x": "y" for name in names})
    reader, cut = PrefixReader(), 0
    while True:
        try:
            uses = await reader.read(client(hands.pool, etcd), timeout=0.4)
            break
        except EtcdUnseen:
            cut += 1
    await hands.pool.close()
    assert cut and sorted(use.prefix for use in uses) == sorted([*names, "/registry/minions/"])


@pytest.mark.parametrize("answer", [b'{"kvs": [1]}', b'{"kvs": [{"key": "x"}]}', b"no json"])
async def test_an_answer_that_makes_no_sense_is_unseen(
    answer: bytes, make_etcd: StartEtcd, sshd: Sshd, tmp_path: Path
) -> None:
    (node,) = make_etcd()
    hands = Hands(sshd, tmp_path / "state", node)

    async def garbage(_: web.Request) -> web.Response:
        return web.Response(body=answer)

    async for _ in pretender(node, garbage):
        with pytest.raises(EtcdUnseen) as told:
            await PrefixReader().read(client(hands.pool, node), timeout=20)
        assert told.value.unseen.kind is UnseenKind.GARBAGE
    await hands.pool.close()


async def test_a_leader_hands_that_over_before_it_is_defragmented(
    make_etcd: StartEtcd, sshd: Sshd, tmp_path: Path
) -> None:
    nodes = make_etcd(("cp1", "cp2", "cp3"))
    for node in nodes:
        node.start()
    nodes[0].ctl("put", "/registry/minions/n1", "node")
    for node in nodes:
        hands = Hands(sshd, tmp_path / node.name, node)
        result = await hands.do(Defragment(), timeout=60)
        assert result.ok, result.detail
        after = await view(hands, node)
        assert after.healthy and after.leader != after.member_id
        await hands.pool.close()
