"""kube-proxy's and the CNI's pods: one on every node where their DaemonSets want one. Stateful, no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from recoverd.model.network import AgentView, ProcessView
from recoverd.observe.kubelet import ListedPod

PROXY = "kube-proxy"
CNI = re.compile(
    r"(kube-)?flannel(-ds.*)?|calico-node|canal|cilium|weave-net|kube-router|antrea-agent|kindnet|aws-node|azure-cni.*|ovnkube-node|kube-ovn-cni"
)
"""Names of DaemonSets, as the projects' own manifests have them."""
GOOD = 10.0
"""Seconds that an agent must be well before it counts as recovered: one that crashes
over and over is well in between.
"""

ROLLOUT = 600.0
"""Seconds for which an agent may be away or not ready while its DaemonSet is rolled out: its image is pulled, and it
takes in all that is on the node.
"""


def start_seconds(daemonset: Mapping[str, Any]) -> float:
    """For how long an agent may be starting by what its DaemonSet says itself: 300 probes every 2 s for Cilium's."""
    meta, spec, status = daemonset["metadata"], daemonset.get("spec") or {}, daemonset.get("status") or {}
    pod = (spec.get("template") or {}).get("spec") or {}
    probes = [p for c in pod.get("containers") or () if (p := c.get("startupProbe"))]
    given = [
        float(p.get("initialDelaySeconds") or 0) + (p.get("failureThreshold") or 3) * (p.get("periodSeconds") or 10)
        for p in probes
    ]
    behind = int(status.get("observedGeneration") or 0) < int(meta.get("generation") or 0)
    updated, desired = status.get("updatedNumberScheduled"), int(status.get("desiredNumberScheduled") or 0)
    rolled = (spec.get("updateStrategy") or {}).get("type") != "OnDelete"
    rolling = rolled and (behind or (updated is not None and int(updated) < desired))
    return max([*given, ROLLOUT if rolling else 0.0])


class AgentWatch:
    """Watches the agents of one cluster's nodes. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._bad_since: dict[tuple[str, str], float] = {}
        self._good_since: dict[tuple[str, str], float] = {}
        self._processes: set[str] = set()
        """Process names ever seen: only those can be missed."""

    def look(
        self,
        daemonsets: Mapping[str, Any],
        pods: Sequence[ListedPod],
        nodes: Sequence[str],
        processes: Mapping[str, Mapping[str, ProcessView]],
        now: float,
    ) -> tuple[AgentView, ...]:
        """`nodes` are those that are Ready; `processes` by node, absent where the host was not seen."""
        for of_host in processes.values():
            self._processes.update(of_host)
        views = []
        for item in daemonsets.get("items") or ():
            meta, name = item["metadata"], str(item["metadata"]["name"])
            kind = PROXY if name == PROXY else "cni" if CNI.fullmatch(name) else ""
            if not kind:
                continue
            here: dict[str, ListedPod] = {}
            for pod in sorted((p for p in pods if p.owner == meta["uid"]), key=lambda p: (not p.deleting, p.ready)):
                here[pod.node] = pod
            desired = int((item.get("status") or {}).get("desiredNumberScheduled") or 0)
            lacking = [n for n in nodes if n not in here]
            # which nodes it wants cannot be told from outside, unless it wants them all
            wanted = [n for n in nodes if n in here] + (lacking if len(here) + len(lacking) == desired else [])
            label = f"{meta.get('namespace', '')}/{name}"
            seconds = start_seconds(item)
            views += [
                replace(self._view(node, kind, label, here.get(node), processes.get(node), now), may_start_for=seconds)
                for node in wanted
            ]
        keys = {(v.node, v.daemonset) for v in views}
        self._bad_since = {k: at for k, at in self._bad_since.items() if k in keys}
        self._good_since = {k: at for k, at in self._good_since.items() if k in keys}
        return tuple(views)

    def _view(
        self,
        node: str,
        kind: str,
        label: str,
        pod: ListedPod | None,
        processes: Mapping[str, ProcessView] | None,
        now: float,
    ) -> AgentView:
        running: bool | None = None
        if kind == PROXY and PROXY in self._processes and processes is not None:
            process = processes.get(PROXY)
            running = process is not None and process.state not in ("T", "t", "Z", "X")
        ready = pod is not None and pod.ready and not pod.deleting
        key = (node, label)
        if ready and running is not False:
            good = self._good_since.setdefault(key, now)
            if now - good >= GOOD:
                self._bad_since.pop(key, None)
            bad_for = 0.0
        else:
            self._good_since.pop(key, None)
            bad_for = now - self._bad_since.setdefault(key, now)
        name = pod.name.partition("/")[2] if pod else ""
        return AgentView(node, kind, label, name, ready, pod.status if pod else "", running, bad_for)
