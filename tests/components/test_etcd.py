"""The etcd client against a real etcd behind a real sshd, with and without quorum, and against
something that only pretends to be one.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import signal
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from recoverd.clients.etcd import EtcdClient, EtcdRefused, EtcdUnseen
from recoverd.clients.hosts import HostPool
from recoverd.clients.snapshot import SnapshotFile
from recoverd.model.etcd import EtcdView
from recoverd.model.observation import UnseenKind
from tests.authority import Authority

from .conftest import EtcdNode, Sshd, free_port

MakeEtcd = Callable[..., list[EtcdNode]]


@pytest.fixture
async def pool(sshd: Sshd) -> AsyncIterator[HostPool]:
    pool = sshd.pool("cp1")
    yield pool
    await pool.close()


def client(pool: HostPool, node: EtcdNode) -> EtcdClient:
    return EtcdClient(pool, "cp1", port=node.port, metrics_port=node.metrics_port, pki=str(node.pki))


async def test_a_healthy_member_says_everything_of_itself(pool: HostPool, etcd: EtcdNode) -> None:
    for key in ("/registry/minions/n2", "/registry/pods/default/p1", "/registry/podsecurity/x"):
        etcd.ctl("put", key, "v")
    view = await client(pool, etcd).view(timeout=5)
    told = json.loads(etcd.ctl("endpoint", "status", "-w", "json"))[0]["Status"]
    row = etcd.ctl("member", "list").split(", ")
    assert (view.member_id, view.members[0].id, view.members[0].name, view.leader) == (row[0], row[0], "cp1", row[0])
    assert (int(view.cluster_id, 16), view.revision, view.db_size) == (
        told["header"]["cluster_id"],
        told["header"]["revision"],
        told["dbSize"],
    )
    assert (view.healthy, view.has_leader, view.nodes, view.pods, view.quota, view.alarms) == (
        True,
        True,
        2,
        1,
        2 << 30,
        (),
    )
    assert (view.members[0].peer_urls, view.members[0].started, view.quorum) == (
        (f"https://127.0.0.1:{etcd.peer_port}",),
        True,
        1,
    )


async def test_the_kubernetes_cluster_is_known_by_the_uid_of_kube_system(pool: HostPool, etcd: EtcdNode) -> None:
    asked = client(pool, etcd)
    assert (await asked.view(timeout=5)).uid == ""
    uid = "0b6df153-2a0e-4a3c-a2b1-5d9f0e7c1a22"
    stored = (
        f"k8s\x00\n\x0f\n\x02v1\x12\tNamespace\x12\xc2\x01\n\xa7\x01\n\x0bkube-system\x12\x00\x1a\x00*${uid}2\x008\x00"
    )
    for value, found in ((stored.replace("\x00", ""), uid), ("k8s:enc:aescbc:v1:key1:AAAA", None)):
        etcd.ctl("put", "/registry/namespaces/kube-system", value)
        assert (await asked.view(timeout=5)).uid == found


async def test_without_quorum_the_view_is_whole_and_in_time(pool: HostPool, start_etcd: MakeEtcd) -> None:
    left, lost = start_etcd(("cp1", "cp2"))
    asked = client(pool, left)
    lost.kill()
    view = await until_leaderless(asked)
    assert (view.healthy, view.nodes, len(view.members), view.quorum) == (False, 1, 2, 2)
    assert view.health_reason


async def until_leaderless(asked: EtcdClient) -> Any:
    """A view that came within 3 s, once there is no leader; one that is asked for on a busy machine while
    etcd elects may come too late.
    """
    async with asyncio.timeout(60):
        while True:
            began = time.monotonic()
            try:
                view = await asked.view(timeout=3)
            except EtcdUnseen as late:
                assert late.kind is UnseenKind.TIMEOUT
                continue
            assert time.monotonic() - began < 3
            if not view.has_leader:
                return view


async def test_a_voter_that_never_started_has_no_name(pool: HostPool, etcd: EtcdNode) -> None:
    etcd.ctl("member", "add", "cp2", f"--peer-urls=https://127.0.0.1:{free_port()}")
    view = await client(pool, etcd).view(timeout=5)
    assert sorted(m.started for m in view.members) == [False, True]


async def test_a_learner_is_told_apart(pool: HostPool, etcd: EtcdNode) -> None:
    etcd.ctl("member", "add", "cp2", "--learner", f"--peer-urls=https://127.0.0.1:{free_port()}")
    view = await client(pool, etcd).view(timeout=5)
    assert (len(view.members), len(view.voters), view.has_leader) == (2, 1, True)


async def test_the_nospace_alarm_is_seen(pool: HostPool, make_etcd: MakeEtcd) -> None:
    (node,) = make_etcd()
    node.start("--quota-backend-bytes=100000")
    node.fill()
    view = await client(pool, node).view(timeout=5)
    assert [(a.member_id, a.alarm) for a in view.alarms] == [(view.member_id, "NOSPACE")]
    assert view.quota == 100000


async def test_the_quota_is_read_seldom_and_anew_once_the_member_was_away(pool: HostPool, make_etcd: MakeEtcd) -> None:
    (node,) = make_etcd()
    asked = client(pool, node)

    async def quota() -> int:
        """Which is none where a busy machine does not give its metrics in time."""
        async with asyncio.timeout(60):
            while not (found := (await asked.view(timeout=5)).quota):
                pass
        return found

    node.start("--quota-backend-bytes=100000000")
    assert await quota() == 100000000
    node.kill()
    node.start("--quota-backend-bytes=200000000")
    assert await quota() == 100000000, "its metrics are long, and hardly anybody changes a quota"
    node.kill()
    with pytest.raises(EtcdUnseen):
        await asked.view(timeout=5)
    node.start("--quota-backend-bytes=200000000")
    assert await quota() == 200000000


async def test_without_the_metrics_port_only_the_quota_is_missing(pool: HostPool, start_etcd: MakeEtcd) -> None:
    (node,) = start_etcd(metrics=False)
    view = await client(pool, node).view(timeout=5)
    assert (view.quota, view.healthy, view.nodes) == (0, True, 1)


async def test_an_etcd_that_is_not_there_is_refused(pool: HostPool, make_etcd: MakeEtcd) -> None:
    (node,) = make_etcd()
    assert (await unseen(client(pool, node))).kind is UnseenKind.REFUSED


async def test_a_missing_certificate_says_which(pool: HostPool, make_etcd: MakeEtcd) -> None:
    (node,) = make_etcd()
    (node.pki / "healthcheck-client.crt").unlink()
    answer = await unseen(client(pool, node))
    assert answer.kind is UnseenKind.NOT_TRIED
    assert "healthcheck-client.crt: No such file" in answer.reason


async def test_an_etcd_of_another_authority_is_untrusted_until_the_certificates_are_put_right(
    pool: HostPool, etcd: EtcdNode, tmp_path: Path
) -> None:
    pki = tmp_path / "other"
    asked = EtcdClient(pool, "cp1", port=etcd.port, metrics_port=etcd.metrics_port, pki=str(pki))
    Authority(pki, "foreign").issue("healthcheck-client")
    assert (await unseen(asked)).kind is UnseenKind.UNTRUSTED
    for file in ("ca.crt", "healthcheck-client.crt", "healthcheck-client.key"):
        (pki / file).write_bytes((etcd.pki / file).read_bytes())
    assert (await asked.view(timeout=5)).healthy


async def test_a_client_certificate_that_etcd_does_not_accept_is_denied(
    pool: HostPool, etcd: EtcdNode, tmp_path: Path
) -> None:
    Authority(tmp_path / "other", "foreign").issue("healthcheck-client")
    (tmp_path / "other" / "ca.crt").write_bytes((etcd.pki / "ca.crt").read_bytes())
    asked = EtcdClient(pool, "cp1", port=etcd.port, metrics_port=etcd.metrics_port, pki=str(tmp_path / "other"))
    assert (await unseen(asked)).kind is UnseenKind.DENIED


@pytest.mark.parametrize(
    "answer",
    [
        b"\xff\xfe garbage",
        b"[]",
        b"{}",
        b'{"header": {"member_id": "x", "cluster_id": {}}, "members": [1]}',
        b"9" * (9 << 20),
    ],
    ids=["bytes", "list", "empty", "lies", "flood"],
)
async def test_garbage_is_garbage_in_time(pool: HostPool, make_etcd: MakeEtcd, answer: bytes) -> None:
    (node,) = make_etcd()

    async def garbage(_: web.Request) -> web.Response:
        return web.Response(body=answer)

    async for _ in pretender(node, garbage):
        assert (await unseen(client(pool, node), within=30)).kind is UnseenKind.GARBAGE


async def test_no_http_at_all_is_told(pool: HostPool, make_etcd: MakeEtcd) -> None:
    (node,) = make_etcd()

    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\x01\x02 no http\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1", node.port, ssl=tls(node)):
        assert (await unseen(client(pool, node))).kind is UnseenKind.GARBAGE


async def test_silence_is_a_timeout(pool: HostPool, make_etcd: MakeEtcd) -> None:
    (node,) = make_etcd()
    for_ever = asyncio.Event()

    async def silent(_: web.Request) -> web.Response:
        await for_ever.wait()
        return web.Response()

    async for _ in pretender(node, silent):
        assert (await unseen(client(pool, node), within=1)).kind is UnseenKind.TIMEOUT
        for_ever.set()


async def test_a_snapshot_is_one_that_etcdctl_accepts(pool: HostPool, start_etcd: MakeEtcd, tmp_path: Path) -> None:
    left, lost = start_etcd(("cp1", "cp2"))
    left.put({f"/registry/k{i}": "x" * 50000 for i in range(30)})
    lost.kill()  # an emergency snapshot has to come without quorum
    info = await client(pool, left).snapshot(tmp_path / "s" / "a.db", timeout=20)
    data = info.path.read_bytes()
    assert (info.size, info.sha256, info.path.stat().st_mode & 0o777) == (
        len(data),
        hashlib.sha256(data).hexdigest(),
        0o600,
    )
    left.ctl("snapshot", "restore", str(info.path), f"--data-dir={tmp_path}/restored")
    assert list((tmp_path / "s").iterdir()) == [info.path]


async def test_a_restored_snapshot_begins_a_new_log_of_the_same_cluster(
    pool: HostPool, etcd: EtcdNode, tmp_path: Path
) -> None:
    etcd.put({f"/registry/k{i}": "x" for i in range(200)})
    info = await client(pool, etcd).snapshot(tmp_path / "s" / "a.db", timeout=20)
    before = await client(pool, etcd).view(timeout=5)
    etcd.kill()
    wanted = ("--name=", "--initial-cluster=", "--initial-advertise-peer-urls=")
    own = [a for a in etcd.arguments if a.startswith(wanted)]
    etcd.ctl("snapshot", "restore", str(info.path), f"--data-dir={tmp_path}/restored", *own)
    etcd.start(f"--data-dir={tmp_path}/restored")
    after = await client(pool, etcd).view(timeout=5)
    # as far as revisions and ids tell, nothing has happened
    assert (after.cluster_id, after.member_id, after.revision) == (before.cluster_id, before.member_id, before.revision)
    assert before.raft_index > 200 and 0 < after.raft_index < 20


def test_what_a_recoverd_that_was_killed_has_left_of_a_snapshot_goes_with_the_next_one(tmp_path: Path) -> None:
    whole, left = tmp_path / "prod-1.db", tmp_path / ".prod-2.db.part"
    for path in (whole, left):
        path.write_bytes(b"x")
    with SnapshotFile(tmp_path / "prod-3.db"):
        assert whole.exists() and not left.exists()
    assert list(tmp_path.iterdir()) == [whole]


@pytest.mark.parametrize("fault", ["cut", "altered", "error", "nothing"])
async def test_a_snapshot_that_is_not_whole_leaves_nothing(
    pool: HostPool, etcd: EtcdNode, make_etcd: MakeEtcd, tmp_path: Path, fault: str
) -> None:
    info = await client(pool, etcd).snapshot(tmp_path / "good.db", timeout=10)
    data = bytearray(info.path.read_bytes())
    if fault == "altered":
        data[100] ^= 1
    (node,) = make_etcd()

    async def snapshot(_: web.Request) -> web.Response:

        half = base64.b64encode(bytes(data[: len(data) // 2])).decode()
        rest = (
            {"error": {"message": "lost"}}
            if fault == "error"
            else {"result": {"blob": base64.b64encode(bytes(data[len(data) // 2 :])).decode()}}
        )
        lines = [{"result": {"blob": half}}, *([] if fault == "cut" else [rest])]
        return web.Response(text="" if fault == "nothing" else "\n".join(map(json.dumps, lines)))

    async for _ in pretender(node, snapshot):
        with pytest.raises(EtcdUnseen, match="not usable"):
            await client(pool, node).snapshot(tmp_path / "s" / "a.db", timeout=5)
    assert list((tmp_path / "s").iterdir()) == []


async def test_a_member_is_removed_once_and_asking_again_does_no_harm(pool: HostPool, start_etcd: MakeEtcd) -> None:
    a, b, _ = start_etcd(("cp1", "cp2", "cp3"))
    asked = client(pool, a)
    view = await asked.view(timeout=5)
    gone = next(m for m in view.members if m.name == "cp2")
    b.kill()
    await asked.remove_member(gone.id, timeout=10)
    await asked.remove_member(gone.id, timeout=10)
    assert sorted(m.name for m in (await asked.view(timeout=5)).members) == ["cp1", "cp3"]


async def test_a_member_cannot_be_removed_without_quorum(pool: HostPool, start_etcd: MakeEtcd) -> None:
    left, lost = start_etcd(("cp1", "cp2"))
    asked = client(pool, left)
    other = next(m for m in (await asked.view(timeout=5)).members if m.name == "cp2")
    lost.kill()
    with pytest.raises(EtcdUnseen) as caught:
        await asked.remove_member(other.id, timeout=2)
    assert isinstance(caught.value, EtcdRefused) or caught.value.unseen.kind is UnseenKind.TIMEOUT


async def test_etcd_refuses_to_remove_its_last_member(pool: HostPool, etcd: EtcdNode) -> None:
    """As a plan would ask it that takes a cluster made by force for the member that is left over."""
    asked = client(pool, etcd)
    own = (await asked.view(timeout=5)).member_id
    with pytest.raises(EtcdUnseen, match="not enough started members"):
        await asked.remove_member(own, timeout=3)
    assert [m.id for m in (await asked.view(timeout=5)).members] == [own]


async def unseen(asked: EtcdClient, within: float = 10.0) -> Any:
    began = time.monotonic()
    with pytest.raises(EtcdUnseen) as caught:
        await asked.view(timeout=within)
    assert time.monotonic() - began < within + 1
    assert "cp1" in str(caught.value)
    return caught.value.unseen


def tls(node: EtcdNode) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(node.pki / "server.crt", node.pki / "server.key")
    return context


async def pretender(node: EtcdNode, answer: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[None]:
    """Something that has etcd's port and certificate, and other answers."""
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", node.port, ssl_context=tls(node)).start()
    yield
    await runner.cleanup()


async def stalled(node: EtcdNode, seconds: float) -> None:
    assert node.process is not None
    node.process.send_signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        node.process.send_signal(signal.SIGCONT)
    await asyncio.sleep(seconds / 3)


async def test_a_disk_that_writes_through_slowly_is_told_by_what_was_added_between_two_readings(
    pool: HostPool, etcd: EtcdNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The member is stopped for a moment again and again while it is written to: what its log waited for meanwhile
    counts as fsyncs that took so long, as with a disk that stalls.
    """
    monkeypatch.setattr("recoverd.clients.etcd.METRICS_SECONDS", 0.0)
    asked = client(pool, etcd)

    async def told() -> EtcdView:
        """With metrics, which a busy machine does not always give in time."""
        async with asyncio.timeout(60):
            while not (view := await asked.view(timeout=5)).quota:
                pass
        return view

    first = await told()
    assert first.fsync is None and first.commit is None, "one reading says nothing"
    await asyncio.to_thread(etcd.put, {f"quick/{number}": "x" for number in range(100)})
    quick = await told()
    assert quick.fsync is not None and quick.fsync.count >= 50 and 0 < quick.fsync.p99 < 8
    assert quick.commit is not None and 0 < quick.fsync.seconds < 120
    slow, written = quick, threading.Event()

    def write() -> None:
        while not written.is_set():
            etcd.put({f"slow/{number}": "x" for number in range(20)})

    with ThreadPoolExecutor(2) as pool_of_writers:
        for _ in range(2):
            pool_of_writers.submit(write)
        try:
            async with asyncio.timeout(120):
                while slow.fsync is None or slow.fsync.slow < 5:
                    for _ in range(24):  # of which a few come while its log is written
                        await stalled(etcd, 0.3)
                    slow = await told()
        finally:
            written.set()
    assert slow.fsync.count >= slow.fsync.slow
    # on a fast machine there are so many quick ones between two stalls that 99 of 100 are
    assert (slow.fsync.p99 > 0.01) or slow.fsync.slow <= slow.fsync.count / 100
    etcd.kill()
    etcd.start()
    anew = await told()
    assert anew.fsync is None, "it counts from the beginning again"
