"""Words to systemd: the readiness and watchdog protocol of sd_notify(3), which is one datagram to a Unix socket."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Send `state` (for example `READY=1`) when systemd listens; do nothing otherwise. Never raises: the
    daemon goes on without systemd.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect("\0" + address[1:] if address.startswith("@") else address)
            sock.sendall(state.encode())
    except OSError:
        return


def watchdog_seconds() -> float | None:
    """Half of the time that systemd waits for a sign of life (WATCHDOG_USEC), None where it does not wait for one."""
    usec, pid = os.environ.get("WATCHDOG_USEC"), os.environ.get("WATCHDOG_PID")
    if not usec or (pid and int(pid) != os.getpid()):
        return None
    return int(usec) / 2e6
