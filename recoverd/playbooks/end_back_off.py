"""`end-back-off`: has kubelet start an etcd or API server at once that waits for its next start.

What ended it is over by its own words and by what was seen: its etcd serves again, or its disk has room. kubelet lets
it wait all the same, for up to five minutes, in which the cluster serves nobody. Only a kubelet that is restarted
starts it at once (observed on 1.20.2); pods run on meanwhile. Where it comes up by itself, kubelet is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from recoverd.diagnose.backoff import ETCD, there_again
from recoverd.diagnose.scene import API
from recoverd.model.catalogue import Code
from recoverd.model.finding import Finding
from recoverd.model.plan import Step
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation, Wait
from recoverd.playbooks.starts import begins_anew, seen_started, serves_nothing

BY_ITSELF = 15.0
"""Seconds for kubelet to do it by itself: where it lets nothing wait, as for a manifest that a person has just put
back, it starts a container within a few.
"""
STARTS: Mapping[str, str] = {Code.ETCD_MEMBER_DOWN: ETCD, Code.CRASH_LOOPING: API}


@dataclass(frozen=True, slots=True)
class EndBackOff:
    name: str = "end-back-off"
    summary: str = "have kubelet start an etcd or API server now that waits in its back-off for what is there again"
    destructive: bool = False
    order: int = 5
    repairs: frozenset[str] = frozenset(STARTS)

    def propose(self, finding: Finding, situation: Situation) -> Answer:
        component, scene = STARTS[finding.code], situation.scene
        if not there_again(scene, finding.facts.host, component):
            return None
        if situation.age(finding) < BY_ITSELF and not situation.by_hand:
            return Wait(
                f"{finding.message} kubelet is restarted for it when that has lasted {BY_ITSELF:g} s: it may start it "
                "by itself meanwhile"
            )
        lacked = {
            f: said
            for f in situation.confirmed
            if f.code == finding.code
            and (said := there_again(scene, f.facts.host, component))
            and (situation.by_hand or situation.age(f) >= BY_ITSELF)
        }
        hosts = [f.facts.host for f in lacked]
        for host in hosts:
            if why := (begins_anew if component == ETCD else serves_nothing)(host, situation):
                return Refusal(f"{component} on {host} is left to wait in its back-off: {why}")
        return Proposal(
            summary=f"have kubelet start {component} on {' and '.join(hosts)} now, out of its back-off",
            steps=tuple(_step(f, component) for f in lacked),
            basis=tuple(f.key for f in lacked),
            evidence=tuple(
                line
                for f, said in lacked.items()
                for line in (*f.evidence, f"{component} on {f.facts.host} ended for want of {said}: that is there now")
            ),
            undo=("none is needed: kubelet would start it by itself, within five minutes",),
            verify_within=120.0,
        )


def _step(finding: Finding, component: str) -> Step:
    host = finding.facts.host
    return replace(seen_started(host, component), part=host, skip_unless=(finding.key,), contained=True)


PLAYBOOK = EndBackOff()
