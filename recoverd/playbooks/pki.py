"""What the playbooks for certificates share: the static pods of control planes started anew with what is in
/etc/kubernetes, and seen to serve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from recoverd.model.bastion_operations import AwaitApi, AwaitEtcd
from recoverd.model.catalogue import Code, path_in
from recoverd.model.finding import Finding, Severity
from recoverd.model.observation import EndpointHealth
from recoverd.model.pki_operations import KEPT, KUBERNETES
from recoverd.model.plan import Step
from recoverd.model.unit_operations import AwaitUnit, RestartStaticPod, RestartUnit
from recoverd.model.witness import LED
from recoverd.playbooks.agents import STABLE
from recoverd.playbooks.base import Situation

ETCD_FILES = (f"{KUBERNETES}/pki/etcd/",)
WITHOUT_QUORUM = (
    "etcd's members are restarted one right after the other, so that a quorum which is still "
    "there is away for some seconds"
)
MEMORY = (
    "what runs has the files in memory that it was started with, which no sweep shows: kubelet and the static pods are "
    "restarted as well, though the "
    "cluster may look healthy as soon as the files are in place"
)
OFFERED = timedelta(days=1)
"""How long an offer stands on a cluster that is healthy, where no window ends it."""


def by_host(findings: Sequence[Finding], situation: Situation) -> dict[str, list[Finding]]:
    """The findings of each control plane, in the order of the configuration; only those that a person named, where
    somebody did.
    """
    planes = [h.name for h in situation.settings.control_planes if not situation.nodes or h.name in situation.nodes]
    found = {name: [f for f in findings if f.facts.host == name] for name in planes}
    return {name: of_host for name, of_host in found.items() if of_host}


def aside(situation: Situation) -> str:
    """Where a plan keeps what is in place before it changes that; each has its own."""
    return f"{KEPT}/before-{situation.kept}"


def taken_back(situation: Situation) -> str:
    return (
        f"until its API server is back, by itself when a step fails: on each control plane, {aside(situation)} is put "
        "back and the static pods are "
        "restarted; a plan that is only stopped, as by a pause, leaves the certificates that it has put in"
    )


def together(found: Mapping[str, Sequence[Finding]], situation: Situation) -> bool:
    """Whether no control plane can be brought back alone: no API server serves, or etcd's members do not
    trust each other's certificates.
    """
    members = [
        n
        for n, of_host in found.items()
        if any(path_in(f.subject).startswith(ETCD_FILES) and f.severity is Severity.FAULT for f in of_host)
    ]
    api = situation.observation.api
    serving = any(e.health is EndpointHealth.READY for e in api.members.values())
    return len(found) > 1 and (len(members) > 1 or not serving)


def staged(
    stages: Mapping[str, Sequence[Sequence[Step]]], *, at_once: bool, files_first: bool = False
) -> tuple[Step, ...]:
    """The steps of all control planes: one machine after the other or, `at_once`, one stage after the other.

    `files_first`: the first stage of all, then the rest of one machine after the other.
    """
    if not at_once:
        first = 1 if files_first else 0
        files = tuple(step for of_host in stages.values() for stage in of_host[:first] for step in stage)
        return (*files, *(step for of_host in stages.values() for stage in of_host[first:] for step in stage))
    longest = max((len(s) for s in stages.values()), default=0)
    # none can come back alone, so quorum is not what is there to be kept
    return tuple(
        replace(step, stops_member=False) for i in range(longest) for of_host in stages.values() for step in of_host[i]
    )


def restarts(host: str, situation: Situation, *, kubelet: bool) -> list[list[Step]]:
    """From kubelet to the scheduler, in stages; the machine's part of the plan is committed once its
    API server has been seen ready.
    """
    view = situation.host(host)
    has_etcd = view is None or "etcd" in view.manifests
    stages: list[list[Step]] = [[], [], [], [], [], []]
    if kubelet:
        stages[0] = [
            Step(host, f"restart kubelet on {host}", RestartUnit("kubelet"), 30.0),
            Step(host, f"see kubelet on {host} stay up", AwaitUnit("kubelet", STABLE, 40), 50.0),
        ]
    if has_etcd:
        stages[1] = [
            Step(host, f"restart etcd on {host}", RestartStaticPod("etcd", 90, start=True), 105.0, stops_member=True)
        ]
        stages[2] = [
            Step(host, f"see etcd on {host} healthy with all its members", AwaitEtcd(members=_voters(situation)), 90.0)
        ]
    stages[3] = [
        Step(host, f"restart the API server on {host}", RestartStaticPod("kube-apiserver", 90, start=True), 105.0)
    ]
    stages[4] = [Step(host, f"see the API server on {host} ready", AwaitApi(), 120.0)]
    stages[5] = [Step(host, f"restart {c} on {host}", RestartStaticPod(c, 90, start=True), 105.0) for c in LED]
    # the API server is back, so what was made before is not taken away again
    stages[5][0] = replace(stages[5][0], commits=True)
    return [[replace(step, part=host) for step in stage] for stage in stages]


def replaced(host: str, situation: Situation, authority: str = "") -> Finding | None:
    """A CA there is not the one that the cluster was healthy with: any, or the one at the path `authority`."""
    found = (f for f in situation.diagnosis.findings if f.code == Code.PKI_REPLACED and f.facts.host == host)
    return next((f for f in found if path_in(f.subject).endswith(authority or "ca.crt")), None)


def _voters(situation: Situation) -> int:
    views = situation.etcd_views
    if views:
        return max(len(v.voters) for v in views.values())
    watermark = situation.memory.watermark
    return len(watermark.members) if watermark and watermark.members else len(situation.settings.control_planes)
