"""Static pods that a running kubelet does not start, for a reason that it names: as after a reboot without the
file or the image they need. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from recoverd.diagnose import images, words
from recoverd.diagnose.cause import ETCD, KUBELET
from recoverd.diagnose.causes import reason_of_pod
from recoverd.diagnose.nodes import node_of
from recoverd.diagnose.scene import API, Scene
from recoverd.model.catalogue import Code
from recoverd.model.facts import WaitingFacts
from recoverd.model.finding import Finding, State
from recoverd.model.observation import HostView


def findings(scene: Scene) -> Iterator[Finding]:
    for name in scene.parts:
        host = scene.host(name)
        kubelet = host.units.get(KUBELET) if host else None
        if host is None or kubelet is None or not kubelet.running or words.falling(scene, kubelet):
            continue
        yield from _stuck(scene, name, host)


def _stuck(scene: Scene, name: str, host: HostView) -> Iterator[Finding]:
    said = host.journals.get(KUBELET, ())
    reasons = {
        c: found
        for c in (ETCD, API)
        if (manifest := host.manifests.get(c))
        and not manifest.problem
        and not host.runs(c)
        and (found := reason_of_pod(said, c))
    }
    if not reasons:
        return
    first = next(iter(reasons.values()))
    gone, proof = images.deleted(host, name, first)
    yield Finding(
        Code.STATIC_PODS_STUCK,
        name,
        f"kubelet on {name} runs and does not start {' and '.join(reasons)}.{words.sentence(first)}{gone}",
        (*dict.fromkeys(line for found in reasons.values() for line in words.proof(KUBELET, name, found)), *proof),
        state=State.ETCD_STUCK if ETCD in reasons else State.APISERVER_DOWN,
        facts=WaitingFacts(name, node_of(scene, name), first.cause.name, next(iter(first.named), "")),
    )
