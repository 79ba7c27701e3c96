"""The shell library as a machine gets it, with what a test has of its own in the place of some function."""

from __future__ import annotations

import shutil

from recoverd.model.call import Call
from recoverd.shell import needed

SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]


BRIEFLY = "sleep() { /bin/sleep 0.02; }"
"""For `sent`: nobody sleeps for longer. busybox has a sleep of its own, and asks for no program of that name."""


def command(shell: str) -> list[str]:
    """The words with which a shell is begun."""
    return [str(shutil.which("busybox")), "sh"] if shell == "busybox" else [shell]


def sent(call: Call | None, *instead: str) -> str:
    """What is sent for the call; a function in `instead` counts for the library's of its name."""
    assert call is not None
    return "\n".join((*(f.text for f in needed([call.function])), *instead, call.line))
