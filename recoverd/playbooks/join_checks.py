"""What has to be so before a control plane joins, judged from what the machines themselves said. Pure;
every check is told, good or bad.

Sources: kubeadm's join checks and version skew policy (kubeadm and the cluster of one minor version; kubelet no newer
than the API server); etcd's rule of quorum; the incident, in which port 2380 was blocked.
"""

from __future__ import annotations

import re

from recoverd.model.catalogue import Code, path_in
from recoverd.model.etcd import EtcdView, quorum_of
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.joining import Check, JoinFacts, JoinRequest, MachineFacts
from recoverd.model.kubeadm import made_by_kubeadm
from recoverd.model.observation import ObjectsView, Unseen
from recoverd.playbooks import join_machines
from recoverd.playbooks.base import Situation
from recoverd.playbooks.joins import needs

NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*")
HEALTHY, QUORUM = "cluster is healthy", "etcd quorum"
OF_THE_SWEEP = frozenset({HEALTHY, QUORUM})
"""Checks that the next sweep may answer otherwise."""


def judge(request: JoinRequest, facts: JoinFacts, situation: Situation) -> tuple[Check, ...]:
    """Every check, in the order in which they are shown. `situation` is of the newest sweep."""
    new = facts.machines.get(request.name)
    checks = [_healthy(situation), _bounds(situation), _reachable(request, new, situation)]
    if not isinstance(new, MachineFacts):
        return tuple(checks)
    view = situation.etcd(facts.source)
    checks += [
        _name(request, new, situation),
        _address(request, new, situation),
        join_machines.names(request, facts),
        join_machines.versions(request, new, facts),
        join_machines.clocks(facts, situation.settings.bounds.max_clock_skew),
        join_machines.runtime(request, new),
        join_machines.leftovers(request, new),
        join_machines.disk(request, new, view.db_size if view else 0),
        _certificates(facts, situation),
        _quorum(request, facts, situation),
        *join_machines.ports(request, facts),
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


def _certificates(facts: JoinFacts, situation: Situation) -> Check:
    bad = [f.message for f in situation.diagnosis.findings if _unfit(f)]
    if bad and isinstance(facts.machines.get(facts.source), MachineFacts):
        return Check("certificates", False, "; ".join(bad))
    return join_machines.authorities(facts, situation.now)


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
