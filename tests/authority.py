"""A certificate authority for the servers that tests start."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


class Authority:
    """A certificate authority that writes PEM pairs, NAME.crt and NAME.key, into one directory."""

    def __init__(self, directory: Path, name: str = "etcd-ca") -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(True, None), True)
            .sign(self._key, hashes.SHA256())
        )
        self._write("ca", certificate, self._key)

    def issue(
        self,
        name: str,
        *,
        days: float = 365,
        addresses: Sequence[str] = ("127.0.0.1",),
        names: Sequence[str] = ("localhost",),
    ) -> None:
        """A certificate for the names and the addresses, of server and client use; expired where `days` is negative."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        all_names = x509.SubjectAlternativeName(
            [*map(x509.DNSName, names), *(x509.IPAddress(ipaddress.ip_address(a)) for a in addresses)]
        )
        uses = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = self._builder(subject, key, days).add_extension(all_names, False).add_extension(uses, False)
        self._write(name, builder.sign(self._key, hashes.SHA256()), key)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: float = 365
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        until = now + datetime.timedelta(days=days)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key.public_key())
        return (
            builder.serial_number(x509.random_serial_number())
            .not_valid_before(min(now, until) - datetime.timedelta(hours=1))
            .not_valid_after(until)
        )

    def _write(self, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        pem, pkcs8, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (self.directory / f"{name}.crt").write_bytes(certificate.public_bytes(pem))
        (self.directory / f"{name}.key").write_bytes(key.private_bytes(pem, pkcs8, plain))
