"""What recoverd can put back of a node's own files beside whole ones (`WriteFile`). Host
operations, as in `operations`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recoverd.model.call import Call, HostCall
from recoverd.model.node_look import HOSTS


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


FileOperation = HostsLine
