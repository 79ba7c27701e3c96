"""Machines: kubelet and container runtime, certificates, clock and disk; and control planes that are not part of the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import PurePosixPath

from recoverd.diagnose.scene import API, Scene
from recoverd.model.finding import Code, Finding, Severity, State
from recoverd.model.observation import CertificateView, EndpointHealth, HostView, UnitView

SOON = timedelta(days=14)
RUNTIMES = ("containerd", "docker", "crio")
KUBELET_CLIENT = "kubelet-client-current.pem"
ADMINS = ("admin.conf", "super-admin.conf")
"""Kubeconfigs of people: their expiry stops nobody but them."""


def findings(scene: Scene) -> Iterator[Finding]:
    for name in scene.control_plane_names:
        host = scene.host(name)
        if name not in scene.parts:
            yield _not_joined(scene, name)
        elif host is not None:
            yield from _services(scene, name, host, Severity.FAULT)
            yield from _certificates(scene, name, host, Severity.FAULT)
        else:
            yield from _endpoint_certificate(scene, name)
    for worker in scene.workers:
        host = scene.host(worker.name)
        if host is not None and host.joined:
            yield from _services(scene, worker.name, host, Severity.NOTICE)
            yield from _certificates(scene, worker.name, host, Severity.NOTICE)
    for name in scene.addresses:
        if (host := scene.host(name)) is not None:
            yield from _clock(scene, name, host)
            yield from _disks(name, host)


def _services(scene: Scene, name: str, host: HostView, severity: Severity) -> Iterator[Finding]:
    if not host.joined:
        return
    state = State.APISERVER_DOWN if severity is Severity.FAULT else None
    runtimes = (host.runtime,) if host.runtime else RUNTIMES
    for code, units in ((Code.RUNTIME_DOWN, runtimes), (Code.KUBELET_DOWN, ("kubelet",))):
        for unit in (host.units[u] for u in units if u in host.units):
            if unit.active in ("active", "reloading") or _starting(scene, name, unit):
                continue
            effect = "static pods that stop are not started again" if code == Code.KUBELET_DOWN else "no container can be started"
            yield Finding(
                code,
                name,
                f"{unit.name} on {name} is not running ({unit.active}, {unit.sub or unit.result}): {effect}.",
                (_unit_line(scene, name, unit), *_consequence(scene, name)),
                severity=severity,
                state=state,
                facts={"host": name, "unit": unit.name},
            )


def _starting(scene: Scene, name: str, unit: UnitView) -> bool:
    """A unit on its way up after a boot; `auto-restart` is one that failed."""
    return unit.active == "activating" and unit.sub != "auto-restart" and scene.settling(name)


def _unit_line(scene: Scene, name: str, unit: UnitView) -> str:
    age = scene.age(unit.since)
    since = f" since {unit.since:%Y-%m-%d %H:%M:%S} UTC, {age:.0f} s ago" if unit.since and age is not None else ""
    load = "" if unit.load == "loaded" else f", {unit.load}"
    return f"{name}: systemctl show {unit.name}: {unit.active} ({unit.sub}{load}), result {unit.result or 'none'}{since}, {unit.restarts} restarts"


def _consequence(scene: Scene, name: str) -> tuple[str, ...]:
    endpoint = scene.endpoint(name)
    return (f"API server at {endpoint.address}: {endpoint.health}",) if endpoint else ()


def _matters(certificate: CertificateView, host: HostView, *, worker: bool) -> bool:
    """Certificates that the cluster itself uses. kubelet.conf may keep an embedded one that rotation has left behind (kubeadm before 1.17)."""
    name = PurePosixPath(certificate.path).name
    if name == "kubelet.conf":
        return not any(c.path.endswith(KUBELET_CLIENT) for c in host.certificates)
    return not worker or name == KUBELET_CLIENT or certificate.is_ca


def _certificates(scene: Scene, name: str, host: HostView, severity: Severity) -> Iterator[Finding]:
    # a host whose clock is off, or a bastion whose clock is off, must not make a certificate expire: both have to say so
    now = min(scene.now, scene.now + timedelta(seconds=host.clock_offset))
    for certificate in host.certificates:
        if not _matters(certificate, host, worker=severity is Severity.NOTICE):
            continue
        admin = PurePosixPath(certificate.path).name in ADMINS
        if certificate.not_after < now:
            yield _expired(name, certificate, Severity.NOTICE if admin else severity)
        elif certificate.not_after < scene.now + SOON and not certificate.is_ca:
            left = (certificate.not_after - scene.now).total_seconds() / 86400
            yield Finding(
                Code.CERTIFICATE_EXPIRES_SOON,
                f"{name}:{certificate.path}",
                f"The certificate {certificate.path} on {name} expires in {max(left, 0):.1f} days.",
                (_certificate_line(name, certificate),),
                severity=Severity.NOTICE,
                facts={"host": name, "path": certificate.path, "not_after": certificate.not_after.isoformat()},
            )


def _certificate_line(name: str, certificate: CertificateView) -> str:
    until = f"valid until {certificate.not_after:%Y-%m-%d %H:%M:%S} UTC"
    return f"{name}:{certificate.path}: subject {certificate.subject}, issuer {certificate.issuer}, {until}"


def _expired(name: str, certificate: CertificateView, severity: Severity) -> Finding:
    of_etcd = "/etcd/" in certificate.path
    kind = "CA certificate (renewing the others does not help)" if certificate.is_ca else "certificate"
    return Finding(
        Code.CERTIFICATE_EXPIRED,
        f"{name}:{certificate.path}",
        f"The {kind} {certificate.path} on {name} expired on {certificate.not_after:%Y-%m-%d %H:%M} UTC.",
        (_certificate_line(name, certificate),),
        severity=severity,
        state=None if severity is Severity.NOTICE else State.ETCD_STUCK if of_etcd else State.APISERVER_DOWN,
        facts={"host": name, "path": certificate.path, "not_after": certificate.not_after.isoformat(), "ca": "yes" if certificate.is_ca else "no"},
    )


def _endpoint_certificate(scene: Scene, name: str) -> Iterator[Finding]:
    """The machine cannot be looked at, but its API server shows an expired certificate."""
    endpoint = scene.endpoint(name)
    expires: datetime | None = endpoint.certificate_expires if endpoint else None
    if endpoint is None or expires is None or expires >= scene.now or endpoint.health is not EndpointHealth.TLS:
        return
    path = "/etc/kubernetes/pki/apiserver.crt"
    yield Finding(
        Code.CERTIFICATE_EXPIRED,
        f"{name}:{path}",
        f"The API server on {name} shows a certificate that expired on {expires:%Y-%m-%d %H:%M} UTC.",
        (f"https://{endpoint.address}: {endpoint.detail or 'expired certificate'}",),
        state=State.APISERVER_DOWN,
        facts={"host": name, "path": path, "not_after": expires.isoformat(), "ca": "no"},
    )


def _not_joined(scene: Scene, name: str) -> Finding:
    host, membership = scene.host(name), scene.membership
    entry = membership.entry_of(name)
    if host is not None and not host.joined:
        why = "kubeadm has not made it a node (no /etc/kubernetes/kubelet.conf)"
    elif membership.known and entry is None:
        why = "its etcd is not a member of the cluster: it was removed, or never joined"
    elif entry is not None and (entry.learner or not entry.started):
        why = "its etcd is in the member list and has not become a voter that serves"
    elif host is None:
        why = "it cannot be looked at and was never seen working"
    else:
        why = f"its {API} was never seen working; it may just be joining"
    return Finding(
        Code.NOT_JOINED,
        name,
        f"{name} is configured as a control plane and is not a working part of the cluster: {why}. What fails on it is not counted as a fault.",
        (f"member list as {membership.source} gives it: {', '.join(membership.label(e) for e in membership.entries)}",) if membership.known else (),
        severity=Severity.NOTICE,
    )


def _clock(scene: Scene, name: str, host: HostView) -> Iterator[Finding]:
    limit = scene.settings.bounds.max_clock_skew
    if abs(host.clock_offset) > limit:
        side = "ahead of" if host.clock_offset > 0 else "behind"
        yield Finding(
            Code.CLOCK_SKEW,
            name,
            f"The clock of {name} is {abs(host.clock_offset):.1f} s {side} the bastion's; look at its time synchronisation.",
            (f"{name}: clock offset {host.clock_offset:+.3f} s, allowed {limit:g} s",),
            severity=Severity.NOTICE,
        )


def _disks(name: str, host: HostView) -> Iterator[Finding]:
    for disk in host.disks:
        if disk.total > 0 and (disk.free < 0.1 * disk.total or disk.free < 1 << 30):
            yield Finding(
                Code.DISK_LOW,
                f"{name}:{disk.path}",
                f"{disk.path} on {name} has {disk.free / (1 << 30):.1f} GiB free of {disk.total / (1 << 30):.1f}.",
                (f"{name}:{disk.path}: {disk.free} of {disk.total} bytes free ({disk.free / disk.total:.0%})",),
                severity=Severity.NOTICE,
            )
