"""API servers that do not reach themselves any more, since the certificate that each makes for that at its start, and
keeps in its memory, is over. Pure.

It is good for a year, from 1.33 on for 14 months, and nothing renews it (kubernetes/kubernetes #86552, #130047): a
process that has run for longer is ready, serves what it has, and refuses new pods one after another as its admission
plugins ask it anew. A restart makes another one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

from recoverd.diagnose.scene import API, Scene
from recoverd.model.catalogue import Code
from recoverd.model.facts import Facts
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.places import own_container
from recoverd.model.witness import TryView

TWICE = 2
YEAR, LONGER = timedelta(days=365), timedelta(days=425)
LONGER_FROM = 33
BEFORE = timedelta(days=30)
VERSION = re.compile(r":v1\.(\d+)\.")
CURE = (
    "start one API server after the other anew, and see each ready before the next: `crictl stop $(crictl ps -q --name "
    "kube-apiserver)` on its machine, kubelet starts another"
)


def findings(scene: Scene) -> Iterator[Finding]:
    tries = scene.observation.api.tries if scene.api_ready and not scene.foreign_kubeconfig else {}
    refused = {k: v for k, v in tries.items() if isinstance(v, TryView) and v.itself and v.times >= TWICE}
    ages = {name: age for name in scene.parts if (age := _runs_for(scene, name)) is not None}
    late = {name: age for name, age in ages.items() if age >= _life(scene, name)}
    if refused:
        # an API server that was asked by the cluster's address may be any of them
        where = " and ".join(f"{n} (for {a.days} days)" for n, a in (late or ages).items())
        running = f" {'It runs' if len(late or ages) == 1 else 'They run'} on {where}." if where else ""
        yield Finding(
            Code.LOOPBACK_EXPIRED,
            "",
            f"An API server cannot ask itself any more and refuses to make a {' or a '.join(refused)}: the certificate "
            f"that it made for that at its start is over.{running} Nothing else shows it, and what ends is not made "
            f"anew. Cure: {CURE}.",
            tuple(f"a {kind}, by dry run: {view.itself}" for kind, view in refused.items()),
            state=State.APISERVER_DOWN,
        )
    for name, age in ages.items():
        if (left := _life(scene, name) - age) < BEFORE and not refused:
            when = f"in {left.days} days" if left > timedelta(0) else "by now"
            yield Finding(
                Code.LOOPBACK_EXPIRES,
                name,
                f"The API server on {name} has run for {age.days} days: the certificate by which it asks itself, made "
                f"at its start, is over {when}, and then it refuses new pods while it is ready. Cure: {CURE}.",
                (f"{name}: {API} runs since {scene.now - age:%Y-%m-%d %H:%M} UTC",),
                severity=Severity.WARNING,
                facts=Facts(name),
            )


def _runs_for(scene: Scene, name: str) -> timedelta | None:
    container = scene.container(name, API)
    age = scene.age(container.started_at) if container and container.running else None
    return timedelta(seconds=age) if age is not None else None


def _life(scene: Scene, name: str) -> timedelta:
    host = scene.host(name)
    manifest = host.manifests.get(API) if host else None
    own = own_container(manifest.content) if manifest else None
    found = VERSION.search(str((own or {}).get("image", "")))
    return LONGER if found and int(found[1]) >= LONGER_FROM else YEAR
