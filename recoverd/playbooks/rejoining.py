"""A control plane that was reset while the others go on is joined again, in one plan: its certificates from the copy on
the machine, its old member out of etcd, `kubeadm join`, and what kubeadm does not know of. Pure.

Sources: kubeadm's page on replacing a control plane, and `kubeadm join --control-plane`: it uses the certificates that
it finds, refuses a name whose node is Ready, and makes manifests of kubeadm-config alone; etcd's rule of quorum. The
Node object stays as it was: its labels and addresses are nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from recoverd.model.bastion_operations import AwaitApi, AwaitEtcd, FetchSnapshot, RemoveMember
from recoverd.model.etcd import EtcdView, MemberEntry, quorum_of
from recoverd.model.finding import Finding
from recoverd.model.join_operations import CheckJoin, EndLeftPods, ForceAlone, JoinControlPlane, TakeBackJoin
from recoverd.model.node_operations import AwaitNodeReady, AwaitNodeUnready
from recoverd.model.operations import WriteFile
from recoverd.model.pki_operations import KUBERNETES, STATIC_PODS, PutBackKeys
from recoverd.model.places import places_in
from recoverd.model.plan import Step
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation, Wait
from recoverd.playbooks.joins import (
    ALONE_SECONDS,
    API_SECONDS,
    ETCD_SECONDS,
    JOIN_SECONDS,
    SNAPSHOT_SECONDS,
    STEP_SECONDS,
    TOGETHER_SECONDS,
    force_alone,
    if_it_fails,
)
from recoverd.playbooks.pki import aside
from recoverd.playbooks.sizes import moving, sized
from recoverd.playbooks.sources import member_to_ask, point_first

API = "kube-apiserver"
CHECK_SECONDS, UNREADY_SECONDS, READY_SECONDS = 90.0, 150.0, 120.0
KUBEADMS = frozenset(
    {
        "advertise-address", "allow-privileged", "authorization-mode", "bind-address", "client-ca-file",
        "enable-admission-plugins", "enable-bootstrap-token-auth", "etcd-cafile", "etcd-certfile", "etcd-keyfile",
        "etcd-servers", "feature-gates", "insecure-port", "kubelet-client-certificate", "kubelet-client-key",
        "kubelet-preferred-address-types", "proxy-client-cert-file", "proxy-client-key-file",
        "requestheader-allowed-names", "requestheader-client-ca-file", "requestheader-extra-headers-prefix",
        "requestheader-group-headers", "requestheader-username-headers", "runtime-config", "secure-port",
        "service-account-issuer", "service-account-key-file", "service-account-signing-key-file",
        "service-cluster-ip-range", "tls-cert-file", "tls-private-key-file",
    }
)  # fmt: skip
"""Flags that kubeadm gives every API server (cmd/kubeadm/app/phases/controlplane, 1.17 to 1.33)."""


@dataclass(frozen=True, slots=True)
class Rejoin:
    """Everything that the steps are made of."""

    host: str
    address: str
    node: str
    """Name of its Node object."""
    source: str
    """The control plane that makes the token, and whose member is asked."""
    view: EtcdView
    """What that member says."""
    entry: MemberEntry | None
    """The old member's row; None when it has been removed already, as `kubeadm reset` does where it can."""
    alive: int
    """Voters that are seen healthy without it."""
    kept: str
    """Its copy of the certificates; "" where none is known."""
    label: str
    force: ForceAlone | None
    finding: Finding

    @property
    def left(self) -> int:
        """Voters without it."""
        return len(self.view.voters) - (1 if self.entry is not None and not self.entry.learner else 0)


def rejoin(finding: Finding, situation: Situation) -> Answer:
    """Why not, or the plan."""
    patience, bound = situation.settings.bounds.member_down_after, situation.settings.bounds.step_deadline
    if situation.age(finding) < patience and not situation.by_hand:
        return Wait(
            f"{finding.message} Joining it again is offered when that has lasted {patience:g} s (bound "
            "`member_down_after`): whoever replaces it by hand drains it, or deletes its node"
        )
    if bound < STEP_SECONDS:
        return Refusal(
            f"`step_deadline` is {bound:g} s, and a join, and then its taking back, may need {STEP_SECONDS:g} s: set "
            "it to that at least"
        )
    found = _gathered(finding, situation)
    return found if isinstance(found, Refusal) else _proposal(found, situation)


def _gathered(finding: Finding, situation: Situation) -> Rejoin | Refusal:
    host, scene = finding.subject, situation.scene
    if strangers := scene.membership.strangers:
        return Refusal(
            f"etcd on {', '.join(sorted(strangers))} serves a history of its own: which one is right is for a person "
            f"to say before {host} joins one"
        )
    asked = _asked(host, situation)
    if asked is None:
        return Refusal(
            f"no other control plane than {host} is seen with a healthy member and an API server that is ready, so "
            "there is nobody to join; see to those first"
        )
    source, view = asked
    entry = next((m for m in view.members if scene.membership.host_of(m) == host), None)
    others = [m for m in view.members if m is not entry]
    if waiting := [m for m in others if not m.started or m.learner]:
        urls = ", ".join(waiting[0].peer_urls)
        return Refusal(f"a member at {urls} has not become a voter that serves; that has to be settled first")
    ids = {m.id for m in others}
    alive = sum(v.healthy and v.leader == view.leader and v.member_id in ids for v in scene.membership.camp.values())
    label, node = f"{host}-{situation.kept}", scene.node(host)
    force: ForceAlone | Refusal | None = None
    if alive < quorum_of(len(others) + 1):
        if (left := len(others)) > 1:
            return Refusal(
                f"with {host} there would be {left + 1} voters, {quorum_of(left + 1)} of them needed, and {alive} are "
                "seen healthy until it has started: bring another member back first"
            )
        force = force_alone(source, label, situation)
    if isinstance(force, Refusal):
        return force
    known = situation.memory.pki.get(host)
    return Rejoin(
        host,
        next(h.address for h in situation.settings.control_planes if h.name == host),
        node.name if node else host,
        source,
        view,
        entry,
        alive,
        known.kept if known else "",
        label,
        force,
        finding,
    )


def _asked(host: str, situation: Situation) -> tuple[str, EtcdView] | None:
    """Of a plan that is open, the one that it asks, while that can be asked."""
    before = situation.chosen(AwaitEtcd)
    view = situation.etcd(before) if before and before != host else None
    chosen = (before, view) if view and view.healthy and view.has_leader else None
    asked = chosen or member_to_ask(situation, without=host, healthy=True)
    return asked if asked and asked[0] in situation.scene.ready_members else None


def _proposal(it: Rejoin, situation: Situation) -> Proposal:
    old = f"its old member {it.entry.id} is removed first" if it.entry else "etcd lists no member of it any more"
    return Proposal(
        summary=f"join {it.host} ({it.address}) again as control plane {it.left + 1}, asked of {it.source}; quorum "
        + ("is lost until its member has started" if it.force else "holds throughout"),
        steps=tuple(_steps(it, situation)),
        basis=(it.finding.key,),
        evidence=(
            *it.finding.evidence,
            f"{it.source}: {old}; then {it.left} voters, {quorum_of(it.left)} needed, {it.alive} healthy; with "
            f"{it.host} {it.left + 1} voters, {quorum_of(it.left + 1)} needed",
            f"the node {it.node} is neither cordoned nor deleted, so nobody is taking {it.host} out of the cluster; "
            f"to do that: kubectl cordon {it.node}, which takes this plan back",
        ),
        destroys=(
            *(
                (f"the membership of {it.host} ({it.entry.id}), whose data are gone from its machine",)
                if it.entry
                else ()
            ),
            *if_it_fails(it.host, it.source, it.force),
        ),
        undo=(
            f"the join: by itself, when it fails: its member is removed from etcd, and {it.host} is reset again; the "
            f"node {it.node} stays as it is",
            f"containers that `kubeadm reset` has left running on {it.host}: none; nobody keeps them any more",
            "the removal of its old member: none is needed, it has neither data nor a machine that knows of it",
            f"certificates: what was in {KUBERNETES}/pki is kept in {aside(situation)} there; put back without a "
            "kubeconfig and manifests, nothing reads them, and a join that is taken back removes them",
        ),
        verify_within=120.0,
        rounds=2,
        moving=2 * moving(it.view.db_size),
    )


def _steps(it: Rejoin, situation: Situation) -> Iterator[Step]:
    host, source, requires = it.host, it.source, (it.finding.key,)
    members = tuple(n for n in situation.scene.membership.camp if n != host)
    # before it is asked: what is left listens where the join will
    yield Step(host, f"end what is left running in pods on {host}", EndLeftPods(), 60.0, requires)
    check = CheckJoin(source, host, it.address, members, _flags(host, situation))
    yield Step(host, f"ask {host} and the others whether it can join", check, CHECK_SECONDS, requires)
    if not point_first(situation):
        fetch = Step(
            source, f"fetch a snapshot from {source}", FetchSnapshot("before-rejoin"), SNAPSHOT_SECONDS, requires
        )
        yield sized(fetch, it.view.db_size)
    if it.kept:
        put, what = PutBackKeys(it.kept, aside(situation)), f"put {KUBERNETES}/pki of {host} back from {it.kept} there"
        yield Step(host, what, put, 60.0, requires)
    if it.entry is not None:
        what = f"remove its old member {it.entry.id} from etcd"
        yield Step(source, what, RemoveMember(it.entry.id), 20.0, requires)
        yield Step(source, f"see etcd on {source} healthy with {it.left} voter(s)", AwaitEtcd(it.left), ETCD_SECONDS)
    what = f"wait until the node {it.node} is not Ready: kubeadm joins none of that name before"
    yield Step(source, what, AwaitNodeUnready(it.node), UNREADY_SECONDS)
    patience = ALONE_SECONDS if it.force else TOGETHER_SECONDS
    port = places_in(situation.memory.manifests.get(host, {})).api
    yield Step(
        host,
        f"join {host} with a new token and a new certificate key; its etcd member has {patience} s to start",
        JoinControlPlane(it.label, source, host, it.address, patience, JOIN_SECONDS, needs_crictl=True, api_port=port),
        STEP_SECONDS,
        undo=TakeBackJoin(it.label, source, host, it.address, it.left, it.force, keeps_node=True),
    )
    what = f"see etcd healthy with {it.left + 1} voters on {source}"
    yield Step(source, what, AwaitEtcd(it.left + 1), ETCD_SECONDS)
    yield Step(host, f"see the API server on {host} ready", AwaitApi(port), API_SECONDS)
    for component, known in situation.memory.manifests.get(host, {}).items():
        if component not in STATIC_PODS and known.content:
            write = WriteFile(known.path, known.content, known.sha256, before="")
            yield Step(host, f"put {known.path} on {host} back, which kubeadm does not know of", write, 20.0)
    yield Step(source, f"see node {it.node} Ready", AwaitNodeReady(it.node), READY_SECONDS)


def _flags(host: str, situation: Situation) -> tuple[str, ...]:
    """Of its API server as it is remembered, those that kubeadm does not write by itself."""
    known = situation.memory.manifests.get(host, {}).get(API)
    names = re.findall(r"^\s*- [\"']?--([a-z0-9-]+)", known.content, re.MULTILINE) if known else ()
    return tuple(sorted({n for n in names if n not in KUBEADMS}))
