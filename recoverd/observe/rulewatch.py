"""Endpoints that kube-proxy has programmed against those that the API has, with how long each
difference has stood. Stateful, no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recoverd.model.network import RuleGap, RulesView
from recoverd.model.observation import Unseen, UnseenKind
from recoverd.observe.rulelook import Rules
from recoverd.observe.services import ServicePort

KEPT = 600.0
"""Seconds for which an endpoint that is gone is kept in mind."""


class RuleWatch:
    """Watches the service rules of one cluster. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._ready: dict[tuple[str, str], float] = {}
        """(service, endpoint): ready since."""
        self._seen: dict[tuple[str, str], float] = {}
        """(service, endpoint): last seen in the API, ready or not."""
        self._odd: dict[tuple[str, str, str], float] = {}
        """(host, service, endpoint): programmed without being in the API since."""
        self._sets: dict[str, tuple[frozenset[str], float]] = {}
        """By service: its ready endpoints, and since when they are these."""
        self._differ: dict[tuple[str, str], bool] = {}
        """(host, service) that differed when they were last compared; and whether they did before the API was away."""
        self._followed: float | None = None
        """Since when the API has given them; None while it is away."""

    def away(self) -> None:
        """No API server serves. kube-proxy does not hear of changes either, and has to connect anew after it: the time
        of what differs then, and did not before, begins when it is back.
        """
        self._differ = dict.fromkeys(self._differ, True)
        self._followed = None

    def learn(self, ports: Mapping[str, ServicePort], now: float) -> None:
        """Take in what the API has."""
        if self._followed is None:
            self._followed = now
        ready, sets = {}, {}
        for key, port in ports.items():
            now_ready = frozenset(e.address for e in port.ready)
            before = self._sets.get(key)
            sets[key] = before if before and before[0] == now_ready else (now_ready, now)
            for endpoint in port.endpoints:
                self._seen[key, endpoint.address] = now
                if endpoint.ready:
                    ready[key, endpoint.address] = self._ready.get((key, endpoint.address), now)
        self._ready, self._sets = ready, sets
        self._seen = {k: at for k, at in self._seen.items() if now - at < KEPT}
        services = {service for service, _ in self._seen}
        self._differ = {k: before for k, before in self._differ.items() if k[1] in services}

    def steady(self, key: str, now: float) -> float:
        """Seconds for which the service has had the ready endpoints that it has."""
        return self._age(self._sets[key][1], now) if key in self._sets else 0.0

    def _age(self, since: float, now: float) -> float:
        return now - max(since, now if self._followed is None else self._followed)

    def _gap_age(self, host: str, service: str, since: float, now: float) -> float:
        return now - since if self._differ.get((host, service)) else self._age(since, now)

    def compare(self, host: str, rules: Rules, sample: Sequence[ServicePort], now: float) -> RulesView | Unseen:
        """What differs on one host for the sampled services."""
        if rules.unseen:
            return Unseen(UnseenKind.NOT_TRIED, f"{host} {rules.unseen}")
        gaps, odd, checked = [], dict[tuple[str, str, str], float](), 0
        for port in sample:
            programmed = rules.programmed.get(port.address, frozenset())
            if programmed is None:
                continue
            checked += 1
            gap = self._gap(host, port, programmed, odd, now)
            if gap.missing or gap.stale:
                gaps.append(gap)
                self._differ.setdefault((host, port.key), False)
            else:
                self._differ.pop((host, port.key), None)
        keys = {p.key for p in sample}
        self._odd = {k: at for k, at in self._odd.items() if k[0] != host or k[1] not in keys} | odd
        return RulesView(rules.mode, checked, tuple(gaps), rules.told, rules.unread)

    def _gap(
        self,
        host: str,
        port: ServicePort,
        programmed: frozenset[str],
        odd: dict[tuple[str, str, str], float],
        now: float,
    ) -> RuleGap:
        missing = {
            e.address: self._gap_age(host, port.key, self._ready.get((port.key, e.address), now), now)
            for e in port.ready
            if e.address not in programmed
        }
        stale = {}
        for address in sorted(programmed - {e.address for e in port.endpoints}):
            key = (host, port.key, address)
            odd[key] = self._odd.get(key, now)
            stale[address] = self._gap_age(host, port.key, min(odd[key], self._seen.get((port.key, address), now)), now)
        return RuleGap(port.key, port.address, missing, stale)
