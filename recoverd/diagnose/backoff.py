"""What a static pod that waits in kubelet's crash-loop back-off ended for want of, where that is there again. Pure.

kubelet starts a container that ended anew after 10 s, and after twice as long each time, up to five minutes
(https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy). Whatever ended it may be over long
before.
"""

from __future__ import annotations

from recoverd.diagnose import disks, words
from recoverd.diagnose.cause import OF_DISKS
from recoverd.diagnose.scene import API, Scene

ETCD = "etcd"
NO_ETCD = "no-etcd"
"""The cause of that name."""


def there_again(scene: Scene, name: str, component: str) -> str:
    """What the component on this machine ended for want of by its own words, and what was seen to be there in this
    sweep, in words that follow "for want of"; "" where it runs, where kubelet does not, or where that is not so.
    """
    host, container = scene.host(name), scene.container(name, component)
    kubelet = host.units.get("kubelet") if host else None
    if host is None or kubelet is None or not kubelet.running or container is None or container.running:
        return ""
    found = words.of_static_pod(scene, name, component)
    if found is None or found[0] != component:
        return ""  # kubelet's own words, or the kernel's, are of now
    cause = found[1].cause.name
    if component == API and cause == NO_ETCD and _etcd_is_back(scene, name):
        return "an etcd that serves"
    if component == ETCD and cause in OF_DISKS and disks.cured(host):
        return "room on its disk, or for it was read-only"
    return ""


def lacks_etcd(scene: Scene, name: str) -> bool:
    """Whether the API server there says that it is etcd that fails it."""
    found = words.of_static_pod(scene, name, API)
    return found is not None and found[1].cause.name == NO_ETCD


def etcd_serves(scene: Scene, name: str) -> bool:
    """Whether an etcd that the API server there can ask was seen to serve: its own machine's, or one elsewhere."""
    views = scene.outside.values() if scene.external_etcd else filter(None, [scene.etcd_views.get(name)])
    return any(v.has_leader and not v.remembered for v in views)


def _etcd_is_back(scene: Scene, name: str) -> bool:
    """Whether an etcd serves it, and takes writes, without which an API server that starts ends again. Where one
    elsewhere serves other API servers meanwhile, it may be the way there that fails this one: then it has to have been
    asked by this way.
    """
    views = [*scene.outside.values(), *scene.etcd_views.values()]
    elsewhere = scene.external_etcd and scene.ready_members and scene.observation.outside_by != name
    return etcd_serves(scene, name) and not elsewhere and not any(v.alarms for v in views)
