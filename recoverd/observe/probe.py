"""One address of an API server: does it answer, is it ready, and if not, what exactly came back."""

from __future__ import annotations

import asyncio
import errno
import re
import ssl
from dataclasses import replace
from datetime import datetime

import aiohttp
from cryptography import x509

from recoverd.clients.own import own_failure
from recoverd.model.observation import EndpointHealth, EndpointView
from recoverd.model.places import authority
from recoverd.observe.kubeconfig import Access

CONNECT_SHARE = 0.6
"""Share of the deadline within which the TCP connection and TLS must stand; later
there is nobody, not somebody slow.
"""
BODY = 64 << 10


async def probe(
    access: Access, address: str, port: int, *, seconds: float, dial: tuple[str, int] | None = None, named: str = ""
) -> EndpointView:
    """Ask `https://address:port/readyz?verbose` within `seconds`. Never raises for what comes back.

    `dial` is another place to connect to for the same thing (a tunnel); `named` is the name in the
    certificate when it is not `address`.
    """
    shown = authority(address, port)
    host, to = dial or (address, port)
    until = asyncio.get_running_loop().time() + seconds
    timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=seconds * CONNECT_SHARE)
    try:
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=access.tls, force_close=True),
            timeout=timeout,
            headers=access.headers,
            trust_env=False,
        ) as session:
            base = f"https://{authority(host, to)}"
            async with session.get(
                f"{base}/readyz?verbose", server_hostname=named or address, allow_redirects=False
            ) as response:
                view = _judged(shown, response.status, await _body(response), access)
            if view.health is EndpointHealth.NOT_READY:
                # within what is left of the deadline: what was found out stands, whatever this comes to
                live = await _live(
                    session, f"{base}/livez", named or address, until - asyncio.get_running_loop().time()
                )
                view = replace(view, detail=f"{view.detail}; /livez {live}")
            return view
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
        view = EndpointView(shown, *_failed(error, seconds, access))
        if view.health is EndpointHealth.TLS and "expired" in view.detail:
            view = replace(view, certificate_expires=await _expiry(host, to, until - asyncio.get_running_loop().time()))
        return view


def misnamed(view: EndpointView) -> bool:
    """Whether its certificate is good and does not hold what it was asked by, an address or a name; it may hold only
    the name that the kubeconfig uses.
    """
    return view.health is EndpointHealth.TLS and "mismatch" in view.detail


async def _live(session: aiohttp.ClientSession, url: str, name: str, seconds: float) -> str:
    try:
        async with (
            asyncio.timeout(max(seconds, 0.1)),
            session.get(url, server_hostname=name, allow_redirects=False) as response,
        ):
            return "says ok: the process is alive" if response.status == 200 else f"fails too (HTTP {response.status})"
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        return f"was not answered ({error!r})"


async def _expiry(host: str, port: int, seconds: float) -> datetime | None:
    """Until when the certificate is valid that is shown there; only the handshake is made, nothing is sent
    to who cannot prove who it is.
    """
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(max(seconds, 0.1)):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
        return x509.load_der_x509_certificate(shown).not_valid_after_utc
    except (TimeoutError, OSError, ValueError, TypeError):
        return None


async def _body(response: aiohttp.ClientResponse) -> str:
    body = b""
    async for part in response.content.iter_any():
        body += part
        if len(body) > BODY:
            break
    return body.decode(errors="replace")


def _judged(address: str, status: int, body: str, access: Access) -> EndpointView:
    failing = tuple(re.findall(r"^\[-\](\S+) failed", body, re.MULTILINE))
    if status == 200 and ("check passed" in body or body.strip() == "ok"):
        return EndpointView(address, EndpointHealth.READY, "ok")
    if failing or "check failed" in body:
        return EndpointView(
            address, EndpointHealth.NOT_READY, f"/readyz fails: {', '.join(failing) or 'no check is named'}", failing
        )
    first = " ".join(body.split())[:200]
    if status == 401 and (expired := access.expired()):
        return EndpointView(address, EndpointHealth.NOT_TRIED, expired)
    if status in (401, 403):
        said = (
            f"HTTP {status} to /readyz: the credentials in the kubeconfig are not accepted, so whether it is "
            f"ready cannot be told ({first})"
        )
        return EndpointView(address, EndpointHealth.ERROR, said)
    return EndpointView(
        address, EndpointHealth.ERROR, f"HTTP {status} to /readyz, and not from an API server that is ready: {first!r}"
    )


def _failed(error: Exception, seconds: float, access: Access) -> tuple[EndpointHealth, str]:
    root = _root(error)
    if own := own_failure(error):
        return EndpointHealth.NOT_TRIED, own
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return EndpointHealth.UNRESOLVED, f"the name does not resolve: {error.os_error.strerror or error}"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return EndpointHealth.UNREACHABLE, f"no connection within {seconds * CONNECT_SHARE:.1f} s"
    if isinstance(error, TimeoutError):
        return EndpointHealth.TIMEOUT, f"connected, and no answer within {seconds:g} s"
    if isinstance(root, ssl.SSLCertVerificationError):
        return EndpointHealth.TLS, f"its certificate does not verify: {root.verify_message}"
    if isinstance(root, ssl.SSLError) and not isinstance(root, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        if root.reason and "ALERT" in root.reason:
            if expired := access.expired():
                return EndpointHealth.NOT_TRIED, expired
            return (
                EndpointHealth.TLS,
                f"it refused the client certificate of the kubeconfig, or TLS failed otherwise: {root.reason}",
            )
        return EndpointHealth.ERROR, f"what answers does not speak TLS: {root.reason}"
    if isinstance(root, OSError) and root.errno == errno.ECONNREFUSED:
        return EndpointHealth.REFUSED, "connection refused: nothing listens there"
    if isinstance(root, OSError) and root.errno in (
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ETIMEDOUT,
        errno.EHOSTDOWN,
    ):
        return EndpointHealth.UNREACHABLE, f"{root.strerror}"
    return (
        EndpointHealth.ERROR,
        f"accepted the connection and gave no answer of an API server ({_root(error) or error!r})",
    )


def _root(error: BaseException) -> BaseException:
    """What aiohttp's error was made of."""
    while below := getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error.__cause__:
        error = below
    return error
