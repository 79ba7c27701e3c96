"""Files that a control plane's static pods name and that are gone, or are others than those with which they worked;
and a key of encryption at rest of which there is no copy elsewhere. Pure.

What runs has read its files, and goes on without them until it is started anew: so one that is gone is a fault only
where that which names it does not run. Without its encryption configuration an API server reads no secret, whatever
snapshot of etcd there is.
"""

from __future__ import annotations

from collections.abc import Iterator

from recoverd.diagnose.manifests import FALLS, restarted, up
from recoverd.diagnose.scene import API, Scene
from recoverd.model.catalogue import Code
from recoverd.model.etcd import EtcdView
from recoverd.model.facts import PodFileFacts
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.memory import KnownPodFile
from recoverd.model.observation import EndpointHealth, HostView
from recoverd.model.pki_operations import STATIC_PODS
from recoverd.model.pod_files import ENCRYPTION, PKI, Is, Named, PodFileView, by_path, naming
from recoverd.model.points import best
from recoverd.model.text import utc

ETCD = "etcd"
REFUSED = (EndpointHealth.READY, EndpointHealth.NOT_TRIED)
LINES = 3


def findings(scene: Scene) -> Iterator[Finding]:
    for name in scene.parts:
        host = scene.host(name)
        if host is None or host.pod_files is None or host.manifests_unread:
            continue
        known = scene.memory.pod_files.get(name, {})
        for path, by in by_path(host.manifests, naming(host.pod_files, known)).items():
            there = host.pod_files.get(path)
            if there is None:
                continue
            if there.lacking and (finding := _missing(scene, name, path, by, there, known.get(path))):
                yield finding
            elif path in known and there.what is Is.FILE and there.sha256 not in ("", known[path].sha256):
                yield from _changed(scene, name, path, by, there, known[path])
            if there.keyed and any(n.flag == ENCRYPTION for n in by):
                yield from _kept_nowhere(scene, name, path, there)


def in_order(scene: Scene, host: HostView, pod: str) -> bool:
    """Whether one of kubeadm's static pods on the machine was seen to work."""
    if pod == ETCD:
        return any(isinstance(v, EtcdView) and v.healthy and scene.host(n) is host for n, v in scene.etcd_views.items())
    if pod == API:
        return any(scene.host(n) is host for n in scene.ready_members)
    return host.runs(pod)


def _fails(scene: Scene, name: str, pod: str) -> str:
    """How it shows that a static pod does not run, in words; "" where that is not proven."""
    container = scene.container(name, pod)
    if pod not in STATIC_PODS:
        silent = scene.vip.health not in REFUSED and scene.memory.healthy_at is not None
        return f"{pod} on {name} is not looked at, and the cluster's address does not answer" if silent else ""
    if container is None or (pod == API and scene.endpoint_health(name) is EndpointHealth.READY):
        return ""
    if container.running and not restarted(scene, container):
        return ""
    return f"{pod} on {name}: {up(scene, container)}"


def _missing(
    scene: Scene, name: str, path: str, by: tuple[Named, ...], there: PodFileView, known: KnownPodFile | None
) -> Finding | None:
    proofs = {n.pod: why for n in by if (why := _fails(scene, name, n.pod))}
    said = [line for pod in proofs for line in _says(scene, name, pod, path)]
    # one that was never seen is missed only by who says so, and only where a person has not just named it
    if known is None and not (said and all(_as_known(scene, name, pod) for pod in proofs)):
        return None
    how = {Is.DIRECTORY: "an empty directory is in its place", Is.FILE: "an empty file is in its place"}
    evidence = [
        f"{name}:{path}: {how.get(there.what, 'does not exist')}; named by {', '.join(map(str, by))}",
        f"it was there, sha256 {known.sha256[:12]}, when recorded at {utc(known.recorded_at)}"
        if known
        else "it was not seen while all was well, so nothing is known of it",
    ]
    then = "what names it does not run" if proofs else "what names it has read it and runs on, and does not start again"
    if not proofs and not all(n.pod in STATIC_PODS for n in by):
        # observed: haproxy was down on two of three machines, beside one by which the address answered
        then = "whether what names it runs is not looked at, and without it that does not start again"
    return Finding(
        Code.POD_FILE_MISSING,
        f"{name}:{path}",
        f"{path} on {name} is gone, which {' and '.join(map(str, by))} name{'s' if len(by) == 1 else ''}: {then}."
        + _what_it_is(by),
        (*evidence, *proofs.values(), *said),
        severity=Severity.FAULT if proofs else Severity.WARNING,
        state=_state(proofs) if proofs else None,
        facts=_facts(name, by, there, tuple(proofs)),
    )


def _changed(
    scene: Scene, name: str, path: str, by: tuple[Named, ...], there: PodFileView, known: KnownPodFile
) -> Iterator[Finding]:
    """What was made anew in pki/ shows by the certificates."""
    proofs = {n.pod: why for n in by if n.pod in STATIC_PODS and (why := _by_the_file(scene, name, n.pod, path))}
    if path.startswith(PKI) or not proofs:
        return
    yield Finding(
        Code.POD_FILE_CHANGED,
        f"{name}:{path}",
        f"{path} on {name} is another than that with which {' and '.join(map(str, by))} worked, and what names it "
        f"does not run." + _what_it_is(by),
        (
            f"{name}:{path}: sha256 {there.sha256[:12]}, {there.size} bytes"
            + (f", changed at {utc(there.changed_at)} by its clock" if there.changed_at else ""),
            f"as it worked: sha256 {known.sha256[:12]}, recorded at {utc(known.recorded_at)}",
            *proofs.values(),
            *(line for pod in proofs for line in _says(scene, name, pod, path)),
        ),
        state=_state(proofs),
        facts=_facts(name, by, there, tuple(proofs)),
    )


def _by_the_file(scene: Scene, name: str, pod: str, path: str) -> str:
    """How it shows that the pod does not run because of the file, which is there: by its own words, or because it ends
    again and again with its known-good manifest and an etcd that serves.
    """
    why, container = _fails(scene, name, pod), scene.container(name, pod)
    if not why or container is None or not _as_known(scene, name, pod):
        return ""
    served = pod != API or (isinstance(view := scene.etcd_views.get(name), EtcdView) and view.healthy)
    return why if _says(scene, name, pod, path) or (served and container.restarts >= FALLS) else ""


def _as_known(scene: Scene, name: str, pod: str) -> bool:
    """Its manifest is the known-good one; else that is found, and put back."""
    host, known = scene.host(name), scene.memory.manifests.get(name, {}).get(pod)
    current = host.manifests.get(pod) if host else None
    return known is None or current is None or current.sha256 == known.sha256


def _says(scene: Scene, name: str, pod: str, path: str) -> list[str]:
    """The lines in which it names the file."""
    container = scene.container(name, pod)
    lines = [line for line in container.log_tail if path in line] if container else []
    return [f"{pod} says: {line}" for line in lines[-LINES:]]


def _state(pods: dict[str, str]) -> State:
    return State.ETCD_STUCK if ETCD in pods else State.APISERVER_DOWN


def _facts(name: str, by: tuple[Named, ...], there: PodFileView, failing: tuple[str, ...]) -> PodFileFacts:
    # a directory goes before the file comes
    before = there.sha256 if there.what is Is.FILE else ""
    return PodFileFacts(name, flag=str(by[0]), failing=failing, encryption=_encrypts(by), before=before)


def _encrypts(by: tuple[Named, ...]) -> bool:
    return any(n.flag == ENCRYPTION for n in by)


def _what_it_is(by: tuple[Named, ...]) -> str:
    return " It configures encryption at rest: without its keys nobody can read the secrets in etcd, nor in any " \
        "snapshot of it." if _encrypts(by) else ""  # fmt: skip


def _kept_nowhere(scene: Scene, name: str, path: str, there: PodFileView) -> Iterator[Finding]:
    """Secrets are encrypted with a key that is lost with the machines."""
    point = best(scene.memory.points)
    if scene.settings.points.keys_on_bastion and point and f"{name}:{path} {there.sha256}" in point.pod_files:
        return
    lacks = (
        f"{point.id} on the bastion does not hold it"
        if point and scene.settings.points.keys_on_bastion
        else "restore points take no keys off their machine (restore_points: keys_on_bastion)"
        if not scene.settings.points.keys_on_bastion
        else "there is no restore point yet"
    )
    yield Finding(
        Code.ENCRYPTION_KEY_NOT_KEPT,
        f"{name}:{path}",
        f"Encryption at rest is on, and its key, in {path} on {name}, is in no restore point off this machine: "
        "without it the secrets in a restored etcd cannot be read. Keep a copy elsewhere, or set `restore_points: "
        "{keys_on_bastion: true}`.",
        (f"{name}:{path}: sha256 {there.sha256[:12]}, with a key in it", lacks),
        severity=Severity.WARNING,
        facts=PodFileFacts(name, flag=f"{ENCRYPTION} of {API}", encryption=True),
    )
