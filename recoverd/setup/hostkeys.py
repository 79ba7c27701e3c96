"""Host keys of machines: fetched over the network, where anybody may have answered, and believed only when an operator
has compared them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import asyncssh

from recoverd.model.places import ip_of

SECONDS = 8.0
"""For one address of one machine."""
AT_ONCE = 16
ALGORITHMS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
"""Of the keys that a machine has, the one that is asked for first."""
FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
KEY_TYPES = ("ssh-", "ecdsa-", "sk-")
KINDS = ("ED25519", "ECDSA", "RSA", "(ED25519)", "(ECDSA)", "(RSA)")


class Verdict(StrEnum):
    KNOWN = "known already"
    ACCEPTED = "accepted"
    UNCOMPARED = "NOT COMPARED YET"
    DIFFERENT = "ANOTHER KEY THAN THE KNOWN ONE"
    UNSEEN = "NOT FETCHED"


@dataclass(frozen=True, slots=True)
class HostKey:
    """What one machine showed, and what is to be thought of it."""

    name: str
    address: str
    """The first of its addresses where an sshd answered; its first one where none did."""
    port: int
    key: str = ""
    """As `ssh-ed25519 AAAA...`; "" where none was fetched."""
    verdict: Verdict = Verdict.UNSEEN
    why: str = ""
    """Where it is known from, or why it was not fetched."""

    @property
    def fingerprint(self) -> str:
        return asyncssh.import_public_key(self.key).get_fingerprint() if self.key else ""

    @property
    def believed(self) -> bool:
        return self.verdict in (Verdict.KNOWN, Verdict.ACCEPTED)

    @property
    def line(self) -> str:
        """As known_hosts has it."""
        return f"{self.address if self.port == 22 else f'[{self.address}]:{self.port}'} {self.key}"


@dataclass(frozen=True, slots=True)
class Subject:
    """A machine whose key is wanted."""

    name: str
    addresses: Sequence[str]


class Comparison:
    """What an operator has seen at the consoles: fingerprints as `ssh-keygen -lf` prints them, public keys, or lines of
    a known_hosts file, in any mixture.

    A line that begins with the name or an address of a machine is of that machine alone; others are of any of them.
    """

    def __init__(self, text: str) -> None:
        """Raises `ValueError`, with the line, for what is none of these."""
        self._fingerprints: list[tuple[str, str]] = []
        hosts: list[str] = []
        for number, line in enumerate(text.splitlines(), 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if found := FINGERPRINT.findall(line):
                whose = "" if words[0].isdigit() or words[0] in (*found, *KINDS) else words[0].rstrip(":")
                self._fingerprints += [(whose, f) for f in found]
            elif words[0].startswith(KEY_TYPES):
                self._fingerprints.append(("", _public(line, number).get_fingerprint()))
            elif words[0].startswith("@") or (len(words) >= 3 and words[1].startswith(KEY_TYPES)):
                hosts.append(line)
            else:
                raise ValueError(
                    f"line {number} is no fingerprint (SHA256:...), public key or line of a known_hosts file"
                )
        self._hosts = KnownHosts("\n".join(hosts))

    def holds(self, seen: HostKey, addresses: Iterable[str]) -> bool:
        """Whether that very key was seen at that machine's console."""
        names = {"", seen.name, *addresses}
        if any(f == seen.fingerprint and whose in names for whose, f in self._fingerprints):
            return True
        return any(seen.key in self._hosts.keys(name, seen.port) for name in (seen.name, *addresses))


class KnownHosts:
    """The text of a known_hosts file."""

    def __init__(self, text: str) -> None:
        """Raises `ValueError` for what is none."""
        self._known = asyncssh.import_known_hosts(text) if text.strip() else None

    def keys(self, address: str, port: int) -> list[str]:
        """The keys of one machine."""
        if self._known is None:
            return []
        trusted = self._known.match(address, ip_of(address), port)[0]
        return [" ".join(k.export_public_key().decode().split()[:2]) for k in trusted]


async def fetch(
    subjects: Sequence[Subject], port: int, tunnel: asyncssh.SSHClientConnection | None = None
) -> list[HostKey]:
    """The host key of each, from the first of its addresses where an sshd answers. Nobody is logged in to."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(subject: Subject) -> HostKey:
        reasons = []
        for address in subject.addresses:
            async with turns:
                key, reason = await _fetched(address, port, tunnel)
            if key:
                return HostKey(subject.name, address, port, key, Verdict.UNCOMPARED)
            reasons.append(f"{address}: {reason}")
        return HostKey(subject.name, subject.addresses[0], port, why="; ".join(reasons))

    return list(await asyncio.gather(*(one(subject) for subject in subjects)))


async def _fetched(address: str, port: int, tunnel: asyncssh.SSHClientConnection | None) -> tuple[str, str]:
    try:
        async with asyncio.timeout(SECONDS):
            key = await asyncssh.get_server_host_key(
                address, port, tunnel=tunnel or (), config=None, server_host_key_algs=list(ALGORITHMS)
            )
    except TimeoutError:
        return "", f"no sshd answered within {SECONDS:g} s"
    except (OSError, asyncssh.Error, ValueError) as error:
        return "", f"{getattr(error, 'reason', '') or getattr(error, 'strerror', '') or error}"
    if key is None:
        return "", "it showed no host key"
    return " ".join(key.export_public_key().decode().split()[:2]), ""


def judge(
    keys: Iterable[HostKey], subjects: Iterable[Subject], known: KnownHosts, compared: Comparison | None
) -> list[HostKey]:
    """Each with its verdict; `known` is what stands in the known_hosts file already."""
    addresses: Mapping[str, Sequence[str]] = {s.name: s.addresses for s in subjects}
    return [_judged(k, addresses[k.name], known.keys(k.address, k.port), compared) if k.key else k for k in keys]


def _judged(seen: HostKey, addresses: Sequence[str], known: list[str], compared: Comparison | None) -> HostKey:
    if seen.key in known:
        return replace(seen, verdict=Verdict.KNOWN)
    if any(k.split()[0] == seen.key.split()[0] for k in known):
        return replace(seen, verdict=Verdict.DIFFERENT, why="known_hosts holds another one of this kind")
    if compared and compared.holds(seen, addresses):
        return replace(seen, verdict=Verdict.ACCEPTED, why="it is in the file of --accept-host-keys")
    why = "it is not in the file of --accept-host-keys" if compared else ""
    return replace(seen, verdict=Verdict.UNCOMPARED, why=why)


def _public(line: str, number: int) -> asyncssh.SSHKey:
    try:
        return asyncssh.import_public_key(line)
    except ValueError as error:
        raise ValueError(f"line {number} is no public key: {error}") from None
