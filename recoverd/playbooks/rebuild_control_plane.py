"""`rebuild-control-plane`: the control planes that were reset (`kubeadm reset` on the wrong machine) are made what they
were, in one plan from the copy of the certificates on the machine itself and a restore point to an API server. While
others go on, one is joined again instead (`recoverd.playbooks.rejoining`).

`kubeadm reset` deletes /etc/kubernetes/pki and the kubeconfigs, the manifests, /var/lib/kubelet and etcd's data, and
lets /var/lib/recoverd be (kubernetes/kubeadm #673: without a backup that cluster was lost). First what kubelet needs:
certificates and kubeconfigs, its configuration as it is remembered, a client certificate that the CA signs anew. Then
etcd's data and the manifests as `restore-etcd-snapshot` puts them back, which starts kubelet while neither is in sight.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from recoverd.model.catalogue import Code
from recoverd.model.facts import LossFacts
from recoverd.model.finding import Finding
from recoverd.model.operations import WriteFile
from recoverd.model.pki_operations import KEPT, KUBERNETES, PutBackPki, RepairKubeletClient
from recoverd.model.plan import Step
from recoverd.model.text import utc
from recoverd.model.witness import LED
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation, Wait
from recoverd.playbooks.joins import BY_HAND
from recoverd.playbooks.pki import aside
from recoverd.playbooks.rejoining import rejoin
from recoverd.playbooks.restore_steps import gathered, steps
from recoverd.playbooks.restoring import Restore, chosen, destroys, taken_at
from recoverd.playbooks.sizes import moving

NAME = "rebuild-control-plane"
KUBELET = "/var/lib/kubelet"
CONFIG = f"{KUBELET}/config.yaml"


@dataclass(frozen=True, slots=True)
class RebuildControlPlane:
    name: str = NAME
    summary: str = (
        "make control planes what they were that were reset: from their PKI copy and a restore point or, beside others "
        "that go on, by a join"
    )
    destructive: bool = True
    order: int = 65
    repairs: frozenset[str] = frozenset({Code.CONTROL_PLANE_RESET})

    def propose(self, finding: Finding, situation: Situation) -> Answer:
        if servers := situation.scene.external_etcd:
            return Refusal(
                f"the cluster's etcd is elsewhere ({', '.join(servers)}), and recoverd makes only control planes anew "
                f"that have one of their own. {BY_HAND} Where none is left: put /etc/kubernetes back from a copy "
                f"({KEPT} on {finding.subject}, as far as it is there) or a backup"
            )
        if situation.scene.membership.leader:
            return rejoin(finding, situation)
        lost = situation.diagnosis.find(Code.ETCD_DATA_LOST)
        if lost is None and situation.diagnosis.find(Code.ETCD_QUORUM_LOST):
            return Refusal(
                "quorum comes first, by what is left: force-new-cluster is offered where it comes back by nothing "
                f"else. Then joining {finding.subject} again is, one control plane after another"
            )
        if lost is None or not isinstance(lost.facts, LossFacts):
            return Refusal(
                "not every member of etcd is proven to have lost its data: it is not put back to a restore point "
                "beside one that may hold newer data. Start what is left first; then "
                f"`recoverctl join-control-plane {situation.settings.name} {finding.subject} ADDRESS`"
            )
        reset = tuple(f for f in situation.confirmed if f.code == Code.CONTROL_PLANE_RESET)
        for each in reset:
            if why := _lacking(each.subject, situation):
                return Refusal(why)
        if lost.key not in situation.since:
            # since when it has lasted is in the names that the plan gives
            return Wait(f"{lost.message} The next sweep tells whether that is so, and what is rebuilt goes by it")
        restore = gathered(lost.facts.fates, situation.since[lost.key], (lost.key,), situation)
        if isinstance(restore, Refusal):
            return restore
        return _rebuilt(reset, lost, restore, situation)


def _rebuilt(reset: Sequence[Finding], lost: Finding, restore: Restore, situation: Situation) -> Proposal:
    hosts = ", ".join(f.subject for f in reset)
    point = restore.point
    return Proposal(
        summary=f"rebuild {hosts} from the certificates that are kept there, and etcd from {point.id} (taken "
        f"{taken_at(point)}, revision {point.revision})",
        steps=(*(s for f in reset for s in _files(f.subject, restore, situation)), *steps(restore, situation)),
        basis=(*(f.key for f in reset), lost.key),
        evidence=(
            *(line for f in reset for line in f.evidence),
            *lost.evidence,
            *(f"{f.subject}: certificates and keys from {situation.memory.pki[f.subject].kept} there" for f in reset),
            *chosen(restore, situation),
        ),
        destroys=tuple(destroys(restore, situation)),
        undo=(
            "until the first API server is started again: etcd's data and manifests are taken out again by itself; "
            "certificates and kubelet's files, which were gone, stay where they were put",
            f"what was still in {KUBERNETES}/pki is kept in {aside(situation)} on each control plane",
        ),
        verify_within=180.0,
        rounds=2 + len(restore.members) // 2,
        own_point=True,
        moving=2 * len(restore.members) * moving(point.size),
    )


def _lacking(host: str, situation: Situation) -> str:
    """What is not there of what it is rebuilt from, and what a person can do; "" where all is there."""
    known, view = situation.memory.pki.get(host), situation.host(host)
    if view is None:
        return f"{host} cannot be looked at now, so nothing is put back on it"
    if known is None or not known.kept:
        return (
            f"no copy of the certificates was kept on {host} ({KEPT}) while it was healthy, and with other ones nobody "
            "trusts it: bring /etc/kubernetes/pki and the kubeconfigs back from a backup. recoverd keeps the private "
            "keys on the machine alone; with `restore_points: {keys_on_bastion: true}` each restore point has them as "
            "HOST/pki.tar, which a new disk does not take away"
        )
    if not situation.memory.known_file(host, CONFIG):
        return (
            f"kubelet's configuration on {host} ({CONFIG}) was not remembered from its healthy time: put it "
            f"back from the newest restore point ({host}/files), start kubelet, and restore-etcd-snapshot is offered"
        )
    return ""


def _files(host: str, restore: Restore, situation: Situation) -> Iterator[Step]:
    """What kubelet needs. Where the machine has a new disk the first step finds no copy and refuses, and nothing is
    changed.
    """
    known = situation.memory.pki[host]
    node = next((m.name for m in restore.members if m.host == host), host)
    repair = RepairKubeletClient(node, known.kept)
    put = PutBackPki(known.kept, aside(situation), marks=(repair.mark,))
    what = f"put {KUBERNETES}/pki and the kubeconfigs of {host} back from {known.kept} there"
    yield Step(host, what, put, 60.0, requires=restore.requires)
    for path, file in situation.memory.files.get(host, {}).items():
        if path.startswith(f"{KUBELET}/"):
            text = situation.memory.texts[file.sha256]
            at = f"{utc(file.recorded_at)}"
            write = WriteFile(path, text, file.sha256, before="", beside=KUBELET)
            yield Step(host, f"put {path} on {host} back as it was at {at}", write, 20.0)
    for component in LED:
        if manifest := situation.memory.manifests.get(host, {}).get(component):
            # they end until the API server is there, and are started anew when it is
            write = WriteFile(manifest.path, manifest.content, manifest.sha256, before="")
            yield Step(host, f"put the manifest of {component} on {host} back", write, 20.0)
    yield Step(host, f"have the CA sign a client certificate for the kubelet of {host}", repair, 30.0)


PLAYBOOK = RebuildControlPlane()
