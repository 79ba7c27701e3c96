"""`restore-pki`: puts back the certificates, keys and kubeconfigs that the cluster was healthy with, from
the copy on the machine itself.

For what was done by hand in the incident: leaf certificates, kubeconfigs and CAs moved away and made anew, after which
those who trust the old CA refuse those who hold certificates of the new one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from recoverd.model.catalogue import Code, path_in
from recoverd.model.finding import Finding, Severity
from recoverd.model.pki_operations import KUBERNETES, PutBackPki
from recoverd.model.plan import Step
from recoverd.model.text import utc
from recoverd.model.unit_operations import RestartStaticPod
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation
from recoverd.playbooks.pki import (
    MEMORY,
    OFFERED,
    WITHOUT_QUORUM,
    aside,
    by_host,
    restarts,
    staged,
    taken_back,
    together,
)


@dataclass(frozen=True, slots=True)
class RestorePki:
    name: str = "restore-pki"
    summary: str = (
        "put back the certificates, keys and kubeconfigs that the cluster was healthy with, from the "
        "copy on the machine itself"
    )
    destructive: bool = False
    order: int = 40
    for_nodes: bool = True
    repairs: frozenset[str] = frozenset({Code.PKI_REPLACED, Code.CERTIFICATE_MISSING, Code.CERTIFICATE_MISMATCH})

    def propose(self, finding: Finding, situation: Situation) -> Answer:
        if not _in_copy(finding):
            return Refusal(f"{path_in(finding.subject)} is no part of the copies that recoverd keeps")
        found = by_host([f for f in situation.confirmed if f.code in self.repairs and _in_copy(f)], situation)
        if finding.facts.host not in {h.name for h in situation.settings.control_planes}:
            return None  # no copy is kept on workers; the finding says what to do
        if not found:
            return Refusal(f"{finding.facts.host} is not one of the control planes that were named")
        for host in found:
            known = situation.memory.pki.get(host)
            if situation.host(host) is None:
                return Refusal(f"{host} cannot be looked at now, so its certificates are left alone")
            if known is None or not known.kept:
                return Refusal(
                    f"no copy of {KUBERNETES}/pki was kept on {host} while it was healthy; put it back from a backup"
                )
        every = [f for of_host in found.values() for f in of_host]
        at_once = together(found, situation)
        files_first = not at_once and _of_members(found)
        stages = {
            h: self._stages(h, of_host, situation, alone=len(found) == 1, files_first=files_first)
            for h, of_host in found.items()
        }
        return Proposal(
            summary=f"put back the certificates that {', '.join(found)} had while healthy"
            + (", together, since none can come back alone" * at_once),
            steps=staged(stages, at_once=at_once, files_first=files_first),
            basis=tuple(f.key for f in every),
            evidence=(
                *(line for f in every for line in f.evidence),
                *(self._kept(h, situation) for h in found),
                MEMORY,
                *([WITHOUT_QUORUM] if at_once else []),
            ),
            destroys=(
                f"what was made since is no longer in use; it is kept in {aside(situation)} on each control plane",
            ),
            undo=(
                taken_back(situation),
                "when the new CA was meant: reject this plan; after a day of health with it, recoverd "
                "takes it for the right one",
            ),
            verify_within=120.0,
            rounds=len(found),
            valid_until=situation.now + OFFERED
            if finding.severity is Severity.WARNING and not situation.by_hand
            else None,
        )

    @staticmethod
    def _kept(host: str, situation: Situation) -> str:
        known = situation.memory.pki[host]
        return (
            f"{host}: {known.kept} holds what was in place at {utc(known.recorded_at)} "
            f"({len(known.certificates)} certificates)"
        )

    @staticmethod
    def _stages(
        host: str, findings: Sequence[Finding], situation: Situation, *, alone: bool, files_first: bool
    ) -> list[list[Step]]:
        known, keys = situation.memory.pki[host], tuple(f.key for f in findings)
        put = Step(
            host,
            f"put back {KUBERNETES}/pki and the kubeconfigs of {host} from {known.kept} there; what is in place is "
            f"kept in {aside(situation)}",
            PutBackPki(known.kept, aside(situation)),
            timeout=60.0,
            requires=keys[:1] if alone else (),
            # what still runs as it did before the files were touched is not restarted by taking them back
            undo=PutBackPki(aside(situation), restart=not files_first),
            part=host,
            skip_unless=() if alone else keys,
        )
        rest = restarts(host, situation, kubelet=True)
        if files_first:
            stage = next(s for s in rest if any(isinstance(step.operation, RestartStaticPod) for step in s))
            stage[0] = replace(stage[0], undo=PutBackPki(aside(situation), restart=True))
        return [[put], *rest]


def _of_members(found: Mapping[str, Sequence[Finding]]) -> bool:
    """Whether etcd's CA was replaced on several control planes, and etcd still runs with the one it was started with.

    etcd reads its certificate at every handshake and its CA only when it starts (client/pkg/transport):
    restarted alone, a member with the old CA refuses peers that have new certificates in place, and is
    refused when it is taken back.
    """
    paths = [path_in(f.subject) for of_host in found.values() for f in of_host if f.code == Code.PKI_REPLACED]
    return paths.count(f"{KUBERNETES}/pki/etcd/ca.crt") > 1


def _in_copy(finding: Finding) -> bool:
    return path_in(finding.subject).startswith(f"{KUBERNETES}/")


PLAYBOOK = RestorePki()
