"""Certificates: those that are over or soon will be, those that do not fit together, and a PKI that was replaced
since the cluster was healthy.

A file proves what the next start of its program will find, not what runs now: so what does not fit is a fault only
where just that is broken which such a file breaks, and otherwise a warning.

Sources: kubeadm's certificate pages; `kubeadm certs renew` never touches a CA, kubelet.conf or the service account key.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

from recoverd.diagnose import words
from recoverd.diagnose.cause import KUBELET
from recoverd.diagnose.nodes import node_of
from recoverd.diagnose.scene import Scene
from recoverd.model.catalogue import Code
from recoverd.model.facts import FileFacts
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.kubeadm import made_by_kubeadm
from recoverd.model.memory import ACCOUNTS_KEY, KUBERNETES, KnownPki
from recoverd.model.observation import CertificateView, EndpointHealth, HostView
from recoverd.model.text import utc

KUBELET_CLIENT = "kubelet-client-current.pem"
KUBELETS_OWN = (KUBELET_CLIENT, "kubelet-server-current.pem", "kubelet.crt")
"""kubelet renews the first two by itself; nobody checks the third unless told to, and kubelet
starts with it when it is over.
"""
KUBELETS = "kubelet.conf"
ADMINS = ("admin.conf", "super-admin.conf")
"""Kubeconfigs of people: their expiry stops nobody but them."""
CONTROLLERS = {"controller-manager.conf": "kube-controller-manager", "scheduler.conf": "kube-scheduler"}
CA_SOON = timedelta(days=90)
"""For a CA, which nothing renews and whose change takes planning."""


def findings(scene: Scene) -> Iterator[Finding]:
    for name in scene.control_plane_names:
        host = scene.host(name)
        if name not in scene.parts:
            continue
        if host is None:
            yield from _endpoint_certificate(scene, name)
            continue
        yield from _expiry(scene, name, host, Severity.FAULT)
        yield from _mismatches(scene, name, host)
        yield from _without_kubeconfig(scene, name, host)
        if known := scene.memory.pki.get(name):
            yield from _changes(scene, name, host, known)
    for worker in scene.workers:
        host = scene.host(worker.name)
        if host is not None and host.joined:
            yield from _expiry(scene, worker.name, host, Severity.NOTICE)
            yield from _mismatches(scene, worker.name, host, worker=True)
            yield from _without_kubeconfig(scene, worker.name, host)


# --- expiry ---


def _matters(certificate: CertificateView, host: HostView, *, worker: bool) -> bool:
    """Certificates that the cluster itself uses. kubelet.conf may keep an embedded one that rotation has
    left behind (kubeadm before 1.17).
    """
    name = _file(certificate.path)
    if name == KUBELETS:
        return not any(c.path.endswith(KUBELET_CLIENT) for c in host.certificates)
    return not worker or name == KUBELET_CLIENT or certificate.is_ca


def _expiry(scene: Scene, name: str, host: HostView, severity: Severity) -> Iterator[Finding]:
    now = _earliest(scene, host)
    lead = timedelta(seconds=scene.settings.maintenance.certificates_before)
    soon, soon_of_ca = now + lead, now + max(lead, CA_SOON)
    for certificate in host.certificates:
        # the dates first: nearly every certificate of every machine is done with by them
        if certificate.not_after >= (soon_of_ca if certificate.is_ca else soon):
            continue
        if not _matters(certificate, host, worker=severity is Severity.NOTICE):
            continue
        file = _file(certificate.path)
        if certificate.not_after < now:
            weak = file in ADMINS or file in KUBELETS_OWN[1:] or not made_by_kubeadm(certificate.path)
            yield _expired(name, certificate, Severity.NOTICE if weak else severity)
        else:
            noticed = (
                severity is Severity.NOTICE
                or certificate.is_ca
                or file in KUBELETS_OWN
                or not made_by_kubeadm(certificate.path)
            )
            yield _soon(now, name, certificate, Severity.NOTICE if noticed else Severity.WARNING)


def _file(path: str) -> str:
    return path.rpartition("/")[2]


def _earliest(scene: Scene, *hosts: HostView) -> datetime:
    """A host whose clock is off, or a bastion whose clock is off, must not make a certificate
    expire: each of them has to say so.
    """
    return min((scene.now, *(scene.now + timedelta(seconds=h.clock_offset) for h in hosts)))


def _line(name: str, certificate: CertificateView) -> str:
    until = f"valid until {utc(certificate.not_after)}"
    return f"{name}:{certificate.path}: subject {certificate.subject}, issuer {certificate.issuer}, {until}"


def _soon(now: datetime, name: str, certificate: CertificateView, severity: Severity) -> Finding:
    left = max((certificate.not_after - now).total_seconds() / 86400, 0)
    what = (
        "CA certificate, which nothing renews by itself and whose change takes planning,"
        if certificate.is_ca
        else "certificate"
    )
    return Finding(
        Code.CERTIFICATE_EXPIRES_SOON,
        f"{name}:{certificate.path}",
        f"The {what} {certificate.path} on {name} expires in {left:.1f} days.",
        (_line(name, certificate),),
        severity=severity,
        facts=FileFacts(name, not_after=certificate.not_after),
    )


def _expired(name: str, certificate: CertificateView, severity: Severity) -> Finding:
    kind = "CA certificate (renewing the others does not help)" if certificate.is_ca else "certificate"
    return Finding(
        Code.CERTIFICATE_EXPIRED,
        f"{name}:{certificate.path}",
        f"The {kind} {certificate.path} on {name} expired on {certificate.not_after:%Y-%m-%d %H:%M} UTC.",
        (_line(name, certificate),),
        severity=severity,
        state=_state(certificate.path, severity),
        facts=FileFacts(name, not_after=certificate.not_after, authority=certificate.is_ca),
    )


def _endpoint_certificate(scene: Scene, name: str) -> Iterator[Finding]:
    """The machine cannot be looked at, but its API server shows an expired certificate."""
    endpoint = scene.endpoint(name)
    expires: datetime | None = endpoint.certificate_expires if endpoint else None
    others = (h for h in scene.observation.hosts.values() if isinstance(h, HostView))
    if (
        endpoint is None
        or expires is None
        or expires >= _earliest(scene, *others)
        or endpoint.health is not EndpointHealth.TLS
    ):
        return
    path = f"{KUBERNETES}/pki/apiserver.crt"
    yield Finding(
        Code.CERTIFICATE_EXPIRED,
        f"{name}:{path}",
        f"The API server on {name} shows a certificate that expired on {expires:%Y-%m-%d %H:%M} UTC.",
        (f"https://{endpoint.address}: {endpoint.detail or 'expired certificate'}",),
        state=State.APISERVER_DOWN,
        facts=FileFacts(name, not_after=expires),
    )


# --- what does not fit together ---


def _mismatches(scene: Scene, name: str, host: HostView, *, worker: bool = False) -> Iterator[Finding]:
    pki = host.pki
    if pki is None:
        return
    certificates = {c.path: c for c in host.certificates}
    for path in dict.fromkeys((*certificates, *pki.authorities)):
        if not made_by_kubeadm(path):
            continue
        certificate = certificates.get(path)
        if not (wrongs := tuple(_wrongs(name, host, path, certificate, worker=worker))):
            continue
        kinds, wrong, evidence = zip(*wrongs, strict=True)
        severity = Severity.NOTICE if worker else _severity(scene, name, path, kinds)
        yield Finding(
            Code.CERTIFICATE_MISMATCH,
            f"{name}:{path}",
            f"{path} on {name} {' and '.join(wrong)}: {_effect(severity)}.",
            evidence,
            severity=severity,
            state=_state(path, severity),
            facts=FileFacts(name, authority=bool(certificate and certificate.is_ca), wrong=frozenset(kinds)),
        )


def _wrongs(
    name: str, host: HostView, path: str, certificate: CertificateView | None, *, worker: bool
) -> Iterator[tuple[str, str, str]]:
    """What does not fit with a file: in a word, in words, and the evidence."""
    assert host.pki is not None
    if certificate and certificate.signed is False and _matters(certificate, host, worker=worker):
        yield "signature", f"was not signed by the CA in place ({certificate.authority})", _line(name, certificate)
    if certificate and certificate.key and (held := host.pki.keys.get(_key_file(path))) not in (None, certificate.key):
        key = _key_file(path)
        what = f"does not belong to its private key ({key})" if held else f"has no key that openssl can read ({key})"
        yield (
            "key",
            what,
            f"public key of {path}: sha256 {certificate.key[:16]}; of its private key: {held[:16] if held else 'none'}",
        )
    if path.endswith(".conf") and path in host.pki.authorities and (why := _trusts_another(path, host)):
        yield "authority", "trusts another CA than the one in place", why


def _key_file(path: str) -> str:
    return f"{path.removesuffix('.crt')}.key" if path.endswith(".crt") else path


def _trusts_another(path: str, host: HostView) -> str:
    """Why a kubeconfig's CA is none of those in place, as a line of evidence; "" when it is one
    of them, or that cannot be told.
    """
    assert host.pki is not None
    place = next((p for p in host.pki.authorities if p.endswith("/pki/ca.crt")), "")
    trusted, there = host.pki.authorities[path], host.pki.authorities.get(place, ())
    if not trusted or not there or set(trusted) & set(there):
        return ""
    return f"CA in {path}: key sha256 {trusted[0][:16]}; {place}: key sha256 {there[0][:16]}"


# --- what was changed since the cluster was healthy ---


def _changes(scene: Scene, name: str, host: HostView, known: KnownPki) -> Iterator[Finding]:
    pki = host.pki
    if pki is None or any("certificate" in p for p in host.problems):
        return
    now = {c.path: c for c in host.certificates}
    made = [c for c in host.certificates if c.path in known.certificates and known.certificates[c.path] != c.sha256]
    story = _story(name, made, known)
    for path, before in known.authorities.items():
        there = pki.authorities.get(path)
        if there and not set(there) & set(before):
            evidence = (
                f"{name}:{path}: key sha256 {there[0][:16]}, made {utc(now[path].not_before)}",
                *story,
            )
            yield _replaced(scene, name, path, f"The CA {path}", f"key sha256 {before[0][:16]}", evidence, known)
    accounts = pki.keys.get(ACCOUNTS_KEY)
    if accounts and known.accounts and accounts != known.accounts:
        evidence = (f"{name}:{ACCOUNTS_KEY}: public key sha256 {accounts[:16]}", *story)
        yield _replaced(
            scene,
            name,
            ACCOUNTS_KEY,
            f"The service account key {ACCOUNTS_KEY}",
            f"public key sha256 {known.accounts[:16]}",
            evidence,
            known,
        )
    listed = pki.listed
    # kubeconfigs of people are often taken away on purpose, and kubelet's is found on every machine
    for path in (p for p in known.files if listed is not None and _file(p) not in (*ADMINS, KUBELETS)):
        if listed is not None and path not in listed and path not in now:
            severity = _severity(scene, name, path, ("missing",))
            yield Finding(
                Code.CERTIFICATE_MISSING,
                f"{name}:{path}",
                f"{path} on {name} is gone: {_effect(severity)}.",
                (
                    f"{name}:{path} does not exist; it was there when recorded at {utc(known.recorded_at)}",
                    *story,
                ),
                severity=severity,
                state=_state(path, severity),
                facts=FileFacts(name),
            )


def _without_kubeconfig(scene: Scene, name: str, host: HostView) -> Iterator[Finding]:
    """Every node of kubeadm's has one, remembered or not. The kubelet that runs has read it, and the next one ends."""
    path = f"{KUBERNETES}/{KUBELETS}"
    if host.pki is None or host.pki.listed is None or KUBELETS in map(_file, host.pki.listed):
        return
    severity = _severity(scene, name, path, ("missing",))
    node = node_of(scene, name)
    yield Finding(
        Code.CERTIFICATE_MISSING,
        f"{name}:{path}",
        f"{path} on {name} is gone: {_effect(severity)}. A kubelet that starts without it ends at once. Cure: put it "
        "back from a backup, or on a control plane `kubeadm kubeconfig user --org system:nodes --client-name "
        f"system:node:{node}` writes one for it.",
        (f"{name}:{path} does not exist; pki/ca.crt beside it and kubelet's config.yaml do",),
        severity=severity,
        state=_state(path, severity, worker=name not in scene.control_plane_names),
        facts=FileFacts(name, node),
    )


def _replaced(
    scene: Scene, name: str, path: str, what: str, before: str, evidence: tuple[str, ...], known: KnownPki
) -> Finding:
    severity = _severity(scene, name, path)
    return Finding(
        Code.PKI_REPLACED,
        f"{name}:{path}",
        f"{what} on {name} is not the one that the cluster was healthy with: {_distrust(path)}.",
        (*evidence, f"known from {utc(known.recorded_at)}: {before}"),
        severity=severity,
        state=_state(path, severity),
        facts=FileFacts(name),
    )


def _distrust(path: str) -> str:
    if path == ACCOUNTS_KEY:
        return "tokens of service accounts that were signed with the old one are not accepted any more"
    if "/etcd/" in path:
        return "members and API servers with certificates of the old one do not talk to those with the new one"
    if "front-proxy" in path:
        return (
            "extension API servers refuse what the API server passes on to them, until they have taken in the new one"
        )
    return "every kubelet, kubeconfig and pod that trusts the old one refuses the API server"


def _story(name: str, made: list[CertificateView], known: KnownPki) -> tuple[str, ...]:
    """How many were made anew, and when: what was done by hand is told by their dates."""
    if not made:
        return ()
    first, last = min(c.not_before for c in made), max(c.not_before for c in made)
    names = ", ".join(_file(c.path) for c in made[:6]) + (" ..." if len(made) > 6 else "")
    return (
        f"{name}: {len(made)} of {len(known.certificates)} certificates are others than before ({names}), valid from "
        f"{utc(first)} to {utc(last)}",
    )


# --- how much it matters ---


def _severity(scene: Scene, name: str, path: str, kinds: Collection[str] = ()) -> Severity:
    """A fault where just that is seen broken which such a file breaks; else a warning of
    what the next start will find.
    """
    return Severity.FAULT if _broken(scene, name, path, kinds) else Severity.WARNING


def _kubelet_ends(scene: Scene, name: str) -> bool:
    """It ends by itself, again and again: where no API server is left, no list of nodes says what came of that."""
    kubelet = host.units.get(KUBELET) if (host := scene.host(name)) else None
    return kubelet is not None and words.fails(scene, kubelet)


def _broken(scene: Scene, name: str, path: str, kinds: Collection[str]) -> bool:
    file, endpoint, node = _file(path), scene.endpoint_health(name), scene.node(name)
    if file in CONTROLLERS:
        container = scene.container(name, CONTROLLERS[file])
        return container is not None and not container.running
    if file in (KUBELET_CLIENT, KUBELETS):
        return (node is not None and not node.ready) or _kubelet_ends(scene, name)
    if file in ADMINS or file == "front-proxy-ca.crt" or path == ACCOUNTS_KEY:
        return False  # every program starts with them
    if "/etcd/" in path or file == "apiserver-etcd-client.crt":
        of_etcd = scene.etcd_views.get(name)
        return endpoint is not EndpointHealth.READY and (of_etcd is None or not of_etcd.healthy)
    if file == "ca.crt":
        return EndpointHealth.TLS in (endpoint, scene.vip.health) or (node is not None and not node.ready)
    # what the API server reads when it starts: it ends at once where a key does not fit or a file is not there
    return endpoint is not EndpointHealth.READY and (file == "apiserver.crt" or bool({"key", "missing"} & set(kinds)))


def _effect(severity: Severity) -> str:
    if severity is Severity.FAULT:
        return "what uses it does not work"
    return "what was started before may still run, and does not start again with it"


def _state(path: str, severity: Severity, *, worker: bool = False) -> State | None:
    if severity is not Severity.FAULT:
        return None
    if worker:
        return State.WORKER_NETWORK_BROKEN
    return State.ETCD_STUCK if "/etcd/" in path else State.APISERVER_DOWN
