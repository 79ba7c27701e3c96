"""The pod network: nodes that are Ready and talk to nobody. Entry of the rules; paths between nodes are
in `paths`, services in `rules`.

For who writes playbooks: every fault here has facts `node` (the Node's name) and `host` (the name in the
configuration). POD_DEVICE_MISSING has `device` and `problem`: `gone`, `down`, `address` (it lost
`addresses`), or `ports` (the bridge is there and the pods' cables do not hang on it). What was there while
healthy is `Memory.networks[host]`. POD_NETWORK_BROKEN has `direction` (`in`, `out`, `both`), `from` and `to`
(hosts, by commas); POD_PATH_BROKEN `from` and `to`; SERVICE_RULES_STALE `gone` (`yes`, `no`). KUBE_PROXY_DOWN and
CNI_AGENT_DOWN have `cause` and `named` where an image does not come (`images.is_why`), and a `cure`, as does
SERVICE_RULES_STALE, where they say themselves what no restart changes (`agents`).
ETCD_REVISION_WENT_BACK (in `setback`) has `stale`: HOST/AGENT of every agent that still runs from before, and
ends by itself as they are restarted, whoever does it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from recoverd.diagnose import (
    agents,
    announced,
    images,
    inputs,
    overlays,
    own_service,
    paths,
    ranges,
    rules,
    sessions,
    tables,
)
from recoverd.diagnose.nodes import away, facts_of, ipv6_alone, node_of
from recoverd.diagnose.paths import Paths
from recoverd.diagnose.rules import RECONNECT
from recoverd.diagnose.scene import Scene
from recoverd.diagnose.setback import current
from recoverd.model.catalogue import Code
from recoverd.model.facts import DeviceFacts, Facts, PodsFacts, WaitingFacts
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.memory import KnownIPv6, NodeNetwork
from recoverd.model.network import (
    BEGINNING,
    ENDED,
    REJECTING,
    AgentView,
    Link,
    NetworkView,
    NodeNetworkView,
    NodePods,
    PodMismatch,
    lacks_image,
)
from recoverd.model.network_operations import BRIDGED, BRIDGED6, FORWARDING, FORWARDING6
from recoverd.model.places import of_ipv6
from recoverd.model.text import lasting, utc

BROKEN = State.WORKER_NETWORK_BROKEN
Families = tuple[Paths, Paths]
"""The ways over IPv4, and those over IPv6."""
START = 20.0
"""Seconds after which a kubelet has certainly taken in a pod that was bound to its node; it
does within one unless it is deaf.
"""
KUBELET_START = 15.0
"""Seconds that kubelet needs from its start to know its pods again."""
STOPPED = 15.0
"""Seconds for which kube-proxy's process may be away: a rolled DaemonSet brings it back within that."""
STARTED_ANEW = 40.0
"""Seconds after which kubelet has done so, 10 s after the first end and 20 s after the second, and what is in its way
shows (observed on 1.20.2: an image that was gone was asked for 12 s after the end, and the API showed a back-off for 10
s more; its pod was deleted in vain meanwhile).
"""
NOT_READY = 60.0
"""Seconds for which an agent's pod may be absent or not ready, or be taken down while another takes its place."""
PULLING = 180.0
"""The same while its image is pulled or its init containers run."""


def findings(scene: Scene) -> Iterator[Finding]:
    view = scene.observation.network
    if not isinstance(view, NetworkView) or scene.objects is None or not scene.api_ready:
        return
    seen = paths.paths(scene, view), paths.paths(scene, view, ipv6=True)
    for name, host in view.hosts.items():
        if isinstance(host, NodeNetworkView) and scene.node(name) is not None and not away(scene, name):
            yield from _forwarding(scene, name, host)
            yield from _filters(scene, seen, name, host)
            yield from _devices(scene, seen, name, host)
    back = view.back_since if rules.reconnecting(scene, view) else None
    for node, pods in view.pods.items():
        missed = isinstance(pods, NodePods) and bool(pods.missing or pods.extra)
        if isinstance(pods, NodePods) and missed and not away(scene, scene.machines.get(node, node)):
            yield from _pods(scene, node, pods, back)
    for agent in (a for a in view.agents if a.bad_for > 0):
        yield from _agent(scene, agent)
    # what is found of a node is one finding, whichever family shows it; where both do, IPv4 speaks
    of_both = {
        f.key: f for s in reversed(seen) for f in (*rules.findings(scene, view, s), *paths.findings(scene, view, s))
    }
    of_paths = tuple(of_both.values())
    yield from tables.findings(scene, view, of_paths)
    yield from inputs.findings(scene, view, of_paths)
    yield from ranges.overlapping(scene, of_paths)
    yield from announced.findings(scene, of_paths)
    yield from of_paths
    yield from own_service.findings(scene, view)
    yield from overlays.findings(scene, view)


def _forwarding(scene: Scene, name: str, host: NodeNetworkView) -> Iterator[Finding]:
    remembered = scene.memory.networks.get(name)
    off = []
    # with IPv6 alone kubeadm lets it be off
    if host.forwarding is False and not ((remembered and not remembered.forwarding) or ipv6_alone(scene, name, host)):
        off.append(FORWARDING)
    if host.ipv6.forwarding is False and (known := _used_ipv6(remembered)) and known.forwarding:
        off.append(FORWARDING6)
    if not off:
        return
    before = f"; it was on while healthy{_recorded(remembered)}" if remembered and remembered.recorded_at else ""
    which, over = ("IP", "") if FORWARDING in off else ("IPv6", " over IPv6")
    yield Finding(
        Code.IP_FORWARDING_OFF,
        node_of(scene, name),
        f"{which} forwarding is switched off on {name}: its pods reach nothing outside of it{over}, and "
        "nothing outside reaches them.",
        tuple(f"{name}: {key} = 0{before}" for key in off),
        state=BROKEN,
        facts=facts_of(scene, name),
    )


def _used_ipv6(remembered: NodeNetwork | None) -> KnownIPv6 | None:
    """What the node had of IPv6, where its pods were reached over it while the cluster was healthy."""
    return remembered.ipv6 if remembered and remembered.ipv6 and remembered.ipv6.answers else None


def _recorded(network: NodeNetwork) -> str:
    return f", as recorded at {network.recorded_at:%Y-%m-%d %H:%M} UTC" if network.recorded_at else ""


def _filters(scene: Scene, seen: Families, name: str, host: NodeNetworkView) -> Iterator[Finding]:
    """What netfilter does to pods' packets, where it did not while the cluster was healthy."""
    remembered, ipv4 = scene.memory.networks.get(name), not ipv6_alone(scene, name, host)
    if remembered is None:
        return
    at, known6 = _recorded(remembered), _used_ipv6(remembered)
    off = [BRIDGED] if ipv4 and remembered.bridge_netfilter and host.bridge_netfilter is False else []
    if known6 and known6.bridge_netfilter and host.ipv6.bridge_netfilter is False:
        off.append(BRIDGED6)
    if off:
        which = "iptables" if BRIDGED in off else "ip6tables"
        yield Finding(
            Code.BRIDGE_NETFILTER_OFF,
            node_of(scene, name),
            f"Packets over the pod bridge of {name} pass no rules of {which} any more: a pod there does not reach "
            "services whose pod is on the same node, while everybody else does.",
            tuple(f"{name}: {key} = 0, or its module is not loaded; not so while healthy{at}" for key in off),
            state=BROKEN,
            facts=facts_of(scene, name),
        )
    known = host.dropping if remembered.dropping is None else remembered.dropping
    families = {"ip" if ipv4 else "", "ip6" if known6 else "", "inet" if ipv4 or known6 else ""}
    new = [c for c in host.dropping or () if c not in (known or ()) and c.split()[0] in families]
    if new:
        alone = not ipv4 or all(c.split()[0] == "ip6" for c in new)
        reached = name in seen[alone].reached
        yield Finding(
            Code.FORWARDING_FILTERED,
            node_of(scene, name),
            f"{name} drops packets that it forwards, unless a rule lets them through: {', '.join(map(_drops, new))}, "
            f"and had not while the cluster was healthy; its pods are {'' if reached else 'not '}reached.",
            (f"{name}: {', '.join(map(_drops, new))}; not so while healthy{at}",),
            severity=Severity.WARNING if reached else Severity.FAULT,
            state=BROKEN,
            facts=facts_of(scene, name),
        )


def _drops(chain: str) -> str:
    """How this chain does it, in words."""
    if chain.endswith(REJECTING):
        return f"{chain.removesuffix(REJECTING)} has a rule that rejects all that comes to it"
    return f"{chain} has the policy DROP"


def _devices(scene: Scene, seen: Families, name: str, host: NodeNetworkView) -> Iterator[Finding]:
    remembered = scene.memory.networks.get(name)
    if remembered is None or host.links is None or not remembered.devices:
        return
    there = {link.name: link for link in host.links}
    needed, known6 = host.pods > 0, _used_ipv6(remembered)
    for device, kind in remembered.devices.items():
        problem = _problem(remembered, device, kind, there.get(device), host)
        if not problem:
            continue
        lost = _lost(remembered, device, there.get(device))
        alone = problem == "address" and all(map(of_ipv6, lost))
        if alone and not known6:
            continue
        # what takes IPv6 alone away shows over IPv6 alone
        reached = name in seen[alone or ipv6_alone(scene, name, host)].reached
        words = {
            "gone": "is gone",
            "down": "is down",
            "address": f"has lost its address {', '.join(lost)}",
            "ports": "is there, and no pod hangs on it: they were started before it was made anew",
        }[problem]
        effect = f"{host.pods} pods on {name} need it" if needed else f"no pod on {name} needs it now"
        if needed and reached:
            effect = f"the pods on {name} are reached without it"
        yield Finding(
            Code.POD_DEVICE_MISSING,
            node_of(scene, name),
            f"The device {device}{f' ({kind})' if kind else ''} on {name} {words}; {effect}.",
            (f"{name}: ip link: {_listed(host.links)}",)
            + ((f"running there: {', '.join(host.pod_addresses)}",) if host.pod_addresses else ()),
            severity=Severity.FAULT if needed and not reached else Severity.NOTICE,
            state=BROKEN if needed and not reached else None,
            facts=DeviceFacts(name, node_of(scene, name), device, problem),
        )
        return  # one finding a node: the first is the bridge that the others hang on, or a tunnel


def _listed(links: tuple[Link, ...]) -> str:
    return ", ".join(f"{link.name} {'up' if link.up else 'down'}" for link in links) or "no device of the pod network"


def _problem(remembered: NodeNetwork, device: str, kind: str, link: Link | None, host: NodeNetworkView) -> str:
    if link is None:
        return "gone"
    if not link.up:
        return "down"
    if _lost(remembered, device, link):
        return "address"
    if remembered.bridged and kind == "bridge" and host.veths and host.veths[0] > 0 and host.veths[1] == 0:
        return "ports"
    return ""


def _lost(remembered: NodeNetwork, device: str, link: Link | None) -> list[str]:
    """The addresses that the device had."""
    return [a for a in remembered.addresses.get(device, ()) if link is None or a not in link.addresses]


def _pods(scene: Scene, node: str, pods: NodePods, back: datetime | None) -> Iterator[Finding]:
    """`back`: since when kubelets are on their way back to the API server; what has come to
    light since proves nothing yet.
    """
    name = scene.machines.get(node, node)
    times = tuple(_times_to_learn(scene, name))

    def lasts(pod: PodMismatch) -> bool:
        known = scene.age(pod.since) or 0.0  # what it did not know before that time began either is another matter
        new = any(age < limit and known <= age for age, limit in times)
        return pod.age >= START and not new and not (back and pod.since >= back)

    missing = [p for p in pods.missing if lasts(p)]
    extra = [p for p in pods.extra if lasts(p)]
    if not missing and not extra:
        return
    who = "its kubelet" if pods.source == "kubelet" else "its directory of pods"
    parts = []
    if missing:
        parts.append(
            f"the API binds {len(missing)} pod{'s' if len(missing) > 1 else ''} to it that {who} does not know"
        )
    if extra:
        parts.append(f"it runs {len(extra)} that the API does not have any more")
    yield Finding(
        Code.PODS_NOT_ON_NODE,
        node,
        f"The pods on {node} are not those that the API shows: {' and '.join(parts)}. Its kubelet is deaf to changes.",
        tuple(
            f"listed by the API, not on {node}: {p.pod} ({p.uid}), bound {lasting(p.age)} ago, {p.phase}"
            for p in missing[:6]
        )
        + tuple(f"on {node}, not in the API: {p.pod} ({p.uid}), for at least {p.age:.0f} s" for p in extra[:6])
        + (f"{pods.listed} listed, {pods.run} known to {who}, compared at {utc(pods.at)}",),
        state=BROKEN,
        facts=PodsFacts(name, node, len(missing), len(extra)),
    )


def _times_to_learn(scene: Scene, name: str) -> Iterator[tuple[float, float]]:
    """How long ago kubelet was started, and how long ago its node became Ready; each with the seconds that it has from
    then on to know its pods.

    Observed on 1.20.2: a kubelet that was started without a way to the API server and then gets one posts at once that
    it is Ready, and lists its pods when its reflector tries again, 30 s later. After a setback of etcd it is not on its
    way back, it is deaf.
    """
    host, node = scene.host(name), scene.node(name)
    deaf = scene.memory.setback is not None or current(scene) is not None
    kubelet = host.units.get("kubelet") if host else None
    if kubelet and kubelet.since and (started := scene.age(kubelet.since)) is not None:
        yield started, KUBELET_START
    if node and node.ready and node.since and (ready := scene.age(node.since)) is not None:
        yield ready, KUBELET_START if deaf else RECONNECT


def _agent(scene: Scene, agent: AgentView) -> Iterator[Finding]:
    name = scene.machines.get(agent.node, agent.node)
    if away(scene, name) or not (node := scene.node(name)) or not node.ready:
        return
    beginning = agent.status.startswith(BEGINNING) and not lacks_image(agent.status)
    if agent.running is False and not beginning:
        limit, why = (
            STOPPED,
            "its process does not run, or is stopped"
            if agent.pod
            else "it has no pod there and its process does not run",
        )
    elif not agent.pod:
        limit, why = NOT_READY, "it has no pod there"
    else:
        limit, why = PULLING if beginning else NOT_READY, f"its pod {agent.pod} is not ready ({agent.status})"
    if agent.status in ("Terminating", ""):
        # observed with docker under load: kubelet needed 50 s to be done with one, its process gone long before; then
        # it is neither the old one's nor the new one's for a moment
        limit = max(limit, NOT_READY, agent.may_start_for)
    if agent.running is False and agent.status in ENDED:
        limit = max(limit, STARTED_ANEW)
    # one that ends again and again does not start
    if agent.status in ("", "Running") or beginning:
        limit = max(limit, agent.may_start_for if agent.running is not False or beginning else 0.0)
    if agent.bad_for < limit:
        return
    yield _agent_down(scene, name, agent, why)


def _agent_down(scene: Scene, name: str, agent: AgentView, why: str) -> Finding:
    proxy = agent.kind == "kube-proxy"
    effect = (
        "changes of services do not reach the node"
        if proxy
        else "the node's pod network is not kept up, and pods may not start"
    )
    shown: tuple[str, ...] = (
        f"{agent.node}: {why}, for {agent.bad_for:.0f} s; the API shows the pod "
        f"{agent.pod or '(none)'} {agent.status}".rstrip(),
    )
    facts, ending = Facts(name, agent.node), ""
    if found := images.of_pod(scene, name, agent.pod_key):
        facts = WaitingFacts(name, agent.node, found.cause.name, next(iter(found.named), ""))
        gone, proof = images.deleted(scene.host(name), name, found)
        why, ending = found.why, f"{gone} No restart and no reboot brings it. Cure: {found.cure}."
        shown = (*shown, found.line, *proof)
    elif (found := agents.of_pod(scene, name, agent.pod_key, runs=agent.status in ("Running", "Terminating"))) or (
        found := sessions.of_agent(scene, name, agent)
    ):
        facts, ending = agents.facts(name, agent.node, found), agents.ending(found)
        shown = (*shown, f"{agent.pod} on {name}: {found.line}")
    return Finding(
        Code.KUBE_PROXY_DOWN if proxy else Code.CNI_AGENT_DOWN,
        agent.node,
        f"{agent.daemonset} does not work on {agent.node}, where it is wanted: {why}; {effect}.{ending}",
        shown,
        state=BROKEN,
        facts=facts,
    )
