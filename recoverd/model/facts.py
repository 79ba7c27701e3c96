"""What a finding says in a form that can be acted upon, beside its words: one class for each kind. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Facts:
    """What every finding may say: where it is."""

    host: str = ""
    """Name of the machine in the configuration; "" where it is about none, or none that is known."""
    node: str = ""
    """Name of the Node that the API server lists for it; "" where it is about no node."""


@dataclass(frozen=True, slots=True)
class ManifestFacts(Facts):
    component: str = ""
    """`etcd`, `kube-apiserver`, `kube-controller-manager` or `kube-scheduler`; or another pod's file, without .yaml."""


@dataclass(frozen=True, slots=True)
class FileFacts(Facts):
    """What a finding says of a certificate or kubeconfig; its path is in the finding's subject
    (`recoverd.model.catalogue.path_in`).
    """

    not_after: datetime | None = None
    authority: bool = False
    """It is a CA that has expired or does not fit."""
    wrong: frozenset[str] = frozenset()
    """What does not fit: `issuer`, `key`, `authority`, ... (`recoverd.diagnose.certificates`)."""


@dataclass(frozen=True, slots=True)
class PodFileFacts(Facts):
    """What a finding says of a file that static pods name; its path is in the finding's subject."""

    flag: str = ""
    """By which it is named, in words (`recoverd.model.pod_files.Named`)."""
    failing: tuple[str, ...] = ()
    """The pods that name it and do not run."""
    encryption: bool = False
    """It is a configuration of encryption at rest."""
    before: str = ""
    """SHA-256 of what is there now; "" where there is no file."""


@dataclass(frozen=True, slots=True)
class MemberFacts(Facts):
    member_id: str = ""
    """In hexadecimal; "" where it is not known."""
    peer_url: str = ""
    quorum: str = ""
    """`present`, `lost` or `unknown`, where that was judged."""


@dataclass(frozen=True, slots=True)
class UnitFacts(Facts):
    unit: str = ""
    """Name of the unit that does not run."""
    why: str = ""
    """What its own words say of why it ends (`recoverd.diagnose.causes`); "" where they say nothing that is known."""
    cure: str = ""
    restart: bool = True
    """A restart may help, as far as that is known."""
    said: bool = True
    """`why` is in its own words; False where it is only seen that it ends each time."""

    @property
    def reason(self) -> str:
        """`why`, and by whose word."""
        return f"{'by its own words, ' if self.said else ''}{self.why}"


class Fate(StrEnum):
    """What has become of a member's data."""

    EMPTY = "its data directory is gone or empty"
    ANEW = "it has begun a new, empty cluster"
    CORRUPT = "its data is corrupt"
    HELD = "it holds data"
    ELSEWHERE = "its data is where it was, and its manifest names another directory"
    UNKNOWN = "it could not be looked at"


@dataclass(frozen=True, slots=True)
class LossFacts(Facts):
    fates: Mapping[str, Fate] = field(default_factory=dict)
    """By control plane."""


@dataclass(frozen=True, slots=True)
class SetbackFacts(Facts):
    stale: tuple[str, ...] = ()
    """HOST/AGENT of what still follows the history that is gone; empty where that is not known."""
    anew: tuple[str, ...] = ()
    """Control planes whose etcd has begun a new, empty cluster."""


@dataclass(frozen=True, slots=True)
class DeviceFacts(Facts):
    device: str = ""
    problem: str = ""
    """`gone`, `down`, `address` (it has lost its own) or `ports` (no pod hangs on it)."""


@dataclass(frozen=True, slots=True)
class ProxyFacts(Facts):
    """What a finding says of the API server that a node's kube-proxy follows: HOST:PORT, as the following."""

    server: str = ""
    reached: str = ""
    """The one that kubelet follows, and reaches."""


@dataclass(frozen=True, slots=True)
class PodNetworkFacts(Facts):
    sources: tuple[str, ...] = ()
    """Nodes that do not reach its pods."""
    targets: tuple[str, ...] = ()
    """Nodes whose pods it does not reach."""


@dataclass(frozen=True, slots=True)
class PodsFacts(Facts):
    missing: int = 0
    """Pods that the API binds to it and its kubelet does not run."""
    extra: int = 0
    """Pods that it runs and the API does not list."""


@dataclass(frozen=True, slots=True)
class CureFacts(Facts):
    """What a finding says that no restart and no reboot mends."""

    cure: str = ""
    """What a person does, in words that follow "Cure: "."""


@dataclass(frozen=True, slots=True)
class DoubleFacts(CureFacts):
    """Of two machines that are taken for one: `host` is the one."""

    other: str = ""
    """The other machine."""


@dataclass(frozen=True, slots=True)
class WaitingFacts(Facts):
    cause: str = ""
    """Name of the cause that kubelet's words were read as (`recoverd.diagnose.causes`)."""
    named: str = ""
    """What these name of it first, as a file or an image; "" where they name nothing."""
