"""Making one SSH connection, and saying in the operator's words why it could not be made."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

import asyncssh

from recoverd.clients.own import own_failure
from recoverd.model.observation import Unseen, UnseenKind

if TYPE_CHECKING:
    from recoverd.config import SshSettings

T = TypeVar("T")

KEEPALIVE_SECONDS = 15
"""For which nothing came from a machine, after which it is asked whether it is there. Of a calm worker, which is
looked at every 30 s, more of these cost as much as its looks.
"""
KEEPALIVE_MISSED = 1
"""So many may be unanswered for `KEEPALIVE_SECONDS` before the connection counts as lost: a machine may stand
still that long.
"""

SYN_SENT = 2
"""The kernel's number for a connection that was asked for and not answered (include/net/tcp_states.h)."""
LOGINS = 32
"""Logins of all clusters that are made at once: each takes some milliseconds of this process's time, and hundreds
at once make all of them late.
"""
RETRIES = 16
"""How many of them may be to machines whose newest login came to nothing, so that those
never keep the others waiting.
"""

AES_FIRST = "^aes256-gcm@openssh.com,aes128-gcm@openssh.com"
"""In asyncssh's words: all that it offers, these before the others."""

asyncssh.set_log_level(logging.WARNING)

_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[asyncio.Semaphore, asyncio.Semaphore]] = WeakKeyDictionary()
_read: dict[Path, tuple[tuple[int, int, int], Any]] = {}
"""Keys and known_hosts as they were parsed, by file: what the file was then (time, size, inode), and what was in it."""


@asynccontextmanager
async def turn(failed: bool) -> AsyncIterator[None]:
    """One of the `LOGINS` that may be made at once; where the newest attempt has
    `failed`, also one of the `RETRIES`.
    """
    loop = asyncio.get_running_loop()
    if loop not in _turns:
        _turns[loop] = asyncio.Semaphore(LOGINS), asyncio.Semaphore(RETRIES)
    all_logins, retries = _turns[loop]
    async with retries if failed else nullcontext(), all_logins:
        yield


class HostUnseen(Exception):  # noqa: N818
    """A host, or something behind it, could not be reached over SSH. `sent` is True when a command
    may have run there nevertheless.
    """

    def __init__(self, kind: UnseenKind, reason: str, *, sent: bool = False, sure: bool = False) -> None:
        super().__init__(reason)
        self.unseen = Unseen(kind, reason, sure)
        self.sent = sent


class NothingListens(HostUnseen):
    """The host was asked, and says that it gets no connection to where a tunnel was to lead."""


@dataclass(frozen=True, slots=True)
class Target:
    """One machine to connect to, and how it is named to the operator."""

    name: str
    user: str
    address: str
    port: int
    host_key: str = ""
    """In OpenSSH's format: the only one that is accepted; "": one of the known_hosts file."""

    def __str__(self) -> str:
        return f"{self.name} ({self.address}:{self.port})"


async def dial(
    target: Target, ssh: SshSettings, tunnel: asyncssh.SSHClientConnection | None
) -> asyncssh.SSHClientConnection:
    """Connect within `ssh.connect_timeout` seconds, or raise `HostUnseen`. `tunnel` is a
    live connection to the jump host.
    """
    key, known_hosts = _read_key(target, ssh.key), _trusted(target, ssh.known_hosts)
    via = " through the jump host" if tunnel else ""
    talking = False
    sock: socket.socket | None = None
    tries: list[socket.socket] = []
    try:
        async with asyncio.timeout(ssh.connect_timeout):
            if tunnel is None:
                sock = await _tcp(target, tries)
                talking = True
            connection = await asyncssh.connect(
                target.address,
                target.port,
                tunnel=tunnel or (),
                sock=sock,
                config=None,
                username=target.user,
                client_keys=[key],
                known_hosts=known_hosts,
                agent_path=None,
                preferred_auth="publickey",
                gss_host=None,
                keepalive_interval=KEEPALIVE_SECONDS,
                keepalive_count_max=KEEPALIVE_MISSED,
                login_timeout=0,
                encryption_algs=AES_FIRST if has_aes() else (),
            )
            sock = None
            return connection
    except TimeoutError:
        kind, what = (
            (UnseenKind.TIMEOUT, "accepted the connection but did not complete the SSH login")
            if talking
            else _no_answer(tunnel)
        )
        sure = not talking and any(_asked_in_vain(one) for one in tries)
        raise HostUnseen(kind, f"{target}{via} {what} within {ssh.connect_timeout:g} s", sure=sure) from None
    except (OSError, asyncssh.Error, ValueError) as error:
        raise _classified(target, ssh, via, error) from error
    finally:
        for one in tries:
            one.close()
        if sock is not None:
            sock.close()


@cache
def has_aes(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor has instructions for AES (`aes` among its flags on x86, among its features on ARM): then
    AES-GCM costs a third less than ChaCha20, which is faster without them. False where that cannot be told.
    """
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        return False
    words = (line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features")))
    return "aes" in next(words, [])


def _no_answer(tunnel: asyncssh.SSHClientConnection | None) -> tuple[UnseenKind, str]:
    return UnseenKind.UNREACHABLE, "did not answer" if tunnel else "did not answer the connection attempt"


def _asked_in_vain(sock: socket.socket) -> bool:
    """Whether the kernel has sent the request to connect more than once, and no answer has come (tcp(7), `TCP_INFO`:
    state, state of congestion, retransmits). It sends the second one after a second, whatever else the machine does.
    """
    try:
        state, _, sent_again = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 3)
    except OSError:
        return False
    return state == SYN_SENT and sent_again > 0


async def _tcp(target: Target, tries: list[socket.socket]) -> socket.socket:
    """A connected socket; made apart from the login, so that a machine that is off and one
    whose sshd hangs can be told apart. Those that came to nothing are left open in `tries`, to be asked about.
    """
    loop = asyncio.get_running_loop()
    error: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in await loop.getaddrinfo(
        target.address, target.port, type=socket.SOCK_STREAM
    ):
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        tries.append(sock)
        try:
            await loop.sock_connect(sock, address)
        except OSError as refused:
            error = refused
        else:
            return tries.pop()
    raise error


def _read_key(target: Target, path: Path) -> asyncssh.SSHKey:
    try:
        return _parsed(path, asyncssh.read_private_key)
    except (OSError, ValueError) as error:  # KeyImportError is a ValueError
        raise HostUnseen(
            UnseenKind.OWN,
            f"{target} was not tried: the SSH key {path} cannot be used: {error} (recoverd check-config)",
        ) from error


def _read_known_hosts(target: Target, path: Path) -> asyncssh.SSHKnownHosts:
    try:
        return _parsed(path, asyncssh.read_known_hosts)
    except (OSError, ValueError) as error:
        what = f"{target} was not tried: the known_hosts file {path} cannot be read: {error} (recoverd check-config)"
        raise HostUnseen(UnseenKind.OWN, what) from error


def _parsed(path: Path, read: Callable[[str], T]) -> T:
    """What `read` makes of the file, made once for as long as the file stays the same. Raises
    what `read` raises, and `OSError`.
    """
    about = path.stat()
    stamp = about.st_mtime_ns, about.st_size, about.st_ino
    known = _read.get(path)
    if known is None or known[0] != stamp:
        known = _read[path] = stamp, read(str(path))
    content: T = known[1]
    return content


def _trusted(
    target: Target, path: Path
) -> asyncssh.SSHKnownHosts | tuple[list[asyncssh.SSHKey], list[asyncssh.SSHKey], list[asyncssh.SSHKey]]:
    """Whom to believe to be the target: its own key where one was given, else the file."""
    if not target.host_key:
        return _read_known_hosts(target, path)
    try:
        return [asyncssh.import_public_key(target.host_key)], [], []
    except ValueError as error:
        raise HostUnseen(
            UnseenKind.UNTRUSTED, f"{target} was not tried: its host key that was given is none: {error}"
        ) from error


def _classified(target: Target, ssh: SshSettings, via: str, error: Exception) -> HostUnseen:
    where = f"{target}{via}"
    if own := own_failure(error):
        return HostUnseen(UnseenKind.OWN, f"{where} was not tried: {own}")
    match error:
        case asyncssh.PermissionDenied():
            return HostUnseen(
                UnseenKind.DENIED,
                f"{where} does not let {target.user} in with the key {ssh.key}; put its public part into that "
                "user's authorized_keys there",
            )
        case asyncssh.HostKeyNotVerifiable():
            known = "that was given" if target.host_key else f"in {ssh.known_hosts}"
            what = f"the host key of {where} is not the one {known} ({error.reason})"
            return HostUnseen(
                UnseenKind.UNTRUSTED, f"{what}; if the machine was rebuilt, check its new key and put it there"
            )
        case asyncssh.ChannelOpenError():
            refused = "refused" in error.reason.lower()
            kind = UnseenKind.REFUSED if refused else UnseenKind.UNREACHABLE
            return HostUnseen(kind, f"{where} cannot be connected to: {error.reason}")
        case asyncssh.ConnectionLost():
            what = (
                f"{where} takes connections and closes them before a word of SSH: its sshd is overloaded (MaxStartups)"
            )
            return HostUnseen(
                UnseenKind.GARBAGE, f"{what}, can start no process, or something in between refuses this host"
            )
        case asyncssh.Error():
            return HostUnseen(UnseenKind.GARBAGE, f"the SSH handshake with {where} failed: {error.reason}")
        case ConnectionRefusedError():
            return HostUnseen(UnseenKind.REFUSED, f"{where} refused the connection: no sshd listens there")
        case socket.gaierror():
            return HostUnseen(UnseenKind.UNREACHABLE, f"the address of {where} does not resolve: {error.strerror}")
        case ConnectionError():
            return HostUnseen(UnseenKind.UNREACHABLE, f"{where} closed the connection during the SSH handshake")
        case OSError():
            return HostUnseen(UnseenKind.UNREACHABLE, f"{where} cannot be reached: {error.strerror or error}")
        case _:
            return HostUnseen(UnseenKind.GARBAGE, f"the SSH handshake with {where} failed: {error}")
