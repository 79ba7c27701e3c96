"""Services and their endpoints as the API has them: what kube-proxy should have programmed, and
which pods can be probed. Pure.

Only TCP: that is what can be asked of every node with what every node has. Services, endpoints and rules of IPv6 are
others than those of IPv4, and are kept apart from them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from recoverd.model.places import authority, ip_of
from recoverd.observe.kubelet import ListedPod
from recoverd.observe.lists import Answered

SERVICE_NAME = "kubernetes.io/service-name"
OTHER_PROXY = "service.kubernetes.io/service-proxy-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
OWN = "endpointslice-controller.k8s.io"
"""Who keeps the slices of services with a selector; others, with addresses that are not the
pods', may keep slices beside it.
"""
OVER_IPV6 = " over IPv6"
EVERYWHERE = "*"
"""All namespaces, among guards."""
NEAR = ("service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints")
"""Annotations with which each node programs other endpoints."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address behind a service port."""

    address: str
    """IP:PORT, or [IP]:PORT."""
    ready: bool
    pod: str = ""
    """NAMESPACE/NAME, "" when it is no pod."""
    node: str = ""
    terminating: bool = False
    """As the slice says; older ones do not list such pods, nor do Endpoints."""
    uid: str = ""
    """The pod's, "" where that was not told."""


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One TCP port of a service with an address in the cluster, of one family."""

    key: str
    """NAMESPACE/NAME:PORT, with `OVER_IPV6` behind it where its address is one of IPv6."""
    namespace: str
    name: str
    address: str
    """IP:PORT of the service, or [IP]:PORT."""
    comparable: bool
    """Every node should program the same endpoints, and kube-proxy is who does."""
    dns: bool
    endpoints: tuple[Endpoint, ...] = field(default=())

    @property
    def ready(self) -> tuple[Endpoint, ...]:
        return tuple(e for e in self.endpoints if e.ready)


def unready(ports: Iterable[ServicePort]) -> dict[str, int]:
    """Count the pods behind these that are not ready, by node name; those that are being ended are not counted."""
    pods = {
        (e.node, e.pod) for p in ports for e in p.endpoints if e.node and e.pod and not e.ready and not e.terminating
    }
    return dict(Counter(node for node, _ in pods))


def service_ports(
    services: Mapping[str, Any], endpoints: Mapping[str, Any], *, ipv6: bool = False
) -> dict[str, ServicePort]:
    """The ports of all services with an address of the family, by key, from the list of Services and that of
    EndpointSlices (or Endpoints).
    """
    of_family = [(ip, s) for s in services.get("items") or () if (ip := _cluster_ip(s.get("spec") or {}, ipv6=ipv6))]
    behind = _behind(endpoints, ipv6=ipv6) if of_family else {}
    ports: dict[str, ServicePort] = {}
    for ip, service in of_family:
        meta, spec = service["metadata"], service.get("spec") or {}
        labels, notes = meta.get("labels") or {}, meta.get("annotations") or {}
        namespace, name = str(meta.get("namespace", "")), str(meta["name"])
        comparable = (
            spec.get("internalTrafficPolicy", "Cluster") == "Cluster"
            and OTHER_PROXY not in labels
            and not spec.get("topologyKeys")
            and not spec.get("trafficDistribution")
            and not any(n in notes for n in NEAR)
        )
        for port in spec.get("ports") or ():
            if port.get("protocol", "TCP") != "TCP":
                continue
            key = f"{namespace}/{name}:{port['port']}{OVER_IPV6 if ipv6 else ''}"
            dns = labels.get("k8s-app") == "kube-dns" and port["port"] == 53
            found = tuple(behind.get((namespace, name, str(port.get("name") or "")), {}).values())
            ports[key] = ServicePort(
                key, namespace, name, authority(_canonical(ip), port["port"]), comparable, dns, found
            )
    return ports


class PortBook:
    """The ports of one cluster's services, which are not made again while both lists are the same."""

    def __init__(self) -> None:
        self._made: dict[bool, tuple[tuple[bytes, bytes], dict[str, ServicePort]]] = {}
        """By family (of IPv6 or not): the digests of both lists, and the ports."""

    def ports(self, services: Answered, endpoints: Answered, *, ipv6: bool) -> dict[str, ServicePort]:
        """As `service_ports` gives them. Not to be changed."""
        digests = services.digest, endpoints.digest
        known = self._made.get(ipv6)
        if known and known[0] == digests and all(digests):
            return known[1]
        self._made.pop(ipv6, None)
        made = service_ports(services.body, endpoints.body, ipv6=ipv6)
        if all(digests):
            self._made[ipv6] = digests, made
        return made


def _cluster_ip(spec: Mapping[str, Any], *, ipv6: bool) -> str:
    """The service's address of the family, "" where it has none; before 1.20 it had one alone (`clusterIP`)."""
    if spec.get("type") == "ExternalName":
        return ""
    given = spec.get("clusterIPs") or (spec.get("clusterIP"),)
    return next((ip for ip in given if ip and ip != "None" and (":" in ip) is ipv6), "")


@lru_cache(maxsize=1 << 14)
def _canonical(ip: str) -> str:
    """As every tool on the nodes prints it: of IPv6 people write one address in several ways."""
    return ip_of(ip) or ip if ":" in ip else ip


def _behind(body: Mapping[str, Any], *, ipv6: bool) -> dict[tuple[str, str, str], dict[str, Endpoint]]:
    """(namespace, service, port name) to the endpoints of the family by address."""
    behind: dict[tuple[str, str, str], dict[str, Endpoint]] = {}
    for item in body.get("items") or ():
        meta = item["metadata"]
        if "subsets" in item or "addressType" not in item:
            _from_endpoints(behind, meta, item.get("subsets") or (), ipv6=ipv6)
        elif item["addressType"] in (("IPv6",) if ipv6 else ("IPv4", "IP")) and (
            service := (meta.get("labels") or {}).get(SERVICE_NAME)
        ):
            _from_slice(behind, (str(meta.get("namespace", "")), str(service)), item)
    return behind


def _from_slice(
    behind: dict[tuple[str, str, str], dict[str, Endpoint]], owner: tuple[str, str], item: Mapping[str, Any]
) -> None:
    for port in item.get("ports") or ():
        if port.get("protocol", "TCP") != "TCP" or not port.get("port"):
            continue
        of_port = behind.setdefault((*owner, str(port.get("name") or "")), {})
        for endpoint in item.get("endpoints") or ():
            conditions = endpoint.get("conditions") or {}
            node = endpoint.get("nodeName") or (
                endpoint.get("topology") or endpoint.get("deprecatedTopology") or {}
            ).get("kubernetes.io/hostname")
            for ip in (endpoint.get("addresses") or ())[:1]:  # kube-proxy takes the first only
                address = authority(_canonical(ip), port["port"])
                # the same pod may be in two slices while it moves from one to the other
                if not (address in of_port and of_port[address].ready):
                    ready, ending = conditions.get("ready") is not False, bool(conditions.get("terminating"))
                    pod = endpoint.get("targetRef")
                    of_port[address] = Endpoint(address, ready, _pod(pod), str(node or ""), ending, _uid(pod))


def _from_endpoints(
    behind: dict[tuple[str, str, str], dict[str, Endpoint]], meta: Mapping[str, Any], subsets: Any, *, ipv6: bool
) -> None:
    for subset in subsets:
        for port in subset.get("ports") or ():
            if port.get("protocol", "TCP") != "TCP":
                continue
            of_port = behind.setdefault(
                (str(meta.get("namespace", "")), str(meta["name"]), str(port.get("name") or "")), {}
            )
            for ready, part in ((False, "notReadyAddresses"), (True, "addresses")):
                for entry in subset.get(part) or ():
                    if (":" in (ip := str(entry["ip"]))) is ipv6:
                        address = authority(_canonical(ip), port["port"])
                        of_port[address] = Endpoint(
                            address, ready, _pod(entry.get("targetRef")), str(entry.get("nodeName") or "")
                        )


def _pod(target: Any) -> str:
    return (
        f"{target.get('namespace', '')}/{target.get('name', '')}"
        if isinstance(target, dict) and target.get("kind") == "Pod"
        else ""
    )


def _uid(target: Any) -> str:
    return str(target.get("uid") or "") if isinstance(target, dict) else ""


def astray(services: Mapping[str, Any], endpoints: Mapping[str, Any], pods: Sequence[ListedPod]) -> tuple[str, ...]:
    """Endpoints that kube-controller-manager should have changed, in words: their pod is gone,
    or has another address or none.
    """
    own = [i for i in endpoints.get("items") or () if (i["metadata"].get("labels") or {}).get(MANAGED_BY, OWN) == OWN]
    known = {p.name: p for p in pods}
    found = []
    for port in service_ports(services, {"items": own}).values():
        for endpoint in port.endpoints:
            pod = known.get(endpoint.pod)
            if not endpoint.pod or (pod and (":" in pod.ip or endpoint.address.startswith(f"{pod.ip}:"))):
                continue
            has = f"now has {pod.ip or 'no address'}" if pod else "is gone"
            found.append(f"{endpoint.address} of {port.key}, whose pod {endpoint.pod} {has}")
    return tuple(found)


def fenced(policies: Mapping[str, Any] | None) -> dict[str, list[dict[str, str] | None]]:
    """Which pods a policy guards from strangers, by namespace, `EVERYWHERE` for all of them: labels that all must
    match, or None for a selector not so simple. Of other kinds than NetworkPolicy (`others`) no selector is read.
    """
    guards: dict[str, list[dict[str, str] | None]] = {}
    for policy in (policies or {}).get("items") or ():
        spec = policy.get("spec") or {}
        if "Ingress" not in (spec.get("policyTypes") or ("Ingress",)):
            continue
        selector = spec.get("podSelector") or {}
        labels = None if selector.get("matchExpressions") else dict(selector.get("matchLabels") or {})
        guards.setdefault(str(policy["metadata"].get("namespace", "")), []).append(labels)
    for policy in (policies or {}).get("others") or ():
        if any(_guards(spec) for spec in (policy.get("spec") or {}, *(policy.get("specs") or ()))):
            guards.setdefault(str(policy["metadata"].get("namespace") or EVERYWHERE), []).append(None)
    return guards


def _guards(spec: Mapping[str, Any]) -> bool:
    """Whether a policy of Cilium, Calico, Antrea or an administrator may keep a host's probe from a pod.

    Calico's without `types` is for what comes in unless it has rules for what goes out; Cilium's with `nodeSelector` is
    for hosts.
    """
    if "types" in spec:
        return "Ingress" in spec["types"]
    if {"ingress", "ingressDeny", "nodeSelector"} & spec.keys():
        return True
    return bool(spec) and not {"egress", "egressDeny", "endpointSelector"} & spec.keys()


def is_fenced(guards: Mapping[str, list[dict[str, str] | None]], namespace: str, labels: Mapping[str, str]) -> bool:
    of = (*guards.get(namespace, ()), *guards.get(EVERYWHERE, ()))
    return any(g is None or all(labels.get(k) == v for k, v in g.items()) for g in of)
