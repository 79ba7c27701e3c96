"""Services as the nodes have them: rules that are not those of the endpoints,
addresses that lead nowhere, DNS. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from recoverd.diagnose import agents
from recoverd.diagnose.nodes import away, facts_of, ipv6_alone, node_of
from recoverd.diagnose.paths import Paths
from recoverd.diagnose.scene import Scene
from recoverd.diagnose.setback import current
from recoverd.model.catalogue import Code
from recoverd.model.facts import CureFacts, ProxyFacts
from recoverd.model.finding import Finding, State
from recoverd.model.network import NetworkView, NodeNetworkView, ProbeAnswer, RuleGap, RulesView, ServiceProbe
from recoverd.model.places import host_of
from recoverd.model.text import some

BROKEN = State.WORKER_NETWORK_BROKEN
SYNC = 20.0
"""Seconds that kube-proxy may take from a change of endpoints to its rules; and after its start."""
RECONNECT = 60.0
"""Seconds from the API server's return within which every kubelet hears of its pods again, and every kube-proxy of
services: between two attempts client-go's reflector waits for up to 30 s and, by chance, as much again
(k8s.io/client-go, tools/cache/reflector.go).
"""


def findings(scene: Scene, view: NetworkView, seen: Paths) -> Iterator[Finding]:
    """Of the family of these paths."""
    back = reconnecting(scene, view)
    for name, host in view.hosts.items():
        rules = (host.ipv6.rules if seen.ipv6 else host.rules) if isinstance(host, NodeNetworkView) else None
        if (
            isinstance(host, NodeNetworkView)
            and isinstance(rules, RulesView)
            and scene.node(name)
            and not away(scene, name)
            and proxied(scene, view, name)
        ):
            rules = _lasting(rules, back)
            stale = _stale_of_ipv6(scene, name, host, rules) if seen.ipv6 else _stale(scene, view, name, host, rules)
            yield from (_caused(scene, view, name, finding) for finding in stale)
    by_source: dict[str, list[ServiceProbe]] = {}
    for probe in view.services:
        if probe.over_ipv6 is not seen.ipv6 or (probe.over_ipv6 and not _served(scene, probe.source)):
            continue
        if probe.source in seen.judged and not probe.answered:
            by_source.setdefault(probe.source, []).append(probe)
    for name, failed in by_source.items():
        yield from _unreachable(scene, seen, name, [s for s in failed if s.steady > back])


def proxied(scene: Scene, view: NetworkView, name: str) -> bool | None:
    """Whether a kube-proxy runs on the host or its DaemonSet wants one there; None where that was not seen.

    Only then are rules expected to be those of the endpoints. Where it was replaced, as by Cilium or by Calico's eBPF,
    its rules stay until the node boots (kubernetes/kubernetes#102314), and nobody keeps them.
    """
    host, node = view.hosts.get(name), scene.node(name)
    if isinstance(host, NodeNetworkView) and "kube-proxy" in host.processes:
        return True
    if any(a.kind == "kube-proxy" and a.node == node_of(scene, name) for a in view.agents):
        return True
    # the agents of a node that is not Ready are not judged
    unseen = not isinstance(host, NodeNetworkView) or node is None or not node.ready or "daemonsets" in view.unseen
    return None if unseen else False


def _served(scene: Scene, name: str) -> bool:
    """Whether a service's address of IPv6 has answered the host while the cluster was healthy."""
    known = scene.memory.networks.get(name)
    return bool(known and known.ipv6 and known.ipv6.served)


def fresh(host: NodeNetworkView, now: datetime) -> bool:
    """Its kube-proxy was only just started, and may be busy writing them."""
    proxy = host.processes.get("kube-proxy")
    return proxy is not None and (now - proxy.started_at).total_seconds() < SYNC


def _stale_of_ipv6(scene: Scene, name: str, host: NodeNetworkView, rules: RulesView) -> Iterator[Finding]:
    """What kube-proxy writes of IPv6 is missed only where it was seen to be right: it may be told to write none."""
    known = scene.memory.networks.get(name)
    before = known.ipv6.proxy if known and known.ipv6 else ""
    if not before or fresh(host, scene.now):
        return
    if rules.mode:
        yield from _gaps(scene, name, rules, " of IPv6")
        return
    facts = facts_of(scene, name)
    yield Finding(
        Code.SERVICE_RULES_STALE,
        facts.node,
        f"The service rules of IPv6 are gone from {name}: no service address of IPv6 works from it or from its pods.",
        (
            f"{name}: kube-proxy's own chain KUBE-SERVICES or table are not there for IPv6",
            f"{name}: while healthy, kube-proxy used {before} for IPv6",
        ),
        state=BROKEN,
        facts=facts,
    )


def _stale(scene: Scene, view: NetworkView, name: str, host: NodeNetworkView, rules: RulesView) -> Iterator[Finding]:
    if fresh(host, scene.now):
        return
    proxy = host.processes.get("kube-proxy")
    facts = facts_of(scene, name)
    if not rules.mode:
        back = scene.age(view.back_since)
        # for a node with IPv6 alone kube-proxy of before 1.21 writes rules in ip6tables alone
        runs = proxy is not None and (back is None or back >= RECONNECT) and not ipv6_alone(scene, name, host)
        expected = _expected_mode(scene, view, name, rules, runs=runs)
        if expected:
            yield Finding(
                Code.SERVICE_RULES_STALE,
                facts.node,
                f"The service rules are gone from {name}: no service address works from it or from its pods.",
                (f"{name}: kube-proxy's own chain KUBE-SERVICES, table or virtual servers are not there", expected),
                state=BROKEN,
                facts=facts,
            )
        return
    yield from _gaps(scene, name, rules)


def _gaps(scene: Scene, name: str, rules: RulesView, family: str = "") -> Iterator[Finding]:
    """Where they lead elsewhere than the endpoints."""
    gaps, facts = rules.gaps, facts_of(scene, name)
    if gaps:
        gone = all(not g.stale for g in gaps) and len(gaps) == rules.checked
        services = some([g.service for g in gaps], 5)
        how = "are gone" if gone else "are not those of the endpoints"
        yield Finding(
            Code.SERVICE_RULES_STALE,
            facts.node,
            f"The rules{family} on {name} for {services} {how} ({len(gaps)} of {rules.checked} "
            f"services compared, {rules.mode}).",
            tuple(_line(name, g) for g in gaps[:8]),
            state=BROKEN,
            facts=facts,
        )


def _caused(scene: Scene, view: NetworkView, name: str, stale: Finding) -> Finding:
    """The finding with its cause, where the node says that kube-proxy follows an API server that is not there, or
    kube-proxy itself what keeps it.
    """
    look = host.node if (host := scene.host(name)) else None
    if look is None or not look.misled:
        found = agents.of_proxy(scene, view, name, node_of(scene, name))
        if found is None:
            return stale
        return replace(
            stale,
            message=f"{stale.message}{agents.ending(found)}",
            evidence=(*stale.evidence, f"kube-proxy on {name}: {found.line}"),
            facts=agents.facts(name, node_of(scene, name), found),
        )
    said = look.proxy_said or "no answer within 2 s"
    return Finding(
        Code.KUBE_PROXY_CUT_OFF,
        stale.subject,
        f"kube-proxy on {name} follows the API server at {look.proxy}, which is not reached from there ({said}); "
        f"kubelet there follows {look.server} and reaches it. {stale.message}",
        (f"{name}: the ConfigMap kube-proxy, kubeconfig.conf: server: https://{look.proxy}: {said}", *stale.evidence),
        state=BROKEN,
        facts=ProxyFacts(name, node_of(scene, name), look.proxy, look.server),
    )


def _expected_mode(scene: Scene, view: NetworkView, name: str, rules: RulesView, *, runs: bool) -> str:
    """Why there should be rules, as a line of evidence; "" where it cannot be told, or where no tool on the machine
    reads those of the mode in which they should be.

    Where none were ever seen they are not gone, as on a node that is just joining: its kube-proxy is bound and not
    started yet, or it came up while the API was away and has not heard of any service (both observed).
    """
    remembered = scene.memory.networks.get(name)
    before = remembered.proxy if remembered else ""
    if (rules.told or before) in rules.unread or (rules.unread and not (rules.told or before)):
        return ""
    if before:
        return f"{name}: while healthy, kube-proxy used {before}"
    node = node_of(scene, name)
    agent = next((a for a in view.agents if a.node == node and a.kind == "kube-proxy" and a.pod), None)
    return (
        f"{name}: {agent.daemonset} has its pod {agent.pod} there, and kube-proxy runs beside an API server"
        if agent and runs
        else ""
    )


def reconnecting(scene: Scene, view: NetworkView) -> float:
    """Seconds since the API server came back, while kubelets and kube-proxies may still be on their way back to it; 0
    when they are not. After a setback of etcd they are deaf.
    """
    back = scene.age(view.back_since)
    on_their_way = back is not None and back < RECONNECT and scene.memory.setback is None and current(scene) is None
    return back if back is not None and on_their_way else 0.0


def _lasting(rules: RulesView, back: float) -> RulesView:
    """Without what kube-proxy may still be busy with, or has not heard of since the API server came `back`: it was
    restarted for that 26 s after an address that had been away for two minutes was there again (observed).
    """

    def lasting(ages: Mapping[str, float]) -> dict[str, float]:
        return {e: s for e, s in ages.items() if s >= SYNC and s > back}

    gaps = (RuleGap(g.service, g.address, lasting(g.missing), lasting(g.stale)) for g in rules.gaps)
    return replace(rules, gaps=tuple(g for g in gaps if g.missing or g.stale)) if rules.gaps else rules


def _line(name: str, gap: RuleGap) -> str:
    parts = []
    if gap.missing:
        parts.append(f"lacks {', '.join(sorted(gap.missing)[:6])} (ready for {min(gap.missing.values()):.0f} s)")
    if gap.stale:
        parts.append(f"leads to {', '.join(sorted(gap.stale)[:6])} (no endpoints for {min(gap.stale.values()):.0f} s)")
    return f"{name}: {gap.service} at {gap.address} {' and '.join(parts)}"


def _unreachable(scene: Scene, seen: Paths, name: str, failed: list[ServiceProbe]) -> Iterator[Finding]:
    lost = seen.lost_to(name)
    proven = [s for s in failed if _telling(seen, lost, s)]
    yield from (_not_answered_here(scene, name, s) for s in proven if s.dns and s.device)
    for code, dns in ((Code.SERVICE_UNREACHABLE, False), (Code.DNS_UNREACHABLE, True)):
        bad = [s for s in proven if s.dns is dns and not (dns and s.device)]
        if not bad:
            continue
        what = ", ".join(f"{s.service} at {s.address}" for s in bad)
        kind = "The cluster's DNS" if dns else "Services" if len(bad) > 1 else "A service"
        message = (
            f"{kind} cannot be reached from {name} ({what}), though {name} reaches "
            f"{'its' if dns or len(bad) == 1 else 'their'} endpoints directly.{_checksums(scene, name)}"
        )
        yield Finding(
            code,
            node_of(scene, name),
            (_unanswered(name, what) if dns and all(_queries_lost(s) for s in bad) else message),
            tuple(_probe_line(s) for s in bad),
            state=BROKEN,
            facts=facts_of(scene, name),
        )


def _not_answered_here(scene: Scene, name: str, probe: ServiceProbe) -> Finding:
    """NodeLocal DNSCache has the address of the cluster's DNS on each node, on a device of its own, and rules by which
    no kube-proxy sees what goes there. Where it was killed both stay behind, and nothing but itself answers
    (https://kubernetes.io/docs/tasks/administer-cluster/nodelocaldns/).
    """
    node = node_of(scene, name)
    cure = (
        f"see to its pod on {node} (`kubectl -n kube-system get pods -l k8s-app=node-local-dns --field-selector "
        f"spec.nodeName={node}`, its log and its memory limit): it makes device and rules anew as it starts. To do "
        f"without it until then: `ip link delete {probe.device}` on {name}, and its NOTRACK rules "
        "(`iptables -t raw -S`), by which kube-proxy's rules count again"
    )
    return Finding(
        Code.DNS_UNREACHABLE,
        node,
        f"The cluster's DNS does not answer on {name} ({probe.service} at {probe.address}): its address is on the "
        f"device {probe.device} of {name} itself, where NodeLocal DNSCache is to answer and does not, so no pod there "
        f"resolves a name. DNS's own pods are reached from there. No restart of kubelet, of kube-proxy or of the CNI's "
        f"agent and no reboot changes that. Cure: {cure}.",
        (_probe_line(probe), f"{name}: {probe.device} has {host_of(probe.address)}"),
        state=BROKEN,
        facts=CureFacts(name, node, cure),
    )


def _queries_lost(probe: ServiceProbe) -> bool:
    """No pod answers a query over UDP either, so it is not the service; a connection proves nothing of that."""
    return bool(probe.queried) and not any(answer.arrived for answer in probe.queried.values())


def _unanswered(name: str, what: str) -> str:
    return (
        f"The cluster's DNS answers no query from {name} ({what}), nor do its pods when {name} asks them directly, "
        "though it makes connections to them: queries go by UDP, which is lost on the way. Look for what drops UDP to "
        f"port 53 on {name} and on the nodes of those pods (`nft list ruleset`, a policy)."
    )


def _checksums(scene: Scene, name: str) -> str:
    """A cause where a tunnel takes what is sent to services: some kernels and cards spoil the checksums of what was
    translated, and pods' own addresses are reached (flannel-io/flannel #1279).
    """
    known = scene.memory.networks.get(name)
    tunnel = next((d for d, kind in known.devices.items() if kind == "vxlan"), "") if known else ""
    return (
        " Where that came with another kernel or network card: what VXLAN carries may have wrong checksums, which "
        "`dmesg` on the nodes of those pods tells (`UDP: bad checksum`), and on each node "
        f"`ethtool -K {tunnel} tx-checksum-ip-generic off` mends."
        if tunnel
        else ""
    )


def _telling(seen: Paths, lost: frozenset[str], probe: ServiceProbe) -> bool:
    """The way from the node to every endpoint that was tried is good, so that a failure
    is the service's address alone.
    """
    if probe.steady < SYNC or not probe.endpoints or any(a is not ProbeAnswer.OK for a in probe.endpoints.values()):
        return False
    # the address may lead to any endpoint, on any host
    others = set(probe.hosts) - {probe.source}
    return probe.service not in seen.unsure and others <= seen.judged and not others & lost


def _probe_line(probe: ServiceProbe) -> str:
    direct, queried = (
        ", ".join(f"{a}: {answer}" for a, answer in sorted(of.items())) for of in (probe.endpoints, probe.queried)
    )
    how, by_udp = ("queried over UDP, ", f"; over UDP: {queried}") if queried else ("", "")
    return (
        f"from {probe.source} to {probe.address} ({probe.service}), {how}{len(probe.answers)} times: "
        f"{', '.join(probe.answers)}; directly to {direct}{by_udp}"
    )
