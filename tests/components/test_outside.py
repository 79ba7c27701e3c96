"""An external etcd, as the API servers of a cluster ask it, against a real one behind a real sshd: that a snapshot
was put back on it is seen from the control plane alone.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from recoverd.clients.hosts import HostPool
from recoverd.diagnose.scene import API, Scene
from recoverd.doctor.check import About, Level
from recoverd.doctor.machine import etcd_outside
from recoverd.machine import ClusterMachine
from recoverd.model.catalogue import Code
from recoverd.model.etcd import EtcdView
from recoverd.model.events import Observed
from recoverd.model.finding import Severity
from recoverd.model.observation import Unseen, UnseenKind
from recoverd.model.places import outside_etcd
from recoverd.observe.outside import OutsideWatch
from recoverd.playbooks import registry
from tests.unit.builders import NOW, Cluster, manifest
from tests.unit.test_places import external

from .conftest import EtcdNode, Sshd

UID = "0b6df153-2a0e-4a3c-a2b1-5d9f0e7c1a22"
PLANES = ("cp1", "cp2", "cp3")


@pytest.fixture
async def pool(sshd: Sshd) -> AsyncIterator[HostPool]:
    pool = sshd.pool(*PLANES)
    yield pool
    await pool.close()


class Watched:
    """A cluster whose API servers use these members, and whose machines are this one."""

    def __init__(self, pool: HostPool, *nodes: EtcdNode) -> None:
        pki, servers = nodes[0].pki, ",".join(f"https://127.0.0.1:{n.port}" for n in nodes)
        files = (f"{pki}/ca.crt", f"{pki}/healthcheck-client.crt", f"{pki}/healthcheck-client.key")
        names = ("--etcd-cafile", "--etcd-certfile", "--etcd-keyfile")
        # on the loopback it would be a static pod's; connections to 0.0.0.0 end there all the same
        text = [f"--etcd-servers={servers.replace('127.0.0.1', '0.0.0.0')}"]
        self.api = manifest(API, *text, *(f"{n}={f}" for n, f in zip(names, files, strict=True)))
        self.watch = OutsideWatch(pool, 10.0)
        self.machine = ClusterMachine(Cluster(3).settings, registry(), now=NOW)
        self.seconds = 0.0

    async def sweep(self) -> dict[str, EtcdView | Unseen]:
        self.seconds += 5
        cluster, now = external(), NOW + timedelta(seconds=self.seconds)
        for name in PLANES:
            cluster.manifest(name, API, self.api)
        found = dict(await self.watch.look())
        seen = replace(cluster.observation(), at=now, started_at=now, outside=found)
        self.watch.learn(Scene(seen, self.machine.memory, Cluster(3).settings))
        self.machine.handle(Observed(seen))
        return found


async def test_a_snapshot_put_back_on_an_external_etcd_is_seen_and_the_agents_are_restarted(
    pool: HostPool, etcd: EtcdNode, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("restored")
    etcd.put({"/registry/namespaces/kube-system": f"Namespace kube-system {UID}", "/registry/pods/d/p": "1"})
    etcd.ctl("snapshot", "save", str(home / "snapshot"))
    etcd.put({f"/registry/configmaps/d/c{n}": "1" for n in range(30)})
    watched = Watched(pool, etcd)
    for _ in range(3):
        found = await watched.sweep()
    (view,) = found.values()
    assert isinstance(view, EtcdView) and (view.uid, view.nodes, view.pods, view.healthy) == (UID, 1, 1, True), view
    mark = watched.machine.memory.outside
    assert mark and mark.revision == view.revision and watched.machine.memory.watermark is None

    etcd.kill()
    (dead,) = (await watched.sweep()).values()
    assert isinstance(dead, Unseen) and not watched.machine.diagnosis.find(Code.ETCD_REVISION_WENT_BACK)  # type: ignore[union-attr]
    shutil.move(etcd.data, home / "before")
    peers = next(a for a in etcd.arguments if a.startswith("--initial-cluster="))
    urls = next(a for a in etcd.arguments if a.startswith("--initial-advertise-peer-urls="))
    etcd.ctl(
        "snapshot", "restore", str(home / "snapshot"), f"--data-dir={etcd.data}", f"--name={etcd.name}", peers, urls
    )
    etcd.start()
    for _ in range(4):
        await watched.sweep()
    assert watched.machine.diagnosis
    went_back = watched.machine.diagnosis.find(Code.ETCD_REVISION_WENT_BACK)
    assert went_back and went_back.severity is Severity.FAULT, watched.machine.diagnosis
    plan = watched.machine.record.plan
    assert plan and plan.playbook == "restart-node-agents"


async def test_where_sshd_forbids_it_the_doctor_says_what_to_permit(
    start_sshd: Callable[..., Sshd], etcd: EtcdNode
) -> None:
    for option, level in (({}, Level.OK), ({"PermitOpen": "127.0.0.1:1"}, Level.WARN)):
        pool = start_sshd(**option).pool(*PLANES)
        try:
            watched = Watched(pool, etcd)
            for _ in range(2):
                found = await watched.sweep()
            (view,) = found.values()
            assert isinstance(view, EtcdView) is (level is Level.OK), view
            reached = outside_etcd(watched.api.content)
            assert reached
            (check,) = await etcd_outside(pool, About("prod", "cp1"), reached)
            assert check.level is level, check
            assert level is Level.OK or f"permit 127.0.0.1:{etcd.port} in sshd" in check.line, check.line
        finally:
            await pool.close()


async def test_a_server_that_is_not_reached_is_told_from_a_control_plane_that_is_not(
    pool: HostPool, etcd: EtcdNode, sshd: Sshd
) -> None:
    watched = Watched(pool, etcd)
    for _ in range(2):
        await watched.sweep()
    etcd.kill()
    (dead,) = (await watched.sweep()).values()
    assert isinstance(dead, Unseen) and dead.kind is UnseenKind.REFUSED, dead
    assert "Connection refused" in dead.reason, dead
    sshd.stop()
    (unasked,) = (await watched.sweep()).values()
    assert isinstance(unasked, Unseen) and unasked.kind is UnseenKind.NOT_TRIED, unasked
