"""The client certificate with which etcd on a host is asked: read over SSH, kept in memory only."""

from __future__ import annotations

import asyncio
import os
import ssl

from recoverd.clients.hosts import HostPool, HostUnseen
from recoverd.model.call import Call
from recoverd.model.observation import UnseenKind

PKI = "/etc/kubernetes/pki/etcd"
"""Where kubeadm keeps etcd's certificates."""


def health_check(pki: str) -> tuple[str, str, str]:
    """The files with which kubeadm's own health check asks etcd."""
    return f"{pki}/ca.crt", f"{pki}/healthcheck-client.crt", f"{pki}/healthcheck-client.key"


_SEPARATOR = "---- recoverd: next file ----"


class CredentialsCache:
    """A TLS context of one host's etcd, made once; kubeadm's own health check uses the same certificate."""

    def __init__(self, hosts: HostPool, host: str, files: tuple[str, ...]) -> None:
        """`files` are those of a CA, a certificate and its key there; () where it has none of its own."""
        self._hosts = hosts
        self._host = host
        self._files = files
        self._context: ssl.SSLContext | None = None
        self._lock = asyncio.Lock()

    @property
    def known(self) -> ssl.SSLContext | None:
        """The context as it was made last; None where that was forgotten."""
        return self._context

    def forget(self) -> None:
        """Read the files again the next time: they may have been renewed."""
        self._context = None

    async def get(self, *, timeout: float) -> ssl.SSLContext:  # noqa: ASYNC109
        """The context; raises `HostUnseen` when the files cannot be read or are no certificates."""
        async with self._lock:
            if self._context is None:
                self._context = await self._read(timeout)
            return self._context

    async def _read(self, seconds: float) -> ssl.SSLContext:
        paths = self._files
        if not paths:
            return ssl.create_default_context()
        result = await self._hosts.ask(self._host, Call.of("print_files", _SEPARATOR, *paths), timeout=seconds)
        if result.exit_status != 0:
            reason = result.stderr.strip() or f"exit status {result.exit_status}"
            raise HostUnseen(
                UnseenKind.NOT_TRIED, f"the client certificate for etcd cannot be read on {self._host}: {reason}"
            )
        try:
            authority, certificate, key = result.stdout.split(f"{_SEPARATOR}\n")
            return _context(authority, certificate + key)
        except (ssl.SSLError, ValueError) as error:
            what = f"{', '.join(paths)} on {self._host} do not make a usable client certificate: {error}"
            raise HostUnseen(UnseenKind.NOT_TRIED, what) from error


def _context(authority: str, chain: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority)
    context.verify_flags &= (
        ~ssl.VERIFY_X509_STRICT
    )  # old clusters' certificates lack the key identifiers that Python 3.13 asks for
    # ssl reads a key only from a file; this one has no name on any disk
    file = os.memfd_create("etcd-client", os.MFD_CLOEXEC)
    try:
        os.write(file, chain.encode())
        context.load_cert_chain(f"/proc/self/fd/{file}")
    finally:
        os.close(file)
    return context
