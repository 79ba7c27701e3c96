"""`start-node-services`: starts a stopped container runtime or kubelet."""

from __future__ import annotations

from dataclasses import dataclass, replace

from recoverd.model.catalogue import Code
from recoverd.model.facts import UnitFacts
from recoverd.model.finding import Finding
from recoverd.model.observation import HostView, UnitView
from recoverd.model.plan import Step
from recoverd.model.unit_operations import Unit
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation
from recoverd.playbooks.nodes import emptied, not_loaded
from recoverd.playbooks.starts import begins_anew


@dataclass(frozen=True, slots=True)
class StartNodeServices:
    name: str = "start-node-services"
    summary: str = "start a stopped container runtime or kubelet"
    destructive: bool = False
    order: int = 10
    repairs: frozenset[str] = frozenset({Code.KUBELET_DOWN, Code.RUNTIME_DOWN, Code.WORKER_KUBELET_DOWN})

    def propose(self, finding: Finding, situation: Situation) -> Answer:
        """Every machine of which the same is found, in one plan: one after the other would use up its bound at once."""
        found: dict[str, list[Step]] = {}
        refused: dict[str, str] = {}
        for each in (finding, *(f for f in situation.confirmed if f.code == finding.code and f != finding)):
            host = each.facts.host or each.subject
            steps = self._steps(each, host, situation)
            if isinstance(steps, Refusal):
                refused[host] = steps.reason
            elif steps:
                found[host] = steps
        mine = finding.facts.host or finding.subject
        if why := refused.pop(mine, ""):
            return Refusal(why)
        if mine not in found:
            return None
        of = tuple(f for f in situation.confirmed if (f.facts.host or f.subject) in found and f.code in self.repairs)
        if len(found) > 1:
            found = {h: [_of_many(s, h, of) for s in steps] for h, steps in found.items()}
        return Proposal(
            summary="; ".join(f"start {' and '.join(_started(steps))} on {h}" for h, steps in found.items()),
            steps=tuple(step for steps in found.values() for step in steps),
            basis=tuple(f.key for f in of),
            evidence=(
                *(line for f in of if f.code == finding.code for line in f.evidence),
                *(f"left out: {why}" for why in refused.values()),
            ),
            undo=tuple(f"systemctl stop {n} (on {h})" for h in found for n in reversed(_started(found[h]))),
            verify_within=90.0,
        )

    def _steps(self, finding: Finding, host: str, situation: Situation) -> list[Step] | Refusal:
        """Those on one machine; none where nothing is down."""
        view = situation.host(host)
        if view is None:
            return Refusal(f"{host} cannot be looked at now, so nothing is started on it")
        if why := emptied(situation) if finding.code == Code.WORKER_KUBELET_DOWN else begins_anew(host, situation):
            return Refusal(why)
        steps: list[Step] = []
        for unit in self._down(host, view, situation):
            if why := not_loaded(unit, host):
                return Refusal(why)
            if not situation.by_hand and (why := self._in_vain(host, unit, situation)):
                if steps:
                    # the runtime is started, and kubelet, which systemd starts anew, may have ended for want of it
                    break
                return Refusal(why)
            what = f"start {unit.name} on {host}"
            steps.append(
                Step(host, what, Unit("start", unit.name), timeout=60.0, requires=(finding.key,) if not steps else ())
            )
        return steps

    @staticmethod
    def _down(host: str, view: HostView, situation: Situation) -> list[UnitView]:
        """The runtime first: kubelet needs it. One that is up for a moment only, by what is found of it, is down."""
        found = {f.facts.unit for f in situation.confirmed if isinstance(f.facts, UnitFacts) and f.facts.host == host}
        return [
            view.units[n]
            for n in (view.runtime, "kubelet")
            if n in view.units and (not view.units[n].running or n in found)
        ]

    @staticmethod
    def _in_vain(host: str, unit: UnitView, situation: Situation) -> str:
        """Why it is not started: systemd does so already, or it has ended by itself for what no start changes."""
        again = unit.active == "activating" or unit.sub == "auto-restart" or unit.running
        facts = next(
            (
                f.facts
                for f in situation.confirmed
                if isinstance(f.facts, UnitFacts) and (f.facts.host, f.facts.unit) == (host, unit.name)
            ),
            None,
        )
        if facts and facts.why and (again or not facts.restart):
            return f"{unit.name} on {host} ends at once, and no start changes why: {facts.reason}. Cure: {facts.cure}"
        if not again:
            return ""
        return (
            f"systemd keeps restarting {unit.name} on {host} and it keeps failing, so starting "
            "it would not help; what it "
            f"says of why is not known to recoverd: look with `journalctl -u {unit.name} -n 50` on {host}"
        )


def _of_many(step: Step, host: str, found: tuple[Finding, ...]) -> Step:
    """The same in a plan for several machines: one that somebody has started meanwhile is passed over, and one that
    fails does not keep the others from theirs.
    """
    keys = tuple(f.key for f in found if (f.facts.host or f.subject) == host)
    return replace(step, part=host, contained=True, requires=(), skip_unless=keys if step.requires else ())


def _started(steps: list[Step]) -> list[str]:
    return [s.operation.unit for s in steps if isinstance(s.operation, Unit)]


PLAYBOOK = StartNodeServices()
