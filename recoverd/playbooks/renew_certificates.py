"""`renew-certificates`: new leaf certificates from the CAs in place, one control plane after the other.

Sources: kubeadm's page on certificates (`kubeadm certs renew` touches no CA and not kubelet.conf, and static pods have
to be restarted afterwards). Where etcd's certificates are over on several members, none of them trusts another before
both have new ones: there the certificates of all are renewed first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import PurePosixPath

from recoverd.model.catalogue import Code, path_in
from recoverd.model.facts import FileFacts
from recoverd.model.finding import Finding, Severity
from recoverd.model.kubeadm import AUTHORITIES, authority_of
from recoverd.model.observation import HostView
from recoverd.model.pki_operations import KUBERNETES, KeepPki, PutBackPki, RenewLeaves, RepairKubeletClient
from recoverd.model.plan import Step
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation, Wait
from recoverd.playbooks.pki import (
    MEMORY,
    OFFERED,
    WITHOUT_QUORUM,
    aside,
    by_host,
    replaced,
    restarts,
    staged,
    taken_back,
    together,
)
from recoverd.playbooks.windows import next_open, open_until

OF_KUBELET = ("kubelet-client-current.pem", "kubelet.conf")
AT_LAST = timedelta(days=1)
"""A window that opens later than so long before the first expiry is not waited for."""


@dataclass(frozen=True, slots=True)
class RenewCertificates:
    name: str = "renew-certificates"
    summary: str = (
        "renew the leaf certificates and kubeconfigs of control planes with the CAs in place, and "
        "restart their static pods"
    )
    destructive: bool = False
    order: int = 45
    for_nodes: bool = True
    repairs: frozenset[str] = frozenset(
        {Code.CERTIFICATE_EXPIRED, Code.CERTIFICATE_EXPIRES_SOON, Code.CERTIFICATE_MISMATCH}
    )

    def propose(self, finding: Finding, situation: Situation) -> Answer:
        if why := _not_ours(finding):
            return Refusal(why)
        found = by_host([f for f in situation.confirmed if f.code in self.repairs and not _not_ours(f)], situation)
        if not found:
            return Refusal(f"{finding.facts.host} is not one of the control planes that were named")
        for host, of_host in found.items():
            if refused := self._refused(host, of_host, situation):
                return refused
        # what somebody else has to sign is no reason to let the others expire, and not what this plan is judged by
        found = {host: [f for f in of_host if _signable(f, situation)] for host, of_host in found.items()}
        valid_until: datetime | None = None
        if finding.severity is Severity.WARNING:
            offered = self._when(found, situation)
            if isinstance(offered, Wait):
                return offered
            valid_until = offered
        every = [f for of_host in found.values() for f in of_host]
        at_once = together(found, situation)
        names = ", ".join(found)
        return Proposal(
            summary=f"renew the leaf certificates of {names}"
            + (" together, since none can come back alone" if at_once else ""),
            steps=staged(
                {h: self._stages(h, of_host, situation, alone=len(found) == 1) for h, of_host in found.items()},
                at_once=at_once,
            ),
            basis=tuple(f.key for f in every),
            evidence=(
                *(line for f in every for line in f.evidence),
                *self._outside(finding, situation),
                MEMORY,
                "the API server of each control plane is away for some seconds while it is restarted; pods run on",
                *([WITHOUT_QUORUM] if at_once else []),
                "copies of admin.conf elsewhere (~/.kube/config) keep the old certificate",
            ),
            undo=(
                taken_back(situation),
                f"later, by hand: copy {aside(situation)}/pki and its *.conf back to {KUBERNETES} "
                "and restart the static pods",
            ),
            verify_within=120.0,
            rounds=len(found),
            valid_until=valid_until,
        )

    @staticmethod
    def _refused(host: str, findings: Sequence[Finding], situation: Situation) -> Refusal | None:
        view = situation.host(host)
        if view is None:
            return Refusal(f"{host} cannot be looked at now, so its certificates are left alone")
        if found := replaced(host, situation):
            return Refusal(
                f"on {host} a CA was replaced, and certificates of that one would be trusted by nobody: {found.message}"
            )
        if over := _authority_over(host, findings, situation):
            return Refusal(
                f"{over.message} What it signs is accepted by nobody: a new CA has to be made and given to everybody "
                "who trusts it (Kubernetes' page on manual rotation of CA certificates)"
            )
        lacking = [f for f in findings if not _signable(f, situation)]
        if lacking and (len(lacking) == len(findings) or any(f.severity is Severity.FAULT for f in lacking)):
            files = ", ".join(path_in(f.subject) for f in lacking)
            what = f"{' and '.join(sorted({_signing_key(f) for f in lacking}))} is not on {host} (an external CA)"
            rest = (
                "" if len(lacking) == len(findings) else f"; then the others of {host} are offered to be renewed here"
            )
            return Refusal(f"{what}: have whoever holds it sign new certificates for {files}{rest}")
        if any(_of_kubelet(f) for f in findings) and not _node_name(view):
            return Refusal(
                f"the name of the node in kubelet's client certificate on {host} cannot be told, so it is not renewed"
            )
        return None

    @staticmethod
    def _when(found: Mapping[str, Sequence[Finding]], situation: Situation) -> Wait | datetime | None:
        """Until when it may be approved, on a cluster that is healthy; or which window is waited for."""
        windows, now = situation.settings.maintenance.windows, situation.now
        if situation.by_hand:
            return None
        if not windows:
            return now + OFFERED
        if end := open_until(windows, now):
            return end
        ends = [
            f.facts.not_after
            for of_host in found.values()
            for f in of_host
            if isinstance(f.facts, FileFacts) and f.facts.not_after
        ]
        opens = next_open(windows, now)
        if opens is None or (ends and opens > min(ends) - AT_LAST):
            return now + OFFERED
        until = f"the first expires on {min(ends):%Y-%m-%d %H:%M} UTC" if ends else "something does not fit together"
        return Wait(
            f"certificates of {', '.join(found)} have to be renewed ({until}); that is offered in the next "
            "maintenance window, from "
            f"{opens:%a %Y-%m-%d %H:%M} UTC, and at any time with `recoverctl run renew-certificates "
            f"{situation.settings.name}`"
        )

    @staticmethod
    def _outside(finding: Finding, situation: Situation) -> tuple[str, ...]:
        """What is said of a plan that is offered while no window is open."""
        windows = situation.settings.maintenance.windows
        if finding.severity is not Severity.WARNING or not windows or open_until(windows, situation.now):
            return ()
        why = "it was asked for" if situation.by_hand else "none opens a day or more before the first expiry"
        return (f"this is outside of the maintenance windows: {why}",)

    @staticmethod
    def _stages(host: str, findings: Sequence[Finding], situation: Situation, *, alone: bool) -> list[list[Step]]:
        kept = aside(situation)
        view = situation.host(host)
        assert view is not None
        renew = RenewLeaves(kept)
        repair = RepairKubeletClient(_node_name(view), kept)
        of_kubelet = any(_of_kubelet(f) for f in findings)
        back = PutBackPki(kept, restart=True, marks=(renew.mark, repair.mark))
        keys = tuple(f.key for f in findings)
        files = [
            # on one machine alone, what is gone ends the plan and is told so; of several, its part is left out
            Step(
                host,
                f"keep {KUBERNETES}/pki and the kubeconfigs of {host} in {kept} there",
                KeepPki(kept),
                60.0,
                keys[:1] if alone else (),
            ),
            Step(host, f"renew the leaf certificates and kubeconfigs of {host}", renew, 180.0, undo=back),
        ]
        if not alone:
            files[0] = replace(files[0], skip_unless=keys)
        if of_kubelet:
            files.append(
                Step(host, f"have the CA sign a new client certificate for the kubelet of {host}", repair, 30.0)
            )
        broken = any(f.severity is Severity.FAULT for f in findings)
        return [[replace(s, part=host) for s in files], *restarts(host, situation, kubelet=of_kubelet or broken)]


def _not_ours(finding: Finding) -> str:
    """Why this finding is not for `kubeadm certs renew`; "" when it is."""
    facts, path, host = finding.facts, path_in(finding.subject), finding.facts.host
    assert isinstance(facts, FileFacts)
    if facts.authority:
        return (
            f"{path} on {host} is a CA, which is never renewed by recoverd: every program that trusts it "
            "has to be given the new one"
        )
    if "authority" in facts.wrong and not _of_kubelet(finding):
        return (
            f"{path} on {host} trusts another CA, which no renewal changes; `kubeadm init phase kubeconfig` makes it "
            "anew once it is moved away"
        )
    return ""


def _signing_key(finding: Finding) -> str:
    """The private key of the CA that kubeadm has sign this file's certificate; it passes over a leaf whose CA's
    key is elsewhere, and ends well.
    """
    return f"{KUBERNETES}/{authority_of(path_in(finding.subject)) or AUTHORITIES[0]}".removesuffix(".crt") + ".key"


def _authority_over(host: str, findings: Sequence[Finding], situation: Situation) -> Finding | None:
    """A CA there that has expired, and that would have to sign one of these."""
    signers = {_signing_key(f).removesuffix(".key") + ".crt" for f in findings}
    for found in situation.diagnosis.findings:
        facts = found.facts
        over = found.code == Code.CERTIFICATE_EXPIRED and isinstance(facts, FileFacts) and facts.authority
        if over and facts.host == host and path_in(found.subject) in signers:
            return found
    return None


def _signable(finding: Finding, situation: Situation) -> bool:
    """Whether that key is on the machine, as far as can be told."""
    view = situation.host(finding.facts.host)
    keys = view.pki.keys if view and view.pki else {}
    return not keys or _signing_key(finding) in keys


def _of_kubelet(finding: Finding) -> bool:
    return PurePosixPath(path_in(finding.subject)).name in OF_KUBELET


def _node_name(view: HostView) -> str:
    """As kubelet's own client certificate has it, which is how the API server knows it."""
    subjects = [c.subject for c in view.certificates if PurePosixPath(c.path).name in OF_KUBELET]
    return next((m[1] for s in subjects if (m := re.search(r"CN=system:node:([a-z0-9.-]+)", s))), "")


PLAYBOOK = RenewCertificates()
