"""What is remembered of the files that a control plane's static pods name. Pure.

A file counts as known-good only when what reads it was started after it was written, and is well: most are read at the
start alone, so an edit shows at the next one, which may be months later. Of other pods than kubeadm's nobody says when
they were started: what they name must have stood for long instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from recoverd.diagnose.pod_files import in_order
from recoverd.diagnose.scene import Scene
from recoverd.model.memory import KnownPodFile
from recoverd.model.observation import HostView
from recoverd.model.pki_operations import STATIC_PODS
from recoverd.model.pod_files import Is, Named, PodFileView, by_path, naming

SETTLE = timedelta(seconds=60)
MEANT = timedelta(days=1)
"""For which another file than the known one must have stood where nobody says when it was read."""

Files = Mapping[str, Mapping[str, KnownPodFile]]
Sights = Mapping[tuple[str, str, str], datetime]


def known_pod_files(scene: Scene, sights: Sights) -> tuple[Files, Sights]:
    """The known files after a healthy sweep, and those that were seen to be gone, each since when."""
    known, gone = dict(scene.memory.pod_files), dict[tuple[str, str, str], datetime]()
    for name in scene.parts:
        view = scene.host(name)
        if view is None or view.pod_files is None or view.manifests_unread:
            continue
        before = known.get(name, {})
        # one that was edited is not known-good yet, and what the known-good one names is needed to go back to it
        files = naming(view.pod_files, before)
        named = by_path(scene.memory.manifests.get(name, {}), files) | by_path(view.manifests, files)
        after = {p: k for p, k in before.items() if p in named}
        for path, by in named.items():
            there = view.pod_files.get(path, PodFileView(Is.UNSEEN))
            if there.what is Is.FILE and there.sha256 and not there.lacking:
                after |= _present(scene, view, path, there, by, before.get(path))
            elif path in before and there.lacking:
                key = (name, "pod-file", path)
                gone[key] = sights.get(key, scene.now)
                if _started_without(view, by, gone[key]):
                    del after[path]
        if after != before:
            known[name] = after
    return known, gone


def _present(
    scene: Scene, view: HostView, path: str, there: PodFileView, by: tuple[Named, ...], before: KnownPodFile | None
) -> dict[str, KnownPodFile]:
    """What is known of it now, where that is anything new."""
    if before and before.sha256 == there.sha256:
        now = replace(before, mode=there.mode, owner=there.owner, names=there.names, newer="")
        return {} if now == before else {path: now}
    if any(_read(scene, view, n.pod, there, before) for n in by):
        return {path: KnownPodFile(there.sha256, there.mode, there.owner, scene.now, names=there.names)}
    if before and before.newer != there.sha256:
        return {path: replace(before, newer=there.sha256)}
    return {}


def _read(scene: Scene, view: HostView, pod: str, there: PodFileView, before: KnownPodFile | None) -> bool:
    """This pod works with the file as it is."""
    if there.modified_at is None or there.changed_at is None:
        return False
    # a file that nobody knows yet may have had its mode changed since; one that was changed may have been moved there
    written = max(there.modified_at, there.changed_at) if before else there.modified_at
    written -= timedelta(seconds=view.clock_offset)
    if pod not in STATIC_PODS:
        return written + (MEANT if before else SETTLE) <= scene.now
    container = view.containers.get(pod)
    began = container.started_at if container and container.running else None
    return in_order(scene, view, pod) and began is not None and began > written


def _started_without(view: HostView, by: tuple[Named, ...], since: datetime) -> bool:
    """What names it was started since it is gone, and does without."""
    starts = [view.running_since(n.pod) for n in by if n.pod in STATIC_PODS]
    return bool(starts) and all(at is not None and at > since for at in starts)
