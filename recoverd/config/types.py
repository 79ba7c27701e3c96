"""The checked configuration as the rest of recoverd uses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from recoverd.model.news import Topic
from recoverd.model.settings import ClusterSettings, FleetBounds

Problem = tuple[str, str]
"""(path in the file, like `clusters[0].ssh.key`; what is wrong with it)"""


class ConfigError(Exception):
    """Everything that is wrong with a configuration file, not only the first thing."""

    def __init__(self, file: Path, errors: Sequence[Problem], lines: Mapping[str, int] | None = None) -> None:
        """`lines` are those at which the paths stand, as far as they do."""
        at = lines or {}
        super().__init__(
            "\n".join(
                ": ".join(filter(None, (place(file, at.get(path, 0)), path, message))) for path, message in errors
            )
        )
        self.errors = list(errors)
        self.lines = dict(at)


def place(file: Path, line: int) -> str:
    """FILE:LINE, as compilers write it and editors follow it; FILE where no line is known."""
    return f"{file}:{line}" if line else str(file)


@dataclass(frozen=True, slots=True)
class SshSettings:
    """How the machines of one cluster are reached."""

    user: str
    key: Path
    known_hosts: Path
    port: int = 22
    sudo: bool = False
    """Run what needs root through `sudo -n`."""
    jump: str | None = None
    """`[USER@]HOST[:PORT]` of a machine to go through."""
    connect_timeout: float = 3.0


def jump_parts(jump: str) -> tuple[str | None, str, int]:
    """User, host and port of `[USER@]HOST[:PORT]`. Raises `ValueError` for what is none."""
    parts = urlsplit(f"ssh://{jump}")
    if (
        not parts.hostname
        or parts.path
        or parts.query
        or parts.fragment
        or parts.password is not None
        or parts.port == 0
    ):
        raise ValueError(f"{jump!r} is no [USER@]HOST[:PORT]")
    return parts.username, parts.hostname, parts.port or 22


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds that each source of a sweep may take; what is later is unseen."""

    api: float = 3.0
    etcd: float = 3.0
    hosts: float = 4.0
    network: float = 6.0
    """For what is asked of each machine about the pod network, probes included."""


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    settings: ClusterSettings
    interval: float
    """Seconds from the start of one sweep to the start of the next."""
    kubeconfig: Path
    ssh: SshSettings
    deadlines: Deadlines = field(default_factory=Deadlines)
    workers_every: float = 30.0
    """Seconds within which each calm worker is looked at, where there are many; 0: in every sweep."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """Somebody who is told by the bastion itself. The URL is read from its file when
    something is sent, and kept nowhere.
    """

    name: str
    kind: Literal["apprise", "alertmanager"]
    url_file: Path
    on: frozenset[Topic]
    clusters: frozenset[str]
    """Names of those that it is told about."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Where a sign of life goes while the clusters are swept."""

    url_file: Path
    every: float
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Access:
    """Groups of this machine whose members may ask the daemon for something; None: whoever may open the socket."""

    view: tuple[str, ...] | None = None
    """Those who may look; who may approve may look as well."""
    approve: tuple[str, ...] | None = None
    """Those who may ask for what changes anything."""


@dataclass(frozen=True, slots=True)
class EtcdStore:
    """The bastions' own etcd, in which they keep the journal of every cluster and agree on who watches which."""

    endpoints: tuple[str, ...]
    """`https://HOST:PORT`, the nearest first."""
    ca: Path | None
    cert: Path | None
    key: Path | None
    """Of TLS; None where the endpoints are plain HTTP on loopback."""
    prefix: str
    """Of every key, without a slash at its end."""
    bastion: str
    """This bastion's name among the others."""
    ttl: float
    """Seconds after which a bastion that is not heard of any more has lost its clusters."""


@dataclass(frozen=True, slots=True)
class Config:
    state_dir: Path
    socket: Path
    listen: tuple[str, int]
    clusters: tuple[ClusterConfig, ...]
    warnings: tuple[Problem, ...] = ()
    notifications: tuple[Receiver, ...] = ()
    heartbeat: Heartbeat | None = None
    status_page: bool = True
    """Whether people can look at the clusters at `listen`, beside what Prometheus scrapes there."""
    lines: Mapping[str, int] = field(default_factory=dict, compare=False)
    """At which lines of the file the warnings' paths stand."""
    access: Access | None = None
    fleet: FleetBounds = field(default_factory=FleetBounds)
    store: EtcdStore | None = None
    """None: the journal is this machine's own file, and no other bastion takes over."""
