"""Putting megabytes into an etcd until it has no space left."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Callable, Sequence


def fill(put: Callable[[str], Sequence[str]], *, objects: bool = False) -> int:
    """Into one key again and again, or, with `objects`, into a new one each time. Returns how many were taken.

    `put(KEY)` is the command of etcdctl that puts what it reads.
    """
    value = base64.b64encode(os.urandom(750_000)).decode()
    for number in range(1, 1000):
        said = subprocess.run(
            put(f"{number if objects else 'one'}"), input=value, text=True, capture_output=True, timeout=60
        )
        if "space exceeded" in said.stderr:
            return number - 1
        said.check_returncode()
    raise AssertionError("etcd has no quota")
