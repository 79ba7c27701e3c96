"""What recoverd can put back of a node's own files beside whole ones (`WriteFile`). Host
operations, as in `operations`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recoverd.model.call import Call, HostCall
from recoverd.model.node_look import HOSTS
from recoverd.model.pod_files import COPIES


@dataclass(frozen=True, slots=True)
class HostsLine(HostCall):
    """Add one line to /etc/hosts where none names the same host: one that is there by now is somebody's, and newer."""

    line: str
    """ADDRESS NAME [NAME ...]."""
    kind: Literal["hosts-line"] = "hosts-line"
    repeatable = True

    @property
    def title(self) -> str:
        return f"putting `{self.line}` back into {HOSTS}"

    def call(self) -> Call:
        return Call.of("put_hosts_line", self.line, *self.line.split()[1:], does=f"echo {self.line} >>{HOSTS}")

    def check(self) -> Call:
        return Call.of("hosts_line_is", self.line)


@dataclass(frozen=True, slots=True)
class PutResolvConf(HostCall):
    """Write a file with name servers where there is none; behind a symbolic link that leads nowhere, where it leads."""

    path: str
    content: str
    sha256: str
    kind: Literal["put-resolv-conf"] = "put-resolv-conf"
    repeatable = True

    @property
    def title(self) -> str:
        return f"putting {self.path} back"

    def call(self) -> Call:
        return Call.of("put_resolv_conf", self.path, self.sha256, self.content, does=f"write {self.path}")

    def check(self) -> Call:
        return Call.of("has_hash", self.path, self.sha256)


@dataclass(frozen=True, slots=True)
class KeepPodFiles(HostCall):
    """Copy files that static pods name to a directory on the same machine, each under the SHA-256 of what it holds, and
    write which is which into `index` there.

    A file that holds something else than it did is not copied, and nothing is said to be kept.
    """

    paths: tuple[str, ...]
    digests: tuple[str, ...]
    """Of each of the paths."""
    copies: str = COPIES
    kind: Literal["keep-pod-files"] = "keep-pod-files"
    repeatable = True

    @property
    def title(self) -> str:
        return f"keeping copies of {len(self.paths)} files in {self.copies}"

    def call(self) -> Call:
        pairs = (word for pair in zip(self.digests, self.paths, strict=True) for word in pair)
        return Call.of("keep_pod_files", self.copies, *pairs, does=f"cp {' '.join(self.paths)} {self.copies}")

    def check(self) -> Call:
        return Call.of("pod_files_kept", self.copies, *self.digests)


@dataclass(frozen=True, slots=True)
class PutBackPodFile(HostCall):
    """Put the copy that is kept on the machine itself in place of a file that is gone or holds `before`. What it holds
    is neither sent nor shown.

    Refused where anything else is there by now, where the copy is not what it was, where etcd would begin anew, and
    where the certificate beside a private key is another key's.
    """

    path: str
    sha256: str
    mode: str
    """In octal."""
    owner: str
    """UID:GID."""
    before: str = ""
    """SHA-256 of what must be there; "" for nothing, or an empty directory, which a container runtime makes."""
    keep: str = ""
    """Where what is there is copied first."""
    copies: str = COPIES
    kind: Literal["put-back-pod-file"] = "put-back-pod-file"
    repeatable = True

    @property
    def title(self) -> str:
        return f"putting {self.path} back"

    def call(self) -> Call:
        return Call.of(
            "put_back_pod_file", self.path, self.sha256, self.mode, self.owner, self.before, self.keep, self.copies,
            does=f"cp {self.copies}/{self.sha256} {self.path}",
        )  # fmt: skip

    def check(self) -> Call:
        return Call.of("has_hash", self.path, self.sha256)


FileOperation = HostsLine | PutResolvConf | KeepPodFiles | PutBackPodFile
