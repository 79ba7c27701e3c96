"""The credentials of a kubeconfig, as an API server's address and a TLS context; read by the official client,
which knows every kind of them.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from cryptography import x509
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import load_kube_config
from kubernetes.aio.config.config_exception import ConfigException

from recoverd.config.kubeconfigs import SOON

READ_SECONDS = 3.0
"""A kubeconfig may name a program that makes the credentials."""


class KubeconfigError(Exception):
    """The kubeconfig cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Access:
    """How the API server is spoken to."""

    server: str
    """URL in the kubeconfig, as `https://k8s-api:6443`."""
    host: str
    port: int
    tls: ssl.SSLContext
    headers: dict[str, str]
    configuration: Configuration
    """The same for the official client."""
    expires: datetime | None = None
    """When the client certificate expires; None where it has none, or that cannot be told."""

    def expired(self) -> str:
        """That the client certificate is expired by this machine's clock, with what to do; ""
        when it is not, or nobody knows.
        """
        if self.expires is None or self.expires > datetime.now(UTC):
            return ""
        return (
            f"the client certificate in the kubeconfig for {self.server} expired at "
            f"{self.expires:%Y-%m-%d %H:%M} UTC: make a new one there "
            "(kubeadm kubeconfig user), and see that this machine's clock is right"
        )

    def expiring(self, now: datetime | None = None) -> str:
        """That the client certificate is expired or soon will be, by this machine's clock, with what to do; "" when it
        is good for longer, or nobody knows. It is told as long before as `check-config` does.
        """
        left = self.expires - (now or datetime.now(UTC)) if self.expires else SOON
        if left >= SOON or self.expires is None:
            return ""
        return self.expired() or (
            f"the client certificate in the kubeconfig for {self.server} expires at {self.expires:%Y-%m-%d %H:%M} UTC, "
            f"in {left.days} days, and then the API server is not seen any more: make a new one there (kubeadm "
            "kubeconfig user)"
        )


async def read_access(path: Path) -> Access:
    """Read the kubeconfig anew: its credentials may have been renewed. Raises `KubeconfigError`."""
    configuration = Configuration()
    try:
        async with asyncio.timeout(READ_SECONDS):
            await load_kube_config(  # type: ignore[no-untyped-call]
                config_file=str(path), client_configuration=configuration, persist_config=False
            )
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        # kubeadm's CAs of older versions lack what RFC 5280 asks for since OpenSSL is strict by default in Python 3.13
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, configuration.key_file)
        if not configuration.verify_ssl:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        url = urlsplit(configuration.host)
        if not url.hostname:
            raise KubeconfigError(f"{path} names no server")
        given = (await configuration.auth_settings()).get("BearerToken")
        headers = {str(given["key"]): str(given["value"])} if given and given.get("value") else {}
        expires = _expiry(configuration.cert_file)
        return Access(
            configuration.host.rstrip("/"), url.hostname, url.port or 443, context, headers, configuration, expires
        )
    except TimeoutError:
        raise KubeconfigError(
            f"{path} cannot be used: the program that it names for its credentials did not end "
            f"within {READ_SECONDS:g} s"
        ) from None
    except (KeyError, TypeError, AttributeError) as error:  # the official client trusts the shape of what it reads
        raise KubeconfigError(f"{path} cannot be used: it is no kubeconfig, or a part of one is missing") from error
    except (ConfigException, yaml.YAMLError, OSError, ValueError, ssl.SSLError) as error:
        raise KubeconfigError(f"{path} cannot be used: {' '.join(str(error).split())}") from error


def _expiry(certificate: str | None) -> datetime | None:
    try:
        return (
            x509.load_pem_x509_certificate(Path(certificate).read_bytes()).not_valid_after_utc if certificate else None
        )
    except (OSError, ValueError):
        return None
