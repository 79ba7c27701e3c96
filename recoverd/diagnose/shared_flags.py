"""Flags that all API servers must have in common, and have not. Pure.

Each works by itself, and behind one address what comes of a request depends on which of them is asked: as where the
range of services was changed in one manifest, and a service is made by the one and refused by the next ("the provided
range does not match the current range", kubernetes/kubernetes pkg/registry/core/service/allocator), or where a control
plane was joined after kubeadm-config had lost what people had added to the manifests by hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from recoverd.diagnose.scene import API, Scene
from recoverd.model.catalogue import Code
from recoverd.model.facts import Facts
from recoverd.model.finding import Finding, Severity
from recoverd.model.observation import EndpointHealth
from recoverd.model.places import flag, registry_of

LASTS = 600.0
"""Seconds for which the manifests must have stood: who changes a flag does so on one control plane after the other."""
ISSUER = "--service-account-issuer"
TOKENS = "tokens of service accounts that one of them has made are refused by the others"
GRANTS = "what somebody may do depends on which of them is asked"
LOGIN = "who is let in depends on which of them is asked"
ADMITS = "what is admitted, and what is added to it, depends on which of them is asked"
COMMON = {
    "--service-cluster-ip-range": "which address a new service gets, and whether it can be made at all, depends on "
    "which of them is asked",
    "--service-node-port-range": "which port of the nodes a new service gets depends on which of them is asked",
    "--etcd-prefix": "each has objects of its own, which the others do not know",
    ISSUER: TOKENS,
    "--api-audiences": TOKENS,
    "--authorization-mode": GRANTS,
    "--authorization-config": GRANTS,
    "--oidc-issuer-url": LOGIN,
    "--oidc-client-id": LOGIN,
    "--enable-admission-plugins": ADMITS,
    "--disable-admission-plugins": ADMITS,
}
"""What comes of it where they differ."""
DEFAULTS = {"--service-node-port-range": "30000-32767", "--authorization-mode": "AlwaysAllow"}
"""The API server's own, so that one who writes it out has not another value."""


def findings(scene: Scene) -> Iterator[Finding]:
    texts = {name: text for name in scene.parts if (text := _settled(scene, name))}
    odd = dict[str, list[str]]()
    for name in COMMON:
        given = _given(name, texts)
        usual = Counter(given.values()).most_common(1)
        for host in (h for h, value in given.items() if value != usual[0][0]):
            odd.setdefault(host, []).append(name)
    for host, names in odd.items():
        differs = "; ".join(f"{name} ({COMMON[name]})" for name in names)
        yield Finding(
            Code.API_FLAGS_DIFFER,
            host,
            f"The API server on {host} works and is given other flags than most of the others: {differs}. Cure: which "
            "is right a person knows; put it into the manifests of all (/etc/kubernetes/manifests), one after the "
            "other, and into kubeadm-config, by which later upgrades and joins go.",
            tuple(f"{name}: {_told(_given(name, texts))}" for name in names),
            severity=Severity.WARNING,
            facts=Facts(host),
        )


def _given(name: str, texts: Mapping[str, str]) -> dict[str, str]:
    """The value of a flag by machine. Of several issuers none: so one is changed without refusing anybody."""
    if name == ISSUER and any(text.count(f"{ISSUER}=") > 1 for text in texts.values()):
        return {}
    read = _read(name)
    return {host: read(text) for host, text in texts.items()}


def _told(given: Mapping[str, str]) -> str:
    return ", ".join(f"{host}: {value or 'not given'}" for host, value in given.items())


def _settled(scene: Scene, name: str) -> str:
    """The manifest with which the API server there is ready, and has been for a while; "" where none is."""
    host = scene.host(name)
    manifest = host.manifests.get(API) if host else None
    if manifest is None or manifest.problem or scene.endpoint_health(name) is not EndpointHealth.READY:
        return ""
    age = scene.age(manifest.modified_at)
    return manifest.content if age is None or age >= LASTS else ""


def _read(name: str) -> Callable[[str], str]:
    """How the value is read of a manifest; the order of plugins says nothing."""
    if name == "--etcd-prefix":
        return registry_of
    if name.endswith("-admission-plugins"):
        return lambda text: ",".join(sorted(filter(None, flag(text, name).split(","))))
    return lambda text: flag(text, name) or DEFAULTS.get(name, "")
