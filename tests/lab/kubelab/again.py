"""Whether a cluster that was booted from a state does again what it did: what the API lists right after a boot was true
before it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from .node import Node


def awaited(first: Node, boots: Mapping[str, str], since: datetime) -> str:
    """What the API lists of the time before `since`, or not at all: what it says right
    after a boot was true before it.
    """
    lists = ("apis/coordination.k8s.io/v1/leases", "api/v1/nodes", "api/v1/pods")
    answer = first.sh("".join(f"kubectl get --raw /{path}; echo; " for path in lists), capture_output=True, check=False)
    if answer.returncode:
        return "the API server"
    leases, nodes, pods = (json.loads(line)["items"] for line in answer.stdout.splitlines() if line)
    for lease in leases:
        if datetime.fromisoformat(lease["spec"]["renewTime"]) < since:
            return f"whoever has the lease {lease['metadata']['name']}"
    for node in nodes:
        if node["status"]["nodeInfo"]["bootID"] != boots[node["metadata"]["name"]]:
            return f"the kubelet of {node['metadata']['name']}"
    for item in (*nodes, *pods):
        name, status = item["metadata"]["name"], item["status"]
        # of a static pod it is said up to a minute late (observed on 1.20.2); that the
        # controllers work, their leases tell
        static = "kubernetes.io/config.mirror" in item["metadata"].get("annotations", ())
        if not static and not any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ())):
            return f"{name} to be Ready"
        for container in status.get("containerStatuses", ()):
            started = container["state"].get("running", {}).get("startedAt", "")
            if not started or datetime.fromisoformat(started) < since:
                return f"{name} to be started anew"
    return ""


def misled(first: Node, nodes: Sequence[Node]) -> str:
    """Which node's services do not lead to the pods that there are now. A pod has another address after a boot, and
    for some seconds after it is Ready they lead to the old one (observed on 1.20.2, 7 s after the rest was there).
    """
    answer = first.sh("kubectl get --raw /api/v1/endpoints", capture_output=True, check=False)
    if answer.returncode:
        return "the API server"
    there = {
        f"{address['ip']}:{port['port']}"
        for item in json.loads(answer.stdout)["items"]
        for subset in item.get("subsets", ())
        for address in subset.get("addresses", ())
        for port in subset.get("ports", ())
        if ":" not in address["ip"]  # those of IPv6 stand in ip6tables (observed with dual-stack: waited for in vain)
    }
    asked = "iptables-save -t nat | grep -- '-A KUBE-SEP' | grep -o 'to-destination [0-9.:]*'"
    for node in nodes:
        if not node.answers("test -e /etc/kubernetes/kubelet.conf"):  # a spare
            continue
        said = node.sh(asked, capture_output=True, check=False).stdout
        if set(said.split()) - {"to-destination"} != there:
            return f"kube-proxy on {node.name}"
    return ""
