"""Ports of loopback for the programs that tests start."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

PORTS = range(10000, 30000)
"""Below the ports that Linux gives to outgoing connections, which take one between its
choice here and the program's start.
"""
_mine: list[int] = []
"""Descriptors of the locks on the ports that this process has chosen, for as long as it lives."""


def free_port() -> int:
    """Choose a port of loopback that nobody uses, and that no other test process on this machine will choose."""
    locks = Path(tempfile.gettempdir()) / "recoverd-test-ports"
    locks.mkdir(mode=0o1777, exist_ok=True)
    first = random.choice(PORTS)  # to shuffle all of them takes 10 ms
    for port in (*range(first, PORTS.stop), *range(PORTS.start, first)):
        lock = os.open(locks / str(port), os.O_CREAT | os.O_RDWR, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as sock:
                sock.bind(("127.0.0.1", port))
        except OSError:
            os.close(lock)
            continue
        _mine.append(lock)
        return port
    raise AssertionError(f"every port from {PORTS.start} to {PORTS.stop} is in use")
