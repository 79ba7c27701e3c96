"""Static pod manifests and etcd's data directory: files that are absent, broken or changed
on a machine that was looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from recoverd.diagnose.cause import KUBELET
from recoverd.diagnose.causes import reason_of_pod
from recoverd.diagnose.causes_of_images import OF_IMAGES
from recoverd.diagnose.copies import defined_by
from recoverd.diagnose.loss import began_anew, left_behind
from recoverd.diagnose.scene import API, Scene
from recoverd.model.catalogue import Code
from recoverd.model.etcd import FORCE, EtcdView
from recoverd.model.facts import Facts, ManifestFacts
from recoverd.model.finding import Finding, State
from recoverd.model.memory import KnownManifest
from recoverd.model.mounts import unmounted_above
from recoverd.model.observation import ContainerView, EndpointHealth, HostView, ManifestView
from recoverd.model.pki_operations import STATIC_PODS
from recoverd.model.text import utc

DIRECTORY = "/etc/kubernetes/manifests"
YOUNG = 60.0
"""Seconds within which a container that was restarted counts as looping and not as running."""
SETTLE = 60.0
"""Seconds after which kubelet must have made a container of a changed manifest: it polls every 20 s where it missed the
change, and lets the old container end first, for up to 30 s.
"""
PULLED = 180.0
"""Seconds that an image which is not there may take to come: a pull that fails is tried again."""
FALLS = 2
"""Restarts that prove that a changed manifest does not work: one process that ends may have found its
port taken by the one before it.
"""
COMMAND_LINE = re.compile(
    r"unknown (shorthand )?flag|flag provided but not defined|error verifying flags|unknown "
    r"command|invalid argument .* for "
)
"""What programs say of a command line with which they will never start (pflag, Go's flag, etcd)."""
STOPPED_ON_REQUEST = (None, 0, 137, 143)
"""Exit codes of a container that kubelet asked to stop (SIGTERM, SIGKILL)."""


def findings(scene: Scene) -> Iterator[Finding]:
    for name in scene.parts:
        host = scene.host(name)
        if host is None:
            continue
        yield from _data_empty(scene, name, host)
        if host.manifests_unread:
            continue
        elsewhere = tuple(_data_elsewhere(scene, name, host))
        yield from elsewhere
        for component in STATIC_PODS[1:] if elsewhere else STATIC_PODS:
            yield from _manifest(scene, name, host, component)


def _data_empty(scene: Scene, name: str, host: HostView) -> Iterator[Finding]:
    data = host.etcd_data
    known = scene.remembered(name) or scene.membership.entry_of(name) is not None
    if (
        scene.external_etcd
        or data is None
        or not known
        or data.holds
        or left_behind(host)
        or isinstance(scene.observation.etcd.get(name), EtcdView)
    ):
        return
    word, at = "empty" if data.exists else "gone", unmounted_above(host, data.path)
    disk = f" No file system is mounted at {at} there, as one should be: they are on it most likely." if at else ""
    yield Finding(
        Code.ETCD_DATA_EMPTY,
        name,
        f"The data directory of etcd on {name} is {word}: its copy of the data is lost, and etcd "
        "must not be started on it "
        f"(it would begin a second, empty cluster or be refused by the others).{disk}",
        (
            f"{name}:{data.path} {'holds no data of a member' if data.exists else 'does not exist'}",
            *_stopped(scene, name),
        ),
        state=State.ETCD_STUCK,
        facts=Facts(name),
    )


def _data_elsewhere(scene: Scene, name: str, host: HostView) -> Iterator[Finding]:
    """An edit of --data-dir alone: the new directory holds nothing of the cluster, and the one of before is whole."""
    before, current, known = (
        left_behind(host),
        host.manifests.get("etcd"),
        scene.memory.manifests.get(name, {}).get("etcd"),
    )
    view, data = scene.etcd_views.get(name), host.etcd_data
    if before is None or current is None or known is None or data is None:
        return
    if data.holds if view is None else not began_anew(scene, view):
        return  # somebody has moved them there for good, or restored others into it
    now = f"a new, empty cluster has begun there (revision {view.revision})" if view else "there is nothing in it"
    yield Finding(
        Code.ETCD_DATA_DIRECTORY_CHANGED,
        name,
        f"The manifest of etcd on {name} names the data directory {data.path}, and {now}. The data are whole where "
        f"they were, in {before.path}: with "
        "the known-good manifest nothing is lost.",
        (
            f"{name}:{before.path} holds the data of before",
            *_difference(known.content, current.content),
            *_stopped(scene, name),
        ),
        state=State.ETCD_STUCK,
        facts=ManifestFacts(name, component="etcd"),
    )


def _stopped(scene: Scene, name: str) -> tuple[str, ...]:
    why = scene.etcd_stopped(name)
    return (why,) if why else ()


def _manifest(scene: Scene, name: str, host: HostView, component: str) -> Iterator[Finding]:
    known = scene.memory.manifests.get(name, {}).get(component)
    current = host.manifests.get(component)
    if current is None and component == "etcd" and scene.external_etcd:
        return
    if current is None and defined_by(host, component):
        return  # kubelet runs it from there, which is found of that file
    if current is None:
        if known is None and host.runs(component):
            return  # it runs as a static pod, so its manifest is somewhere: nobody knows yet where it has been
        # without etcd's it may be elsewhere, and a controller may be run otherwise
        if (
            known is not None
            or component == API
            or not scene.memory.manifests.get(name)
            or (component == "etcd" and _was_here(scene, name, host))
        ):
            yield _missing(name, component, known)
        return
    if component == "etcd" and FORCE in current.content:
        yield _flag_left(name, current)
    if current.problem:
        yield _finding(
            _codes(component)[1],
            name,
            component,
            current,
            f"is not a manifest that kubelet can run: {current.problem}",
            (),
            known,
        )
    elif (
        known is not None
        and known.sha256 != current.sha256
        and (why := _does_not_run(scene, name, component, current, known))
    ):
        logs = scene.container(name, component)
        lines = tuple(f"{component} says: {line}" for line in logs.log_tail[-5:]) if logs else ()
        yield _finding(
            _codes(component)[2], name, component, current, f"is not the known-good one, and {why}", lines, known
        )


def _was_here(scene: Scene, name: str, host: HostView) -> bool:
    """etcd ran as a static pod there though its manifest was never seen in a healthy sweep, as where it goes within
    seconds of recoverd's start: it is a member, its data is there, and another's manifest is where kubeadm puts it.
    """
    entry, seen = scene.membership.entry_of(name), (scene.host(n) for n in scene.control_plane_names if n != name)
    held = host.etcd_data is not None and host.etcd_data.holds
    return held and entry is not None and entry.started and any(h and "etcd" in h.manifests for h in seen)


def _codes(component: str) -> tuple[str, str, str]:
    if component == "etcd":
        return Code.ETCD_MANIFEST_MISSING, Code.ETCD_MANIFEST_INVALID, Code.ETCD_MANIFEST_CHANGED
    return Code.MANIFEST_MISSING, Code.MANIFEST_INVALID, Code.MANIFEST_CHANGED


def subject_of(name: str, component: str) -> str:
    """etcd and the API server have codes of their own, the other two share the API server's."""
    return name if component in ("etcd", API) else f"{name}/{component}"


def _missing(name: str, component: str, known: KnownManifest | None) -> Finding:
    path = known.path if known else f"{DIRECTORY}/{component}.yaml"
    evidence = [f"{name}:{path} does not exist"]
    if known:
        evidence.append(f"it was there, sha256 {known.sha256[:12]}, when recorded at {utc(known.recorded_at)}")
    return Finding(
        _codes(component)[0],
        subject_of(name, component),
        f"The static pod manifest of {component} on {name} is missing ({path}): kubelet stops {component} "
        "and does not start it again.",
        tuple(evidence),
        state=_state(component),
        facts=ManifestFacts(name, component=component),
    )


def _finding(
    code: str,
    name: str,
    component: str,
    current: ManifestView,
    what: str,
    lines: tuple[str, ...],
    known: KnownManifest | None,
) -> Finding:
    evidence = [f"{name}:{current.path} sha256 {current.sha256[:12]}, {len(current.content.encode())} bytes"]
    if known:
        evidence.append(recorded(known))
        evidence += _difference(known.content, current.content)
    return Finding(
        code,
        subject_of(name, component),
        f"The static pod manifest of {component} on {name} {what}.",
        (*evidence, *lines),
        state=_state(component),
        facts=ManifestFacts(name, component=component),
    )


def recorded(known: KnownManifest) -> str:
    """Which the known-good manifest is, as a line of evidence."""
    return f"known-good: sha256 {known.sha256[:12]}, recorded at {utc(known.recorded_at)}"


def _flag_left(name: str, current: ManifestView) -> Finding:
    line = next(x.strip() for x in current.content.splitlines() if FORCE in x) if FORCE in current.content else FORCE
    return Finding(
        Code.ETCD_FORCE_FLAG_LEFT,
        name,
        f"The manifest of etcd on {name} still has {FORCE}: at its next start etcd throws "
        "every other member out again.",
        (f"{name}:{current.path}: {line}",),
        state=State.ETCD_STUCK,
        facts=ManifestFacts(name, component="etcd"),
    )


def _state(component: str) -> State:
    return State.ETCD_STUCK if component == "etcd" else State.APISERVER_DOWN


def _difference(known: str, current: str) -> list[str]:
    """At most six lines: what was taken out and what was put in."""
    before, after = known.splitlines(), current.splitlines()
    gone = [f"- {x.strip()}" for x in before if x not in set(after)]
    new = [f"+ {x.strip()}" for x in after if x not in set(before)]
    if known.startswith(current.rstrip("\n")) and len(current) < len(known):
        return [f"it is the known-good one cut short after {len(after)} of {len(before)} lines"]
    return [line[:200] for line in (*gone[:3], *new[:3])]


def _does_not_run(scene: Scene, name: str, component: str, current: ManifestView, known: KnownManifest) -> str:
    """Proof that a changed manifest does not work; "" where it works or may only be starting, so that an
    operator's edit is left alone.
    """
    if component == "etcd" and isinstance(scene.observation.etcd.get(name), EtcdView):
        return ""
    if component == API and scene.endpoint_health(name) is EndpointHealth.READY:
        return ""
    host, container = scene.host(name), scene.container(name, component)
    if component not in ("etcd", API) and container is not None and container.running and not container.restarts:
        return ""
    if _cut_short(current.content, known.content):
        return "it is cut short"
    if host is None or not host.containers or not _kubelet_runs(host) or not _its_own(scene, current, container):
        return ""
    same_image = images(current.content) == images(known.content)
    if container is None:
        return "no container was made of it" if same_image else _not_pulled(scene, host, component, current, known)
    if container.running:
        age = scene.age(container.started_at)
        loops = container.restarts and (age is None or age < YOUNG) and _had_its_chance(scene, current, container)
        return f"its container keeps restarting ({up(scene, container)})" if loops else ""
    ended = container.exit_code not in STOPPED_ON_REQUEST or container.restarts
    if ended and not of_before(current, container):
        return (
            f"its container does not stay up ({up(scene, container)})"
            if _had_its_chance(scene, current, container)
            else ""
        )
    return "its container has stopped" if same_image else _not_pulled(scene, host, component, current, known)


def _not_pulled(scene: Scene, host: HostView, component: str, current: ManifestView, known: KnownManifest) -> str:
    """Proof that the image which an edit names does not come, by kubelet's words; "" while it may just be pulled."""
    found, age = reason_of_pod(host.journals.get(KUBELET, ()), component), scene.age(current.modified_at)
    if found is None or found.cause.name not in OF_IMAGES or age is None or age < PULLED:
        return ""
    new = other_images(current.content, known.content)
    return f"{found.why} (kubelet: {found.line[:200]})" if any(image in found.named for image in new) else ""


def _cut_short(current: str, known: str) -> bool:
    """The known-good one without its end; not where only whole sections are missing, as when
    somebody has taken `status: {}` out.
    """
    lacking = known.removeprefix(current.rstrip("\n"))
    if len(lacking) == len(known) or len(current) >= len(known):
        return False
    return not lacking.startswith("\n") or lacking.lstrip("\n")[:1] in (" ", "-", "#")


def of_before(current: ManifestView, container: ContainerView) -> bool:
    """Whether a container was started before its manifest was changed: kubelet ends such a one for the change
    (with whatever exit code, and however often it was restarted since the machine's boot; seen with kubelet 1.20).
    """
    changed, started = current.modified_at, container.started_at
    return changed is not None and started is not None and started < changed


def _its_own(scene: Scene, current: ManifestView, container: ContainerView | None) -> bool:
    """Whether kubelet has had its chance with the changed manifest: what the container before
    it did proves nothing about it.
    """
    changed = current.modified_at
    if changed is None:
        return True
    if container is not None and container.started_at is not None and container.started_at >= changed:
        return True
    age = scene.age(changed)
    return age is not None and age >= SETTLE


def _had_its_chance(scene: Scene, current: ManifestView, container: ContainerView) -> bool:
    """Whether a process that has ended proves that the manifest does not work: by its own words, more
    than once, or for long enough.
    """
    age = scene.age(current.modified_at)
    return (
        container.restarts >= FALLS
        or (age is not None and age >= SETTLE)
        or any(COMMAND_LINE.search(line) for line in container.log_tail)
    )


def images(manifest: str) -> list[str]:
    """The images that a manifest names."""
    return re.findall(r"^\s*(?:- )?image:\s*(\S+)", manifest, flags=re.MULTILINE)


def _kubelet_runs(host: HostView) -> bool:
    kubelet = host.units.get("kubelet")
    return kubelet is not None and kubelet.running


def restarted(scene: Scene, container: ContainerView) -> bool:
    """Whether it was started again, a moment ago: it loops, though it may be caught running."""
    age = scene.age(container.started_at)
    return container.restarts > 0 and age is not None and age < YOUNG


def up(scene: Scene, container: ContainerView) -> str:
    """As the runtimes' own tools put it: "Up 3 seconds", "Exited (1)"."""
    times = (
        f", restarted {container.restarts} time{'s' if container.restarts > 1 else ''}" if container.restarts else ""
    )
    if not container.running:
        return f"Exited{'' if container.exit_code is None else f' ({container.exit_code})'}{times}"
    age = scene.age(container.started_at)
    return f"Up{'' if age is None else f' {max(age, 0):.0f} seconds'}{times}"


def other_images(manifest: str, known: str) -> list[str]:
    """The images that a manifest names and the known-good one does not."""
    return [image for image in images(manifest) if image not in images(known)]
