"""Which nodes cannot reach which, from the probes of one round: the path is told from the pod,
and the node from the path. Pure.

A pod that nobody reaches is the pod. A pod that others reach, or that its own node does, and some node does not, is the
path. When several nodes fail to reach one and none reaches it, it is that node; likewise when one reaches none of
several. A service none of whose pods was ever reached from another node is no witness: a policy may forbid the probe.

Each family has ways of its own and is judged by itself. Many machines have addresses of IPv6 that lead nowhere and that
nobody uses: over it a node is judged once it has reached another's pod, and its pods once another node has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from recoverd.diagnose.nodes import facts_of, judged, node_of
from recoverd.diagnose.scene import Scene
from recoverd.model.catalogue import Code
from recoverd.model.facts import PodNetworkFacts
from recoverd.model.finding import Finding, State
from recoverd.model.network import NetworkView, PodProbe, ProbeAnswer
from recoverd.model.text import utc

BROKEN = State.WORKER_NETWORK_BROKEN
SEVERAL = 2

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Paths:
    """What the round proves."""

    judged: frozenset[str]
    """Hosts of which anything can be said."""
    good: frozenset[Pair]
    failing: Mapping[Pair, tuple[PodProbe, ...]]
    """Proven by a pod that somebody reaches, or by several pods of a node that nobody reaches while
    others of their service are reached.
    """
    inbound: Mapping[str, tuple[str, ...]]
    """Host whose pods cannot be reached, and from which."""
    outbound: Mapping[str, tuple[str, ...]]
    """Host that cannot reach others' pods, and whose."""

    reached: frozenset[str]
    """Hosts one of whose pods answered another host."""
    unsure: frozenset[str]
    """Services one of whose ready pods did not answer somebody."""
    ipv6: bool = False
    """Whether it is what was seen over IPv6."""

    def lost_to(self, source: str) -> frozenset[str]:
        """Hosts whose pods this one cannot reach."""
        return frozenset(target for of, target in self.failing if of == source)

    @property
    def links(self) -> tuple[Pair, ...]:
        """Failing pairs that no node as a whole explains."""
        return tuple(p for p in self.failing if p[0] not in self.outbound and p[1] not in self.inbound)


def paths(scene: Scene, view: NetworkView, *, ipv6: bool = False) -> Paths:
    of_family = [p for p in view.probes if p.over_ipv6 is ipv6]
    arrived = [p for p in of_family if p.answer.arrived]
    known = {*scene.memory.reached, *(p.service for p in arrived if p.source != p.target)}
    fit = {name for name in view.hosts if judged(scene, name)}
    askers, targets = (_used(scene, fit, k) for k in ("asks", "answers")) if ipv6 else (fit, fit)
    probes, arrived = (
        [p for p in of if (p.source in askers or p.source == p.target) and p.target in targets and p.service in known]
        for of in (of_family, arrived)
    )
    alive = {p.pod for p in arrived}
    good = {(p.source, p.target) for p in arrived if p.source != p.target}
    by_pair: dict[Pair, list[PodProbe]] = {}
    for probe in probes:
        if probe.source != probe.target and (probe.source, probe.target) not in good:
            by_pair.setdefault((probe.source, probe.target), []).append(probe)
    # where every pair has an answer, no node has to explain that another has none
    dead = _dead_nodes(probes, arrived, alive) if by_pair else set()
    failing = {
        pair: tuple(of) for pair, of in sorted(by_pair.items()) if pair[1] in dead or any(p.pod in alive for p in of)
    }
    inbound = _grouped(failing, good, 1)
    rest = {pair: of for pair, of in failing.items() if pair[1] not in inbound}
    outbound = _grouped(rest, good, 0)
    unsure = frozenset(p.service for p in of_family if p.ready and p.answer is not ProbeAnswer.OK)
    reached = frozenset(target for _, target in good)
    return Paths(frozenset(askers), frozenset(good), failing, inbound, outbound, reached, unsure, ipv6)


def _used(scene: Scene, hosts: set[str], how: Literal["asks", "answers"]) -> set[str]:
    """Those that have used IPv6 in this way while the cluster was healthy."""
    known = {h: n.ipv6 for h, n in scene.memory.networks.items()}
    return {host for host in hosts if (of := known.get(host)) and getattr(of, how)}


def _dead_nodes(probes: list[PodProbe], arrived: list[PodProbe], alive: set[str]) -> set[str]:
    """Nodes of which several pods were tried and none is reached by anybody, though their
    services are reached elsewhere.
    """
    tried: dict[str, dict[str, str]] = {}
    answering: dict[str, set[str]] = {}
    for probe in probes:
        tried.setdefault(probe.target, {})[probe.pod] = probe.service
    for probe in arrived:
        answering.setdefault(probe.service, set()).add(probe.target)
    dead = set()
    for host, own in tried.items():
        # nothing on the host answers, so every target in `answering` is elsewhere
        if alive.isdisjoint(own) and sum(bool(answering.get(service)) for service in own.values()) >= SEVERAL:
            dead.add(host)
    return dead


def _grouped(failing: Mapping[Pair, object], good: set[Pair], side: int) -> dict[str, tuple[str, ...]]:
    """Hosts on one side (0 sources, 1 targets) with several failing partners and no good one."""
    fine = {pair[side] for pair in good}
    partners: dict[str, list[str]] = {}
    for pair in failing:
        partners.setdefault(pair[side], []).append(pair[1 - side])
    return {
        host: tuple(others) for host, others in sorted(partners.items()) if len(others) >= SEVERAL and host not in fine
    }


def findings(scene: Scene, view: NetworkView, seen: Paths) -> Iterator[Finding]:
    for host in sorted({*seen.inbound, *seen.outbound}):
        yield _node(scene, view, seen, host)
    for source, target in seen.links:
        since = _since(view, seen, [(source, target)])
        yield Finding(
            Code.POD_PATH_BROKEN,
            f"{source}>{target}",
            f"{source} cannot reach the pods on {target}{_over(seen)}{since}, though others reach them and "
            f"{source} reaches others' pods: "
            f"look at the route or tunnel from {source} to {target}.",
            _lines(seen, [(source, target)]),
            state=BROKEN,
            facts=facts_of(scene, source),
        )


def _node(scene: Scene, view: NetworkView, seen: Paths, host: str) -> Finding:
    sources, goals = seen.inbound.get(host, ()), seen.outbound.get(host, ())
    pairs = [*((s, host) for s in sources), *((host, t) for t in goals)]
    said = []
    if sources:
        itself = any(
            p.source == p.target == host and p.answer.arrived and p.over_ipv6 is seen.ipv6 for p in view.probes
        )
        said.append(
            f"the pods on {host} cannot be reached from "
            f"{', '.join(sources)}{_over(seen)}{f' ({host} itself reaches them)' if itself else ''}"
        )
    if goals:
        said.append(f"no pods on {', '.join(goals)} can be reached from {host}{_over(seen)}, though others reach them")
    text = ", and ".join(said)
    return Finding(
        Code.POD_NETWORK_BROKEN,
        node_of(scene, host),
        f"{text[0].upper()}{text[1:]}{_since(view, seen, pairs)}.",
        _lines(seen, pairs),
        state=BROKEN,
        facts=PodNetworkFacts(host, node_of(scene, host), sources, goals),
    )


def _lines(seen: Paths, pairs: list[Pair]) -> tuple[str, ...]:
    probes = [p for pair in pairs for p in seen.failing.get(pair, ())]
    lines = [f"from {p.source} to {p.address} ({p.pod} on {p.target}, of {p.service}): {p.answer}" for p in probes[:12]]
    return tuple(lines) + ((f"and {len(probes) - 12} more",) if len(probes) > 12 else ())


def _over(seen: Paths) -> str:
    return " over IPv6" if seen.ipv6 else ""


def _since(view: NetworkView, seen: Paths, pairs: list[Pair]) -> str:
    failing = view.failing_over_ipv6 if seen.ipv6 else view.failing_since
    begun = min((at for pair in pairs if (at := failing.get(f"{pair[0]}>{pair[1]}"))), default=None)
    return f" since {utc(begun)}" if begun else ""
