"""The daemon with restore points: taken by itself and when asked, listed, exported, and what is
gone from the disk is not listed.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.authority import Authority

from .clusters import Daemon, make_cluster
from .conftest import EtcdNode, Sshd

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
async def watched(tmp_path: Path, start_sshd: Callable[..., Sshd]) -> AsyncIterator[Daemon]:
    """A daemon over a cluster whose etcd has kubeadm's own ports, as the daemon expects it."""
    if any(taken(port) for port in (2379, 2380, 2381)):
        pytest.skip("etcd's own ports are in use on this machine")
    cluster = await make_cluster(tmp_path, start_sshd)
    pki = cluster.node.root / "etc/kubernetes/pki/etcd"
    authority = Authority(pki)
    for name in ("server", "peer", "healthcheck-client"):
        authority.issue(name)
    name, peer = cluster.node.name, "https://127.0.0.1:2380"
    arguments = [
        f"--name={name}",
        f"--data-dir={tmp_path / 'data'}",
        "--listen-metrics-urls=http://127.0.0.1:2381",
        f"--initial-cluster={name}={peer}",
    ]
    for role, url, word in (("client", "https://127.0.0.1:2379", ""), ("peer", peer, "peer-")):
        own = pki / ("server" if role == "client" else "peer")
        arguments += [
            f"--listen-{role}-urls={url}",
            f"--{word}trusted-ca-file={pki}/ca.crt",
            f"--{word}cert-file={own}.crt",
        ]
        arguments += [f"--{word}key-file={own}.key", f"--{word}client-cert-auth=true"]
    arguments += ["--advertise-client-urls=https://127.0.0.1:2379", f"--initial-advertise-peer-urls={peer}"]
    node = EtcdNode(name, 2379, 2380, 2381, pki, tmp_path / "data", tmp_path / "etcd.log", arguments)
    node.start()
    cluster.config["restore_points"] = {"min_free": "1MiB"}
    daemon = Daemon(tmp_path, cluster)
    daemon.start()
    yield daemon
    daemon.close()
    node.kill()
    await cluster.api.stop()


def taken(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


async def test_the_daemon_takes_one_by_itself_and_one_more_when_asked(watched: Daemon) -> None:
    daemon = watched
    await daemon.ready()
    listed = lambda: daemon.json("restore-points", "prod")  # noqa: E731
    (first,) = (await daemon.until(listed, lambda a: bool(a["restore_points"]), 90.0))["restore_points"]
    assert (first["why"], first["host"], bool(first["verified_at"])) == ("schedule", "prod-cp1", True), first
    assert await daemon.metric('recoverd_restore_point_attempts_total{cluster="prod",outcome="taken"}') == 1
    assert await daemon.metric('recoverd_restore_point_verified_timestamp_seconds{cluster="prod"}') > 1.7e9
    daemon.kill()
    daemon.start()
    await daemon.ready()
    assert (await listed())["restore_points"] == [first], "the journal knows it"
    assert await daemon.metric('recoverd_restore_points{cluster="prod"}') == 1
    await daemon.until(lambda: daemon.ctl("restore-points", "take", "prod"), lambda a: a[0] == 0)
    code, said = await daemon.ctl("restore-points", "take", "prod")
    assert code == 1 and "one at a time" in said
    points = (await daemon.until(listed, lambda a: len(a["restore_points"]) == 2, 90.0))["restore_points"]
    assert [p["why"] for p in points] == ["schedule", "asked"]
    code, text = await daemon.ctl("restore-points")
    assert code == 0 and points[1]["id"] in text and "restored with" in text
    shutil.rmtree(first["directory"])
    daemon.kill()
    daemon.start()
    await daemon.ready()
    await daemon.until(listed, lambda a: [p["id"] for p in a["restore_points"]] == [points[1]["id"]])
    assert "Traceback" not in daemon.log.read_text()
