"""From an observation to findings, and from findings to the state of the cluster. Pure: same input, same output.

Rules that hold throughout: nothing is concluded from what is `Unseen`; a fault needs positive proof (a refused
connection, a file that is absent on a machine that was looked at, a member list that says so); when the bastion may be
blind itself, no fault is reported at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from recoverd.diagnose import (
    address,
    admission,
    aggregated,
    api,
    certificates,
    clocks,
    controllers,
    copies,
    cordons,
    disks,
    doubles,
    elsewhere,
    etcd,
    etcd_disks,
    following,
    foreign,
    host,
    loopback,
    loss,
    manifests,
    names,
    network,
    network_unseen,
    notready,
    other_pods,
    pod_files,
    pressure,
    ranges,
    reach,
    setback,
    shared,
    starting,
    static_pods,
)
from recoverd.diagnose.scene import API, Scene
from recoverd.model.catalogue import RANK, Code
from recoverd.model.facts import ManifestFacts
from recoverd.model.finding import Diagnosis, Finding, Roll, Severity, State
from recoverd.model.memory import Memory
from recoverd.model.observation import EndpointHealth, Observation
from recoverd.model.settings import ClusterSettings

__all__ = ["diagnose"]

RANKS = {Severity.FAULT: 0, Severity.WARNING: 1, Severity.NOTICE: 2}
IDLE_KUBELET = RANK[Code.MANIFEST_MISSING] - 0.5
"""Where a stopped kubelet stands whose static pods all still run: it has caused nothing yet."""


def diagnose(observation: Observation, memory: Memory, settings: ClusterSettings, busy: str = "") -> Diagnosis:
    """What one observation adds up to, given what is remembered of the cluster. Never raises for what was observed.

    `busy` is the id of the plan that is at work on the cluster: what it leaves for later is no finding yet.
    """
    scene = Scene(observation, memory, settings, busy)
    return replace(_judged(scene), roll=_roll(scene))


def _judged(scene: Scene) -> Diagnosis:
    found = list(_all(scene))
    if why := reach.blindness(scene):
        notices = [replace(f, severity=Severity.NOTICE, state=None) for f in found]
        return Diagnosis(State.UNOBSERVABLE, (reach.dark_notice(scene, why), *_sorted(scene, notices)), f"{why}.")
    findings = _sorted(scene, found)
    faults = [f for f in findings if f.severity is Severity.FAULT]
    if faults:
        more = f" ({len(faults) - 1} more finding{'s' if len(faults) > 2 else ''} with it)" if len(faults) > 1 else ""
        return Diagnosis(faults[0].state or State.APISERVER_DOWN, findings, faults[0].message + more)
    if not scene.api_ready:
        return Diagnosis(State.UNOBSERVABLE, findings, _cannot_tell(scene))
    if lacking := reach.lacking(scene):
        why = f"The API server is ready and nothing is found, but that all is well was not seen: {'; '.join(lacking)}."
        return Diagnosis(State.UNOBSERVABLE, findings, why, partial=True)
    return Diagnosis(State.HEALTHY, findings, _healthy(scene, findings))


def _all(scene: Scene) -> Iterable[Finding]:
    of_hosts = tuple(host.findings(scene))
    yield from of_hosts
    yield from clocks.findings(scene)
    yield from disks.findings(scene)
    yield from static_pods.findings(scene)
    yield from copies.findings(scene)
    yield from pod_files.findings(scene)
    yield from certificates.findings(scene)
    yield from shared.findings(scene)
    yield from ranges.findings(scene)
    of_members = (*etcd.findings(scene), *foreign.findings(scene))
    yield from of_members
    yield from elsewhere.findings(scene)
    yield from etcd_disks.findings(scene)
    yield from following.findings(scene)
    yield from loss.findings(scene)
    of_manifests = tuple(manifests.findings(scene))
    yield from of_manifests
    yield from other_pods.findings(scene)
    explained = frozenset(
        f.facts.host for f in of_manifests if isinstance(f.facts, ManifestFacts) and f.facts.component == API
    )
    yield from api.findings(scene, explained)
    yield from address.findings(scene)
    yield from admission.findings(scene)
    yield from loopback.findings(scene)
    yield from aggregated.findings(scene)
    yield from controllers.findings(scene)
    yield from setback.findings(scene)
    yield from network.findings(scene)
    yield from network_unseen.findings(scene)
    yield from starting.findings(scene)
    yield from names.findings(scene)
    stopped = {f.facts.host for f in of_hosts if f.severity is Severity.FAULT}
    silent = {f.facts.host for f in of_members if f.code == Code.ETCD_MEMBER_DOWN and scene.dark(f.facts.host)}
    # with a new, empty etcd behind the API server no node is listed, and that is what is said
    if (scene.objects is not None and scene.objects.nodes) or not loss.displaced(scene):
        yield from notready.findings(scene, frozenset(stopped | silent))
    yield from doubles.findings(scene)
    yield from pressure.findings(scene)
    yield from cordons.findings(scene)
    yield from reach.findings(scene)


def _roll(scene: Scene) -> Roll:
    membership = scene.membership
    serving = frozenset(membership.camp) if membership.leader else frozenset[str]()
    listed = frozenset(membership.label(e) for e in membership.entries) if membership.leader else None
    holding = frozenset(
        n
        for n, v in scene.etcd_views.items()
        if v.has_leader and not (v.remembered or v.learner) and loss.began_anew(scene, v) is False
    )
    learners = frozenset(membership.label(e) for e in membership.entries if e.learner)
    elsewhere = bool(scene.external_etcd)
    return Roll(frozenset(scene.parts), listed, serving, scene.machines, holding, learners, elsewhere)


def _sorted(scene: Scene, findings: list[Finding]) -> tuple[Finding, ...]:
    unique = {f.key: f for f in reversed(findings)}

    def rank(finding: Finding) -> tuple[int, float, str, str]:
        place: float = RANK[finding.code]
        if finding.code == Code.KUBELET_DOWN and _pods_run(scene, finding.subject):
            place = IDLE_KUBELET
        return (RANKS[finding.severity], place, finding.code, finding.subject)

    return tuple(sorted(unique.values(), key=rank))


def _pods_run(scene: Scene, name: str) -> bool:
    return scene.endpoint_health(name) is EndpointHealth.READY and name in scene.membership.camp


def _cannot_tell(scene: Scene) -> str:
    if own := reach.own_trouble(scene):
        return (
            f"recoverd itself could not look at the cluster ({own}), so nothing is concluded: "
            "see to that on the bastion."
        )
    return (
        f"No API server could be judged ({scene.vip.address}: {scene.vip.health}) and nothing is proven to be broken: "
        "check the kubeconfig, the addresses and the SSH key in the configuration."
    )


def _healthy(scene: Scene, findings: tuple[Finding, ...]) -> str:
    membership = scene.membership
    parts = [f"{len(scene.ready_members)} of {len(scene.parts)} API servers ready"]
    if membership.leader:
        parts.append(f"etcd has a leader, {len(membership.camp)} of {len(membership.entries)} members seen")
    if scene.objects:
        parts.append(f"{sum(n.ready for n in scene.objects.nodes)} of {len(scene.objects.nodes)} nodes ready")
    seen = sum(scene.host(n) is not None for n in scene.addresses)
    if seen < len(scene.addresses):
        parts.append(f"{seen} of {len(scene.addresses)} machines looked at")
    if findings:
        warnings = sum(f.severity is Severity.WARNING for f in findings)
        counts = ((warnings, "warning"), (len(findings) - warnings, "notice"))
        parts += [f"{n} {what}{'s' if n > 1 else ''}" for n, what in counts if n]
    return ", ".join(parts) + "."
