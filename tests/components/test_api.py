"""What is made of an API server's answers, over real TLS: good ones, bad ones, and those of something that is
none. The lab has the real one.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from recoverd.config import ClusterConfig, Deadlines
from recoverd.diagnose import diagnose
from recoverd.model.catalogue import Code
from recoverd.model.finding import State
from recoverd.model.memory import Memory
from recoverd.model.observation import (
    ApiView,
    EndpointHealth,
    EndpointView,
    ObjectsView,
    Observation,
    Unseen,
    UnseenKind,
)
from recoverd.model.places import Places
from recoverd.model.settings import ClusterSettings, HostSettings
from recoverd.observe.api import ApiCollector
from tests.authority import Authority

from .conftest import Sshd, free_port

READY = "[+]ping ok\n[+]etcd ok\nreadyz check passed\n"
NOT_READY = (
    "[+]ping ok\n[-]etcd failed: reason withheld\n[-]poststarthook/rbac/bootstrap-roles failed: reason "
    "withheld\nreadyz check failed\n"
)
PROXY = "<html><body><h1>502 Bad Gateway</h1>\nThe server returned an invalid or incomplete response.\n</body></html>"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def node(name: str, *, ready: bool = True, address: str = "127.0.0.1") -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"node-role.kubernetes.io/master": ""}},
        "spec": {"unschedulable": True} if name == "w1" else {},
        "status": {
            "conditions": [
                {"type": "MemoryPressure", "status": "False"},
                {"type": "Ready", "status": "True" if ready else "Unknown"},
            ],
            "addresses": [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": address}],
            "nodeInfo": {"bootID": f"boot-{name}", "kubeletVersion": "v1.20.2"},
        },
    }


def table(*rows: tuple[str, str | None]) -> dict[str, Any]:
    columns = [{"name": n} for n in ("Name", "Ready", "Status", "Restarts", "Age", "IP", "Node")]
    return {
        "kind": "Table",
        "columnDefinitions": columns,
        "rows": [
            {
                "cells": [name, "1/1", "Running", 0, "1d", "10.0.0.1", at],
                "object": {"metadata": {"name": name, "namespace": "default", "uid": name, "resourceVersion": "7"}},
            }
            for name, at in rows
        ],
    }


class Server:
    """An HTTPS server that answers as told: `answers` maps a path to a response or a handler."""

    def __init__(self, directory: Path, *addresses: str, port: int = 0) -> None:
        self.addresses = addresses or ("127.0.0.1", "127.0.0.2")
        self.authority = Authority(directory / "pki", "kubernetes")
        self.authority.issue("apiserver", addresses=self.addresses)
        self.port = port or free_port()
        self.kubeconfig = directory / "kubeconfig"
        self.answers: dict[str, web.Response | Handler] = {
            "/readyz": web.Response(text=READY),
            "/livez": web.Response(text="ok"),
            "/api/v1/nodes": as_json(
                {"kind": "NodeList", "items": [node("cp1"), node("w1", ready=False, address="10.0.0.9")]}
            ),
            "/api/v1/pods": as_json(table(("a", "cp1"), ("b", "w1"), ("c", "w1"), ("d", "<none>"), ("e", None))),
        }
        self.asked: list[web.Request] = []
        self._runner: web.AppRunner | None = None
        self.write_kubeconfig()

    def write_kubeconfig(self, authority: Authority | None = None, **cluster: str) -> None:
        ca = base64.b64encode(((authority or self.authority).directory / "ca.crt").read_bytes()).decode()
        text = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [
                {
                    "name": "k",
                    "cluster": {"server": f"https://{self.addresses[0]}:{self.port}", "certificate-authority-data": ca}
                    | cluster,
                }
            ],
            "users": [{"name": "u", "user": {"token": "secret"}}],
        }
        self.kubeconfig.write_text(yaml.safe_dump(text))
        self.kubeconfig.chmod(0o600)

    async def start(self, certificate: str = "apiserver", *, plain: bool = False) -> None:
        application = web.Application()
        application.router.add_route("*", "/{any:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        context = None
        if not plain:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(
                self.authority.directory / f"{certificate}.crt", self.authority.directory / f"{certificate}.key"
            )
        await web.TCPSite(self._runner, self.addresses[0], self.port, ssl_context=context).start()

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        answer = self.answers.get(request.path, web.Response(status=404))
        if isinstance(answer, web.Response):
            return web.Response(
                status=answer.status, body=answer.body, content_type=answer.content_type, headers=location(answer)
            )
        return await answer(request)


def location(answer: web.Response) -> dict[str, str]:
    return {"Location": answer.headers["Location"]} if "Location" in answer.headers else {}


def as_json(value: object, status: int = 200) -> web.Response:
    return web.Response(text=json.dumps(value), status=status, content_type="application/json")


async def hang(_: web.Request) -> web.Response:
    await asyncio.sleep(60)
    return web.Response()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    made = Server(tmp_path)
    yield made
    await made.stop()


class Look:
    """Looks at the server as the daemon does, `seconds` for each source."""

    def __init__(self, server: Server, sshd: Sshd) -> None:
        self._server, self._sshd = server, sshd

    async def __call__(self, seconds: float = 3.0, address: str = "127.0.0.1") -> ApiView:
        planes = (HostSettings("cp1", address),)
        cluster = ClusterConfig(
            ClusterSettings("prod", planes), 5.0, self._server.kubeconfig, self._sshd.settings, Deadlines(api=seconds)
        )
        pool = self._sshd.pool("cp1")
        pool.places["cp1"] = Places(api=self._server.port)
        collector = ApiCollector(cluster, pool)
        try:
            async with asyncio.timeout(2 * seconds + 1):
                return await collector.observe()
        finally:
            await collector.close()
            await pool.close()


@pytest.fixture
def look(server: Server, sshd: Sshd) -> Look:
    return Look(server, sshd)


def diagnosed(view: ApiView) -> Any:
    now = datetime.now(UTC)
    observation = Observation("prod", 1, now, now, view, {}, {})
    return diagnose(observation, Memory(), ClusterSettings("prod", (HostSettings("cp1", "127.0.0.1"),)))


async def test_a_ready_one_and_its_nodes_and_pods(server: Server, look: Look) -> None:
    await server.start()
    view = await look()
    assert (view.vip.health, view.members["cp1"].health, view.vip.address) == (
        EndpointHealth.READY,
        EndpointHealth.READY,
        f"127.0.0.1:{server.port}",
    )
    assert isinstance(view.objects, ObjectsView)
    first, second = view.objects.nodes
    assert (first.name, first.ready, first.control_plane, first.address, first.boot_id) == (
        "cp1",
        True,
        True,
        "127.0.0.1",
        "boot-cp1",
    )
    assert (second.ready, second.unschedulable) == (False, True)
    assert view.objects.pods == {"cp1": 1, "w1": 2, "": 2}
    assert {r.headers.get("Authorization") for r in server.asked} == {"Bearer secret"}


async def test_pods_as_objects_where_the_server_makes_no_table(server: Server, look: Look) -> None:
    pods: dict[str, dict[str, str]] = {"a": {"nodeName": "cp1"}, "b": {}}
    server.answers["/api/v1/pods"] = as_json(
        {
            "kind": "PodList",
            "items": [{"metadata": {"name": n, "uid": n}, "spec": spec} for n, spec in pods.items()],
        }
    )
    await server.start()
    view = await look()
    assert isinstance(view.objects, ObjectsView) and view.objects.pods == {"cp1": 1, "": 1}


async def test_the_checks_that_fail_are_named_even_when_livez_hangs(server: Server, look: Look) -> None:
    server.answers["/readyz"] = web.Response(text=NOT_READY, status=500)
    await server.start()
    view = await look()
    assert (view.vip.health, view.vip.failing_checks) == (
        EndpointHealth.NOT_READY,
        ("etcd", "poststarthook/rbac/bootstrap-roles"),
    )
    assert "process is alive" in view.vip.detail
    assert isinstance(view.objects, Unseen) and view.objects.kind is UnseenKind.NOT_TRIED
    server.answers["/livez"] = hang
    view = await look(1)
    assert (view.vip.health, view.vip.failing_checks[0]) == (EndpointHealth.NOT_READY, "etcd")
    assert "/livez was not answered" in view.vip.detail


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (web.Response(text=PROXY, status=502, content_type="text/html"), "HTTP 502"),
        (web.Response(text=PROXY, status=200, content_type="text/html"), "not from an API server"),
        (web.Response(body=b"\xff\xfe\x00" * 100_000), "HTTP 200"),
        (web.Response(status=302, headers={"Location": "https://127.0.0.2/readyz"}), "HTTP 302"),
        (as_json({"kind": "Status", "message": "Unauthorized"}, 401), "HTTP 401"),
        (as_json({"kind": "Status", "message": "forbidden: User cannot get path /readyz"}, 403), "HTTP 403"),
    ],
    ids=["502", "page", "bytes", "redirect", "401", "403"],
)
async def test_answers_of_none_that_is_ready(server: Server, look: Look, answer: web.Response, words: str) -> None:
    server.answers["/readyz"] = answer
    await server.start()
    view = await look()
    assert view.vip.health is EndpointHealth.ERROR and words in view.vip.detail
    assert len(view.vip.detail) < 500
    found = diagnosed(view)
    if "40" in words:
        assert found.state is State.UNOBSERVABLE
        assert any(
            f.code == Code.SOURCE_UNSEEN and "does not accept the credentials" in f.message for f in found.findings
        )


async def test_credentials_of_a_program_are_asked_for_anew_when_they_are_over(
    server: Server, sshd: Sshd, tmp_path: Path
) -> None:
    """As those of clouds and of OIDC, for a quarter of an hour: the cluster was not seen any more until a restart."""
    token, program = tmp_path / "token", tmp_path / "program"
    program.write_text(f"""#!/bin/sh
printf '{{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {{"token": "%s"}}}}' \
  "$(cat {token})"
""")
    program.chmod(0o755)
    config = yaml.safe_load(server.kubeconfig.read_text())
    asks = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(program), "interactiveMode": "Never"}
    config["users"][0]["user"] = {"exec": asks}
    server.kubeconfig.write_text(yaml.safe_dump(config))
    good = dict(server.answers)

    async def readyz(request: web.Request) -> web.StreamResponse:
        known = request.headers.get("Authorization") == f"Bearer {token.read_text()}"
        return web.Response(text=READY) if known else as_json({"message": "Unauthorized"}, 401)

    server.answers = good | {"/readyz": readyz}
    token.write_text("first")
    await server.start()
    settings = ClusterSettings("prod", (HostSettings("cp1", "127.0.0.1"),))
    collector = ApiCollector(
        ClusterConfig(settings, 5.0, server.kubeconfig, sshd.settings, Deadlines(api=20.0)), pool := sshd.pool("cp1")
    )
    pool.places["cp1"] = Places(api=server.port)
    try:
        seen = [(await collector.observe()).vip.health]
        token.write_text("second")
        seen += [(await collector.observe()).vip.health for _ in range(2)]
    finally:
        await collector.close()
        await pool.close()
    assert seen == [EndpointHealth.READY, EndpointHealth.ERROR, EndpointHealth.READY]


async def test_what_speaks_no_tls(server: Server, look: Look) -> None:
    await server.start(plain=True)
    view = await look()
    assert view.vip.health is EndpointHealth.ERROR and "does not speak TLS" in view.vip.detail


async def test_what_closes_at_once_and_what_babbles(server: Server, look: Look) -> None:
    for words in (b"", b"\x00" * 3000, b"SSH-2.0-OpenSSH_9.2\r\n"):

        async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter, words: bytes = words) -> None:
            writer.write(words)
            writer.close()

        async with await asyncio.start_server(talk, "127.0.0.1", server.port):
            view = await look(2)
        assert view.vip.health is EndpointHealth.ERROR, view.vip
        assert view.vip.detail


async def test_a_certificate_that_has_expired_says_when(server: Server, look: Look) -> None:
    server.authority.issue("old", days=-3)
    await server.start("old")
    view = await look()
    assert view.vip.health is EndpointHealth.TLS and "expired" in view.vip.detail
    assert view.vip.certificate_expires
    assert abs(datetime.now(UTC) - timedelta(days=3) - view.vip.certificate_expires) < timedelta(minutes=1)
    assert not server.asked, "nothing is sent to who cannot prove who it is"


async def test_a_certificate_of_another_authority(server: Server, look: Look, tmp_path: Path) -> None:
    server.write_kubeconfig(Authority(tmp_path / "other", "kubernetes"))
    await server.start()
    view = await look()
    assert view.vip.health is view.members["cp1"].health is EndpointHealth.TLS
    assert "does not verify" in view.vip.detail and view.vip.certificate_expires is None
    assert not server.asked
    assert any("kubeconfig's CA" in f.message for f in diagnosed(view).findings)


async def test_a_certificate_that_holds_only_the_name_in_the_kubeconfig(server: Server, look: Look) -> None:
    server.authority.issue("named", addresses=())
    server.write_kubeconfig(server=f"https://localhost:{server.port}")
    await server.start("named")
    view = await look()
    assert (view.vip.health, view.members["cp1"].health) == (EndpointHealth.READY, EndpointHealth.READY)


async def test_silence_after_the_question_and_after_the_connection(server: Server, look: Look) -> None:
    server.answers["/readyz"] = hang
    await server.start()
    assert (await look(1)).vip.health is EndpointHealth.TIMEOUT
    await server.stop()
    with socket.socket() as silent:  # as a process that is stopped: the kernel accepts for it
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        silent.bind(("127.0.0.1", server.port))
        silent.listen(16)
        view = await look(1)
    assert view.vip.health in (EndpointHealth.TIMEOUT, EndpointHealth.UNREACHABLE)


async def test_nothing_listens(server: Server, look: Look) -> None:
    view = await look()
    assert (view.vip.health, view.members["cp1"].health) == (EndpointHealth.REFUSED, EndpointHealth.REFUSED)


async def test_a_name_that_does_not_resolve(server: Server, look: Look) -> None:
    server.write_kubeconfig(server="https://k8s-api.invalid:6443")
    await server.start()
    view = await look()
    assert (view.vip.health, view.members["cp1"].health) == (EndpointHealth.UNRESOLVED, EndpointHealth.READY)
    assert isinstance(view.objects, ObjectsView), "asked through the control plane's own address"


async def test_a_control_plane_behind_a_firewall_is_asked_through_ssh(server: Server, look: Look) -> None:
    await server.start()
    with socket.socket() as full:  # 127.0.0.2 does not answer, as behind a firewall that drops
        full.bind(("127.0.0.2", server.port))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        look._sshd.settings.known_hosts.write_text(
            look._sshd.settings.known_hosts.read_text()
            + look._sshd.settings.known_hosts.read_text().replace("127.0.0.1", "127.0.0.2")
        )
        view = await look(3, address="127.0.0.2")
        for filler in fillers:
            filler.close()
    member = view.members["cp1"]
    assert member.health is EndpointHealth.READY, member
    assert "through SSH" in member.detail


@pytest.mark.parametrize(
    ("path", "answer", "kind", "words"),
    [
        ("/api/v1/nodes", as_json({"kind": "Status"}, 403), UnseenKind.DENIED, "HTTP 403"),
        ("/api/v1/pods", as_json({"kind": "Status"}, 401), UnseenKind.DENIED, "HTTP 401"),
        ("/api/v1/nodes", as_json({"kind": "Status"}, 503), UnseenKind.GARBAGE, "HTTP 503"),
        ("/api/v1/nodes", web.Response(text=PROXY), UnseenKind.GARBAGE, "cannot be understood"),
        (
            "/api/v1/nodes",
            web.Response(text='{"kind": "NodeList", "items": [{"meta'),
            UnseenKind.GARBAGE,
            "cannot be understood",
        ),
        ("/api/v1/nodes", as_json({"kind": "NodeList", "items": None}), UnseenKind.GARBAGE, "cannot be understood"),
        (
            "/api/v1/nodes",
            as_json({"kind": "NodeList", "items": [{"spec": []}]}),
            UnseenKind.GARBAGE,
            "cannot be understood",
        ),
        ("/api/v1/nodes", as_json({"items": []}), UnseenKind.GARBAGE, "NodeList"),
        ("/api/v1/nodes", as_json([1, 2]), UnseenKind.GARBAGE, "cannot be understood"),
        (
            "/api/v1/nodes",
            as_json({"kind": "NodeList", "metadata": {"continue": "abc"}, "items": [node("cp1")]}),
            UnseenKind.GARBAGE,
            "part of the list",
        ),
        (
            "/api/v1/pods",
            as_json({"kind": "Table", "columnDefinitions": [], "rows": [{"cells": []}]}),
            UnseenKind.GARBAGE,
            "cannot be understood",
        ),
        ("/api/v1/nodes", hang, UnseenKind.TIMEOUT, "within"),
    ],
)
async def test_lists_that_are_none(
    server: Server, look: Look, path: str, answer: web.Response | Handler, kind: UnseenKind, words: str
) -> None:
    server.answers[path] = answer
    await server.start()
    view = await look(1.5)
    assert view.vip.health is EndpointHealth.READY
    assert isinstance(view.objects, Unseen)
    assert (view.objects.kind, words in view.objects.reason) == (kind, True), view.objects
    assert any("could not be listed" in f.message for f in diagnosed(view).findings)


async def test_a_list_that_breaks_off(server: Server, look: Look) -> None:
    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100000"})
        await response.prepare(request)
        await response.write(b'{"kind": "NodeList", "items": [')
        assert request.transport
        request.transport.close()
        return response

    server.answers["/api/v1/nodes"] = half
    await server.start()
    view = await look()
    assert isinstance(view.objects, Unseen) and view.objects.kind is UnseenKind.UNREACHABLE
    assert "broke off" in view.objects.reason


async def test_another_clusters_list_is_seen_to_be_anothers(server: Server, look: Look) -> None:
    server.answers["/api/v1/nodes"] = as_json({"kind": "NodeList", "items": [node("other-1", address="10.9.9.9")]})
    await server.start()
    found = diagnosed(await look())
    assert any("leads to another cluster" in f.message and "other-1" in f.message for f in found.findings)


async def test_credentials_that_were_renewed_are_read_anew(server: Server, sshd: Sshd) -> None:
    await server.start()
    pool = sshd.pool("cp1")
    cluster = ClusterConfig(
        ClusterSettings("prod", (HostSettings("cp1", "127.0.0.1"),)), 5.0, server.kubeconfig, sshd.settings
    )
    collector = ApiCollector(cluster, pool)
    await collector.observe()
    server.kubeconfig.write_text(server.kubeconfig.read_text().replace("secret", "renewed"))
    server.asked.clear()
    view = await collector.observe()
    assert isinstance(view.objects, ObjectsView)
    assert {r.headers.get("Authorization") for r in server.asked} == {"Bearer renewed"}
    assert collector.trouble == ""
    server.kubeconfig.write_text("users: [")
    view = await collector.observe()
    assert view.vip.health is EndpointHealth.READY and isinstance(view.objects, ObjectsView), (
        "what was read before is used on"
    )
    assert str(server.kubeconfig) in collector.trouble and "is used until" in collector.trouble
    fresh = ApiCollector(cluster, pool)
    view = await fresh.observe()
    assert (
        isinstance(view.vip, EndpointView)
        and view.vip.health is EndpointHealth.NOT_TRIED
        and str(server.kubeconfig) in view.vip.detail
    )
    assert isinstance(view.objects, Unseen) and view.objects.kind is UnseenKind.OWN
    server.kubeconfig.unlink()
    assert "cannot be read" in (await fresh.observe()).vip.detail
    await collector.close()
    await pool.close()
