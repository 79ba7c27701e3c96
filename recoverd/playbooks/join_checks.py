"""What has to be so before a control plane joins, judged from what the machines themselves said. Pure;
every check is told, good or bad.

Sources: kubeadm's join checks and version skew policy (kubeadm and the cluster of one minor version; kubelet no newer
than the API server); etcd's rule of quorum; the incident, in which port 2380 was blocked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import datetime, timedelta

from recoverd.model.catalogue import Code, path_in
from recoverd.model.etcd import EtcdView, quorum_of
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.joining import PORTS, Check, JoinFacts, JoinRequest, MachineFacts, Probe, Reached
from recoverd.model.kubeadm import made_by_kubeadm
from recoverd.model.observation import ObjectsView, Unseen
from recoverd.playbooks.base import Situation
from recoverd.playbooks.join_control_plane import needs

NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*")
ETCD_ROOM = 1 << 30
"""Bytes beside twice the database: it is received whole, and kept once more while it is defragmented."""
KUBELET_ROOM = 2 << 30
CA_LEFT = timedelta(days=1)
"""A CA that ends sooner would make a control plane that is dead tomorrow."""
HEALTHY, QUORUM = "cluster is healthy", "etcd quorum"
OF_THE_SWEEP = frozenset({HEALTHY, QUORUM})
"""Checks that the next sweep may answer otherwise."""
WORDS = {
    Reached.REFUSED: "refused (a firewall rejects it, or nothing listens)",
    Reached.FILTERED: "no answer (a firewall drops it, or there is no way)",
    Reached.UNREACHABLE: "no way there",
    Reached.UNTOLD: "could not be tried",
}


def judge(request: JoinRequest, facts: JoinFacts, situation: Situation) -> tuple[Check, ...]:
    """Every check, in the order in which they are shown. `situation` is of the newest sweep."""
    new = facts.machines.get(request.name)
    checks = [_healthy(situation), _bounds(situation), _reachable(request, new, situation)]
    if not isinstance(new, MachineFacts):
        return tuple(checks)
    checks += [
        _name(request, new, situation),
        _address(request, new, situation),
        _names(request, facts),
        _versions(request, new, facts),
        _time(facts, situation),
        _runtime(request, new),
        _leftovers(request, new),
        _disk(request, new, facts, situation),
        _certificates(facts, situation),
        _quorum(request, facts, situation),
        *_ports(request, facts),
    ]
    return tuple(checks)


def _healthy(situation: Situation) -> Check:
    diagnosis, settings = situation.diagnosis, situation.settings
    unseen = [n for n in (h.name for h in settings.control_planes) if situation.host(n) is None]
    bad = [n for n, v in situation.etcd_views.items() if not v.healthy]
    views, objects = situation.etcd_views, situation.observation.api.objects
    members = next((v.members for v in views.values()), ())
    why = ""
    if diagnosis.state is not State.HEALTHY:
        why = diagnosis.summary
    elif not views:
        why = "no etcd member answers"
    elif bad:
        why = f"etcd is not healthy on {', '.join(bad)}"
    elif strangers := [m.name for m in members if m.started and not any(m.id == v.member_id for v in views.values())]:
        why = (
            f"etcd has members that are not in the configuration or do not answer: {', '.join(strangers)}; add them, "
            "or bring them back, first"
        )
    elif any(not m.started or m.learner for m in members):
        why = "the member list holds a member that never started, or a learner"
    elif isinstance(objects, Unseen):
        why = f"the API server lists no nodes: {objects.reason}"
    elif away := [n.name for n in objects.nodes if n.control_plane and not n.ready]:
        why = f"not Ready: {', '.join(away)}"
    elif joined := [n for n in unseen if any(m.name == n for m in members)]:
        why = f"not to be looked at over SSH: {', '.join(joined)}"
    return Check(HEALTHY, not why, why or diagnosis.summary)


def _bounds(situation: Situation) -> Check:
    bounds, (step, plan) = situation.settings.bounds, needs(situation)
    why = []
    if bounds.step_deadline < step:
        why.append(
            f"`step_deadline` is {bounds.step_deadline:g} s, and a join, and then its taking back, may need {step:g} s"
        )
    if bounds.plan_deadline < plan:
        why.append(
            f"`plan_deadline` is {bounds.plan_deadline:g} s, and the last step of a join may begin after {plan:g} s"
        )
    said = f"{'; '.join(why)}: set {'each' if len(why) > 1 else 'it'} to that at least" if why else ""
    return Check(
        "bounds", not why, said or f"they allow the {step:g} s of the longest step, and {plan:g} s until the last one"
    )


def _reachable(request: JoinRequest, new: MachineFacts | Unseen | None, situation: Situation) -> Check:
    name, settings = f"{request.name} over SSH", situation.settings
    configured = any(h.name == request.name for h in (*settings.control_planes, *settings.workers))
    unused = (
        f"; {request.name} is configured, so known_hosts counts, and --host-key does not"
        if configured and request.host_key
        else ""
    )
    if isinstance(new, MachineFacts):
        return Check(name, True, f"{request.address}, its host key is known{unused}")
    return Check(name, False, f"{new.reason if new else 'it was not asked'}{unused}")


def _name(request: JoinRequest, new: MachineFacts, situation: Situation) -> Check:
    name, objects = request.name, situation.observation.api.objects
    nodes = {n.name for n in objects.nodes} if isinstance(objects, ObjectsView) else set()
    members = {m.name for v in situation.etcd_views.values() for m in v.members}
    configured = next(
        (h for h in (*situation.settings.control_planes, *situation.settings.workers) if h.name == name), None
    )
    why = ""
    if len(name) > 253 or not NODE_NAME.fullmatch(name):
        why = f"{name!r} is no node name: lower-case letters, digits, hyphens and dots (RFC 1123)"
    elif name in nodes:
        why = (
            f"there is a node {name} already; another name, or `kubectl delete node {name}` if "
            "that one is gone for good"
        )
    elif name in members:
        why = f"etcd has a member {name} already; another name, or take that member out first"
    elif configured and configured.address != request.address:
        why = f"{name} is configured with the address {configured.address}"
    elif new.hostname != name:
        why = (
            f"the machine at {request.address} calls itself {new.hostname or 'nothing'}; hostnamectl set-hostname "
            f"{name} there, or give that name"
        )
    return Check("name", not why, why or f"{name} is its host name, and neither a node nor a member has it")


def _address(request: JoinRequest, new: MachineFacts, situation: Situation) -> Check:
    address, settings, objects = request.address, situation.settings, situation.observation.api.objects
    nodes = objects.nodes if isinstance(objects, ObjectsView) else ()
    taken = [n.name for n in nodes if n.address == address and n.name != request.name]
    taken += [
        h.name for h in (*settings.control_planes, *settings.workers) if h.address == address and h.name != request.name
    ]
    taken += [
        m.name or m.id
        for v in situation.etcd_views.values()
        for m in v.members
        if any(f"//{address}:" in u for u in m.peer_urls)
    ]
    why = ""
    if taken:
        why = f"{address} belongs to {', '.join(dict.fromkeys(taken))} already"
    elif address not in new.addresses:
        why = (
            f"{request.name} has no {address} on its interfaces (it has {', '.join(new.addresses) or 'none'}); give "
            "the address that its peers use"
        )
    return Check("address", not why, why or f"{address} is on {request.name} and nobody else's")


def _names(request: JoinRequest, facts: JoinFacts) -> Check:
    if facts.trouble:
        return Check("names", False, facts.trouble)
    if not facts.endpoint:
        return Check(
            "names",
            False,
            "the cluster has no controlPlaneEndpoint, without which kubeadm joins no second "
            "control plane; set one first",
        )
    host = facts.endpoint.rpartition(":")[0].strip("[]") or facts.endpoint
    told = {n: m.resolves.get(host, ()) for n, m in facts.machines.items() if isinstance(m, MachineFacts)}
    if not told.get(request.name):
        return Check(
            "names",
            False,
            f"{request.name} cannot resolve {host}, the controlPlaneEndpoint; put it into DNS or /etc/hosts there",
        )
    others = {a for n, addresses in told.items() if n != request.name for a in addresses}
    if others and not others & set(told[request.name]):
        here, there = ", ".join(told[request.name]), ", ".join(sorted(others))
        return Check("names", False, f"{request.name} resolves {host} to {here}, and the control planes to {there}")
    if facts.endpoint_probe and facts.endpoint_probe.reached is not Reached.OPEN:
        return Check(
            "names",
            False,
            f"{request.name} resolves {host}, and does not reach {facts.endpoint}: "
            f"{_told(facts.endpoint_probe.port, facts.endpoint_probe)}",
        )
    return Check("names", True, f"{host} is {', '.join(told[request.name])} on {request.name} as on the control planes")


def _versions(request: JoinRequest, new: MachineFacts, facts: JoinFacts) -> Check:
    want = _minor(facts.version)
    why = ""
    if want is None:
        why = facts.trouble or f"the cluster's version is not known ({facts.version or 'kubeadm-config names none'})"
    else:
        for program, version in (("kubeadm", new.kubeadm), ("kubelet", new.kubelet)):
            if _minor(version) != want:
                has = version or f"no {program}"
                why = (
                    f"{request.name} has {program} {has}, and the cluster is {facts.version}; install {program} "
                    f"{want[0]}.{want[1]} there"
                )
                break
    said = f"kubeadm {new.kubeadm} and kubelet {new.kubelet}, the cluster is {facts.version}"
    return Check("versions", not why, why or said)


def _minor(version: str) -> tuple[int, int] | None:
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else None


def _time(facts: JoinFacts, situation: Situation) -> Check:
    limit = situation.settings.bounds.max_clock_skew
    seen = sorted((m.clock_offset, n, m.clock_error) for n, m in facts.machines.items() if isinstance(m, MachineFacts))
    (low, first, e1), (high, last, e2) = seen[0], seen[-1]
    if math.isinf(high):
        return Check("time", False, f"{last} does not tell its clock (date +%s.%N)")
    apart = high - low
    if apart - e1 - e2 > limit:
        what = (
            f"{last} is {apart:.1f} s ahead of {first}, and {limit:g} s are allowed (bound `max_clock_skew`); let "
            "chrony or timesyncd set the clocks"
        )
        return Check("time", False, what)
    return Check("time", True, f"no two clocks are further apart than {apart:.1f} s")


def _runtime(request: JoinRequest, new: MachineFacts) -> Check:
    why = ""
    if not new.runtime:
        why = f"no container runtime is active on {request.name} (containerd, crio, docker)"
    elif not new.kubelet_unit:
        why = f"{request.name} has no systemd unit kubelet"
    elif not new.crictl and new.runtime != "docker" and not request.skip_preflight and _asks_crictl(new.kubeadm):
        why = (
            f"{request.name} has no crictl, without which kubeadm's own preflight checks fail; install "
            "cri-tools, or --skip-preflight"
        )
    return Check("runtime", not why, why or f"{new.runtime} is active on {request.name}")


def _asks_crictl(kubeadm: str) -> bool:
    """Whether this kubeadm's preflight checks fail without crictl: from 1.31 on it speaks to the runtime itself
    (kubernetes/kubeadm#3064).
    """
    return (_minor(kubeadm) or (1, 0)) < (1, 31)


def _leftovers(request: JoinRequest, new: MachineFacts) -> Check:
    if new.leftovers:
        what = (
            f"{request.name} is not clean: {', '.join(new.leftovers)}; look whether it belongs to a cluster, "
            "then `kubeadm reset -f` there"
        )
        return Check("leftovers", False, what)
    return Check("leftovers", True, f"nothing of Kubernetes is left on {request.name}")


def _disk(request: JoinRequest, new: MachineFacts, facts: JoinFacts, situation: Situation) -> Check:
    view = situation.etcd(facts.source)
    for path, needed in (
        ("/var/lib/etcd", 2 * (view.db_size if view else 0) + ETCD_ROOM),
        ("/var/lib/kubelet", KUBELET_ROOM),
    ):
        free = new.free.get(path)
        if free is None or free < needed:
            has = "cannot be told" if free is None else f"is {_size(free)}"
            return Check(
                "disk", False, f"what is free for {path} on {request.name} {has}, and {_size(needed)} are needed"
            )
    return Check("disk", True, ", ".join(f"{_size(free)} free for {path}" for path, free in new.free.items()))


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB"


def _certificates(facts: JoinFacts, situation: Situation) -> Check:
    source, now = facts.machines.get(facts.source), situation.now
    bad = [f.message for f in situation.diagnosis.findings if _unfit(f)]
    if not isinstance(source, MachineFacts):
        return Check(
            "certificates",
            False,
            f"{facts.source} could not be asked: {source.reason if source else 'no control plane is seen'}",
        )
    if bad:
        return Check("certificates", False, "; ".join(bad))
    if source.missing_keys:
        missing = ", ".join(source.missing_keys)
        return Check(
            "certificates", False, f"{facts.source} has no {missing}, so the new machine's certificates cannot be made"
        )
    if ending := [
        f"{path} on {facts.source} ends at {at:%Y-%m-%d %H:%M} UTC"
        for path, at in source.authorities.items()
        if at - now < CA_LEFT
    ]:
        return Check("certificates", False, "; ".join(ending))
    if not source.authorities:
        return Check("certificates", False, f"no CA certificate could be read on {facts.source}")
    first: datetime = min(source.authorities.values())
    return Check("certificates", True, f"every CA and key is on {facts.source}; the first CA ends {first:%Y-%m-%d}")


def _unfit(finding: Finding) -> bool:
    """Whether the cluster's own certificates are over or do not fit together. kubelet's serving certificate, which
    nobody checks and which is over after a year on every machine, is none of those.
    """
    if finding.code == Code.CERTIFICATE_EXPIRED:
        return made_by_kubeadm(path_in(finding.subject))
    return (
        finding.code in (Code.PKI_REPLACED, Code.CERTIFICATE_MISSING, Code.CERTIFICATE_MISMATCH)
        and finding.severity is not Severity.NOTICE
    )


def _quorum(request: JoinRequest, facts: JoinFacts, situation: Situation) -> Check:
    view = situation.etcd(facts.source)
    if not isinstance(view, EtcdView):
        return Check(QUORUM, False, f"etcd on {facts.source} was not seen")
    now, alive = (
        len(view.voters),
        sum(v.healthy for v in situation.etcd_views.values() if v.cluster_id == view.cluster_id),
    )
    need = quorum_of(now + 1)
    if alive >= need:
        return Check(
            QUORUM, True, f"{need} of {now + 1} voters will be needed, and {alive} are there without the new one"
        )
    told = f"with {now + 1} voters {need} are needed, and {alive} are there until the new one has started"
    if now != 1:
        return Check(QUORUM, False, f"{told}; bring the others back first")
    if not request.take_back_single:
        what = (
            "if it does not start, the API server is lost and only --force-new-cluster brings it back; approve that "
            "with --take-back-single-member"
        )
        return Check(QUORUM, False, f"{told}: {what}")
    return Check(QUORUM, True, f"{told}; --force-new-cluster on {facts.source} is approved in case it does not")


def _ports(request: JoinRequest, facts: JoinFacts) -> Iterator[Check]:
    """One line for each direction of each pair; what was not tried is not good."""
    names = list(facts.machines)
    for source in names:
        for target in names:
            if source == target:
                continue
            mine = [p for p in facts.probes if (p.source, p.target) == (source, target)]
            found = {p.port: p for p in mine}
            bad = [
                _told(port, found.get(port))
                for port in PORTS
                if port not in found or found[port].reached is not Reached.OPEN
            ]
            if bad and target == request.name and facts.listening:
                bad = [facts.listening]
            good = ", ".join(str(p) for p in PORTS)
            yield Check(f"ports {source} -> {target}", not bad, "; ".join(bad) or f"{good} open")


def _told(port: int, probe: Probe | None) -> str:
    if probe is None:
        return f"{port} was not tried"
    return f"{port} {WORDS.get(probe.reached, probe.reached)}" + (
        f": {probe.detail}" if probe.detail and probe.reached is Reached.UNTOLD else ""
    )
