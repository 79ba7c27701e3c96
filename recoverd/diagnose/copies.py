"""A second file in the directory of static pods that defines a pod of kubeadm's. Pure.

kubelet takes every file there whose name does not begin with a dot, whatever its ending, so the `cp kube-apiserver.yaml
kube-apiserver.yaml.bak` before an edit is a manifest as well. Which of two with one name it runs is not defined: an
edit shows no effect, the pod ends again and again, and where one is moved away for a restore, the other starts etcd on
what is there just then (kubernetes/kubernetes #55596, #136962, kubernetes/kubeadm #2823).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from recoverd.diagnose.scene import API, Scene
from recoverd.model.catalogue import Code
from recoverd.model.etcd import EtcdView
from recoverd.model.facts import ManifestFacts
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.observation import EndpointHealth, HostView
from recoverd.model.operations import MANIFESTS
from recoverd.model.pki_operations import STATIC_PODS

NAME = re.compile(r"^metadata:\n(?:[ #].*\n)*?  name: [\"']?([\w.-]+)", re.MULTILINE)
"""Of a pod, as kubeadm and whoever copies its files writes it."""


def defined_by(host: HostView, component: str) -> str:
    """The path of a file beside kubeadm's, or in its place, that defines the pod of this component; "" without one."""
    return next(
        (
            m.path
            for key, m in sorted(host.manifests.items())
            if key not in STATIC_PODS and not m.problem and (named := NAME.search(m.content)) and named[1] == component
        ),
        "",
    )


def findings(scene: Scene) -> Iterator[Finding]:
    for name in scene.parts:
        host = scene.host(name)
        for component in STATIC_PODS if host is not None else ():
            if host is not None and (path := defined_by(host, component)):
                yield _finding(scene, name, host, component, path)


def _finding(scene: Scene, name: str, host: HostView, component: str, path: str) -> Finding:
    own = f"{MANIFESTS}/{component}.yaml"
    there = component in host.manifests
    what = (
        f"Two files on {name} define the static pod {component}, {own} and {path}: kubelet takes every file there, and "
        "which of them it runs is not defined. An edit of the one may have no effect, and the pod may end again and "
        f"again. Cure: `mv {path} /root/`. Until then recoverd moves and writes no manifest of {component} there."
        if there
        else f"The static pod {component} on {name} is defined by {path}, and {own} is not there: kubelet runs it all "
        f"the same, and whoever looks for kubeadm's file, as `kubeadm upgrade` does, finds none. Cure: `mv {path} "
        f"{own}` where it is to run, else `mv {path} /root/`."
    )
    broken = _broken(scene, name, component)
    return Finding(
        Code.MANIFEST_COPY,
        f"{name}:{path}",
        what,
        (f"{name}:{path} defines the pod {component}", f"{name}:{own} {'does as well' if there else 'does not exist'}"),
        severity=Severity.FAULT if broken else Severity.WARNING,
        state=None if not broken else State.ETCD_STUCK if component == "etcd" else State.APISERVER_DOWN,
        facts=ManifestFacts(name, component=component),
    )


def _broken(scene: Scene, name: str, component: str) -> bool:
    if component == "etcd":
        return not isinstance(scene.observation.etcd.get(name), EtcdView) and bool(scene.etcd_stopped(name))
    if component == API:
        return scene.endpoint_health(name) in (EndpointHealth.REFUSED, EndpointHealth.ERROR, EndpointHealth.NOT_READY)
    container = scene.container(name, component)
    return container is not None and not container.running
