"""Kubeconfigs, as far as a file can be judged without asking anybody: is everything there, is it what it should be, and
for how long.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from recoverd.model import pem

SOON = timedelta(days=30)
MAKE = "config/rbac.yaml says how to make one"


@dataclass(frozen=True, slots=True)
class Entries:
    """What the current context of a kubeconfig names."""

    cluster: Mapping[str, Any]
    user: Mapping[str, Any]

    @property
    def server(self) -> str:
        return str(self.cluster.get("server", ""))


def parse(path: Path, content: bytes) -> Entries:
    """The entries in force. Raises `ValueError` with what is wrong, the path in it."""
    try:
        config = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path} is no kubeconfig")

    def entry(section: str, name: object) -> dict[str, object] | None:
        for each in config.get(section) or []:
            if isinstance(each, dict) and each.get("name") == name:
                inner = each.get(section.rstrip("s"))
                return inner if isinstance(inner, dict) else None
        return None

    current = config.get("current-context")
    context = entry("contexts", current)
    if context is None:
        raise ValueError(f"{path} has no usable current-context ({current!r})")
    cluster, user = entry("clusters", context.get("cluster")), entry("users", context.get("user"))
    if cluster is None or not str(cluster.get("server", "")).startswith("https://"):
        raise ValueError(f"{path}: the cluster {context.get('cluster')!r} of its current-context has no https server")
    if not user:
        raise ValueError(f"{path}: the user {context.get('user')!r} of its current-context has no credentials")
    return Entries(cluster, user)


def _unusable(path: Path, entries: Entries) -> str | None:
    """What is wrong with the certificates and keys that it holds or names, or None."""
    try:
        certificates = _certificates(path, entries.user, "client-certificate")
        _certificates(path, entries.cluster, "certificate-authority")
        key = _material(path, entries.user, "client-key")
    except ValueError as error:
        return f"{path}: {error}"
    if bool(certificates) != bool(key):
        there, lacking = ("client-certificate", "client-key") if certificates else ("client-key", "client-certificate")
        return f"{path}: it has a {there} and no {lacking}; {MAKE}"
    if key and certificates:
        return _mismatch(path, certificates[0], key)
    return None


def doubts(path: Path, entries: Entries, now: datetime | None = None) -> Iterator[str]:
    """Why it cannot be used, or not for long, or not when it matters. None of it keeps the daemon from starting: etcd
    and the machines are watched without it, and it may be put right meanwhile.
    """
    now = now or datetime.now(UTC)
    yield from _ways_round(path, entries)
    if problem := _unusable(path, entries):
        yield f"{problem}; as it is, the API server cannot be asked"
        return
    certificates = _certificates(path, entries.user, "client-certificate")
    if not certificates:
        yield (
            f"{path} has no client certificate: an API server that has lost etcd accepts no token, just when it "
            f"matters; {MAKE}"
        )
        return
    until = certificates[0].not_valid_after_utc
    if until <= now:
        yield f"the client certificate in {path} expired on {until:%Y-%m-%d}: the API server is not seen; {MAKE} anew"
    elif until - now < SOON:
        yield f"the client certificate in {path} expires on {until:%Y-%m-%d}, in {(until - now).days} days; {MAKE} anew"


def _ways_round(path: Path, entries: Entries) -> Iterator[str]:
    """What is between it and the API server, which recoverd does not go through: it asks each one at its own address
    too, and is there for when what lies between does not work.
    """
    url = urlsplit(entries.server)
    if url.path.strip("/"):
        yield (
            f"{path}: {entries.server} is a path behind another server's address (Rancher, a proxy for several "
            f"clusters), and recoverd asks https://{url.netloc} itself, where no API server is; {MAKE}"
        )
    for name in ("proxy-url", "tls-server-name"):
        if entries.cluster.get(name):
            yield f"{path}: {name} is not followed: the API server is asked at {entries.server} directly; {MAKE}"


def _mismatch(path: Path, certificate: x509.Certificate, key: bytes) -> str | None:
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    try:
        private = serialization.load_pem_private_key(key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return f"{path}: its client-key is no private key in PEM without a passphrase; {MAKE}"
    ours, theirs = (k.public_bytes(encoding, form) for k in (private.public_key(), certificate.public_key()))
    return None if ours == theirs else f"{path}: its client-key is not that of its client-certificate; {MAKE}"


def _certificates(path: Path, entry: Mapping[str, Any], name: str) -> list[x509.Certificate]:
    """Those that it holds; [] where there are none. Raises `ValueError`."""
    text = _material(path, entry, name)
    if text is None:
        return []
    try:
        return pem.load(text)
    except ValueError:
        raise ValueError(f"its {name} is no certificate in PEM; {MAKE}") from None


def _material(path: Path, entry: Mapping[str, Any], name: str) -> bytes | None:
    """What stands in it under `NAME-data`, or in the file that it names. Raises `ValueError`."""
    if data := entry.get(f"{name}-data"):
        try:
            return base64.b64decode("".join(str(data).split()), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"its {name}-data is not base64; {MAKE}") from None
    if not (file := entry.get(name)):
        return None
    place = path.parent / Path(str(file)).expanduser()
    try:
        return place.read_bytes()
    except OSError as error:
        raise ValueError(f"its {name} {place} cannot be read: {error.strerror}") from None
