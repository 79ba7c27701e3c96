"""The cluster's DNS as the API has it: since when none of its pods has been ready."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from recoverd.model.network import SilentDns
from recoverd.observe.kubelet import ListedPod
from recoverd.observe.lists import Answered, Read
from recoverd.observe.services import ServicePort

LABEL = "kube-dns"
"""What CoreDNS's pods and their service have as their `k8s-app` (kubeadm's own manifests)."""


class NameWatch:
    """Remembers of one cluster since when its DNS has had no pod that is ready, and which service has ever had one."""

    def __init__(self) -> None:
        self._since: dict[str, datetime] = {}
        self._served: set[str] = set()

    def look(
        self,
        ports: Iterable[ServicePort],
        now: datetime,
        listed: Iterable[ListedPod] = (),
        services: Read | None = None,
    ) -> dict[str, SilentDns]:
        """By service, NAMESPACE/NAME. A pod that is `listed` and has no address yet, as one that no node takes, is
        behind no service. Of a service that has never had a pod, that is somebody's will, and it is left out.

        `services` is the list of them, by which is told that there is none for pods that are ready.
        """
        of_dns = [p for p in ports if p.dns]
        found = {} if of_dns or not isinstance(services, Answered) else self._unserved(listed, services.body, now)
        for port in of_dns:
            there, name = [e for e in port.endpoints if not e.terminating], f"{port.namespace}/{port.name}"
            if any(e.ready for e in there):
                self._served.add(name)
                continue
            waiting = _waiting(listed, port.namespace)
            if there or waiting or name in self._served:
                pods = {e.pod for e in there} | {p.name for p in waiting}
                nodes = {e.node for e in there} | {p.node for p in waiting}
                since = self._since.get(name, now)
                found[name] = SilentDns(since, tuple(sorted(pods - {""})), tuple(sorted(nodes - {"", "<none>"})))
        self._since = {name: silent.since for name, silent in found.items()}
        return found

    def _unserved(
        self, listed: Iterable[ListedPod], services: Mapping[str, Any], now: datetime
    ) -> dict[str, SilentDns]:
        """Of pods of DNS that are ready in a namespace without a service for port 53, of whatever protocol."""
        with_one = {
            str(item["metadata"].get("namespace", ""))
            for item in services.get("items") or ()
            if any(port.get("port") == 53 for port in (item.get("spec") or {}).get("ports") or ())
        }
        pods: dict[str, list[ListedPod]] = {}
        for pod in listed:
            namespace = pod.name.partition("/")[0]
            if pod.labels.get("k8s-app") == LABEL and pod.ready and not pod.deleting and namespace not in with_one:
                pods.setdefault(namespace, []).append(pod)
        return {
            (name := f"{namespace}/{LABEL}"): SilentDns(
                self._since.get(name, now), tuple(sorted(p.name for p in of)), tuple(sorted({p.node for p in of})), True
            )
            for namespace, of in pods.items()
        }

    def away(self) -> None:
        """The API listed nothing for a while: what it calls ready after that has yet to be told it by kubelets."""
        self._since.clear()


def _waiting(listed: Iterable[ListedPod], namespace: str) -> list[ListedPod]:
    """The pods of DNS there, where none is ready: one that is may be meant for another service."""
    own = [p for p in listed if p.labels.get("k8s-app") == LABEL and p.name.startswith(f"{namespace}/")]
    return [] if any(p.ready for p in own) else [p for p in own if not (p.deleting or p.may_have_ended)]
