"""What the API server and etcd of an environment answer, in the shape of their version."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from recoverd.model.places import authority
from recoverd.observe.canary import NAME, NODES
from tests.components.test_api import Handler, as_json
from tests.field.environment import Environment

CREATED = "2026-03-01T08:00:00Z"
MEMBER = 10276657743932975437
"""Of the first control plane; those of the others follow."""
HEADER = {"cluster_id": "14841639068965178418", "revision": "1234", "raft_term": "3"}
RUNS = ("1/1", "Running")
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"


@dataclass
class Answers:
    """`addresses` and `boot_ids` are by host."""

    at: Environment
    addresses: Mapping[str, str]
    boot_ids: Mapping[str, str]
    revision: int = 1234
    """etcd's."""
    waiting: dict[str, str] = field(default_factory=dict)
    """By NAMESPACE/NAME of a pod that does not run: the reason that kubelet gives."""
    begun: str = ""
    """NAMESPACE/NAME of a pod that is bound to the worker and has no container yet."""
    added: list[dict[str, Any]] = field(default_factory=list)
    """Members of etcd that are on no control plane of the configuration."""
    lost: dict[str, str] = field(
        default_factory=lambda: {"reason": "KubeletNotReady", "message": "container runtime is down"}
    )
    """Why a worker is not Ready, where it is not."""
    parts: dict[str, str] = field(default_factory=dict)
    """By host, parts of the pod network of nodes that were given another than theirs."""
    cloned: str = ""
    """The machine-id of all machines, where they have one."""
    own_service: str = ""
    """The address of the service `kubernetes`; "" where it is not listed."""
    api_at: tuple[str, ...] = ()
    """The addresses behind that service."""
    notes: dict[str, dict[str, str]] = field(default_factory=dict)
    """Annotations of nodes, by host."""
    taints: list[dict[str, str]] = field(default_factory=list)
    """Of the worker's node."""
    unbound: str = ""
    """NAMESPACE/NAME of a pod that is bound to no node."""
    untried: bool = False
    """The scheduler has not looked at that."""
    removed: str = ""
    """The control plane whose member of etcd was removed."""
    alarm: str = ""
    """One that a member of etcd has raised: its name, and the control plane, as NOSPACE p1."""
    leads: bool = True
    """etcd has a leader."""

    def __post_init__(self) -> None:
        self.notes |= {h: {k: self.said(v) for k, v in notes.items()} for h, notes in self.at.notes.items()}
        if self.at.gives_out:
            self.own_service, self.api_at = "10.96.0.1", (self.said(self.at.gives_out),)

    def said(self, text: str) -> str:
        """With the addresses of hosts in the place of their names."""
        return text.format_map(self.addresses)

    def inner(self, host: str) -> tuple[str, ...]:
        """The InternalIPs of its node."""
        return tuple(map(self.said, self.at.inner.get(host, ()))) or (self.addresses[host],)

    @property
    def planes(self) -> tuple[str, ...]:
        return tuple(h for h in self.addresses if h != "w1")

    @property
    def pod(self) -> str:
        """The address of the worker's only pod on the pod network."""
        return "fd00:244::5" if self.at.v6 else "10.244.1.5"

    def pods(self) -> list[tuple[str, str, str, str]]:
        """UID, host, name and address of every pod of a DaemonSet or a Deployment."""
        names = [n for n in ("kube-proxy" if self.at.network.proxy else "", self.at.network.agent) if n]
        found = [(f"{n}-{h}-uid", h, f"kube-system/{n}-{h}", self.inner(h)[0]) for n in names for h in self.addresses]
        new = [("new-uid", "w1", self.begun, "<none>")] if self.begun else []
        return [*found, *new, ("web-uid", "w1", "d/web-1", self.pod)]

    def api(self, *, ready: bool = True) -> dict[str, web.Response | Handler]:
        """By path; `ready` is whether the worker is."""
        nodes = {h: self.at.node.format(host=h) for h in self.addresses}
        pods = self.pods()
        agents = sorted({n.partition("/")[2].rpartition("-")[0] for _, _, n, _ in pods if n.startswith("kube-system/")})
        daemonsets = [
            {
                "metadata": {"name": a, "namespace": "kube-system", "uid": f"ds-{a}"},
                "status": {"desiredNumberScheduled": len(self.addresses)},
            }
            for a in agents
        ]
        answers: dict[str, web.Response | Handler] = {
            "/api/v1/nodes": listed(
                "Node",
                [
                    *(self._node(nodes[h], h, ready=ready or h != "w1") for h in nodes),
                    *([self._windows()] if self.at.foreign else []),
                ],
            ),
            "/api/v1/pods": self._pods,
            "/apis/apps/v1/daemonsets": listed("DaemonSet", daemonsets),
            "/apis/networking.k8s.io/v1/networkpolicies": listed("NetworkPolicy", []),
            "/apis/apiregistration.k8s.io/v1/apiservices": listed(
                "APIService", [{"metadata": {"name": "v1."}, "spec": {}}]
            ),
            "/apis": as_json({"kind": "APIGroupList", "groups": []}),
            "/api/v1/services": listed("Service", [*self._own_service(), self._service()]),
            "/api/v1/namespaces/kube-system/pods": as_json({}, 201),
            LEASES: as_json({}, 201),
            f"/apis/coordination.k8s.io/v1/namespaces/{NODES}/leases/{NAME}": as_json({}),
            f"{LEASES}/kube-controller-manager": lease,
            f"{LEASES}/kube-scheduler": lease,
        }
        for host, node in nodes.items():
            own = [{"metadata": meta(uid, name)} for uid, h, name, _ in pods if h == host]
            answers[f"/api/v1/nodes/{node}/proxy/pods"] = listed("Pod", own)
        if self.at.foreign:
            answers["/api/v1/nodes/win1/proxy/pods"] = listed("Pod", [])
        return answers | self._endpoints(nodes["w1"])

    async def _pods(self, request: web.Request) -> web.Response:
        """All as a table, or those of a node whole."""
        nodes = {h: self.at.node.format(host=h) for h in self.addresses}
        on = request.query.get("fieldSelector", "").removeprefix("spec.nodeName=")
        if on.startswith(","):  # of those that are bound to none, which the scheduler has not looked at
            spec = {"spec": {"schedulerName": "default-scheduler"}, "status": {"phase": "Pending"}}
            items = [{"metadata": meta("unbound-uid", self.unbound)} | spec] if self.unbound and self.untried else []
            return listed("Pod", items)
        if not on:
            unbound = [("unbound-uid", "", self.unbound, "<none>")] if self.unbound else []
            return as_json(table([*self.pods(), *unbound], nodes | {"": "<none>"}, self.waiting))
        here = [(uid, name) for uid, host, name, _ in self.pods() if nodes[host] == on]
        return listed("Pod", [{"metadata": meta(uid, name), "status": self._status(name)} for uid, name in here])

    def _status(self, pod: str) -> dict[str, Any]:
        if pod not in self.waiting:
            return {"phase": "Running"}
        image = f"registry.k8s.io/{pod.partition('/')[2].rpartition('-')[0]}:{self.at.version}"
        why = {"reason": self.waiting[pod], "message": f'Back-off pulling image "{image}"'}
        return {"phase": "Pending", "containerStatuses": [{"image": image, "state": {"waiting": why}}]}

    def _own_service(self) -> list[dict[str, Any]]:
        spec = {"clusterIP": self.own_service, "ports": [{"name": "https", "port": 443, "protocol": "TCP"}]}
        return [{"metadata": {"name": "kubernetes", "namespace": "default"}, "spec": spec}] if self.own_service else []

    def _service(self) -> dict[str, Any]:
        spec: dict[str, Any] = {
            "clusterIP": "fd00:96::80" if self.at.v6 else "10.96.0.80",
            "ports": [{"port": 53 if self.at.dns else 80, "protocol": "TCP"}],
        }
        if self.at.dual:
            spec |= {"clusterIPs": ["10.96.0.80", "fd00:96::80"], "ipFamilies": ["IPv4", "IPv6"]}
        labels = {"k8s-app": "kube-dns"} if self.at.dns else {}
        return {"metadata": {"name": "web", "namespace": "d", "labels": labels}, "spec": spec}

    def _endpoints(self, node: str) -> dict[str, web.Response]:
        uid = next(uid for uid, _, name, _ in self.pods() if name == "d/web-1")
        ref = {"kind": "Pod", "namespace": "d", "name": "web-1", "uid": uid}
        old = self.at.slices == "v1beta1"
        where: dict[str, Any] = {"topology": {"kubernetes.io/hostname": node}} if old else {"nodeName": node}
        where["conditions"] = {"ready": True} if old else {"ready": True, "serving": True, "terminating": False}
        made = [(self.pod, "IPv6" if self.at.v6 else "IPv4"), *([("fd00:244::5", "IPv6")] if self.at.dual else [])]
        slices = [
            {
                "metadata": {"name": f"web-{f}", "namespace": "d", "labels": {"kubernetes.io/service-name": "web"}},
                "addressType": f,
                "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
                "endpoints": [{"addresses": [a], "targetRef": ref, **where}],
            }
            for a, f in made
        ]
        if self.api_at:
            slices.append(
                {
                    "metadata": {
                        "name": "kubernetes",
                        "namespace": "default",
                        "labels": {"kubernetes.io/service-name": "kubernetes"},
                    },
                    "addressType": "IPv4",
                    "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
                    "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in self.api_at],
                }
            )
        subset = {"addresses": [{"ip": self.pod, "nodeName": node, "targetRef": ref}], "ports": [{"port": 8080}]}
        version = "v1" if self.at.slices == "v1" else "v1beta1"
        return {
            "/api/v1/endpoints": listed(
                "Endpoints", [{"metadata": {"name": "web", "namespace": "d"}, "subsets": [subset]}]
            ),
            f"/apis/discovery.k8s.io/{version}/endpointslices": listed(
                "EndpointSlice", [] if self.at.slices == "none" else slices
            ),
        }

    def _node(self, name: str, host: str, *, ready: bool) -> dict[str, Any]:
        role = "control-plane" if int(self.at.version.split(".")[1]) >= 20 else "master"
        condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": CREATED}
        if not ready:
            condition |= self.lost
        labels = {f"node-role.kubernetes.io/{role}": ""} if host != "w1" else {}
        notes, outer = self.notes.get(host, {}), self.at.outer.get(host)
        return {
            "metadata": {"name": name, "labels": labels, "annotations": notes, "creationTimestamp": CREATED},
            "spec": ({"podCIDR": part, "podCIDRs": [part]} if (part := self.part(host)) else {})
            | ({"taints": self.taints} if host == "w1" and self.taints else {}),
            "status": {
                "conditions": [condition],
                "addresses": [
                    *({"type": "InternalIP", "address": a} for a in self.inner(host)),
                    *([{"type": "ExternalIP", "address": outer}] if outer else []),
                    {"type": "Hostname", "address": name},
                ],
                "nodeInfo": {
                    "bootID": self.boot_ids[host],
                    "kubeletVersion": self.at.version,
                    "machineID": self.cloned or f"{host}-machine",
                    "systemUUID": f"{host}-system",
                },
            },
        }

    def part(self, host: str) -> str:
        """The node's part of the pod network."""
        return self.parts.get(host, f"10.244.{0 if host == 'p1' else int(host[1:])}.0/24")

    def _windows(self) -> dict[str, Any]:
        node = self._node("win1", "w1", ready=True)
        node["metadata"]["labels"] = {"kubernetes.io/os": "windows"}
        node["status"]["addresses"] = [{"type": "InternalIP", "address": "127.255.255.254"}]
        node["status"]["nodeInfo"] |= {"machineID": "win1-machine", "systemUUID": "win1-system"}
        node["spec"] = {}
        return node

    def members(self) -> list[dict[str, Any]]:
        rows = []
        for host in (p for p in self.planes if p != self.removed):
            peer, client = (f"https://{authority(self.addresses[host], port)}" for port in (2380, 2379))
            name = self.at.member.format(host=host)
            rows.append({"ID": self.member(host), "name": name, "peerURLs": [peer], "clientURLs": [client]})
        return [*rows, *self.added]

    def member(self, host: str) -> str:
        return str(MEMBER + self.planes.index(host))

    async def etcd(self, host: str, request: web.Request) -> web.Response:
        """A member's gateway and its metrics: of 3.4 (no reason), 3.5, and 3.6 (its storage's version, its quota)."""
        version = self.at.etcd or self.at.external
        newer = tuple(int(n) for n in version.split(".")[:2])
        header = {**HEADER, "member_id": self.member(host), "revision": str(self.revision)}
        if request.path == "/metrics":
            return web.Response(text="etcd_server_quota_backend_bytes 2.147483648e+09\n")
        if request.path == "/health":
            told = {"health": "true", "reason": ""} if self.leads else {"health": "false", "reason": "RAFT NO LEADER"}
            return as_json(told if newer >= (3, 5) else {"health": told["health"]}, 200 if self.leads else 503)
        if request.path == "/v3/cluster/member/list":
            return as_json({"header": header, "members": self.members()})
        if request.path == "/v3/maintenance/status":
            leader = {"leader": self.member(self.planes[0])} if self.leads else {"errors": ["etcdserver: no leader"]}
            numbers = {"raftIndex": "1500", "raftTerm": "3", "raftAppliedIndex": "1500", **leader}
            sizes = {"dbSize": "20480000", "dbSizeInUse": "9000000"}
            new = {"storageVersion": "3.6.0", "dbSizeQuota": "2147483648", "downgradeInfo": {}}
            status = {"header": header, "version": version, **numbers, **sizes}
            if self.alarm:
                name, _, of = self.alarm.partition(" ")
                status["errors"] = [f"memberID:{self.member(of)} alarm:{name} "]
            return as_json(status | (new if newer >= (3, 6) else {}))
        if request.path == "/v3/kv/range":
            return self._range(header, await request.json())
        return web.Response(status=404)

    def _range(self, header: dict[str, str], asked: dict[str, Any]) -> web.Response:
        if not self.leads and not asked.get("serializable"):
            return as_json({"error": "etcdserver: request timed out", "code": 14}, 503)
        ours = base64.b64decode(asked["key"]).decode().startswith(f"{self.at.prefix or '/registry'}/")
        count = {"count": str(len(self.addresses) if ours else 0)} if asked.get("count_only") else {}
        return as_json({"header": header, **count})


def listed(kind: str, items: list[dict[str, Any]]) -> web.Response:
    return as_json({"kind": f"{kind.removesuffix('s')}{'s' * (kind == 'Endpoints')}List", "items": items})


def meta(uid: str, name: str) -> dict[str, Any]:
    namespace, _, pod = name.partition("/")
    owner = [{"kind": "DaemonSet", "uid": f"ds-{pod.rpartition('-')[0]}"}] if namespace == "kube-system" else []
    return {"uid": uid, "namespace": namespace, "name": pod, "creationTimestamp": CREATED, "ownerReferences": owner}


def table(
    pods: list[tuple[str, str, str, str]], nodes: Mapping[str, str], waiting: Mapping[str, str]
) -> dict[str, Any]:
    """`waiting`: why, by the name of a pod."""
    columns = [{"name": n} for n in ("Name", "Ready", "Status", "Restarts", "Age", "IP", "Node")]
    rows = [
        {
            "cells": [name, *(("0/1", waiting[name]) if name in waiting else RUNS), 0, "9d", ip, nodes[host]],
            "object": {"metadata": meta(uid, name)},
        }
        for uid, host, name, ip in pods
    ]
    return {"kind": "Table", "columnDefinitions": columns, "rows": rows}


async def lease(_: web.Request) -> web.Response:
    """Of a controller that renews it."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return as_json({"spec": {"holderIdentity": "p1_1", "renewTime": now}})
