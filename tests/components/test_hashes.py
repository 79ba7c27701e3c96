"""Members of a real etcd whose data differ, and an alarm that names none of them: their hashes tell whose."""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from recoverd.clients.etcd import EtcdClient, EtcdRefused
from recoverd.clients.haste import Haste
from recoverd.clients.hosts import HostPool
from recoverd.model.etcd import EtcdView, accused, outvoted
from recoverd.observe.members import Members
from tests.lab.kubelab.host import CACHE

from .conftest import EtcdNode, Sshd

OLD = (
    "etcd in PATH is older than 3.5.10, whose gateway does not lead to HashKV, and the lab has not fetched a newer one"
)
MakeEtcd = Callable[..., list[EtcdNode]]
NAMES = ("m1", "m2", "m3")


@pytest.fixture
async def pool(sshd: Sshd) -> AsyncIterator[HostPool]:
    pool = sshd.pool("cp1", *NAMES)
    yield pool
    await pool.close()


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> None:
    """An etcd whose gateway leads to HashKV: Debian 13's, which the lab's tests fetch, where that in PATH is older."""
    for directory in (*os.environ["PATH"].split(":"), *map(str, CACHE.glob("etcd-*/usr/bin"))):
        program = Path(directory) / "etcd"
        if not (program.is_file() and (program.parent / "etcdctl").is_file()):
            continue
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
        version = re.search(r"etcd Version: (\d+)\.(\d+)\.(\d+)", said)
        if version and tuple(map(int, version.groups())) >= (3, 5, 10):
            monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
            return
    pytest.skip(OLD)


def asked(node: EtcdNode, path: str, body: object) -> None:
    tls = ssl.create_default_context(cafile=node.pki / "ca.crt")
    tls.load_cert_chain(node.pki / "healthcheck-client.crt", node.pki / "healthcheck-client.key")
    request = urllib.request.Request(f"https://127.0.0.1:{node.port}{path}", json.dumps(body).encode())
    with urllib.request.urlopen(request, context=tls, timeout=20) as answer:
        assert answer.status == 200


def history(make: MakeEtcd, name: str, value: str) -> Path:
    """A snapshot of as many revisions as every other, the last of which is this value."""
    (node,) = make((name,))
    node.start()
    node.put({"/registry/minions/n1": "node", "/registry/pods/default/p1": value})
    node.ctl("snapshot", "save", str(node.data.parent / f"{name}.db"))
    node.kill()
    return node.data.parent / f"{name}.db"


def diverged(make: MakeEtcd, *values: str) -> list[EtcdNode]:
    """A cluster, each of whose members begins with data of its own, as silent corruption leaves them."""
    nodes = make(NAMES)
    snapshots = {value: history(make, f"seed-{value}", value) for value in set(values)}
    for node, value in zip(nodes, values, strict=True):
        given = ("--name=", "--initial-cluster=", "--initial-advertise-peer-urls=", "--data-dir=")
        flags = [a for a in node.arguments if a.startswith(given)]
        command = ["env", "ETCDCTL_API=3", "etcdctl", "snapshot", "restore", str(snapshots[value]), *flags]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    for node in nodes:
        node.start()
    return nodes


async def looked(pool: HostPool, nodes: list[EtcdNode]) -> dict[str, EtcdView]:
    members = Members(pool, (), 10.0, Haste())
    members._clients = {
        n.name: EtcdClient(pool, n.name, port=n.port, metrics_port=n.metrics_port, pki=str(n.pki)) for n in nodes
    }
    views = await members.look(kept=False)
    await members.close()
    return {name: view for name, view in views.items() if isinstance(view, EtcdView)}


@pytest.mark.parametrize(
    ("values", "wrong"), [(("a", "a", "b"), {"m3"}), (("a", "b", "c"), set()), (("a", "a", "a"), set())]
)
async def test_a_majority_says_whose_data_are_wrong(
    newer: None, pool: HostPool, make_etcd: MakeEtcd, values: tuple[str, ...], wrong: set[str]
) -> None:
    nodes = diverged(make_etcd, *values)
    before = await looked(pool, nodes)
    assert set(before) == set(NAMES) and not any(v.hashed for v in before.values()), "it is a read of every key"
    asked(nodes[0], "/v3/maintenance/alarm", {"action": "ACTIVATE", "memberID": "0", "alarm": "CORRUPT"})
    views = await looked(pool, nodes)
    assert all(v.hashed for v in views.values()) and len({v.revision for v in views.values()}) == 1
    assert len({v.hashed for v in views.values()}) == len(set(values))
    assert outvoted(views.values()) == {views[n].member_id for n in wrong}
    assert accused(views.values()) == {views[n].member_id for n in (wrong or NAMES)}
    client = EtcdClient(pool, "m1", port=nodes[0].port, metrics_port=nodes[0].metrics_port, pki=str(nodes[0].pki))
    await client.disarm("0", "CORRUPT", timeout=20)
    assert not (await client.view(timeout=10)).alarms, "the alarm of no member is taken back by that id"


async def test_of_a_revision_that_is_not_there_nothing_is_told(
    newer: None, pool: HostPool, make_etcd: MakeEtcd
) -> None:
    """As of a member that lags behind, or has dropped that history."""
    (etcd,) = make_etcd(("m1",))
    etcd.start()
    etcd.put({f"/registry/x{i}": "x" for i in range(4)})
    client = EtcdClient(pool, "m1", port=etcd.port, metrics_port=etcd.metrics_port, pki=str(etcd.pki))
    revision = (await client.view(timeout=10)).revision
    assert (await client.hashed(revision, timeout=10)).revision == revision
    with pytest.raises(EtcdRefused, match="future revision"):
        await client.hashed(revision + 9, timeout=10)
    etcd.ctl("compact", str(revision))
    with pytest.raises(EtcdRefused, match="compacted"):
        await client.hashed(revision - 2, timeout=10)
    etcd.put({"/registry/later": "x"})
    assert (await client.hashed(revision + 1, timeout=10)).compacted == revision


async def test_an_etcd_whose_gateway_hashes_without_a_revision_is_not_believed(pool: HostPool, etcd: EtcdNode) -> None:
    """That of the whole database at some moment differs while a member lags behind, as it may."""
    version = tuple(int(n) for n in (await looked(pool, [etcd]))["cp1"].version.split("."))
    asked(etcd, "/v3/maintenance/alarm", {"action": "ACTIVATE", "memberID": "0", "alarm": "CORRUPT"})
    [view] = (await looked(pool, [etcd])).values()
    assert (view.hashed is None) is (version < (3, 5, 10)) and accused([view]) == {view.member_id}
