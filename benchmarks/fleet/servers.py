"""The made-up clusters, served: one process for some of them, with real SSH, real TLS, and real HTTP.

One SSH listener takes connections to all of their machines, each of which has an address of its own in 127.0.0.0/8 and
is told apart by that. What goes through SSH to a machine's own 127.0.0.1 (etcd) leads to its address. API servers and
etcd members each listen where kubeadm has them.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import os
import signal
import ssl
import tempfile
from collections.abc import Awaitable, Callable, MutableSequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh
from aiohttp import web

from benchmarks.fleet import lists
from benchmarks.fleet.etcd import Etcd
from benchmarks.fleet.layout import Layout, Machine
from benchmarks.fleet.machine import Answers, Network
from benchmarks.fleet.papers import Papers

COUNTED = ("logins", "looks", "networks", "others", "unknown", "requests", "kilobytes", "etcd", "tunnels")
"""What is counted of what came in, for all clusters together."""
READY = "[+]ping ok\n[+]etcd ok\nreadyz check passed\n"
GZIP_FROM = 128 << 10
"""Bytes from which an API server compresses what it lists (apiserver's responsewriters)."""
API_PORT, ETCD_PORT, METRICS_PORT = 6443, 2379, 2381
Counts = MutableSequence[int]


@dataclass(frozen=True, slots=True)
class Plan:
    """What one process serves."""

    clusters: tuple[int, ...]
    planes: int
    workers: int
    network: int
    ssh_port: int
    directory: str
    """Where it writes the kubeconfigs, and the file `ready.PORT` once it serves."""

    def layouts(self) -> tuple[Layout, ...]:
        return tuple(Layout(n, self.planes, self.workers, self.network) for n in self.clusters)


def serve(plan: Plan, counts: Counts) -> None:
    """Serve until SIGTERM; at SIGUSR1 the first cluster loses its API server and etcd's quorum."""
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of each answer to somebody who has gone
    asyncio.run(_serve(plan, counts))


async def _serve(plan: Plan, counts: Counts) -> None:
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    clusters = [Cluster(layout, counts) for layout in plan.layouts()]
    directory = Path(plan.directory)
    machines = {m.address: cluster.machines[m.name] for cluster in clusters for m in cluster.layout.machines}
    for cluster in clusters:
        await cluster.start(directory)
    loop.add_signal_handler(signal.SIGUSR1, lambda: loop.create_task(clusters[0].lose_quorum()))
    key = asyncssh.read_private_key(directory / "host_key")
    await asyncssh.listen(
        "0.0.0.0",
        plan.ssh_port,
        server_host_keys=[key],
        authorized_client_keys=str(directory / "authorized_keys"),
        server_factory=lambda: Sshd(machines, counts),
        encoding=None,
        backlog=4096,
        gss_host=None,
    )
    (directory / f"ready.{plan.ssh_port}").touch()
    parent = os.getppid()
    while not ended.is_set() and os.getppid() == parent:  # one that was killed has taken nobody down
        with suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), 1.0)
    os._exit(0)  # closing thousands of connections one by one tells nobody anything


class Sshd(asyncssh.SSHServer):
    """One connection to one of the machines."""

    def __init__(self, machines: dict[str, Answers], counts: Counts) -> None:
        self._machines, self._counts = machines, counts

    def connection_made(self, connection: asyncssh.SSHServerConnection) -> None:
        self._connection = connection
        self._answers = self._machines[connection.get_extra_info("sockname")[0]]
        count(self._counts, "logins")

    def session_requested(self) -> Session:
        return Session(self._answers, self._counts)

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> Awaitable[Any]:
        """A tunnel: the machine's 127.0.0.1 is its address."""
        count(self._counts, "tunnels")
        return self._connection.forward_connection(self._answers.machine.address, dest_port)


class Session(asyncssh.SSHServerSession[bytes]):
    """One command: reads the script to its end, and answers."""

    def __init__(self, answers: Answers, counts: Counts) -> None:
        self._answers, self._counts = answers, counts
        self._script: list[bytes] = []

    def connection_made(self, channel: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = channel

    def exec_requested(self, command: str) -> bool:
        return True

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        self._script.append(data)

    def eof_received(self) -> bool:
        script = b"".join(self._script).decode()
        out, status, kind = self._answers.reply(script)
        count(self._counts, kind)
        if kind == "unknown" and (told := os.environ.get("FLEET_UNKNOWN")):
            with Path(told).open("a") as file:
                file.write(f"{self._answers.machine.name}: {script[-400:]}\n")
        self._channel.write(out.encode())
        self._channel.exit(status)
        return False


class Cluster:
    """One cluster's machines, API servers and etcd."""

    def __init__(self, layout: Layout, counts: Counts) -> None:
        self.layout, self._counts = layout, counts
        self._papers, network = Papers(layout), Network(layout)
        self.machines = {m.name: Answers(layout, m, self._papers, network) for m in layout.machines}
        self._etcd = Etcd(layout, lambda: count(counts, "etcd"))
        self._lists: dict[str, tuple[bytes, bytes]] = {}
        self._api: list[web.TCPSite] = []
        self._open: set[asyncio.BaseTransport] = set()

    async def start(self, directory: Path) -> None:
        listed: dict[str, Callable[[Layout], bytes]] = {
            "/api/v1/nodes": lists.nodes,
            "/api/v1/pods": lists.table,
            "/api/v1/services": lists.services,
            "/apis/discovery.k8s.io/v1/endpointslices": lists.slices,
            "/apis/apps/v1/daemonsets": lists.daemonsets,
            "/apis/networking.k8s.io/v1/networkpolicies": lists.policies,
            "/apis/apiregistration.k8s.io/v1/apiservices": lists.api_services,
            "/apis": lists.groups,
        }
        for path, make in listed.items():
            plain = make(self.layout)
            self._lists[path] = plain, gzip.compress(plain, 1) if len(plain) > GZIP_FROM else b""
        server = f"https://{self.layout.vip}:{API_PORT}"
        file = directory / f"{self.layout.name}.kubeconfig"
        file.write_text(self._papers.kubeconfig(server))
        file.chmod(0o600)
        papers = self._papers
        api = await _runner(self._answer)
        for address in (self.layout.vip, *(m.address for m in self.layout.planes)):
            tls = _context(papers.api, papers.key, papers.ca)
            site = web.TCPSite(api, address, API_PORT, ssl_context=tls, backlog=1024)
            await site.start()
            self._api.append(site)
        for machine in self.layout.planes:
            await self._start_etcd(machine)

    async def _start_etcd(self, machine: Machine) -> None:
        papers = self._papers
        gateway = await _runner(lambda request: self._etcd.answer(machine, request))
        tls = _context(papers.etcd, papers.key, papers.etcd_ca)
        await web.TCPSite(gateway, machine.address, ETCD_PORT, ssl_context=tls).start()
        metrics = await _runner(self._etcd.metrics)
        await web.TCPSite(metrics, machine.address, METRICS_PORT).start()

    async def lose_quorum(self) -> None:
        """As after a join that got stuck: the member list has a voter that never started, etcd has no leader, and the
        API server, which cannot do without it, is gone.
        """
        self._etcd.lost = True
        for answers in self.machines.values():
            answers.lost = True
        for site in self._api:
            await site.stop()
        for transport in self._open:
            transport.abort()  # type: ignore[attr-defined]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        """Of the API server."""
        count(self._counts, "requests")
        if request.transport:
            self._open.add(request.transport)
        path = request.path
        if "watch" in request.query:
            return await _changing(request, self.layout)
        if found := self._lists.get(path):
            plain, packed = found
            if packed and "gzip" in request.headers.get("Accept-Encoding", ""):
                count(self._counts, "kilobytes", len(packed) >> 10)
                return _json(packed, {"Content-Encoding": "gzip"})
            return _json(plain)
        if path.startswith(("/readyz", "/livez")):
            return web.Response(text=READY)
        if path.endswith("/proxy/pods"):
            return _json(lists.kubelet_pods(self.layout, path.split("/")[4]))
        if path.startswith("/apis/coordination.k8s.io") and request.method == "GET":
            return _json(lists.lease(self.layout, path.rpartition("/")[2]))
        if request.method == "POST" and request.query.get("dryRun") == "All":
            return web.Response(status=201, body=await request.read(), content_type="application/json")
        count(self._counts, "unknown")
        return web.Response(status=404, text='{"kind":"Status","code":404}', content_type="application/json")


async def _changing(request: web.Request, layout: Layout) -> web.StreamResponse:
    """A watch of pods, one of which changes in every second, as in any cluster that has enough to be watched."""
    answer = web.StreamResponse(headers={"Content-Type": "application/json"})
    await answer.prepare(request)
    with suppress(ConnectionError):
        for number in range(int(float(request.query.get("timeoutSeconds", "60")))):
            await answer.write(lists.change(layout, number))
            await asyncio.sleep(1.0)
    return answer


def count(counts: Counts, what: str, by: int = 1) -> None:
    counts[COUNTED.index(what)] += by


def _json(content: bytes, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=content, headers={"Content-Type": "application/json", **(headers or {})})


async def _runner(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.ServerRunner:
    """Without aiohttp's router, which these few paths do not need."""
    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    return runner


def _context(certificate: str, key: str, authority: str) -> ssl.SSLContext:
    """Of a server that asks for a client certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=authority)
    context.verify_mode = ssl.CERT_REQUIRED
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(certificate + key)
        file.flush()
        with suppress(AttributeError):
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.load_cert_chain(file.name)
    return context
