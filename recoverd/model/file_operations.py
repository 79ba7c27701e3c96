"""What recoverd can put back of a node's own files beside whole ones (`WriteFile`). Host operations, as in `operations`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Literal

from recoverd.model.node_look import HOSTS
from recoverd.model.shell import complain


@dataclass(frozen=True, slots=True)
class HostsLine:
    """Add one line to /etc/hosts where none names the same host: one that is there by now is somebody's, and newer."""

    line: str
    """ADDRESS NAME [NAME ...]."""
    kind: Literal["hosts-line"] = "hosts-line"
    repeatable = True

    @property
    def title(self) -> str:
        return f"putting `{self.line}` back into {HOSTS}"

    def command(self) -> str:
        names = "|".join(name.replace(".", "[.]") for name in self.line.split()[1:])
        other = f"grep -qE {shlex.quote(f'^[^#]*[[:space:]]({names})([[:space:]]|$)')} {HOSTS}"
        # written to the file itself: in a container it is a mount, over which nothing can be renamed
        return (
            f"set -eu\n{self.check()} && exit 0\n! {other} || {complain(f'{HOSTS} names that host otherwise by now')}\n"
            f"""[ -z "$(tail -c 1 {HOSTS})" ] || echo >> {HOSTS}\nprintf '%s\\n' {shlex.quote(self.line)} >> {HOSTS}\nsync {HOSTS} || sync"""
        )

    def check(self) -> str:
        return f"grep -qxF -- {shlex.quote(self.line)} {HOSTS}"


FileOperation = HostsLine
