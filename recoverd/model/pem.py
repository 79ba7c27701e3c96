"""Certificates as files hold them: read from PEM, and what each says of itself. Pure; every X.509 question
is `cryptography`'s to answer.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509


@dataclass(frozen=True, slots=True)
class Description:
    """What identifies a certificate to a person: names as RFC 4514 writes them, the serial number in hexadecimal."""

    subject: str
    issuer: str
    serial: str
    not_before: datetime
    not_after: datetime


def load(pem: bytes) -> list[x509.Certificate]:
    """Every certificate in the text, in its order, at least one. Raises `ValueError` for what is none."""
    with _any_serial():
        return x509.load_pem_x509_certificates(pem)


def describe(certificate: x509.Certificate) -> Description:
    with _any_serial():
        serial = f"{certificate.serial_number:x}"
    return Description(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        serial=serial,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


@contextmanager
def _any_serial() -> Iterator[None]:
    """Without the warning about the serial number 0, which kubeadm's CAs have."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
