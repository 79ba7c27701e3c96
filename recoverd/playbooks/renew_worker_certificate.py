"""`renew-worker-certificate`: a worker's kubelet whose client certificate is over gets a new one, by the cluster's CA.

kubelet renews it by itself while it runs and a controller-manager signs; a machine that was off for that time starts
without one, and kubeadm has long deleted the bootstrap kubeconfig with which it could ask. The key is made on the
worker and never leaves it. Sources: kubernetes/kubernetes #65991, #78758; kubeadm's page on troubleshooting ("Kubelet
client certificate rotation fails") does the same by hand, with a key that is made on a control plane and copied.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from recoverd.diagnose.certificates import KUBELET_CLIENT
from recoverd.model.catalogue import Code
from recoverd.model.facts import UnitFacts
from recoverd.model.finding import Finding
from recoverd.model.node_operations import AwaitNodeReady
from recoverd.model.observation import CertificateView, HostView
from recoverd.model.pki_operations import KEPT, KUBELET_PKI, KUBERNETES, RenewWorkerClient
from recoverd.model.plan import Step
from recoverd.model.text import utc
from recoverd.model.unit_operations import AwaitUnit, RestartUnit
from recoverd.playbooks.agents import STABLE
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation
from recoverd.playbooks.nodes import client_over, emptied, host_of, node_of, off_on_purpose
from recoverd.playbooks.pki import replaced

NAME = "renew-worker-certificate"
CA = f"{KUBERNETES}/pki/ca.crt"
READY_SECONDS = 90.0
"""For a kubelet that has just started to post, and for its network to be called ready."""
ROUND = 4
"""Workers that fit into one plan deadline."""
WITHOUT = re.compile(r"client certificate")
"""In kubelet's own words of why it ends, where it has none that is valid (`recoverd.diagnose.causes`)."""


@dataclass(frozen=True, slots=True)
class RenewWorkerCertificate:
    name: str = NAME
    summary: str = "have the cluster's CA sign a new client certificate for a worker's kubelet whose own is over"
    destructive: bool = False
    order: int = 7
    repairs: frozenset[str] = frozenset({Code.NODE_NOT_READY, Code.WORKER_KUBELET_DOWN})

    def propose(self, finding: Finding, situation: Situation) -> Answer:
        if not _wants(finding, situation):
            return None
        if why := emptied(situation):
            return Refusal(why)
        signer = _signer(situation)
        if isinstance(signer, Refusal):
            return signer
        found = [f for f in situation.confirmed if f.code in self.repairs and _wants(f, situation)]
        # a worker that is not Ready is found once for its kubelet and once for its node
        first: dict[str, Finding] = {}
        for each in found:
            first.setdefault(node_of(each), each)
        refused = {node: reason for node, f in first.items() if (reason := _obstacle(f, signer, situation))}
        if mine := refused.get(node_of(finding)):
            return Refusal(mine)
        taken = {node: f for node, f in first.items() if node not in refused}
        hosts = [_host(f, situation) for f in taken.values()]
        return Proposal(
            summary=f"have {signer} sign new client certificates for the kubelets of {', '.join(hosts)}",
            steps=tuple(step for f in taken.values() for step in _steps(f, signer, situation, alone=len(taken) == 1)),
            basis=tuple(f.key for f in found if node_of(f) in taken),
            evidence=(
                *(line for f in taken.values() for line in (*f.evidence, *_said(_host(f, situation), situation))),
                "the key is made on the worker and stays there; kubelet renews the new certificate by itself from now "
                "on, where a controller-manager signs",
                *(f"left out: {why}" for why in refused.values()),
            ),
            undo=(
                "none is needed: what was in place is over, and is kept on each worker in "
                f"{_kept(situation)}/{KUBELET_CLIENT}",
            ),
            verify_within=60.0,
            rounds=1 + (len(taken) - 1) // ROUND,
        )


def _host(finding: Finding, situation: Situation) -> str:
    return finding.facts.host or host_of(node_of(finding), situation)


def _kept(situation: Situation) -> str:
    return f"{KEPT}/before-{situation.kept}"


def _wants(finding: Finding, situation: Situation) -> bool:
    """It is about a worker whose certificate is over, or whose kubelet says that it has none that is valid."""
    host = _host(finding, situation)
    if not host or host in {h.name for h in situation.settings.control_planes}:
        return False
    if client_over(host, situation):
        return True
    facts, view = finding.facts, situation.host(host)
    # where the file can be read and is valid, kubelet's words are those of another time
    unread = view is not None and _certificate(view, KUBELET_CLIENT) is None
    return unread and isinstance(facts, UnitFacts) and facts.unit == "kubelet" and bool(WITHOUT.search(facts.why))


def _certificate(view: HostView, name: str) -> CertificateView | None:
    return next((c for c in view.certificates if c.path.rpartition("/")[2] == name), None)


def _signer(situation: Situation) -> str | Refusal:
    """A control plane that has the CA's key, or why none can sign."""
    why = []
    for plane in situation.settings.control_planes:
        view = situation.host(plane.name)
        if view is None or not view.joined:
            why.append(f"{plane.name} cannot be looked at" if view is None else f"{plane.name} is no node")
            continue
        authority = next((c for c in view.certificates if c.path == CA), None)
        now = min(situation.now, situation.now + timedelta(seconds=view.clock_offset))
        if view.pki is None or f"{KUBERNETES}/pki/ca.key" not in view.pki.keys:
            why.append(f"{KUBERNETES}/pki/ca.key was not seen on {plane.name}")
        elif found := replaced(plane.name, situation, CA):
            why.append(f"the CA on {plane.name} was replaced ({found.message})")
        elif authority is not None and authority.not_after < now:
            why.append(f"the CA on {plane.name} is itself over since {authority.not_after:%Y-%m-%d %H:%M} UTC")
        else:
            return plane.name
    return Refusal(
        f"no control plane can sign a client certificate: {'; '.join(why)}. Where the CA's key is held elsewhere, have "
        "whoever holds it sign one for O=system:nodes, CN=system:node:NODE"
    )


def _obstacle(finding: Finding, signer: str, situation: Situation) -> str:
    """Why nothing is signed for this worker; "" when it may be."""
    host, node = _host(finding, situation), node_of(finding)
    view, at = situation.host(host), situation.host(signer)
    if view is None or at is None:
        return f"{host} cannot be looked at now over SSH, so nothing is signed for its kubelet"
    if why := off_on_purpose(view, host):
        return why
    # of one whose file cannot be read, the machine itself looks at those that kubelet has left beside it
    own = _certificate(view, KUBELET_CLIENT)
    if own is not None and not re.search(rf"CN=system:node:{re.escape(node)}(?![\w.-])", own.subject):
        return (
            f"the certificate of kubelet on {host} is of {own.subject}, and not of the node {node}: nothing is signed "
            "for another name than the machine had"
        )
    theirs, ours = (v.pki.authorities.get(CA, ()) if v.pki else () for v in (view, at))
    if theirs and ours and not set(theirs) & set(ours):
        return (
            f"{host} trusts another CA than {signer} has ({CA}): with a certificate alone its kubelet would refuse the "
            "API server. Join it anew: `kubeadm reset` there, and `kubeadm join`"
        )
    return ""


def _steps(finding: Finding, signer: str, situation: Situation, *, alone: bool) -> tuple[Step, ...]:
    """One worker after the other: what keeps one down may be on every machine."""
    host, node = _host(finding, situation), node_of(finding)
    # what is gone ends the plan for one, and of several leaves its part out
    keys = tuple(f.key for f in situation.confirmed if f.code in PLAYBOOK.repairs and node_of(f) == node)
    renew = RenewWorkerClient(node, signer, _kept(situation))
    sign = f"have {signer} sign a new client certificate for the kubelet of {host}, with a key that is made on {host}"
    return (
        Step(
            host,
            sign,
            renew,
            60.0,
            requires=(finding.key,) if alone else (),
            skip_unless=() if alone else keys,
            part=node,
        ),
        Step(host, f"restart kubelet on {host}", RestartUnit("kubelet"), 60.0, part=node),
        Step(host, f"see kubelet on {host} stay up", AwaitUnit("kubelet", STABLE, 40), 50.0, part=node),
        Step(host, f"see node {node} Ready", AwaitNodeReady(node), READY_SECONDS, part=node),
    )


def _said(host: str, situation: Situation) -> tuple[str, ...]:
    over = client_over(host, situation)
    path = f"{KUBELET_PKI}/{KUBELET_CLIENT}"
    return (f"{host}: {path}: valid until {utc(over)}",) if over else (f"{host}: {path}: unreadable",)


PLAYBOOK = RenewWorkerCertificate()
