"""The same fault on all machines of a kind at once: what causes it is above them, and whatever is done to one machine
after the other neither finds nor ends it. One rule, for whoever acts unasked and for whoever reboots. Pure.

Of all workers, or all control planes, that can be looked at: two of two already, since two that fail together by
chance are rarer than one rollout; of many, most will do, as one is often left out of a rollout. Never of a single
machine. What was repaired a moment ago counts with what is found now, so that a rollout from machine to machine is not
followed by one repair after the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from recoverd.diagnose.scene import Scene
from recoverd.model.catalogue import About, Code, Of, codes, host_in
from recoverd.model.finding import Finding, FindingKey
from recoverd.model.network import NetworkView
from recoverd.model.plan import ActionRecord
from recoverd.model.record import SharedFault
from recoverd.model.text import some, utc

WITHIN = timedelta(seconds=120)
"""In which it has to have begun on all of them. A rollout takes a minute; and that a node is not Ready is seen 40 s and
more after its kubelet has ended, by when it reported last (10 s).
"""
SEVERAL = 3
"""Machines that are enough where they are most of their kind and not all of them."""
NEAR = timedelta(seconds=600)
"""Before the fault: what changed on all of them then is named."""
OF_MACHINES = frozenset({About.HOST, About.COMPONENT, About.FILE, About.NODE})
FOLLOWS_ETCD = frozenset({Code.CRASH_LOOPING})
"""On all control planes it comes of an etcd without quorum, which is a fault of its own."""
SEEN_ELSEWHERE = codes(Of.PATHS)
"""It may be the fault of another node. So it counts where nothing else is found of any of them, and of these only what
is not said of each node that does not reach one broken one.
"""
GENTLE = frozenset({Code.SERVICE_RULES_STALE})
"""It is put right unasked on all nodes as well: what is programmed was compared with what the API server lists, nobody
wants it otherwise while a kube-proxy is wanted there, and one that starts anew, the canary's first, takes nothing away
that works (observed: rules flushed on all nodes of a cluster).
"""
MAY_BE: Mapping[str, str] = {
    Code.IP_FORWARDING_OFF: "a file in /etc/sysctl.d, a hardening script, configuration management",
    Code.BRIDGE_NETFILTER_OFF: "a file in /etc/sysctl.d, a boot without the module br_netfilter, a hardening script",
    Code.NODE_CUT_OFF: "what writes /etc/hosts (cloud-init, configuration management), the DNS, the address before the "
    "API servers",
    Code.POD_NETWORK_BROKEN: "the network between the machines (a firewall, an MTU, a switch), the CNI's DaemonSet or "
    "its image, a kernel",
    Code.KUBE_PROXY_DOWN: "its DaemonSet, image or ConfigMap",
    Code.CNI_AGENT_DOWN: "its DaemonSet, image or ConfigMap",
    Code.MANIFEST_CHANGED: "configuration management, an upgrade, a script that writes the flags",
}
OTHERWISE = "configuration management, a package or an image that was rolled out, a DaemonSet, the network between them"


def candidates(repairs: Iterable[str]) -> frozenset[str]:
    """Those of the codes of which a fault is one of each machine by itself."""
    of = frozenset(code for code in Code if code.about in OF_MACHINES) - FOLLOWS_ETCD - SEEN_ELSEWHERE
    return frozenset(repairs) & (of | {Code.POD_NETWORK_BROKEN})


def concerns(fault: SharedFault, keys: Iterable[FindingKey]) -> bool:
    return any(code == fault.code and subject[len(host_in(subject)) :] == fault.of for code, subject in keys)


def together(
    scene: Scene,
    found: Sequence[Finding],
    since: Mapping[FindingKey, datetime],
    acted: Sequence[ActionRecord],
    of: Collection[str],
) -> tuple[SharedFault, ...]:
    """What of the faults `found`, each seen `since` then, is the same on all machines of a kind. `acted`: what was
    done lately; `of`: codes that are asked about.
    """
    own = {_host(f, scene) for f in found if f.code not in SEEN_ELSEWHERE}
    began: dict[tuple[str, str], dict[str, datetime]] = {}
    for finding in found:
        host = _host(finding, scene)
        if finding.code in of and not (finding.code in SEEN_ELSEWHERE and host in own):
            beside = finding.subject[len(host_in(finding.subject)) :]
            began.setdefault((finding.code, beside), {})[host] = since.get(finding.key, scene.now)
    for action in acted:
        for code, subject in () if action.acknowledged else action.basis:
            node = host_in(subject)
            if now := began.get((code, subject[len(node) :])):
                now.setdefault(scene.machines.get(node, node), action.started_at)
    kinds = {"workers": [w.name for w in scene.workers], "control planes": list(scene.parts)}
    return tuple(
        shared
        for (code, beside), hosts in began.items()
        for kind, names in kinds.items()
        if (shared := _of_kind(code, beside, kind, names, hosts, scene))
    )


def _host(finding: Finding, scene: Scene) -> str:
    name = host_in(finding.subject)
    return finding.facts.host or scene.machines.get(name, name)


def _of_kind(
    code: str, beside: str, kind: str, names: Sequence[str], began: Mapping[str, datetime], scene: Scene
) -> SharedFault | None:
    having = {name: began[name] for name in names if name in began}
    looked_at = sum(name in having or scene.host(name) is not None for name in names)
    group = _closest(having)
    most = len(group) >= SEVERAL and 2 * len(group) > looked_at
    if len(group) < 2 or not (most or len(group) == looked_at):
        return None
    first, last = min(group.values()), max(group.values())
    seen = tuple(_in_common(tuple(group), first, scene, code))
    return SharedFault(code, beside, kind, tuple(sorted(group)), looked_at, first, last, seen)


def _closest(began: Mapping[str, datetime]) -> dict[str, datetime]:
    """The most of them that began `WITHIN` of each other."""
    in_order = sorted(began.items(), key=lambda each: each[1])
    first, best = 0, in_order[:0]
    for last, (_, at) in enumerate(in_order):
        while at - in_order[first][1] > WITHIN:
            first += 1
        if last + 1 - first > len(best):
            best = in_order[first : last + 1]
    return dict(best)


def above(fault: SharedFault) -> str:
    """What is said of it."""
    many = len(fault.machines)
    which = f"all {many} {fault.kind}" if many == fault.of_all else f"{many} of {fault.of_all} {fault.kind}"
    seconds = max(1.0, (fault.until - fault.since).total_seconds())
    seen = f". Seen of all of them: {'; '.join(fault.seen)}" if fault.seen else ""
    what = f"{fault.code} ({fault.of[1:]})" if fault.of else fault.code
    return (
        f"{what} began on {which} within {seconds:.0f} s, from {utc(fault.since)} on "
        f"({some(fault.machines, 5)}), so what causes it is above them, and may do it again{seen}. What changed them "
        f"all: {MAY_BE.get(fault.code, OTHERWISE)}?"
    )


def _in_common(names: Sequence[str], began: datetime, scene: Scene, code: str) -> Iterator[str]:
    """What changed on all of them shortly before, as far as it was seen."""
    views = [view for name in names if (view := scene.host(name))]
    if len(views) < len(names):
        return  # of one that is not seen nothing is said
    boots = [scene.now - timedelta(seconds=v.uptime) for v in views]
    if at := _at_once(boots, began):
        yield f"they booted {at}"
    for unit in sorted({"kubelet", *(v.runtime for v in views)} - {""}):
        changed = [u.since for v in views if (u := v.units.get(unit))]
        if len(changed) == len(views) and (at := _at_once(changed, began)):
            states = {u.active for v in views if (u := v.units.get(unit))}
            yield f"{unit} is {' or '.join(sorted(states))} since then by systemd's word, {at}"
    for path in sorted(set.intersection(*(set(v.node.files if v.node else ()) for v in views))):
        written = [_by_ours(v.node.files[path].modified_at, v.clock_offset) for v in views if v.node]
        if at := _at_once(written, began):
            yield f"{path} was changed {at}"
    for component in sorted(set.intersection(*(set(v.manifests) for v in views))):
        if at := _at_once([v.manifests[component].modified_at for v in views], began):
            yield f"the manifest of {component} was changed {at}"
    network = scene.observation.network
    if code in codes(Of.NODE) and isinstance(network, NetworkView):
        daemons = {a.daemonset for a in network.agents if scene.machines.get(a.node, a.node) in names}
        if daemons:
            yield f"their agents are of the DaemonSets {', '.join(sorted(daemons))}"


def _by_ours(at: datetime | None, offset: float) -> datetime | None:
    """By the bastion's clock."""
    return None if at is None else at - timedelta(seconds=offset)


def _at_once(times: Sequence[datetime | None], began: datetime) -> str:
    """When all that was, in words; "" where it was not at once, or not shortly before the fault."""
    known = sorted(at for at in times if at is not None)
    if len(known) < len(times) or not known or known[-1] - known[0] > WITHIN:
        return ""
    if not began - NEAR <= known[0] <= began + WITHIN:
        return ""
    first, last = utc(known[0]), utc(known[-1])
    return f"at {first}" if first == last else f"between {first} and {last}"
