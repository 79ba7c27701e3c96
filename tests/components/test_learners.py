"""Learners of a real etcd: what they tell, what is believed of it, and their vote, behind a real sshd. With the etcd in
PATH, and with Debian 13's, where the lab has fetched that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tenacity import AsyncRetrying, Retrying, stop_after_delay, wait_fixed

from recoverd.clients.hosts import HostPool
from recoverd.diagnose.members import Membership
from recoverd.model.bastion_operations import AwaitEtcd
from recoverd.model.etcd import EtcdView
from recoverd.model.etcd_operations import PromoteMember
from recoverd.model.settings import ClusterSettings

from .conftest import EtcdNode, Sshd
from .test_act import Hands
from .test_hashes import NAMES, looked, newer

__all__ = ["newer"]


@pytest.fixture(params=["of PATH", "newer"], autouse=True)
def version(request: pytest.FixtureRequest) -> None:
    if request.param == "newer":
        request.getfixturevalue("newer")


@pytest.fixture
async def pool(sshd: Sshd) -> AsyncIterator[HostPool]:
    made = sshd.pool("cp1", *NAMES)
    yield made
    await made.close()


@pytest.fixture
def members(make_etcd: Callable[..., list[EtcdNode]]) -> tuple[EtcdNode, EtcdNode, EtcdNode]:
    """Two voters, and a learner that runs and that nobody promotes."""
    one, two, three = make_etcd(NAMES)
    peers = f"--initial-cluster={','.join(f'{n.name}={url_of(n)}' for n in (one, two))}"
    for node in (one, two):
        node.start(peers)
    again = Retrying(stop=stop_after_delay(45), wait=wait_fixed(0.5), reraise=True)
    again(one.ctl, "put", "/registry/minions/n1", "node", "--command-timeout=15s")
    # it is refused while the two have been connected for less than 5 s
    again(one.ctl, "member", "add", "m3", "--learner", f"--peer-urls={url_of(three)}")
    three.start("--initial-cluster-state=existing")
    return one, two, three


def url_of(node: EtcdNode) -> str:
    return f"https://127.0.0.1:{node.peer_port}"


async def until(pool: HostPool, nodes: list[EtcdNode], what: Callable[[dict[str, EtcdView]], bool]) -> Membership:
    """What is seen of the members as soon as it is so."""
    async for attempt in AsyncRetrying(stop=stop_after_delay(60), wait=wait_fixed(0.2), reraise=True):
        with attempt:
            views = await looked(pool, nodes)
            assert what(views), views
    return Membership(views, None, ClusterSettings("test", ()))


def serves(views: dict[str, EtcdView]) -> bool:
    return len(views) == 3 and all(v.healthy and v.has_leader for v in views.values())


async def test_a_learner_that_serves_is_seen_though_it_tells_no_member_list(
    pool: HostPool, members: tuple[EtcdNode, ...]
) -> None:
    seen = await until(pool, list(members), serves)
    assert set(seen.camp) == set(NAMES) and set(seen.electorate) == {"m1", "m2"}
    learner = seen.camp["m3"]
    assert learner.learner and learner.members == seen.entries and seen.source in {"m1", "m2"}
    assert (len(seen.voters), learner.revision, learner.nodes) == (2, seen.camp["m1"].revision, 1)


async def test_what_a_learner_says_of_a_leader_is_not_believed_once_quorum_is_lost(
    pool: HostPool, members: tuple[EtcdNode, ...]
) -> None:
    """It never stands for election, and so goes on naming the last leader for good."""
    one, two, three = members
    await until(pool, [one, two, three], serves)
    two.kill()
    seen = await until(pool, [one, three], lambda views: not any(v.has_leader for v in views.values()))
    assert set(seen.camp) == {"m1", "m3"} and not seen.leader and not seen.camp["m3"].healthy


async def test_a_learner_in_sync_gets_its_vote(members: tuple[EtcdNode, ...], sshd: Sshd, tmp_path: Path) -> None:
    one, two, three = members
    hands, other = Hands(sshd, tmp_path / "state", two), Hands(sshd, tmp_path / "state", three)
    promote = PromoteMember(url_of(three))
    asked = await hands.do(promote, resume=True, requires=(("x", ""),))
    assert asked.undone and "a learner still" in asked.detail
    promoted = await hands.do(promote, timeout=60)
    assert promoted.ok, promoted.detail
    assert (await hands.do(promote, timeout=20)).ok, "a second time there is nothing to do"
    served = await other.do(AwaitEtcd(members=3), timeout=60)
    assert served.ok, served.detail
    one.kill()
    put = Retrying(stop=stop_after_delay(30), wait=wait_fixed(0.5), reraise=True)
    await asyncio.to_thread(put, two.ctl, "put", "/registry/minions/n2", "two of three", "--command-timeout=5s")
    await asyncio.gather(hands.pool.close(), other.pool.close())


async def test_a_learner_that_lags_behind_is_refused_by_etcd_and_stays_one(
    members: tuple[EtcdNode, ...], sshd: Sshd, pool: HostPool, tmp_path: Path
) -> None:
    one, _, three = members
    await until(pool, list(members), serves)
    three.kill()
    one.put({f"/registry/pods/default/p{i}": "x" for i in range(200)})
    hands = Hands(sshd, tmp_path / "state", one)
    refused = await hands.do(PromoteMember(url_of(three)), timeout=6)
    assert not refused.ok and "in sync with leader" in refused.detail and "has no vote" in refused.detail
    three.start("--initial-cluster-state=existing")
    promoted = await hands.do(PromoteMember(url_of(three)), timeout=60)
    assert promoted.ok, promoted.detail
    await hands.pool.close()


async def test_without_quorum_nobody_gets_a_vote(
    members: tuple[EtcdNode, ...], sshd: Sshd, pool: HostPool, tmp_path: Path
) -> None:
    one, two, three = members
    await until(pool, list(members), serves)
    two.kill()
    await until(pool, [one, three], lambda views: not any(v.has_leader for v in views.values()))
    hands = Hands(sshd, tmp_path / "state", one)
    refused = await hands.do(PromoteMember(url_of(three)), timeout=10)
    assert not refused.ok and "quorum is as it was" in refused.detail, refused.detail
    (row,) = [m for m in (await looked(pool, [one]))["m1"].members if url_of(three) in m.peer_urls]
    assert row.learner
    await hands.pool.close()
