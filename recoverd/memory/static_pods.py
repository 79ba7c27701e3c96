"""What is remembered of the manifests of static pods that are none of kubeadm's, as kube-vip's. Pure.

One is known-good once its file has stood unchanged and its process run for a minute while all was well; what a secret
may stand in is known by its digest alone. One that is gone while all is well otherwise was taken away on purpose most
likely, and counts as meant after ten minutes: what dies an hour later is not answered by putting it back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from recoverd.diagnose.manifests import of_before
from recoverd.diagnose.scene import API, Scene
from recoverd.model.catalogue import Code
from recoverd.model.etcd import FORCE, EtcdView
from recoverd.model.finding import FindingKey
from recoverd.model.memory import KnownManifest, Memory
from recoverd.model.observation import EndpointHealth, HostView, ManifestView, Observation
from recoverd.model.pki_operations import STATIC_PODS
from recoverd.model.static_pods import may_hold_secret, others, stands

SETTLE = timedelta(seconds=60)
MEANT = timedelta(seconds=600)
"""For which one must be gone, while all is well, to count as taken away on purpose."""

Manifests = Mapping[str, Mapping[str, KnownManifest]]
Sights = Mapping[tuple[str, str, str], datetime]


def healthy(observation: Observation, host: str, component: str, view: HostView) -> bool:
    """Whether one of kubeadm's four does its work there."""
    if component == "etcd":
        etcd = observation.etcd.get(host)
        return isinstance(etcd, EtcdView) and etcd.healthy and not etcd.learner
    if component == API:
        endpoint = observation.api.members.get(host)
        return endpoint is not None and endpoint.health is EndpointHealth.READY
    return view.runs(component)


def worked_since(scene: Scene) -> Memory:
    """The memory with which other manifests than the known-good ones have worked since. Called in every sweep: a
    cluster that is not healthy for hours learns no new ones, and is upgraded and edited all the same.
    """
    known = dict(scene.memory.manifests)
    for name, of_host in scene.memory.manifests.items():
        view, newer = scene.host(name), dict[str, KnownManifest]()
        if view is None:
            continue
        for component, good in of_host.items():
            manifest, container = view.manifests.get(component), view.containers.get(component)
            if component not in STATIC_PODS or manifest is None or container is None or not manifest.modified_at:
                continue
            other = "" if manifest.sha256 == good.sha256 else manifest.sha256
            runs = container.running and not of_before(manifest, container) and FORCE not in manifest.content
            if other != good.newer and runs and healthy(scene.observation, name, component, view):
                newer[component] = replace(good, newer=other)
        if newer:
            known[name] = {**of_host, **newer}
    return replace(scene.memory, manifests=known) if known != scene.memory.manifests else scene.memory


def known_static_pods(scene: Scene, manifests: Manifests, sights: Sights) -> tuple[Manifests, Sights]:
    """The known manifests after a healthy sweep, and those of others that are not known-good yet, or gone, each since
    when.
    """
    known, watched = dict(manifests), dict[tuple[str, str, str], datetime]()
    for name in scene.parts:
        view = scene.host(name)
        if view is None or view.manifests_unread:
            continue
        before = known.get(name, {})
        after = dict(before)
        for key, pod in others(view.manifests):
            manifest, there = view.manifests[key], before.get(key)
            if there and there.sha256 == manifest.sha256:
                continue
            sight = (name, key, manifest.sha256)
            watched[sight] = sights.get(sight, scene.now)
            if _works(scene, view, key, manifest, watched[sight], known=there is not None):
                content = "" if may_hold_secret(manifest.content) else manifest.content
                after[key] = KnownManifest(manifest.path, manifest.sha256, content, scene.now, pod.name)
                del watched[sight]
        for key in _left(after, view):
            sight = (name, "gone", key)
            watched[sight] = sights.get(sight, scene.now)
            if stands(after[key].pod, view.manifests.values()) or scene.now - watched[sight] >= MEANT:
                del after[key]
        if after != before:
            known[name] = after
    return known, watched


def _works(scene: Scene, view: HostView, key: str, manifest: ManifestView, since: datetime, *, known: bool) -> bool:
    """Its process has run for a while, and was started from this very file, as far as that shows."""
    container, began = view.containers.get(key), view.running_since(key)
    if container is None or began is None or scene.now - began < SETTLE:
        return False
    stood = manifest.modified_at is not None and scene.now - manifest.modified_at >= SETTLE
    if not known and stood:
        return True
    return scene.now - since >= SETTLE and not of_before(manifest, container)


def _left(known: Mapping[str, KnownManifest], view: HostView) -> list[str]:
    """Files of other pods that are not there any more, or empty."""
    gone = [key for key in known if key not in view.manifests or view.manifests[key].problem == "empty"]
    return [key for key in gone if key not in STATIC_PODS]


def without(memory: Memory, meant: Iterable[FindingKey]) -> Memory:
    """The memory without those that are found to be gone, and are so on purpose by a person's word."""
    manifests = dict(memory.manifests)
    for code, subject in meant:
        host, _, component = subject.partition("/")
        if code == Code.OTHER_MANIFEST_MISSING and component in manifests.get(host, {}):
            manifests[host] = {c: known for c, known in manifests[host].items() if c != component}
    return replace(memory, manifests=manifests) if manifests != memory.manifests else memory
