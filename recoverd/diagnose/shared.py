"""What all control planes must have in common, and does not: CAs and the key of service accounts. Pure.

A control plane that was joined with keys of its own, as where pki was not copied or was made anew, works, and so do the
others: each by itself. Behind one address a pod's token is accepted by the one API server and refused by the next
(kubernetes/kubernetes #110035, #35849), which nothing else shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from recoverd.diagnose.scene import API, Scene
from recoverd.model.catalogue import Code
from recoverd.model.facts import FileFacts
from recoverd.model.finding import Finding, Severity
from recoverd.model.memory import ACCOUNTS_KEY, KUBERNETES
from recoverd.model.observation import HostView

AUTHORITIES = {
    f"{KUBERNETES}/pki/ca.crt": "whoever trusts the one refuses what the other has signed",
    f"{KUBERNETES}/pki/etcd/ca.crt": "members and API servers of the one refuse those of the other",
    f"{KUBERNETES}/pki/front-proxy-ca.crt": "extension API servers refuse what one of the API servers passes on to "
    "them",
}
TOKENS = (
    "tokens of service accounts that one of them has signed are refused by the others, at random behind one address"
)
SEVERAL = 2
"""Files of --service-account-key-file from which on an API server accepts the tokens of another key as well."""


def findings(scene: Scene) -> Iterator[Finding]:
    hosts = {name: host for name in scene.parts if (host := scene.host(name)) is not None and host.pki is not None}
    if not any(_accepts_others(host) for host in hosts.values()):
        yield from _differing(scene, hosts, ACCOUNTS_KEY, TOKENS)
    for path, effect in AUTHORITIES.items():
        yield from _differing(scene, hosts, path, effect)


def _differing(scene: Scene, hosts: dict[str, HostView], path: str, effect: str) -> Iterator[Finding]:
    """Of each that has another one than most, or than the first where there is no most; not where it was replaced
    since all was well, which is found of that machine alone.
    """
    held = {name: keys for name, host in hosts.items() if (keys := _held(host, path))}
    if any(_replaced(scene, name, path, keys) for name, keys in held.items()):
        return
    common = Counter(keys for keys in held.values()).most_common(1)
    for name, keys in held.items():
        if not keys & common[0][0]:
            others = ", ".join(n for n, k in held.items() if k & common[0][0])
            yield Finding(
                Code.PKI_DIFFERS,
                f"{name}:{path}",
                f"{path} on {name} is another than on {others}: {effect}. Cure: which is right is that of most, or "
                f"that with which the cluster was made; copy it (with its .key and .pub) to {name}, make there anew "
                "what it has to sign, and restart the static pods.",
                tuple(f"{n}:{path}: key sha256 {sorted(k)[0][:16]}" for n, k in held.items()),
                severity=Severity.WARNING,
                facts=FileFacts(name),
            )


def _held(host: HostView, path: str) -> frozenset[str]:
    """The keys in a file, by their digests; none where they were not seen."""
    assert host.pki is not None
    if path == ACCOUNTS_KEY:
        return frozenset(filter(None, [host.pki.keys.get(path, "")]))
    return frozenset(host.pki.authorities.get(path, ()))


def _replaced(scene: Scene, name: str, path: str, keys: frozenset[str]) -> bool:
    known = scene.memory.pki.get(name)
    if known is None:
        return False
    before = {known.accounts} - {""} if path == ACCOUNTS_KEY else set(known.authorities.get(path, ()))
    return bool(before) and not keys & before


def _accepts_others(host: HostView) -> bool:
    manifest = host.manifests.get(API)
    return manifest is not None and manifest.content.count("--service-account-key-file=") >= SEVERAL
