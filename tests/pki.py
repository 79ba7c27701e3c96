"""Certificates that kubeadm made, signed once more by their own real CA with other dates, or by another
CA, in a copy of /etc/kubernetes.
"""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from recoverd.model.pem import load as load_all


def leaves(kubernetes: Path) -> list[Path]:
    """Leaf certificates and kubeconfigs with an embedded one."""
    files = [
        p for p in (*kubernetes.glob("pki/*.crt"), *kubernetes.glob("pki/etcd/*.crt")) if not p.name.endswith("ca.crt")
    ]
    return [*files, *(p for p in kubernetes.glob("*.conf") if "client-certificate-data" in p.read_text())]


def reissue(kubernetes: Path, *files: Path, days: float) -> list[Path]:
    """Give these certificates (default: all leaves) other dates: over after so many days, which may be
    negative. Returns what was changed.
    """
    changed = list(files or leaves(kubernetes))
    for file in changed:
        text = file.read_text()
        if file.suffix == ".conf":
            old = base64.b64decode(re.search(r"client-certificate-data: (\S+)", text)[1])  # type: ignore[index]
            new = base64.b64encode(signed_anew(kubernetes, file, old, days)).decode()
            file.write_text(re.sub(r"(client-certificate-data:) \S+", rf"\1 {new}", text))
        else:
            key = text[text.index("-----BEGIN EC PRIVATE") :] if "-----BEGIN EC PRIVATE" in text else ""
            file.write_text(signed_anew(kubernetes, file, text.encode(), days).decode() + key)
    return changed


def signed_anew(kubernetes: Path, file: Path, pem: bytes, days: float) -> bytes:
    """The same certificate, of the same key, by the CA that kubeadm has sign it."""
    old = load(pem)
    of_etcd = file.parent.name == "etcd" or file.name == "apiserver-etcd-client.crt"
    name = "etcd/ca" if of_etcd else "front-proxy-ca" if file.name.startswith("front-proxy") else "ca"
    authority = load((kubernetes / f"pki/{name}.crt").read_bytes())
    key = serialization.load_pem_private_key((kubernetes / f"pki/{name}.key").read_bytes(), None)
    until = datetime.now(UTC) + timedelta(days=days)
    begin = min(until, datetime.now(UTC)) - timedelta(days=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(authority.subject)
        .public_key(old.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(until)
    )
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)  # type: ignore[arg-type]


def load(pem: bytes) -> x509.Certificate:
    return load_all(pem)[0]
