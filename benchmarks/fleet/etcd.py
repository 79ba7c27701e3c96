"""etcd's JSON gateway and metrics of a made-up cluster, as recoverd asks them."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web

from benchmarks.fleet.layout import Layout, Machine, uid
from benchmarks.fleet.lists import body

METRICS = 146 << 10
"""Bytes of /metrics on a real one (3.5, of a cluster that works)."""
QUOTA = "etcd_server_quota_backend_bytes 2.147483648e+09\n"
HANG = 30.0
"""Seconds for which what needs a leader is not answered without one."""


BOUNDS = (*(2**k / 1000 for k in range(14)), "+Inf")
"""The upper bounds of the two histograms that recoverd reads, in seconds, as etcd 3.4 and 3.5 have them."""


def _metrics() -> str:
    """As a real member's: the quota and two histograms are wanted of a thousand lines, most of them gRPC's."""
    wanted = "".join(
        f'etcd_disk_{what}_duration_seconds_bucket{{le="{bound}"}} {40000 + k}\n'
        for what in ("backend_commit", "wal_fsync")
        for k, bound in enumerate(BOUNDS)
    )
    others = "".join(
        f'grpc_server_handled_total{{grpc_code="Unavailable",grpc_method="{uid(k)}",'
        f'grpc_service="etcdserverpb.Lease",grpc_type="unary"}} {k}\n'
        for k in range(METRICS // 163)
    )
    half = others.index("\n", len(others) // 2) + 1
    return others[:half] + QUOTA + wanted + others[half:]


class Etcd:
    """The members of one cluster; the first control plane's leads."""

    def __init__(self, layout: Layout, asked: Callable[[], None]) -> None:
        self._layout, self._asked = layout, asked
        self._began = time.time()
        self._members = {m.name: int(uid("etcd", m.address)[:8], 16) + (1 << 60) for m in layout.planes}
        self._metrics = _metrics().encode()
        self.lost = False

    async def metrics(self, request: web.BaseRequest) -> web.StreamResponse:
        self._asked()
        return web.Response(body=self._metrics, content_type="text/plain")

    async def answer(self, machine: Machine, request: web.BaseRequest) -> web.StreamResponse:
        self._asked()
        path = request.path
        if path == "/health":
            if self.lost:
                await asyncio.sleep(HANG)
            return web.Response(text='{"health":"true","reason":""}')
        if path == "/v3/maintenance/status":
            return self._json(self._status(machine))
        if path == "/v3/cluster/member/list":
            return self._json({"header": self._header(machine), "members": self._listed()})
        if path == "/v3/kv/range":
            return self._json({"header": self._header(machine), **self._range(await request.json())})
        return web.Response(status=404, text='{"code":5,"message":"Not Found"}')

    @staticmethod
    def _json(what: Any) -> web.Response:
        return web.Response(body=body(what), content_type="application/json")

    def _header(self, machine: Machine) -> dict[str, Any]:
        revision = 5000 + int((0 if self.lost else time.time() - self._began) * 10)
        cluster = str(int(uid("cluster", self._layout.vip)[:8], 16) + 1)
        return {"cluster_id": cluster, "member_id": str(self._members[machine.name]), "revision": str(revision)}

    def _status(self, machine: Machine) -> dict[str, Any]:
        leader = next(iter(self._members.values()))
        errors = {"errors": ["etcdserver: no leader"]} if self.lost else {}
        return {
            "header": self._header(machine),
            "version": "3.5.16",
            "dbSize": "40960000",
            "dbSizeInUse": "30960000",
            "leader": "0" if self.lost else str(leader),
            "raftIndex": "9000",
            "raftTerm": "3",
            "raftAppliedIndex": "9000",
            **errors,
        }

    def _listed(self) -> list[dict[str, Any]]:
        address = {m.name: m.address for m in self._layout.planes}
        found = [
            {
                "ID": str(id),
                "name": name,
                "peerURLs": [f"https://{address[name]}:2380"],
                "clientURLs": [f"https://{address[name]}:2379"],
            }
            for name, id in self._members.items()
        ]
        if self.lost:
            found.append({"ID": "77", "peerURLs": ["https://127.250.250.250:2380"]})
        return found

    def _range(self, asked: dict[str, Any]) -> dict[str, Any]:
        key = base64.b64decode(asked["key"])
        if asked.get("count_only"):
            nodes = len(self._layout.machines)
            return {"count": str(nodes if b"minions" in key else sum(map(len, self._layout.pods.values())))}
        value = b"k8s\x00\n\x0fv1 Namespace kube-system " + uid("namespace", self._layout.vip).encode()
        return {"kvs": [{"key": asked["key"], "value": base64.b64encode(value).decode()}], "count": "1"}
