"""What the API server and etcd of an environment answer, in the shape of their version."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from recoverd.model.places import authority
from tests.components.test_api import Handler, as_json
from tests.field.environment import Environment

CREATED = "2026-03-01T08:00:00Z"
MEMBER = "10276657743932975437"
HEADER = {"cluster_id": "14841639068965178418", "member_id": MEMBER, "revision": "1234", "raft_term": "3"}
RUNS, WAITS = ("1/1", "Running"), ("0/1", "ImagePullBackOff")
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"


@dataclass
class Answers:
    """`addresses` and `boot_ids` are by host."""

    at: Environment
    addresses: Mapping[str, str]
    boot_ids: Mapping[str, str]
    revision: int = 1234
    """etcd's."""
    unpulled: str = ""
    """NAMESPACE/NAME of a pod that waits for its image."""

    @property
    def pod(self) -> str:
        """The address of the worker's only pod on the pod network."""
        return "fd00:244::5" if self.at.v6 else "10.244.1.5"

    def pods(self) -> list[tuple[str, str, str, str]]:
        """UID, host, name and address of every pod of a DaemonSet or a Deployment."""
        names = [n for n in ("kube-proxy" if self.at.network.proxy else "", self.at.network.agent) if n]
        found = [(f"{n}-{h}-uid", h, f"kube-system/{n}-{h}", self.addresses[h]) for n in names for h in self.addresses]
        return [*found, ("web-uid", "w1", "d/web-1", self.pod)]

    def api(self, *, ready: bool = True) -> dict[str, web.Response | Handler]:
        """By path; `ready` is whether the worker is."""
        nodes = {h: self.at.node.format(host=h) for h in self.addresses}
        pods = self.pods()
        agents = sorted({n.partition("/")[2].rpartition("-")[0] for _, _, n, _ in pods[:-1]})
        daemonsets = [
            {
                "metadata": {"name": a, "namespace": "kube-system", "uid": f"ds-{a}"},
                "status": {"desiredNumberScheduled": 2},
            }
            for a in agents
        ]
        answers: dict[str, web.Response | Handler] = {
            "/api/v1/nodes": listed(
                "Node",
                [
                    *(self._node(nodes[h], h, ready=ready or h == "p1") for h in nodes),
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
            "/api/v1/services": listed("Service", [self._service()]),
            "/api/v1/namespaces/kube-system/pods": as_json({}, 201),
            LEASES: as_json({}, 201),
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
        if not on:
            return as_json(table(self.pods(), nodes, self.unpulled))
        here = [(uid, name) for uid, host, name, _ in self.pods() if nodes[host] == on]
        return listed("Pod", [{"metadata": meta(uid, name), "status": self._status(name)} for uid, name in here])

    def _status(self, pod: str) -> dict[str, Any]:
        if pod != self.unpulled:
            return {"phase": "Running"}
        image = f"registry.k8s.io/{pod.partition('/')[2].rpartition('-')[0]}:{self.at.version}"
        why = {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{image}"'}
        return {"phase": "Pending", "containerStatuses": [{"image": image, "state": {"waiting": why}}]}

    def _service(self) -> dict[str, Any]:
        spec: dict[str, Any] = {
            "clusterIP": "fd00:96::80" if self.at.v6 else "10.96.0.80",
            "ports": [{"port": 80, "protocol": "TCP"}],
        }
        if self.at.dual:
            spec |= {"clusterIPs": ["10.96.0.80", "fd00:96::80"], "ipFamilies": ["IPv4", "IPv6"]}
        return {"metadata": {"name": "web", "namespace": "d"}, "spec": spec}

    def _endpoints(self, node: str) -> dict[str, web.Response]:
        ref = {"kind": "Pod", "namespace": "d", "name": "web-1"}
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
            condition |= {"reason": "KubeletNotReady", "message": "container runtime is down"}
        labels = {f"node-role.kubernetes.io/{role}": ""} if host == "p1" else {}
        return {
            "metadata": {"name": name, "labels": labels, "creationTimestamp": CREATED},
            "status": {
                "conditions": [condition],
                "addresses": [{"type": "InternalIP", "address": self.addresses[host]}],
                "nodeInfo": {"bootID": self.boot_ids[host], "kubeletVersion": self.at.version},
            },
        }

    def _windows(self) -> dict[str, Any]:
        node = self._node("win1", "w1", ready=True)
        node["metadata"]["labels"] = {"kubernetes.io/os": "windows"}
        node["status"]["addresses"] = [{"type": "InternalIP", "address": "127.255.255.254"}]
        return node

    async def etcd(self, request: web.Request) -> web.Response:
        """The member's gateway and its metrics: of 3.4 (no reason), 3.5, and 3.6 (its storage's version, its quota)."""
        version = self.at.etcd or self.at.external
        newer, header = tuple(int(n) for n in version.split(".")[:2]), {**HEADER, "revision": str(self.revision)}
        if request.path == "/metrics":
            return web.Response(text="etcd_server_quota_backend_bytes 2.147483648e+09\n")
        if request.path == "/health":
            return as_json({"health": "true", "reason": ""} if newer >= (3, 5) else {"health": "true"})
        if request.path == "/v3/cluster/member/list":
            peer, client = (f"https://{authority(self.addresses['p1'], port)}" for port in (2380, 2379))
            name = self.at.member.format(host="p1")
            return as_json(
                {
                    "header": HEADER,
                    "members": [{"ID": MEMBER, "name": name, "peerURLs": [peer], "clientURLs": [client]}],
                }
            )
        if request.path == "/v3/maintenance/status":
            numbers = {"raftIndex": "1500", "raftTerm": "3", "raftAppliedIndex": "1500", "leader": MEMBER}
            sizes = {"dbSize": "20480000", "dbSizeInUse": "9000000"}
            new = {"storageVersion": "3.6.0", "dbSizeQuota": "2147483648", "downgradeInfo": {}}
            told = {"header": header, "version": version, **numbers, **sizes}
            return as_json(told | (new if newer >= (3, 6) else {}))
        if request.path == "/v3/kv/range":
            asked = await request.json()
            if not base64.b64decode(asked["key"]).decode().startswith(f"{self.at.prefix or '/registry'}/"):
                return as_json({"header": header, "count": "0"} if asked.get("count_only") else {"header": header})
            return as_json({"header": header, "count": "2"} if asked.get("count_only") else {"header": header})
        return web.Response(status=404)


def listed(kind: str, items: list[dict[str, Any]]) -> web.Response:
    return as_json({"kind": f"{kind.removesuffix('s')}{'s' * (kind == 'Endpoints')}List", "items": items})


def meta(uid: str, name: str) -> dict[str, Any]:
    namespace, _, pod = name.partition("/")
    owner = [{"kind": "DaemonSet", "uid": f"ds-{pod.rpartition('-')[0]}"}] if namespace == "kube-system" else []
    return {"uid": uid, "namespace": namespace, "name": pod, "creationTimestamp": CREATED, "ownerReferences": owner}


def table(pods: list[tuple[str, str, str, str]], nodes: Mapping[str, str], unpulled: str = "") -> dict[str, Any]:
    """`unpulled`: the name of one that waits for its image."""
    columns = [{"name": n} for n in ("Name", "Ready", "Status", "Restarts", "Age", "IP", "Node")]
    rows = [
        {
            "cells": [name, *(WAITS if name == unpulled else RUNS), 0, "9d", ip, nodes[host]],
            "object": {"metadata": meta(uid, name)},
        }
        for uid, host, name, ip in pods
    ]
    return {"kind": "Table", "columnDefinitions": columns, "rows": rows}


async def lease(_: web.Request) -> web.Response:
    """Of a controller that renews it."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return as_json({"spec": {"holderIdentity": "p1_1", "renewTime": now}})
