"""`take-out-force-flag`: takes --force-new-cluster out of a manifest in which it was left.

Whoever left it there, a person or a recoverd whose journal was lost: with the flag, the next start of etcd throws every
other member out (etcd's disaster recovery guide). kubelet restarts etcd when its manifest changes, so the API server is
away for a moment where it is the only one: it asks.
"""

from __future__ import annotations

from dataclasses import dataclass

from recoverd.model.bastion_operations import AwaitApi, AwaitEtcd
from recoverd.model.catalogue import Code
from recoverd.model.etcd import FORCE
from recoverd.model.finding import Finding
from recoverd.model.operations import WriteFile, sha256
from recoverd.model.plan import Step
from recoverd.model.unit_operations import AwaitFlag
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation
from recoverd.playbooks.etcd_manifest import annotated, without_flag


@dataclass(frozen=True, slots=True)
class TakeOutForceFlag:
    name: str = "take-out-force-flag"
    summary: str = "take --force-new-cluster out of the manifest of etcd, where it was left"
    destructive: bool = False
    order: int = 10
    repairs: frozenset[str] = frozenset({Code.ETCD_FORCE_FLAG_LEFT})

    def propose(self, finding: Finding, situation: Situation) -> Answer:
        host = finding.facts.host
        seen, view, membership = situation.host(host), situation.etcd(host), situation.scene.membership
        manifest = seen.manifests.get("etcd") if seen else None
        if manifest is None or manifest.problem or FORCE not in manifest.content:
            return None
        if view is None or not view.healthy or view.remembered:
            return Refusal(
                f"etcd on {host} is not seen healthy, and what runs there is restarted when its manifest changes: see "
                "why first, and never add a "
                f"member while {FORCE} is in {manifest.path}"
            )
        left = len(membership.electorate) - 1
        if len(membership.voters) > 1 and left < membership.needed:
            return Refusal(
                f"etcd on {host} is restarted by it, and quorum lost meanwhile: {left} members serve then, "
                f"{membership.needed} are needed"
            )
        final = annotated(without_flag(manifest.content), situation.incident)
        if FORCE in final:
            return Refusal(
                f"{FORCE} does not stand on a line of its own in {manifest.path} on {host}; take it out by hand"
            )
        without = WriteFile(manifest.path, final, sha256(final), before=manifest.sha256)
        return Proposal(
            summary=f"take {FORCE} out of the manifest of etcd on {host}; kubelet restarts etcd for it",
            steps=(
                Step(host, f"take {FORCE} out", without, 20.0, (finding.key,), commits=True),
                *_watched(host, len(membership.voters)),
            ),
            basis=(finding.key,),
            evidence=finding.evidence,
            undo=("none: the flag must never stay",),
            verify_within=120.0,
        )


def _watched(host: str, voters: int) -> tuple[Step, ...]:
    """See that kubelet has started etcd without the flag, and that it and the API server are well."""
    runs = AwaitFlag("etcd", FORCE, present=False, seconds=60)
    return (
        Step(host, f"see etcd on {host} run without {FORCE}", runs, timeout=75.0),
        Step(host, f"see etcd on {host} healthy without the flag", AwaitEtcd(members=voters), timeout=90.0),
        Step(host, f"see the API server on {host} ready", AwaitApi(), timeout=180.0),
    )


PLAYBOOK = TakeOutForceFlag()
