"""What the same commands and requests cost by asyncssh and aiohttp alone: nothing is decoded, parsed or kept."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiohttp
import asyncssh
import yaml

from benchmarks.fleet.layout import Layout, Machine
from benchmarks.fleet.machine import Network
from benchmarks.fleet.servers import API_PORT, Plan
from recoverd.observe import hosts, network
from recoverd.observe.netlook import Routes, script

LOOK = f"M='@@floor' D='' V='' I='' J='' F= C= N=\n{hosts.PIDS}\n{hosts.TOOL}\n{hosts.SCRIPT}"
LISTS = (
    "/readyz?verbose",
    "/api/v1/nodes?resourceVersion=0",
    "/api/v1/pods?resourceVersion=0",
    "/api/v1/services",
    "/apis/discovery.k8s.io/v1/endpointslices",
    "/apis/apps/v1/daemonsets",
    "/apis/networking.k8s.io/v1/networkpolicies",
    "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-controller-manager",
    "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-scheduler",
)
KUBELETS = 8
"""Kubelets that are asked for their pods in a sweep."""
ETCD = ("/v3/maintenance/status", "/v3/cluster/member/list", *(("/v3/kv/range",) * 3))


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds of a sweep of one cluster."""

    cpu: float
    rounds: int


def floor(plans: tuple[Plan, ...], rounds: int, told: Connection) -> None:
    """Measure in a process of its own; the `Cost` is sent through `told`."""
    told.send(asyncio.run(_measure(plans, rounds)))


async def _measure(plans: tuple[Plan, ...], rounds: int) -> Cost:
    async with AsyncExitStack() as stack:
        clusters = []
        for plan in plans:
            for layout in plan.layouts():
                clusters.append(await stack.enter_async_context(_cluster(plan, layout)))
        await asyncio.gather(*(c.sweep() for c in clusters))
        began = time.process_time()
        for _ in range(rounds):
            await asyncio.gather(*(c.sweep() for c in clusters))
        return Cost((time.process_time() - began) / rounds / len(clusters), rounds)


@dataclass(slots=True)
class _Cluster:
    layout: Layout
    ssh: dict[str, asyncssh.SSHClientConnection]
    api: aiohttp.ClientSession
    etcd: list[tuple[aiohttp.ClientSession, str, str]]
    network: dict[str, str]
    """By machine; none sends routes, which recoverd knows."""

    async def sweep(self) -> None:
        base = f"https://{self.layout.vip}:{API_PORT}"
        nodes = [w.name for w in self.layout.workers[:KUBELETS]]
        paths = [*LISTS, *(f"/api/v1/nodes/{n}/proxy/pods" for n in nodes)]
        looks = [self._run(c, text) for n, c in self.ssh.items() for text in (LOOK, self.network[n])]
        members = [self._member(*m) for m in self.etcd]
        await asyncio.gather(*looks, *members, *(self._get(self.api, base + p) for p in paths))

    async def _run(self, connection: asyncssh.SSHClientConnection, text: str) -> None:
        ran = await connection.run("sh -s", input=f"{{\n{text}\n}} </dev/null\n".encode(), encoding=None)
        assert ran.stdout

    async def _get(self, session: aiohttp.ClientSession, url: str, body: Any = None) -> None:
        async with session.request("GET" if body is None else "POST", url, json=body) as response:
            assert await response.read()

    async def _member(self, session: aiohttp.ClientSession, base: str, metrics: str) -> None:
        key = {"key": "AA==", "range_end": "AA==", "count_only": True}
        asked = [self._get(session, base + path, key if path.endswith("range") else {}) for path in ETCD]
        await asyncio.gather(*asked, self._get(session, f"{base}/health"), self._get(session, f"{metrics}/metrics"))


@asynccontextmanager
async def _cluster(plan: Plan, layout: Layout) -> AsyncIterator[_Cluster]:
    directory = Path(plan.directory)
    tls = _tls(yaml.safe_load((directory / f"{layout.name}.kubeconfig").read_text()))
    probes = {str(n): ("10.200.0.1", 80) for n in range(14)}
    common, services = Network(layout), [s.address for s in layout.services[: network.SAMPLE]]
    known = {m.name: Routes(digest=common.digest_of(m)) for m in layout.machines}
    text = {name: script(network.SCRIPT, "@@floor", probes, services, 2, routes) for name, routes in known.items()}
    async with AsyncExitStack() as stack:
        ssh = {}
        for machine in layout.machines:
            ssh[machine.name] = await stack.enter_async_context(_connect(plan, machine, directory))
        api = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)))
        members = []
        for machine in layout.planes:
            gateway, metrics = [
                await ssh[machine.name].forward_local_port("127.0.0.1", 0, "127.0.0.1", port) for port in (2379, 2381)
            ]
            of_etcd = await _etcd_tls(ssh[machine.name])
            session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=of_etcd))
            await stack.enter_async_context(session)
            base = f"https://127.0.0.1:{gateway.get_port()}"
            members.append((session, base, f"http://127.0.0.1:{metrics.get_port()}"))
        yield _Cluster(layout, ssh, api, members, text)


@asynccontextmanager
async def _connect(plan: Plan, machine: Machine, directory: Path) -> AsyncIterator[asyncssh.SSHClientConnection]:
    connection = await asyncssh.connect(
        machine.address,
        plan.ssh_port,
        config=None,
        username="root",
        client_keys=[str(directory / "id")],
        known_hosts=None,
        agent_path=None,
        gss_host=None,
    )
    try:
        yield connection
    finally:
        connection.abort()


async def _etcd_tls(connection: asyncssh.SSHClientConnection) -> ssl.SSLContext:
    asked = "{\nprint_files '@@' ca.crt client.crt client.key\n} </dev/null\n"
    printed = str((await connection.run("sh -s", input=asked)).stdout)
    ca, certificate, key = printed.split("@@\n")
    return _context(ca, certificate + key)


def _tls(kubeconfig: dict[str, Any]) -> ssl.SSLContext:
    import base64

    user, cluster = kubeconfig["users"][0]["user"], kubeconfig["clusters"][0]["cluster"]
    ca, certificate, key = (
        base64.b64decode(text).decode()
        for text in (
            cluster["certificate-authority-data"],
            user["client-certificate-data"],
            user["client-key-data"],
        )
    )
    return _context(ca, certificate + key)


def _context(authority: str, chain: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority)
    context.check_hostname = False
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(chain)
        file.flush()
        context.load_cert_chain(file.name)
    return context
