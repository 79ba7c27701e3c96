"""`start-node-services`: starts a stopped container runtime or kubelet."""

from __future__ import annotations

from dataclasses import dataclass

from recoverd.model.catalogue import Code
from recoverd.model.finding import Finding
from recoverd.model.plan import Step
from recoverd.model.unit_operations import Unit
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation
from recoverd.playbooks.nodes import emptied, everywhere
from recoverd.playbooks.starts import begins_anew


@dataclass(frozen=True, slots=True)
class StartNodeServices:
    name: str = "start-node-services"
    summary: str = "start a stopped container runtime or kubelet"
    destructive: bool = False
    order: int = 10
    repairs: frozenset[str] = frozenset({Code.KUBELET_DOWN, Code.RUNTIME_DOWN, Code.WORKER_KUBELET_DOWN})

    def propose(self, finding: Finding, situation: Situation) -> Answer:
        host = finding.facts.host or finding.subject
        view = situation.host(host)
        if view is None:
            return Refusal(f"{host} cannot be looked at now, so nothing is started on it")
        if why := emptied(situation) if finding.code == Code.WORKER_KUBELET_DOWN else begins_anew(host, situation):
            return Refusal(why)
        # the runtime first: kubelet needs it
        names = [n for n in (view.runtime, "kubelet") if n and n in view.units and not view.units[n].running]
        steps: list[Step] = []
        for name in names:
            unit = view.units[name]
            if unit.load != "loaded":
                return Refusal(
                    f"{name} on {host} is {unit.load}: somebody made it so on purpose or it is not installed; "
                    f"look with `systemctl status {name}`, and `systemctl unmask {name}` when it should run"
                )
            if unit.active == "activating" or unit.sub == "auto-restart":
                return Refusal(
                    f"systemd keeps restarting {name} on {host} and it keeps failing ({unit.result}), so starting it would not help; "
                    f"look with `journalctl -u {name} -n 50` on {host}"
                )
            steps.append(Step(host, f"start {name} on {host}", Unit("start", name), timeout=60.0, requires=(finding.key,) if not steps else ()))
        if not steps:
            return None
        basis = tuple(f.key for f in situation.confirmed if (f.facts.host or f.subject) == host and f.code in self.repairs)
        return Proposal(
            summary=f"start {' and '.join(names)} on {host}",
            steps=tuple(steps),
            basis=basis,
            evidence=finding.evidence,
            undo=tuple(f"systemctl stop {n} (on {host})" for n in reversed(names)),
            verify_within=90.0,
            asks=everywhere({Code.WORKER_KUBELET_DOWN}, situation),
        )


PLAYBOOK = StartNodeServices()
