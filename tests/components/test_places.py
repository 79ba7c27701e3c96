"""Components that do not listen where kubeadm lets them: found by the manifests of their machine, over a real sshd."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from recoverd.clients.etcd import EtcdClient
from recoverd.clients.hosts import HostPool
from recoverd.config import ClusterConfig, Deadlines
from recoverd.model.memory import Memory
from recoverd.model.observation import EndpointHealth, HostView
from recoverd.model.places import places_of
from recoverd.model.settings import ClusterSettings, HostSettings
from recoverd.observe import Collector
from recoverd.observe.kubeconfig import read_access
from recoverd.observe.probe import misnamed, probe

from .clusters import Cluster, make_cluster
from .conftest import EtcdNode, Sshd, wait_for_port
from .test_api import Server


@pytest.fixture
async def pool(sshd: Sshd) -> AsyncIterator[HostPool]:
    pool = sshd.pool("cp1")
    yield pool
    await pool.close()


def manifest(*arguments: str) -> str:
    return "".join(f"    - {a}\n" for a in ("etcd", *arguments))


async def test_etcd_on_ipv6_alone_is_seen_where_its_manifest_says_that_it_listens(
    pool: HostPool, make_etcd: Callable[..., list[EtcdNode]]
) -> None:
    """kubeadm lets etcd listen on the loopback of the family of the advertise address (phases/etcd/local.go): it was
    asked on 127.0.0.1, refused there, and taken for dead on every control plane.
    """
    (node,) = make_etcd()
    urls = f"https://[::1]:{node.port}"
    replaced = {"--listen-client-urls": urls, "--advertise-client-urls": urls}
    replaced["--listen-metrics-urls"] = f"http://[::1]:{node.metrics_port},http://127.0.0.1:{node.metrics_port}"
    node.arguments = [f"{n}={replaced.get(n, v)}" for n, _, v in (a.partition("=") for a in node.arguments)]
    node.process = subprocess.Popen(  # noqa: ASYNC220
        ["etcd", *node.arguments], stderr=node.log.open("ab"), stdout=node.log.open("ab")
    )
    wait_for_port(node.metrics_port, node.process, node.log)
    pool.places["cp1"] = places_of((), (manifest(*node.arguments),))
    view = await EtcdClient(pool, "cp1", pki=str(node.pki)).view(timeout=10)
    assert (view.healthy, view.has_leader, view.quota) == (True, True, 2 << 30)


@dataclass
class Fronted:
    """A control plane whose API server is on port 8443, and a balancer on 6443 beside it that answers for others."""

    cluster: Cluster
    collector: Collector
    server: Server

    async def health(self, memory: Memory) -> tuple[EndpointHealth, str]:
        sweep = await self.collector.observe(1, memory)
        while not isinstance(sweep.hosts[self.cluster.node.name], HostView):  # a machine that runs tests may be slow
            sweep = await self.collector.observe(1, memory)
        seen = sweep.api.members[self.cluster.node.name]
        return seen.health, seen.address.rpartition(":")[2]


@pytest.fixture
async def fronted(tmp_path: Path, start_sshd: Callable[..., Sshd]) -> AsyncIterator[Fronted]:
    cluster = await make_cluster(tmp_path, start_sshd)
    manifest = cluster.node.manifests / "kube-apiserver.yaml"
    text = manifest.read_text().rstrip("\n").removesuffix("}")
    manifest.write_text(f"{text}, command: [\n    - kube-apiserver\n    - --secure-port=8443\n")
    name, address = cluster.node.name, cluster.api.addresses[0]
    planes = (HostSettings(name, address),)
    config = ClusterConfig(
        ClusterSettings("prod", planes), 5.0, cluster.api.kubeconfig, cluster.sshd.settings, Deadlines(8.0, 8.0, 8.0)
    )
    pool = HostPool(cluster.sshd.settings, planes)
    server = Server(tmp_path / "own", address, port=8443)
    server.authority = cluster.api.authority
    made = Fronted(cluster, Collector(config, pool), server)
    yield made
    await made.collector.close()
    await pool.close()
    await server.stop()
    await cluster.api.stop()


async def test_the_api_server_is_asked_on_its_own_port_and_not_on_the_balancers(fronted: Fronted) -> None:
    """kubeadm's ha-considerations: haproxy on the control planes, API servers on 8443. The first sweep knows."""
    assert await fronted.health(Memory()) == (EndpointHealth.REFUSED, "8443")
    await fronted.server.start()
    assert await fronted.health(Memory()) == (EndpointHealth.READY, "8443")
    (fronted.cluster.node.manifests / "kube-apiserver.yaml").unlink()
    assert await fronted.health(Memory()) == (EndpointHealth.READY, "8443")  # what was known of it stands


async def test_a_machine_that_is_called_by_a_name_which_its_certificate_does_not_hold(tmp_path: Path) -> None:
    """Python says "Hostname mismatch" of a name, where it says "IP address mismatch" of an address."""
    server = Server(tmp_path)
    await server.start()
    try:
        access, to = await read_access(server.kubeconfig), ("127.0.0.1", server.port)
        view = await probe(access, "cp1.example", server.port, seconds=5, dial=to)
        assert view.health is EndpointHealth.TLS and misnamed(view), view
        view = await probe(access, "cp1.example", server.port, seconds=5, dial=to, named=access.host)
        assert view.health is EndpointHealth.READY, view
    finally:
        await server.stop()
