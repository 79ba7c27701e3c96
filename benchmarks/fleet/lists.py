"""What the API server of a made-up cluster lists, in the sizes of real ones: 2.8 KB a row of the pods' table, 9 KB a
node, 1.4 KB an EndpointSlice, 7 KB a pod of kubelet's own list. Most of it is what no one reads: managed fields,
images, volumes.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from benchmarks.fleet.layout import Layout, Machine, Pod, uid

CREATED = "2026-01-01T00:00:00Z"
ROW, NODE, SLICE, POD = 2800, 9000, 1400, 7000
"""Bytes of one in its list."""
COLUMNS = ("Name", "Ready", "Status", "Restarts", "Age", "IP", "Node", "Nominated Node", "Readiness Gates")
Shape = dict[str, Any]


def body(what: Any) -> bytes:
    """As an API server writes it."""
    return json.dumps(what, separators=(",", ":")).encode() + b"\n"


def _managed(size: int, word: str) -> list[Shape]:
    """Managed fields that take so many bytes; they name fields, as real ones do."""
    fields: Shape = {}
    number = 0
    while size > 0:
        key = f'k:{{"type":"{uid(word, number)[:18]}"}}'
        fields[key] = {".": {}, "f:lastProbeTime": {}, "f:lastTransitionTime": {}, "f:status": {}, "f:type": {}}
        size -= len(key) + 90
        number += 1
    made = {"manager": "kubelet", "operation": "Update", "apiVersion": "v1", "time": CREATED, "fieldsType": "FieldsV1"}
    return [{**made, "fieldsV1": {"f:status": {"f:conditions": fields}}, "subresource": "status"}]


def _metadata(name: str, namespace: str = "", **more: Any) -> Shape:
    space = {"namespace": namespace} if namespace else {}
    return {
        "name": name,
        **space,
        "uid": uid(namespace, name),
        "resourceVersion": "1000",
        "creationTimestamp": CREATED,
        **more,
    }


def _listing(kind: str, version: str, items: list[Any]) -> bytes:
    return body({"kind": kind, "apiVersion": version, "metadata": {"resourceVersion": "5000"}, "items": items})


def nodes(layout: Layout) -> bytes:
    return _listing("NodeList", "v1", [_node(m) for m in layout.machines])


def _node(machine: Machine) -> Shape:
    labels = {"kubernetes.io/hostname": machine.name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    if machine.plane:
        labels["node-role.kubernetes.io/control-plane"] = ""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def condition(kind: str, status: str) -> Shape:
        said = {"reason": f"Kubelet{kind}", "message": f"kubelet is posting {kind} status"}
        return {"type": kind, "status": status, "lastHeartbeatTime": now, "lastTransitionTime": CREATED, **said}

    pressure = [condition(kind, "False") for kind in ("MemoryPressure", "DiskPressure", "PIDPressure")]
    amounts = {"cpu": "8", "ephemeral-storage": "102400000Ki", "hugepages-2Mi": "0", "memory": "32Gi", "pods": "110"}
    images = [
        {"names": [f"registry.k8s.io/image-{k}@sha256:{'ab' * 32}", f"registry.k8s.io/image-{k}:v1"], "sizeBytes": k}
        for k in range(30)
    ]
    made = {
        "metadata": _metadata(machine.name, labels=labels, managedFields=_managed(1500, machine.name)),
        "spec": {"podCIDR": f"{machine.subnet}.0/24", "podCIDRs": [f"{machine.subnet}.0/24"]},
        "status": {
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": [*pressure, condition("Ready", "True")],
            "addresses": [
                {"type": "InternalIP", "address": machine.address},
                {"type": "Hostname", "address": machine.name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": {"bootID": machine.boot_id, "kubeletVersion": "v1.29.4", "osImage": "Debian GNU/Linux 12"},
            "images": images,
        },
    }
    lacking = NODE - len(body(made))
    made["metadata"]["managedFields"] += _managed(max(0, lacking - 150), machine.boot_id)
    return made


def _pod_metadata(layout: Layout, pod: Pod) -> Shape:
    kind = {"apiVersion": "apps/v1", "kind": pod.owner, "name": pod.owner_name, "controller": True}
    owner = {**kind, "uid": uid(layout.name, pod.owner, pod.owner_name), "blockOwnerDeletion": True}
    labels = {"app": pod.owner_name, "pod-template-hash": "7fcfb99964"}
    return _metadata(pod.name, pod.namespace, labels=labels, ownerReferences=[owner]) | {"uid": pod.uid}


def table(layout: Layout) -> bytes:
    """All pods, as a table."""
    return body(_table([_row(layout, pod) for pods in layout.pods.values() for pod in pods]))


def change(layout: Layout, number: int) -> bytes:
    """One line of a watch of pods: the pod of that number, from the first on again, with a new version."""
    pods = layout.pods[layout.machines[number % len(layout.machines)].name]
    row = _row(layout, pods[number // len(layout.machines) % len(pods)])
    row["object"]["metadata"]["resourceVersion"] = str(6000 + number)
    return body({"type": "MODIFIED", "object": _table([row])})


def _row(layout: Layout, pod: Pod) -> Shape:
    about = _pod_metadata(layout, pod)
    cells = [pod.name, "1/1", "Running", 0, "30d", pod.ip, pod.node, "<none>", "<none>"]
    about["managedFields"] = _managed(ROW - len(body(about)) - 450, pod.uid)
    made = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": about}
    return {"cells": cells, "object": made}


def _table(rows: list[Shape]) -> Shape:
    columns = [{"name": n, "type": "string", "format": "", "description": f"{n} of it", "priority": 0} for n in COLUMNS]
    about = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": "5000"}}
    return {**about, "columnDefinitions": columns, "rows": rows}


def services(layout: Layout) -> bytes:
    items = []
    for s in layout.services:
        labels = {"k8s-app": "kube-dns"} if s.name == "kube-dns" else {"app": s.name}
        port = {"name": "main", "protocol": "TCP", "port": s.port, "targetPort": s.target}
        spec = {"clusterIP": s.ip, "clusterIPs": [s.ip], "type": "ClusterIP", "ports": [port], "selector": labels}
        about = _metadata(s.name, s.namespace, labels=labels, managedFields=_managed(500, s.name))
        items.append({"metadata": about, "spec": spec, "status": {"loadBalancer": {}}})
    return _listing("ServiceList", "v1", items)


def slices(layout: Layout) -> bytes:
    items = []
    for s in layout.services:
        endpoints = []
        for ip, node, pod, pod_uid in s.endpoints:
            space, _, name = pod.partition("/")
            target = {"targetRef": {"kind": "Pod", "namespace": space, "name": name, "uid": pod_uid}} if pod else {}
            conditions = {"ready": True, "serving": True, "terminating": False}
            endpoints.append({"addresses": [ip], "conditions": conditions, "nodeName": node, **target})
        labels = {"kubernetes.io/service-name": s.name}
        if s.name != "kubernetes":
            labels["endpointslice.kubernetes.io/managed-by"] = "endpointslice-controller.k8s.io"
        item = {
            "metadata": _metadata(f"{s.name}-{uid(s.name)[:5]}", s.namespace, labels=labels),
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [{"name": "main", "protocol": "TCP", "port": s.target}],
        }
        item["metadata"]["managedFields"] = _managed(SLICE - len(body(item)) - 150, s.name)
        items.append(item)
    return _listing("EndpointSliceList", "discovery.k8s.io/v1", items)


def daemonsets(layout: Layout) -> bytes:
    items = []
    for space, name in (("kube-system", "kube-proxy"), ("kube-flannel", "kube-flannel-ds")):
        count = len(layout.machines)
        status = dict.fromkeys(("desiredNumberScheduled", "updatedNumberScheduled", "numberReady"), count)
        about = _metadata(name, space, generation=1) | {"uid": uid(layout.name, "DaemonSet", name)}
        container = {"name": name, "image": f"registry.k8s.io/{name}:v1"}
        spec = {"template": {"spec": {"containers": [container]}}, "updateStrategy": {"type": "RollingUpdate"}}
        items.append({"metadata": about, "spec": spec, "status": {**status, "observedGeneration": 1}})
    return _listing("DaemonSetList", "apps/v1", items)


def policies(layout: Layout) -> bytes:
    return _listing("NetworkPolicyList", "networking.k8s.io/v1", [])


def api_services(layout: Layout) -> bytes:
    """All of them the API server's own."""
    items = [{"metadata": {"name": f"v1.{n}"}, "spec": {}, "status": {}} for n in ("apps", "batch", "discovery.k8s.io")]
    return _listing("APIServiceList", "apiregistration.k8s.io/v1", items)


def groups(layout: Layout) -> bytes:
    names = ("apps", "batch", "coordination.k8s.io", "discovery.k8s.io", "networking.k8s.io", "policy")
    return body({"kind": "APIGroupList", "groups": [{"name": n, "preferredVersion": {"version": "v1"}} for n in names]})


def kubelet_pods(layout: Layout, node: str) -> bytes:
    """A node's pods as its kubelet gives them, made when asked for: of all nodes they would take much memory."""
    filling = ',"spec":{"containers":[' + FILLING + "]}}"
    items = []
    for pod in layout.pods[node]:
        about = _pod_metadata(layout, pod) | {"annotations": {"kubernetes.io/config.source": "api"}}
        start = json.dumps({"metadata": about, "status": {"phase": "Running", "podIP": pod.ip}}, separators=(",", ":"))
        items.append(start[:-1] + filling)
    return ('{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[' + ",".join(items) + "]}").encode()


def lease(layout: Layout, name: str) -> bytes:
    """A controller's, renewed now."""
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    holder = f"{layout.planes[0].name}_{uid(name)}"
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": now, "acquireTime": CREATED}
    return body({"kind": "Lease", "metadata": _metadata(name, "kube-system"), "spec": spec})


def _container(number: int) -> Shape:
    environment = [{"name": f"NAME_{k}", "value": f"value-{number}-{k}"} for k in range(12)]
    mounts = [{"name": f"volume-{k}", "mountPath": f"/var/lib/volume-{k}", "readOnly": True} for k in range(6)]
    return {"name": f"c{number}", "image": "registry.example/app:v1", "env": environment, "volumeMounts": mounts}


FILLING = ",".join(json.dumps(_container(n), separators=(",", ":")) for n in range(POD // 1150))
