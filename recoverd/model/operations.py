"""The few things that recoverd can do to a machine or a cluster, as data.

A playbook composes these; `recoverd.act` carries them out over SSH and `recoverd.simulate` against the model cluster,
so a new playbook needs neither changed. Each host operation names the function of the shell library that does it, with
its arguments (`call`), one that exits 0 when its effect is already there (`check`, used after a crash before anything
is repeated), and the operation that takes it back (`inverse`). The library is POSIX sh (`recoverd.shell`), since nodes
need not have bash or Python, and runs as root (or through `sudo -n`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal, get_args

from recoverd.model.address_operations import FreeAddresses
from recoverd.model.bastion_operations import BastionOperation
from recoverd.model.call import Call, HostCall
from recoverd.model.etcd_operations import EtcdOperation, RestoreSnapshot
from recoverd.model.file_operations import FileOperation
from recoverd.model.join_operations import EndLeftPods, JoinOperation
from recoverd.model.network_operations import NetworkOperation
from recoverd.model.node_operations import NodeOperation, RestartDaemonPods
from recoverd.model.pki_operations import PkiOperation, RenewWorkerClient
from recoverd.model.proxy_operations import RepointProxy
from recoverd.model.space_operations import SpaceOperation
from recoverd.model.unit_operations import PodOperation, UnitOperation
from recoverd.model.webhook_operations import WebhookOperation

MANIFESTS = "/etc/kubernetes/manifests"
HELD = "/etc/kubernetes/recoverd"
"""Where manifests are kept that were taken out of kubelet's sight; same file system as
MANIFESTS, so a rename is atomic.
"""


def sha256(text: str) -> str:
    """What `WriteFile` and the machines know a text by, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class WriteFile(HostCall):
    """Write a file whole: beside the directory it belongs in, then renamed in, since kubelet reads
    half-written files (observed).

    `before` is the sha256 that must be in place ("" for: must not exist), so that nobody's newer change is overwritten.
    """

    path: str
    content: str
    sha256: str
    before: str
    keep: str = ""
    """Where what was in place is copied first, when set and there is something to copy."""
    beside: str = HELD
    """Directory in which it is written before it is renamed in; on the same file system."""
    needs: str = ""
    """A path that must exist at that moment, when set: no etcd manifest over data that was there when
    the plan was made and is gone.
    """
    kind: Literal["write-file"] = "write-file"
    repeatable = True

    @property
    def title(self) -> str:
        return f"writing {self.path}"

    def call(self) -> Call:
        return Call.of(
            "write_file", self.path, self.sha256, self.before, self.keep, self.beside, self.needs, self.content
        )

    def gist(self) -> str:
        return f"write {self.path}"

    def check(self) -> Call:
        return Call.of("has_hash", self.path, self.sha256)


@dataclass(frozen=True, slots=True)
class MovePath(HostCall):
    """Rename a file or directory. Refused where the target exists, for etcd's data that anything has open, and
    for etcd's manifest over no data.
    """

    source: str
    target: str
    optional: bool = False
    """Where there is nothing, nothing is moved."""
    needs: str = ""
    """A path that must exist at that moment, when set: no etcd manifest goes back in over data that are gone."""
    sha256: str = ""
    """What the file must hold, when set: nobody's newer version of it is moved."""
    kind: Literal["move-path"] = "move-path"
    repeatable = True

    @property
    def title(self) -> str:
        return f"moving {self.source} to {self.target}"

    def call(self) -> Call:
        return Call.of("move_path", self.source, self.target, self.optional, self.needs, self.sha256, does="mv")

    def gist(self) -> str:
        return f"mv {self.source} {self.target}"

    def check(self) -> Call:
        return Call.of("moved", self.source, self.target, self.optional)

    def inverse(self) -> MovePath:
        return MovePath(self.target, self.source, self.optional, sha256=self.sha256)


@dataclass(frozen=True, slots=True)
class CopyPath(HostCall):
    """Copy a directory whole, to beside the original or to another disk: copied under another name first, so that a
    target that exists is complete.

    etcd's data only while nothing has it open: what is copied while it is written to is worth nothing.
    """

    source: str
    target: str
    kind: Literal["copy-path"] = "copy-path"
    repeatable = True

    @property
    def title(self) -> str:
        return f"copying {self.source} to {self.target}"

    def call(self) -> Call:
        return Call.of("copy_path", self.source, self.target, does="cp -a")

    def gist(self) -> str:
        return f"cp -a {self.source} {self.target}"

    def check(self) -> Call:
        return Call.of("present", self.target)


@dataclass(frozen=True, slots=True)
class Shell(HostCall):
    """Any other script, for what the operations above do not cover.

    `done` exits 0 when its effect is already there ("" where that cannot be told)."""

    script: str
    done: str = ""
    repeatable: bool = False
    kind: Literal["shell"] = "shell"

    @property
    def title(self) -> str:
        first = self.script.strip().splitlines()[0] if self.script.strip() else "an empty script"
        return f"`{first[:80]}`"

    def call(self) -> Call:
        return Call.of("any_shell", self.script)

    def check(self) -> Call | None:
        return Call.of("any_shell", self.done) if self.done else None


HostOperation = (
    WriteFile
    | MovePath
    | CopyPath
    | FileOperation
    | FreeAddresses
    | EndLeftPods
    | UnitOperation
    | PodOperation
    | NetworkOperation
    | PkiOperation
    | RestoreSnapshot
    | Shell
)
Operation = (
    HostOperation
    | BastionOperation
    | EtcdOperation
    | SpaceOperation
    | NodeOperation
    | JoinOperation
    | RenewWorkerClient
    | RepointProxy
    | WebhookOperation
)


def functions_of(operation: Operation) -> tuple[str, ...]:
    """The functions of the shell library that an operation is, or that its hand calls on the way; none
    where it does without a shell.
    """
    if isinstance(operation, HostCall):
        return (operation.call().function,)
    return operation.functions if isinstance(operation, JoinOperation | RestartDaemonPods | RenewWorkerClient) else ()


def kinds_of(union: object) -> tuple[type[Any], ...]:
    """The kinds of operation that a union of them names."""
    return get_args(union)
