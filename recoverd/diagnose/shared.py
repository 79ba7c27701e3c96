"""What all control planes must have in common, and does not: CAs, the key of service accounts, and files that every API
server is given, as the keys of encryption at rest. Pure.

A control plane that was joined with keys of its own, as where pki was not copied or was made anew, works, and so do the
others: each by itself. Behind one address a pod's token is accepted by the one API server and refused by the next
(kubernetes/kubernetes #110035, #35849), and a secret that the one has written is read by that one alone
(https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/: the file has to be the same on every one), which
nothing else shows. They are compared by their digests: no secret leaves its machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from recoverd.diagnose import shared_flags
from recoverd.diagnose.scene import API, Scene
from recoverd.model.catalogue import Code
from recoverd.model.facts import FileFacts
from recoverd.model.finding import Finding, Severity
from recoverd.model.memory import ACCOUNTS_KEY, KUBERNETES
from recoverd.model.observation import HostView
from recoverd.model.pod_files import ENCRYPTION, named_in

AUTHORITIES = {
    f"{KUBERNETES}/pki/ca.crt": "whoever trusts the one refuses what the other has signed",
    f"{KUBERNETES}/pki/etcd/ca.crt": "members and API servers of the one refuse those of the other",
    f"{KUBERNETES}/pki/front-proxy-ca.crt": "extension API servers refuse what one of the API servers passes on to "
    "them",
}
ACCOUNTS, AUDIT = "--service-account-key-file", "--audit-policy-file"
TOKENS = (
    "tokens of service accounts that one of them has signed are refused by the others, at random behind one address"
)
COMMON = {
    ENCRYPTION: (
        "a secret is read only by an API server that has the key with which it was written, so whether one is read "
        "depends on which API server is asked",
        "all keys on all of them: a new one as the second, every API server started anew, and only then as the first; "
        "one that nobody else has must not be thrown away, since with it secrets may have been written",
    ),
    ACCOUNTS: (
        "an API server refuses the tokens of service accounts whose key it is not given",
        "which is right is that of most, whose sa.key belongs to it; copy that, and have the API server started anew",
    ),
    AUDIT: (
        "what is kept of a request depends on which API server is asked",
        "copy the one that is meant, and have the API server started anew",
    ),
}
"""Flags of an API server whose file has to be the same everywhere: what comes of it where it is not, and what a person
does.
"""
SEVERAL = 2
"""Files of --service-account-key-file from which on an API server accepts the tokens of another key as well."""


def findings(scene: Scene) -> Iterator[Finding]:
    hosts = {name: host for name in scene.parts if (host := scene.host(name)) is not None and host.pki is not None}
    of_tokens: tuple[Finding, ...] = ()
    if not any(_accepts_others(host) for host in hosts.values()):
        of_tokens = tuple(_differing(scene, hosts, ACCOUNTS_KEY, TOKENS))
    yield from of_tokens
    for path, effect in AUTHORITIES.items():
        yield from _differing(scene, hosts, path, effect)
    for flag in COMMON:
        if not (flag == ACCOUNTS and of_tokens):  # the two halves of the same keys
            yield from _other_files(scene, flag)
    yield from shared_flags.findings(scene)


def _other_files(scene: Scene, flag: str) -> Iterator[Finding]:
    """Of each API server that is given another file than most, or none, where all that are given were read."""
    given = {name: _given(host, flag) for name in scene.parts if (host := scene.host(name)) and API in host.manifests}
    held = {name: files for name, files in given.items() if files is not None}
    if flag == ACCOUNTS and any(len(files) >= SEVERAL for files in held.values()):
        return
    common = max(held.values(), key=lambda files: (sum(f == files for f in held.values()), len(files)), default={})
    path = next(iter(common), "")
    effect, cure = COMMON[flag]
    for name, files in held.items() if path else ():
        if set(files.values()) == set(common.values()):
            continue
        others = ", ".join(n for n, f in held.items() if f == common)
        how = (
            f"{next(iter(files))} on {name}, which its API server is given with {flag}, is another than on {others}"
            if files
            else f"The API server on {name} is not given {flag}, as those on {others} are"
        )
        yield Finding(
            Code.POD_FILE_DIFFERS,
            f"{name}:{next(iter(files), path)}",
            f"{how}: {effect}. Cure: {cure}. recoverd copies none from machine to machine.",
            tuple(f"{n}: {flag}: {_told(f)}" for n, f in held.items()),
            severity=Severity.WARNING,
            facts=FileFacts(name),
        )


def _given(host: HostView, flag: str) -> dict[str, str] | None:
    """The files that its API server is given with the flag, with their digests; None where one was not read."""
    paths = [n.path for n in named_in(API, host.manifests[API].content) if n.flag == flag]
    seen = {path: (host.pod_files or {}).get(path) for path in paths}
    digests = {path: view.sha256 for path, view in seen.items() if view and not view.lacking and view.sha256}
    return digests if len(digests) == len(paths) and not host.manifests[API].problem else None


def _told(files: dict[str, str]) -> str:
    return ", ".join(f"{path}: sha256 {digest[:12]}" for path, digest in files.items()) or "not given"


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
