"""`restart-controller`: starts kube-controller-manager or kube-scheduler anew where it runs and does not lead, or leads
and schedules nothing.

What it has read when it started may be what is wrong: after `kubeadm certs renew` the certificate in its memory is
over, and the file is new (kubernetes/kubernetes #20381). One machine after the other, the one that holds the lease
first, and no other once somebody leads. A restart takes nothing away from what does no work.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from recoverd.model.catalogue import Code
from recoverd.model.finding import Finding
from recoverd.model.node_operations import AwaitControllers
from recoverd.model.plan import Step
from recoverd.model.unit_operations import RestartStaticPod
from recoverd.model.witness import LASTS, LeadView
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation

NAME = "restart-controller"
LEADS_WITHIN = 30.0
"""Seconds beyond the time that the lease of the one before lasts, which is waited for: it retries every 2 s."""
UNREACHED = re.compile(r"dial tcp|no such host|no route to host|i/o timeout|connection refused", re.IGNORECASE)
"""It does not get as far as the API server: by another name or address than the one that answers."""
REFUSED = re.compile(
    r"\b(?:lock|lease)\b.*"
    r"(?:failed calling webhook|admission webhook \S+ denied|database space exceeded|exceeded quota"
    r"|is forbidden: User \\*\"system:kube-|received too many requests|gave HTTP response to HTTPS client)"
)
"""The API server refuses its lease, whoever writes it (kubernetes/kubernetes #90217) or for want of rights; or what
answers in its place is none.
"""


@dataclass(frozen=True, slots=True)
class RestartController:
    name: str = NAME
    summary: str = "start kube-controller-manager or kube-scheduler anew where it runs and does no work"
    destructive: bool = False
    order: int = 10
    repairs: frozenset[str] = frozenset({Code.CONTROLLER_NOT_LEADING, Code.SCHEDULER_IDLE})

    def propose(self, finding: Finding, situation: Situation) -> Answer:
        component, holds = finding.subject, finding.facts.host
        views = {name: view for name in situation.scene.parts if (view := situation.host(name))}
        lead = situation.observation.api.leads.get(component)
        within = LEADS_WITHIN + (lead.lasts if isinstance(lead, LeadView) else LASTS)
        running = sorted((n for n, v in views.items() if v.runs(component)), key=lambda n: (n != holds, n))
        if not running:
            return Refusal(f"{component} was seen to run on no control plane")
        leads = finding.code == Code.CONTROLLER_NOT_LEADING
        if not leads:
            if holds not in running:
                return Refusal(
                    f"which machine's {component} leads cannot be told: see who holds its lease (`kubectl -n "
                    f"kube-system get lease {component}`), and delete that one's mirror's container there (`crictl ps "
                    f"--name {component}`, `crictl stop`)"
                )
            running = [holds]  # another one that takes the lease begins with what there is
        said = [(n, line) for n in running for line in views[n].containers[component].log_tail[-3:]]
        if refused := next((f"{n}: {line}" for n, line in said if REFUSED.search(line)), ""):
            return Refusal(
                f"{component} does not lead since its lease is refused, by its own words ({refused}), which no restart "
                "changes: see to what refuses it (`kubectl get validatingwebhookconfigurations,"
                "mutatingwebhookconfigurations -o yaml` has a webhook: mend what serves it, or set its failurePolicy "
                "to Ignore meanwhile; lost rights of its own are written anew by an API server that starts, as long as "
                "`kubectl get clusterrolebindings` shows RBAC's own without autoupdate=false)"
            )
        unreached = next((f"{n}: {line}" for n, line in said if UNREACHED.search(line)), "")
        return Proposal(
            summary=f"start {component} anew on {', then '.join(running)}{', until one leads' * leads}",
            steps=tuple(step for name in running for step in _steps(name, component, finding, within)),
            basis=(finding.key,),
            evidence=finding.evidence,
            undo=("none is needed: it did no work before",),
            verify_within=60.0,
            asks=(
                f"{component} does not reach the API server by its own words ({unreached}), which a restart cures only "
                f"where its kubeconfig names another address by now: look at `server` in "
                f"/etc/kubernetes/{component.removeprefix('kube-')}.conf first"
            )
            if unreached
            else "",
        )


def _steps(name: str, component: str, finding: Finding, within: float) -> Iterator[Step]:
    yield Step(
        name,
        f"start {component} on {name} anew",
        RestartStaticPod(component, 60),
        75.0,
        part=name,
        skip_unless=(finding.key,),
        contained=True,
    )
    yield Step(
        name,
        f"see that {component} leads",
        AwaitControllers(component),
        within,
        part=name,
        contained=True,
    )


PLAYBOOK = RestartController()
