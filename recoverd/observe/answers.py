"""What came of the probes of one host, in the model's words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from recoverd.model.memory import KnownIPv6, Memory
from recoverd.model.network import Link, PodProbe, ServiceProbe
from recoverd.model.places import host_of
from recoverd.observe.netlook import HostLook
from recoverd.observe.rounds import Questions

OF_IPVS = frozenset({"kube-ipvs0", "kube-dummy-if"})


def pod_probes(name: str, asked: Questions, look: HostLook) -> list[PodProbe]:
    return [
        PodProbe(name, target.host, target.address, target.pod, target.service, answer, target.ready)
        for id, target in asked.pods.items()
        if (answer := look.answers.get(id)) is not None
    ]


def service_probes(name: str, asked: Questions, look: HostLook, hosts: Mapping[str, str]) -> list[ServiceProbe]:
    """Those of the host; `hosts` has the host by node."""
    made = []
    for port, tries, direct in asked.services:
        answers = [(id, look.answers.get(id)) for id in tries]
        if port.dns and any(id.startswith("u") and a is not None for id, a in answers):
            answers = [(id, a) for id, a in answers if id.startswith("u")]  # queries tell more than connections
        told = tuple(a for _, a in answers if a is not None)
        by_tcp, by_udp = (
            {e: a for id, e in direct.items() if id.startswith("u") is udp and (a := look.answers.get(id)) is not None}
            for udp in (False, True)
        )
        if told:
            on = tuple(sorted({hosts.get(e.node, e.node) for e in port.ready if e.node}))
            probe = ServiceProbe(name, port.key, port.address, told, by_tcp, on, dns=port.dns, queried=by_udp)
            made.append(replace(probe, device=device_of(look.links or (), port.address)))
    return made


def device_of(links: Iterable[Link], address: str) -> str:
    """The one that has the address of a service, IP:PORT, but for those on which kube-proxy and kube-router keep the
    addresses of all services, with IPVS; "" where none has.
    """
    ip = host_of(address)
    mine = (link.name for link in links if ip in (a.partition("/")[0] for a in link.addresses))
    return next((name for name in mine if name not in OF_IPVS), "")


def failing(
    probes: Sequence[PodProbe], before: Mapping[str, datetime], now: datetime, *, ipv6: bool
) -> dict[str, datetime]:
    """The pairs `FROM>TO` between which every probe of the family failed, and since when; `before` are those of the
    last round.
    """
    pairs: dict[str, bool] = {}
    for probe in probes:
        if probe.source != probe.target and probe.over_ipv6 is ipv6:
            pair = f"{probe.source}>{probe.target}"
            pairs[pair] = pairs.get(pair, False) or probe.answer.arrived
    return {pair: before.get(pair, now) for pair, ok in pairs.items() if not ok}


def telling(
    looks: Mapping[str, HostLook], asked: Mapping[str, Questions], hosts: Mapping[str, str], memory: Memory
) -> tuple[list[PodProbe], list[ServiceProbe]]:
    """What came of all probes, of pods and of services; `hosts` has the host by node."""
    probes = [p for name, look in looks.items() for p in pod_probes(name, asked[name], look)]
    services = [s for name, look in looks.items() for s in service_probes(name, asked[name], look, hosts)]
    return used(probes, services, memory)


def used(
    probes: Sequence[PodProbe], services: Sequence[ServiceProbe], memory: Memory
) -> tuple[list[PodProbe], list[ServiceProbe]]:
    """Those without what failed over IPv6 on machines where that has never worked: where pods and services have
    addresses of it that lead nowhere, every machine would look ill in every sweep.
    """
    known = {host: network.ipv6 or KnownIPv6() for host, network in memory.networks.items()}

    def of(host: str) -> KnownIPv6:
        return known.get(host) or KnownIPv6()

    return (
        [p for p in probes if p.answer.arrived or not p.over_ipv6 or (of(p.source).asks and of(p.target).answers)],
        [s for s in services if s.answered or not s.over_ipv6 or of(s.source).served],
    )
