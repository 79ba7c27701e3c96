"""What the witnesses of the pod network see of the model in one sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache

from recoverd.model.kernel import KernelView, TableView
from recoverd.model.network import (
    BEGINS,
    FORWARD,
    AgentView,
    Link,
    NetworkView,
    NodeNetworkView,
    NodePods,
    PodMismatch,
    PodProbe,
    ProbeAnswer,
    ProcessView,
    RuleGap,
    RulesView,
    ServiceProbe,
    SilentDns,
    UnpulledImage,
    WaitingPods,
    lacks_image,
)
from recoverd.model.observation import HostView, ObjectsView, Unseen, UnseenKind
from recoverd.simulate.clock import moment
from recoverd.simulate.cluster import ModelCluster
from recoverd.simulate.hosts import BRIDGE, TUNNEL, Machine
from recoverd.simulate.network import PodPaths
from recoverd.simulate.store import Store

SERVICE, ADDRESS = "default/web:80", "10.96.0.80:80"
DEFAULT = "default via 10.99.1.1 dev host0"
VXLAN_DROPPED = "ip filter INPUT: udp dport 8472 counter packets 40 bytes 5280 drop"
PROCESS = {"kube-proxy": "kube-proxy", "cni": "flanneld"}
"""The process of each kind of agent."""
CONNECTIONS = 262144
"""nf_conntrack_max of a machine with 8 processors, as kube-proxy sets it."""
DROPPED = 90
"""Packets in a minute, of those that try again and again."""
PODS, TRIES, DIRECT = 2, 3, 2
"""As in `recoverd.observe.rounds`."""


def network(
    cluster: ModelCluster,
    sequence: int,
    objects: ObjectsView | Unseen,
    hosts: Mapping[str, HostView | Unseen],
    failing: dict[str, datetime],
) -> NetworkView | Unseen:
    """Looked at only while nodes and pods are listed, as by the live collector. `failing` is what the round
    before has left, and is changed.
    """
    store = cluster.api.store
    if isinstance(objects, Unseen) or store is None:
        return Unseen(UnseenKind.NOT_TRIED, "the pod network is not looked at while no API server lists nodes and pods")
    ready = [n.name for n in objects.nodes if n.ready]
    seen = [n for n in ready if isinstance(hosts.get(n), HostView)]
    paths = cluster.nodes.paths()
    probes = _probes(cluster, store, paths, sequence, seen)
    agents = tuple(_agent(cluster, cluster.machines[n], agent) for n in seen for agent in cluster.machines[n].agents)
    return NetworkView(
        round=sequence,
        hosts={
            n: view if isinstance(view, Unseen) else _host(cluster, store, cluster.machines[n])
            for n, view in hosts.items()
        },
        pods={n: _pods(cluster, store, cluster.machines[n], hosts[n]) for n in ready},
        probes=probes,
        services=_services(cluster, store, paths, sequence, seen),
        agents=agents,
        unpulled={
            f"kube-system/{view.pod}": UnpulledImage(view.node, image, view.status, f'Back-off pulling image "{image}"')
            for view in agents
            if lacks_image(view.status) and (image := cluster.machines[view.node].agents[PROCESS[view.kind]].image)
        },
        failing_since=_failing(probes, failing, moment(cluster.now)),
        waiting={n: pods for n in ready if (pods := _waiting(cluster, n))},
        silent_dns=_silent_dns(cluster),
        # whoever looks begins at 0, when the cluster has served for a while: it has seen it away only after that
        back_since=moment(back) if (back := cluster.nodes.followed) is not None and back > 0 else None,
    )


def _silent_dns(cluster: ModelCluster) -> dict[str, SilentDns]:
    ended = {m.name: m.dns_ended_at for m in cluster.machines.values() if m.dns_ended_at is not None}
    if not ended:
        return {}
    pods = tuple(f"kube-system/coredns-{name}" for name in ended)
    return {"kube-system/kube-dns": SilentDns(moment(max(ended.values())), pods, tuple(ended))}


def _waiting(cluster: ModelCluster, name: str) -> WaitingPods | None:
    since = {uid: cluster.now - cluster.nodes.bound.get(uid, cluster.now) for uid in cluster.nodes.waiting(name)}
    late = [f"default/{uid}" for uid, age in since.items() if age >= BEGINS]
    return WaitingPods(len(late), max(since.values()), tuple(late)) if late else None


def _host(cluster: ModelCluster, store: Store, machine: Machine) -> NodeNetworkView:
    now = cluster.now
    node = machine.name in store.nodes
    own = [pod for pod in machine.pods.values() if pod.started_at <= now]
    bridge = Link(BRIDGE, "bridge", BRIDGE not in machine.down, (f"10.244.{machine.number}.1/24",))
    below = ("host0", machine.uplink)
    up, addresses = TUNNEL not in machine.down, (f"10.244.{machine.number}.0/32",)
    tunnel = Link(TUNNEL, "vxlan", up, addresses, 1450, 50, *below, port=8472)
    others = sorted(
        (m.number, m.address)
        for m in cluster.machines.values()
        if m is not machine and m.name in store.nodes and m.known_at <= now
    )
    routes = tuple(
        f"10.244.{number}.0/24 via {address} dev {TUNNEL} onlink"
        for number, address in others
        if number not in machine.lost_routes
    )
    return NodeNetworkView(
        forwarding=machine.forwarding,
        links=tuple(link for link in (bridge, tunnel) if link.name not in machine.gone) if node else (),
        routes=(DEFAULT, *routes) if node else (DEFAULT,),
        processes={
            a.name: ProcessView(a.name, "S" if a.stopped_at is None else "T", moment(a.started_at))
            for a in machine.agents.values()
            if a.started_at <= now
        },
        pod_directories=tuple(machine.pods),
        rules=_rules(cluster, store, machine),
        tool="curl",
        veths=(len(own), 0 if machine.loose else len(own)),
        pods=sum(uid in cluster.nodes.reported for uid in cluster.nodes.placed(store).get(machine.name, ())),
        pod_addresses=tuple(p.address.partition(":")[0] for p in own[:4]),
        bridge_netfilter=machine.bridge_netfilter,
        dropping=(FORWARD,) if machine.filtered else (),
        refusing=(VXLAN_DROPPED,) if machine.tunnel_filtered else (),
        kernel=_kernel(machine),
    )


def _kernel(machine: Machine) -> KernelView:
    full = TableView(CONNECTIONS, CONNECTIONS, DROPPED)
    return KernelView(
        full if machine.conntrack_full else TableView(CONNECTIONS // 100, CONNECTIONS, 0),
        TableView(40, 1024, 0),
        ("all", "host0") if machine.astray_packets else (),
        DROPPED if machine.astray_packets else 0,
        TableView(6, 1024, 0),
    )


def _rules(cluster: ModelCluster, store: Store, machine: Machine) -> RulesView:
    proxy, nodes, now = machine.agents.get("kube-proxy"), cluster.nodes, cluster.now
    known = machine.programmed
    if not known and not (proxy and proxy.synced and not proxy.flushed):
        return RulesView("", 0)
    missing = {e: nodes.for_seconds(nodes.since.get(e, now)) for e in sorted(store.endpoints - known)}
    stale = {e: nodes.for_seconds(nodes.gone.get(e, now)) for e in sorted(known - store.endpoints)}
    return RulesView("iptables", 1, (RuleGap(SERVICE, ADDRESS, missing, stale),) if missing or stale else ())


def _pods(cluster: ModelCluster, store: Store, machine: Machine, seen: HostView | Unseen) -> NodePods | Unseen:
    """kubelet's own list; where kubelet does not run, its directory of pods, which tells only what is missing."""
    asked = machine.up(cluster.now) and machine.units["kubelet"].active and not machine.hung
    if not asked and isinstance(seen, Unseen):
        return seen
    nodes, now = cluster.nodes, cluster.now
    listed = nodes.placed(store).get(machine.name, {})
    missing = tuple(
        PodMismatch(
            uid,
            f"default/{uid}",
            age := now - nodes.bound[uid],
            moment(now - age),
            "Running" if uid in store.ready else "Pending",
        )
        for uid in listed
        if uid not in machine.pods
    )
    odd = {uid: at for (node, uid), at in nodes.odd.items() if node == machine.name} if asked else {}
    extra = tuple(PodMismatch(uid, f"default/{uid}", now - at, moment(at)) for uid, at in odd.items())
    return NodePods(moment(now), "kubelet" if asked else "ssh", len(listed), len(machine.pods), missing, extra)


def _probes(
    cluster: ModelCluster, store: Store, paths: PodPaths, sequence: int, hosts: Sequence[str]
) -> tuple[PodProbe, ...]:
    """From every host to some of the pods of every host."""
    of_hosts: dict[str, list[tuple[str, str]]] = {}
    for uid, address in sorted(cluster.nodes.reported.items()):
        of_hosts.setdefault(store.pods.get(uid, ""), []).append((uid, address))
    tried = []
    for target in hosts:
        pods = of_hosts.get(target, [])
        for k in range(min(PODS, len(pods))):
            uid, address = pods[(sequence + k) % len(pods)]
            tried.append((target, address, f"default/{uid}", store.ready.get(uid) in store.endpoints))
    return tuple(
        _probe(source, target, address, pod, paths.reaches(source, address), ready)
        for source in hosts
        for target, address, pod, ready in tried
    )


def _services(
    cluster: ModelCluster, store: Store, paths: PodPaths, sequence: int, sources: Sequence[str]
) -> tuple[ServiceProbe, ...]:
    endpoints = sorted(store.endpoints)
    if not endpoints:
        return ()
    direct = [endpoints[(sequence + k) % len(endpoints)] for k in range(min(DIRECT, len(endpoints)))]
    hosts = tuple(sorted({node for uid, node in store.pods.items() if store.ready.get(uid) in store.endpoints}))
    steady = cluster.nodes.for_seconds(cluster.nodes.steady_since)
    made = []
    for source in sources:
        known = paths.programmed(source)
        came = (known and paths.reaches(source, known[(sequence + k) % len(known)]) for k in range(TRIES))
        answers = tuple(ProbeAnswer.OK if arrived else ProbeAnswer.TIMEOUT for arrived in came)
        made.append(
            ServiceProbe(
                source, SERVICE, ADDRESS, answers, {e: _answer(paths.reaches(source, e)) for e in direct}, hosts, steady
            )
        )
    return tuple(made)


@lru_cache(maxsize=4096)  # a sweep has one for each pair of nodes and pod, and the next sweep mostly the same
def _probe(source: str, target: str, address: str, pod: str, arrived: bool | None, ready: bool) -> PodProbe:
    return PodProbe(source, target, address, pod, SERVICE, _answer(arrived), ready)


def _answer(arrived: bool | None) -> ProbeAnswer:
    return ProbeAnswer.UNREACHABLE if arrived is None else ProbeAnswer.OK if arrived else ProbeAnswer.TIMEOUT


def pod_of(machine: Machine, agent: str) -> str:
    """The name of an agent's pod, without its namespace."""
    return f"{'kube-proxy' if agent == 'kube-proxy' else 'kube-flannel-ds'}-{machine.name}"


def _agent(cluster: ModelCluster, machine: Machine, name: str) -> AgentView:
    agent, now = machine.agents[name], cluster.now
    runs = agent.runs(now)
    beginning = agent.started_at > now
    kind, daemonset = (
        ("kube-proxy", "kube-system/kube-proxy") if name == "kube-proxy" else ("cni", "kube-system/kube-flannel-ds")
    )
    pod = pod_of(machine, name)
    if agent.waits_since is not None:
        waited = max(0.0, now - agent.waits_since)
        status = "ImagePullBackOff" if agent.image in machine.unpulled else "CrashLoopBackOff"
        return AgentView(machine.name, kind, daemonset, pod, False, status, False, waited)
    bad_for = 1.0 if beginning else 0.0 if agent.stopped_at is None else now - agent.stopped_at
    return AgentView(
        machine.name,
        kind,
        daemonset,
        pod,
        not beginning,
        "ContainerCreating" if beginning else "Running",
        runs,
        bad_for,
    )


def _failing(probes: Sequence[PodProbe], before: dict[str, datetime], now: datetime) -> dict[str, datetime]:
    """Pairs between which every probe fails, and since when; also kept in `before` for the next round."""
    tried = {(p.source, p.target) for p in probes if p.source != p.target}
    good = {(p.source, p.target) for p in probes if p.answer.arrived}
    failing = {f"{source}>{target}": before.get(f"{source}>{target}", now) for source, target in sorted(tried - good)}
    before.clear()
    before.update(failing)
    return failing
