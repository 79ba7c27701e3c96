"""`restore-manifest`: puts the last known-good static pod manifest back in place."""

from __future__ import annotations

from dataclasses import dataclass

from recoverd.diagnose.manifests import other_images
from recoverd.diagnose.other_pods import elsewhere
from recoverd.model.bastion_operations import AwaitApi, AwaitEtcd
from recoverd.model.catalogue import Code, Of, codes
from recoverd.model.etcd import FORCE
from recoverd.model.facts import ManifestFacts
from recoverd.model.finding import Finding
from recoverd.model.operations import HELD, WriteFile
from recoverd.model.pki_operations import STATIC_PODS
from recoverd.model.places import flag
from recoverd.model.plan import Step
from recoverd.model.static_pods import others
from recoverd.model.text import utc
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation
from recoverd.playbooks.starts import seen_started, serves_nothing

MANIFEST_CODES = codes(Of.MANIFEST)
MISSING = frozenset({Code.MANIFEST_MISSING, Code.ETCD_MANIFEST_MISSING, Code.OTHER_MANIFEST_MISSING})
TOGETHER = 120.0
"""Seconds: another pod's manifest that went so long before the API server's address fell silent is not why it did."""


@dataclass(frozen=True, slots=True)
class RestoreManifest:
    name: str = "restore-manifest"
    summary: str = "put back the last known-good manifest of a static pod"
    destructive: bool = False
    order: int = 20
    repairs: frozenset[str] = MANIFEST_CODES

    def propose(self, finding: Finding, situation: Situation) -> Answer:
        host = finding.facts.host
        mine = [f for f in situation.confirmed if f.code in MANIFEST_CODES and f.facts.host == host]
        # etcd before what needs it
        mine.sort(key=lambda f: component_of(f) != "etcd")
        writes: list[Step] = []
        waits: list[Step] = []
        for each in tuple(mine):
            found = self._write(each, host, situation)
            if isinstance(found, Refusal):
                if len(mine) > 1 and component_of(each) not in STATIC_PODS:
                    mine.remove(each)  # the API server does not wait for what only a person can put back
                    continue
                return found
            writes.append(found)
            waits += self._wait(each, host, situation)
        names = ", ".join(component_of(f) for f in mine)
        return Proposal(
            summary=f"put back the known-good manifest of {names} on {host}",
            steps=(*writes, *waits),
            basis=tuple(f.key for f in mine),
            evidence=tuple(line for f in mine for line in f.evidence),
            resolves=tuple(f.key for f in (*mine, *_with_it(mine, situation))),
            undo=(
                f"what was in place, if anything, is kept in {HELD}/{situation.kept}/ on {host}; rename "
                "it back into place by hand",
            ),
            verify_within=120.0,
            asks=_on_purpose(mine, host, situation),
        )

    def _write(self, finding: Finding, host: str, situation: Situation) -> Step | Refusal:
        component = component_of(finding)
        known = situation.memory.manifests.get(host, {}).get(component)
        view = situation.host(host)
        if known is None:
            return Refusal(
                f"no known-good manifest of {component} on {host} was recorded while it was healthy; "
                f"`kubeadm init phase control-plane` or `kubeadm init phase etcd local` on {host} writes one anew"
            )
        if view is None:
            return Refusal(f"{host} cannot be looked at now, so its manifests are left alone")
        if not known.content:
            return Refusal(
                f"{known.path} on {host} held what may be a secret, so recoverd has kept no copy of it: put it back "
                "from where it was made, or by the command that made it"
            )
        if component == "etcd" and (refused := self._guard_etcd(host, known.content, situation)):
            return refused
        if component in STATIC_PODS[1:] and (why := serves_nothing(host, situation)):
            return Refusal(f"the manifest of {component} on {host} is not put back: {why}")
        current = view.manifests.get(component)
        return Step(
            host,
            f"put the manifest of {component} on {host} back as it was at {utc(known.recorded_at)} "
            f"(sha256 {known.sha256[:12]})",
            WriteFile(
                path=known.path,
                content=known.content,
                sha256=known.sha256,
                before=current.sha256 if current else "",
                keep=f"{HELD}/{situation.kept}/{component}.yaml",
                needs=_data_of(known.content) if component == "etcd" else "",
            ),
            timeout=20.0,
            requires=(finding.key,),
        )

    @staticmethod
    def _guard_etcd(host: str, manifest: str, situation: Situation) -> Refusal | None:
        """Never over an empty data directory: with `--initial-cluster-state` left at `new`, as kubeadm does, etcd
        starts a second, empty cluster.
        """
        view = situation.host(host)
        data = view.etcd_data if view else None
        if (
            view
            and view.etcd_before
            and view.etcd_before.path == (flag(manifest, "--data-dir") or view.etcd_before.path)
        ):
            data = view.etcd_before
        if data is None:
            return Refusal(
                f"the etcd data directory on {host} could not be looked at, and etcd must never "
                "be started on an empty one"
            )
        current = view.manifests.get("etcd") if view else None
        if current and FORCE in current.content and (others := _may_serve(host, situation)):
            return Refusal(
                f"etcd on {host} was started with {FORCE}, which makes a member a cluster of its own: without "
                "the flag it would serve as "
                f"a second one beside {', '.join(others)}. Move its manifest away, remove its member from a control "
                "plane that serves, and join "
                f"{host} again"
            )
        if not data.holds:
            holders = sorted(n for n, v in situation.etcd_views.items() if n != host and v.revision > 1)
            other = f"Seen to hold the data: {', '.join(holders) or 'no other member'}"
            return Refusal(
                f"{data.path} on {host} is {'empty' if data.exists else 'missing'}: putting etcd's manifest back would "
                "start a second, empty cluster "
                f"(split brain). {other}; {host} has to be rebuilt as a member: remove it and join it again, "
                "or restore a snapshot"
            )
        return None

    @staticmethod
    def _wait(finding: Finding, host: str, situation: Situation) -> list[Step]:
        component = component_of(finding)
        if component not in STATIC_PODS:
            return []  # how its process is called is not known for certain, and kubelet is not restarted for it
        start = seen_started(host, component)
        if component == "kube-apiserver":
            return [start, Step(host, f"wait for the API server on {host}", AwaitApi(), timeout=90.0)]
        membership = situation.scene.membership
        if component == "etcd" and any(n != host for n in membership.camp):
            return [
                start,
                Step(host, f"wait for etcd on {host}", AwaitEtcd(members=len(membership.voters)), timeout=90.0),
            ]
        return [start]


def _may_serve(host: str, situation: Situation) -> list[str]:
    """Other control planes whose etcd runs, may be started, or is not seen."""
    scene = situation.scene
    others = (n for n in scene.control_plane_names if n != host)
    members = (n for n in others if scene.remembered(n) or scene.membership.entry_of(n) is not None)
    return [n for n in members if (view := situation.host(n)) is None or "etcd" in view.manifests]


def component_of(finding: Finding) -> str:
    assert isinstance(finding.facts, ManifestFacts)
    return finding.facts.component


def _with_it(mine: list[Finding], situation: Situation) -> list[Finding]:
    """The address that does not answer, where a pod that may hold it is put back."""
    others = any(component_of(f) not in STATIC_PODS for f in mine)
    return [f for f in situation.diagnosis.faults if others and f.code == Code.VIP_WRONG]


def _on_purpose(mine: list[Finding], host: str, situation: Situation) -> str:
    """What looks as if a person had made it so, who is then asked first; "" where nothing does.

    One manifest that is gone is an accident. Several at once are how a restore by hand begins (etcd's and Kubernetes'
    own pages), and an image that is another one is how an upgrade does.
    """
    gone = [f for f in situation.diagnosis.faults if f.code in MISSING]
    if len(gone) > 1:
        names = ", ".join(f"{component_of(f)} on {f.facts.host}" for f in gone)
        why = "to restore data by hand" if any(component_of(f) in STATIC_PODS for f in gone) else "to work on them"
        return f"{len(gone)} manifests are gone at once ({names}), as when somebody has moved them away {why}"
    for finding in mine:
        component = component_of(finding)
        if finding.code == Code.ETCD_DATA_DIRECTORY_CHANGED:
            return f"somebody has changed --data-dir of etcd on {host}, as in a restore into another directory"
        view, known = situation.host(host), situation.memory.manifests.get(host, {}).get(component)
        current = view.manifests.get(component) if view else None
        if current and known and (other := other_images(current.content, known.content)):
            return (
                f"the manifest of {component} on {host} names another image than the known-good one, "
                f"{', '.join(other)}, as in an upgrade"
            )
        if known and known.newer and (current is None or current.sha256 != known.newer):
            return (
                f"another manifest of {component} on {host} (sha256 {known.newer[:12]}) has worked since the "
                f"known-good one of {utc(known.recorded_at)}, and was not recorded, as not all was "
                "well: what it changed, as in an edit or an upgrade, is lost where the older one is put back"
            )
        if finding.code == Code.OTHER_MANIFEST_MISSING and (why := _taken_away(finding, host, situation)):
            return why
    return ""


def _taken_away(finding: Finding, host: str, situation: Situation) -> str:
    """The same of another pod's manifest that is gone, as kube-vip's: whoever moves the address elsewhere takes it
    away, and two that hold one address are worse than none.
    """
    component, known, view = component_of(finding), situation.memory.manifests.get(host, {}), situation.host(host)
    new = [key for key, _ in others(view.manifests) if key not in known] if view else []
    if new:
        return f"{', '.join(new)} is new beside it on {host}, as when something else takes the place of {component}"
    dead = next((f for f in situation.diagnosis.faults if f.code == Code.VIP_WRONG), None)
    if dead is None and not elsewhere(situation.scene, host, known[component]):
        return (
            f"nothing shows that {component} is missed: the API server's address is not seen to be what is wrong, and "
            "it stands on no other control plane"
        )
    before = situation.age(finding) - (situation.age(dead) if dead else 0.0)
    if before > TOGETHER:
        return (
            f"{component} on {host} has been gone for {situation.age(finding) / 60:.0f} min, in which nobody has put "
            "it back, as when it was taken away on purpose"
            + (": it went long before the API server's address fell silent" if dead else "")
        )
    return ""


def _data_of(manifest: str) -> str:
    """The database of the etcd that this manifest starts; kubeadm mounts the data directory under its own path."""
    return f"{flag(manifest, '--data-dir') or '/var/lib/etcd'}/member/snap/db"


PLAYBOOK = RestoreManifest()
