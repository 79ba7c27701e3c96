"""The certificates in a look at a machine, and what they say of each other. Pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from recoverd.model.kubeadm import authority_of
from recoverd.model.observation import CertificateView, PkiView
from recoverd.model.pem import describe, load

MACHINES = 1 << 13
"""Of all clusters, whose certificates are kept as they were read: as long as a machine's files stay the same, so does
what they say, and reading them takes a millisecond or more.
"""
SECTIONS = frozenset({"pki-files", "cert", "kubeconfig", "kubeconfig-ca"})
"""Of a look, which tell of certificates."""
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What `cryptography` raises for a certificate that it cannot tell all of, as one on a curve that it does not
know; most are no `ValueError`.
"""


def pki(found: Iterable[tuple[str, str, str]], problems: list[str]) -> tuple[tuple[CertificateView, ...], PkiView]:
    """The certificates, and the key pairs that certificates are judged by. `found` are the
    look's `SECTIONS`: name, path, text.

    A certificate that cannot be read is a line in `problems`; nothing is raised for it, since the rest of the
    look has to be told all the same.
    """
    views, keys, unreadable = _read(tuple(found))
    problems.extend(unreadable)
    return views, keys


@lru_cache(maxsize=MACHINES)
def _read(
    found: tuple[tuple[str, str, str], ...],
) -> tuple[tuple[CertificateView, ...], PkiView, tuple[str, ...]]:
    """The same, with its problems."""
    problems: list[str] = []
    files: dict[str, bytes] = {}
    authorities: dict[str, tuple[str, ...]] = {}
    listed: tuple[str, ...] | None = None
    for name, path, text in found:
        try:
            if name == "pki-files":
                listed = _listed(text)
            elif not text.strip():
                continue
            elif name == "cert":
                files[path] = text.strip().encode()
            elif name == "kubeconfig":
                files[path] = base64.b64decode(text, validate=False).strip()
            elif name == "kubeconfig-ca":
                authorities[path] = _keys(base64.b64decode(text, validate=False))
        except UNREADABLE as error:
            problems.append(f"the certificate in {path} could not be read: {error}")
    views: list[CertificateView] = []
    for path, pem in files.items():
        try:
            view = _certificate(path, pem)
            authority = _authority(path, files) if not view.is_ca else ""
            views.append(_judged(view, pem, authority, files))
            if view.is_ca and path.endswith("ca.crt"):
                authorities[path] = _keys(pem)
        except UNREADABLE as error:
            problems.append(f"the certificate in {path} could not be read: {error}")
    return tuple(views), PkiView(authorities=authorities, listed=listed), tuple(problems)


def _listed(text: str) -> tuple[str, ...] | None:
    """What is there; None where that cannot be told. The first line is whether the
    directory exists, by the system itself.
    """
    there, *names = text.strip().splitlines() or [""]
    return tuple(n.strip() for n in names if n.strip()) if there in ("yes", "no") else None


def _judged(view: CertificateView, pem: bytes, authority: str, files: Mapping[str, bytes]) -> CertificateView:
    signed = _signed(pem, files[authority]) if authority else None
    return replace(view, authority=authority, signed=signed)


def _authority(path: str, files: Mapping[str, bytes]) -> str:
    """The file of the CA that kubeadm has sign this certificate, where it is there; "" for one that
    no CA in place need have signed.
    """
    authority = authority_of(path)
    return next((p for p in files if authority and p.endswith(f"/{authority}")), "")


@lru_cache(maxsize=1024)
def _certificate(path: str, pem: bytes) -> CertificateView:
    certificate = load(pem)[0]
    said = describe(certificate)
    try:
        is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_ca = False
    return CertificateView(
        path=path,
        subject=said.subject,
        issuer=said.issuer,
        not_before=said.not_before,
        not_after=said.not_after,
        is_ca=bool(is_ca),
        sha256=hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
        key=_key(certificate),
        names=_names(certificate),
    )


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return (*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress)))


@lru_cache(maxsize=1024)
def _signed(pem: bytes, authority: bytes) -> bool | None:
    """Whether one of the CAs has signed it, or one of those that come with it in its own file and that they
    have signed. None: cannot be told.
    """
    leaf, *between = load(pem)
    roots = load(authority)
    direct = _issued(leaf, roots)
    if direct is not False or not between:
        return direct
    return any(_issued(leaf, [c]) and _issued(c, roots) for c in between)


def _issued(certificate: x509.Certificate, issuers: Sequence[x509.Certificate]) -> bool | None:
    known = True
    for issuer in issuers:
        try:
            certificate.verify_directly_issued_by(issuer)
            return True
        except UnsupportedAlgorithm:
            known = False
        except (ValueError, TypeError, InvalidSignature):
            continue
    return False if known else None


@lru_cache(maxsize=256)
def _keys(pem: bytes) -> tuple[str, ...]:
    return tuple(_key(c) for c in load(pem))


def _key(certificate: x509.Certificate) -> str:
    """SHA-256 of the public key's DER, as `openssl pkey -pubout -outform DER |
    sha256sum` gives it for the private one.
    """
    return hashlib.sha256(
        certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).hexdigest()
