"""Who probes whom in a round. Pure.

Every host is a source and a target in every round, with O(hosts) probes: each tries the pods of `WIDTH`
others, its neighbours at distances that move on from round to round, so that every pair has its turn; and its
own pods, so that a dead pod is told from a dead path. All sources of a round try the same few pods of a
target, so that they can be compared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from recoverd.model.network import OWN_SERVICE
from recoverd.model.places import of_ipv6
from recoverd.observe.kubelet import ListedPod
from recoverd.observe.services import OVER_IPV6, Endpoint, ServicePort, is_fenced

WIDTH = 4
PODS = 2
"""Pods of a target that each source tries."""
AGAIN = 4
"""Targets that failed in the last round and are tried again out of turn."""
TRIES = 3
"""Connections to a service's address, each of which may be sent to another endpoint."""
DIRECT = 2
"""Endpoints of a service that are tried beside it."""
OTHERS = 1
"""Services tried by a source besides the API's own and DNS."""
API_SERVICE = OWN_SERVICE
API_SERVICES = (API_SERVICE, API_SERVICE + OVER_IPV6)
"""Of which there is one, of the cluster's first family."""
CLOSED = 1
"""A port on which no pod listens (tcpmux): where a process hangs and its own port does not answer any more, the
pod's network still refuses this.
"""
SETTLED = timedelta(seconds=60)
"""A pod that is not ready and has answered nobody yet must be this old to be tried: its network may be on its way."""


@dataclass(frozen=True, slots=True)
class ProbedPod:
    """A pod that can be probed."""

    host: str
    address: str
    pod: str
    service: str
    ready: bool = True


@dataclass(slots=True)
class Questions:
    """What one host is asked, and what of its answer belongs to what."""

    probes: dict[str, tuple[str, int]] = field(default_factory=dict)
    pods: dict[str, ProbedPod] = field(default_factory=dict)
    services: list[tuple[ServicePort, list[str], dict[str, str]]] = field(default_factory=list)
    """Service, ids of the tries, endpoints by id: of DNS each is asked twice, by a connection and by a query."""

    def add(self, address: str, prefix: str = "") -> str:
        ip, _, port = address.rpartition(":")
        id = f"{prefix}{len(self.probes)}"
        self.probes[id] = (ip.strip("[]"), int(port))
        return id


def candidates(
    ports: Iterable[ServicePort],
    listed: Iterable[ListedPod],
    nodes: Mapping[str, tuple[str, str]],
    guards: Mapping[str, list[dict[str, str] | None]],
    answered: Collection[str],
    now: datetime,
) -> dict[str, list[ProbedPod]]:
    """Pods that can be probed, by host: endpoints of a service, on the pod network of one of `nodes`, guarded
    by no NetworkPolicy (`guards`).

    `nodes` are the Ready ones, with their address and host; `answered` are uids of pods that have answered before. One
    that is not ready counts too: where the bridge of a node is gone, kubelet's own probes fail within seconds and leave
    not one ready pod there (observed).
    """
    pods = {p.name: p for p in listed}
    found: dict[str, list[ProbedPod]] = {}
    for port in ports:
        for endpoint in port.endpoints:
            pod = pods.get(endpoint.pod)
            if pod is None or pod.node not in nodes or pod.deleting or pod.may_have_ended or not _is_of(endpoint, pod):
                continue
            address, host = nodes[pod.node]
            if pod.ip == address or endpoint.terminating or is_fenced(guards, port.namespace, pod.labels):
                continue
            ready = endpoint.ready and pod.ready
            if ready or pod.uid in answered or (pod.created and now - pod.created > SETTLED):
                found.setdefault(host, []).append(ProbedPod(host, endpoint.address, pod.name, port.key, ready))
    return found


def _is_of(endpoint: Endpoint, pod: ListedPod) -> bool:
    """Whether the address is the pod's now. A table's row has its first one alone, and so of the other family it must
    be the very pod of that name.
    """
    if of_ipv6(endpoint.address) is of_ipv6(pod.ip):
        return ip_of(endpoint.address).strip("[]") == pod.ip
    return bool(pod.ip) and endpoint.uid == pod.uid


def ip_of(address: str) -> str:
    """The IP of IP:PORT, in its brackets where it has such."""
    return address.rpartition(":")[0]


def _attempts(target: ProbedPod) -> tuple[ProbedPod, ...]:
    return (target,) if target.ready else (target, replace(target, address=f"{ip_of(target.address)}:{CLOSED}"))


def distances(count: int, turn: int) -> tuple[int, ...]:
    """How far from a source its targets are in this round, in a ring of `count` hosts."""
    others = count - 1
    if others <= WIDTH:
        return tuple(range(1, count))
    return tuple((turn * WIDTH + k) % others + 1 for k in range(WIDTH))


def chosen(candidates: Sequence[ProbedPod], turn: int, known: Collection[str]) -> tuple[ProbedPod, ...]:
    """The pods of one host that are tried in this round: one of a service that was reached
    before, and one of any, each in turn.
    """
    by_pod = {c.pod: c for c in sorted(candidates, key=lambda c: (c.service in known, c.service, c.address))}
    pods = sorted(by_pod.values(), key=lambda c: (c.pod, c.address))
    proven = [p for p in pods if p.service in known]
    picked = [proven[turn % len(proven)]] if proven else []
    for k in range(len(pods)):
        pod = pods[(turn + k) % len(pods)]
        if len(picked) < PODS and pod not in picked:
            picked.append(pod)
    return tuple(picked)


def targets(
    hosts: Sequence[str],
    candidates: Mapping[str, Sequence[ProbedPod]],
    turn: int,
    known: Collection[str],
    failing: Collection[str],
) -> dict[str, tuple[ProbedPod, ...]]:
    """The pods that each source tries, by source; one that is not ready at a closed port, too. `failing` are
    pairs `FROM>TO` of the last round.
    """
    ring = sorted(hosts)
    failed: dict[str, list[str]] = {}
    for pair in sorted(failing):
        source, _, target = pair.partition(">")
        failed.setdefault(source, []).append(target)
    pods = {host: chosen(candidates.get(host, ()), turn, known) for host in ring}
    steps = distances(len(ring), turn)
    plan: dict[str, tuple[ProbedPod, ...]] = {}
    for index, source in enumerate(ring):
        wanted = [source, *(ring[(index + step) % len(ring)] for step in steps)]
        again = [t for t in failed.get(source, ()) if t in pods and t not in wanted]
        plan[source] = tuple(t for host in (*wanted, *again[:AGAIN]) for pod in pods[host] for t in _attempts(pod))
    return plan


@dataclass(frozen=True, slots=True)
class Tried:
    """The services that the sources of a round try."""

    always: tuple[ServicePort, ...]
    """The API's own, and DNS."""
    others: tuple[ServicePort, ...]
    """Each source tries some of these."""


def tried(ports: Mapping[str, ServicePort], usable: Collection[str]) -> Tried:
    """Work out once a round which services are tried: beside the API's own and DNS the `usable` ones, in their order,
    as far as anything is ready behind them.
    """
    dns = [p for p in ports.values() if p.dns and p.ready]
    own = [ports[k] for k in API_SERVICES if k in ports and ports[k].ready]
    first = {p.key for p in (*dns, *own)}
    others = sorted(k for k in usable if k in ports and k not in first and ports[k].ready)
    return Tried((*own, *dns[:1]), tuple(ports[k] for k in others))


def services(of: Tried, index: int, turn: int) -> tuple[ServicePort, ...]:
    """The services that source number `index` tries, the others in turn."""
    count = len(of.others)
    return (*of.always, *(of.others[(turn + index + k) % count] for k in range(min(OTHERS, count))))


def sample(ports: Mapping[str, ServicePort], turn: int, size: int, bad: Collection[str]) -> tuple[ServicePort, ...]:
    """The services whose rules are compared in this round: those found wrong before, the API's own
    and DNS, then the others in turn.
    """
    fit = sorted(k for k, p in ports.items() if p.comparable and p.ready)
    first = [k for k in fit if k in bad or k in API_SERVICES or ports[k].dns][:size]
    rest = [k for k in fit if k not in first]
    more = [rest[(turn * size + k) % len(rest)] for k in range(min(size - len(first), len(rest)))] if rest else []
    return tuple(ports[k] for k in (*first, *more))
