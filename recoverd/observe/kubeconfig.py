"""The credentials of a kubeconfig, as an API server's address and a TLS context; read by the official client, which knows every kind of them."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import load_kube_config
from kubernetes.aio.config.config_exception import ConfigException

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
        return Access(configuration.host.rstrip("/"), url.hostname, url.port or 443, context, headers, configuration)
    except TimeoutError:
        raise KubeconfigError(f"{path} cannot be used: the program that it names for its credentials did not end within {READ_SECONDS:g} s") from None
    except (ConfigException, yaml.YAMLError, OSError, ValueError, KeyError, TypeError, AttributeError, ssl.SSLError) as error:
        raise KubeconfigError(f"{path} cannot be used: {' '.join(str(error).split())}") from error
