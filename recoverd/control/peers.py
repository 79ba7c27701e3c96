"""Who asks: the user of the process at the other end of the socket, and the person who logged in behind it.

The kernel says both. The uid is that of SO_PEERCRED (unix(7)), as it was when the connection was made. The person is
the login uid (/proc/PID/loginuid, proc(5)), which pam_loginuid sets once at a login and which sudo and su do not
change: who types `sudo recoverctl` is who logged in. It is looked up by the process, and a number of a process may be
given to another one meanwhile. From Linux 6.5 on SO_PEERPIDFD holds the very process, which is asked for its number
before and after. On older kernels the process has to have begun at the same moment before and after, and to have the
uid of the other end; so nothing but another process of the same user can be taken for it.

A login uid that is not set (cron, a service, a container), or that cannot be read (the process has ended, or the unit
hides it by ProtectProc), says nothing: then the uid is the person, and behind root it is not known who that is. Root's
own login counts for root alone: what a root session starts as another user is that user.
"""

from __future__ import annotations

import os
import re
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SO_PEERPIDFD = 77
"""include/uapi/asm-generic/socket.h; Python 3.11 has no name for it."""
UNSET = 2**32 - 1
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end."""

    uid: int
    login: int | None
    """Uid of the person who logged in; None where that is not set or cannot be read."""

    @property
    def person(self) -> int:
        """Uid of the person: who logged in, else the user of the process."""
        return self.uid if self.login is None or (self.login == 0 and self.uid != 0) else self.login

    @property
    def known(self) -> bool:
        """Whether that is one person and no other; behind root without a login it may be anybody."""
        return self.uid != 0 or self.login is not None


def peer(sock: socket.socket) -> Peer:
    """Who is at the other end of a connected Unix socket. Raises `OSError` where there is none."""
    pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    try:
        held = sock.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
    except OSError:  # an older kernel, or the process is gone: then so is its number
        return Peer(uid, _checked(pid, uid))
    try:
        return Peer(uid, _held(held))
    finally:
        os.close(held)


def _held(descriptor: int) -> int | None:
    """The login uid of the process that a pidfd holds."""
    before = _number(descriptor)
    login = _login(before) if before else None
    return login if before == _number(descriptor) else None


def _number(descriptor: int) -> int | None:
    """The number of the process that a pidfd holds; None when it has ended (-1) or is of another namespace (0)."""
    found = re.search(r"^Pid:\s+(\d+)$", _text(PROC / f"self/fdinfo/{descriptor}"), re.MULTILINE)
    return int(found[1]) or None if found else None


def _checked(pid: int, uid: int) -> int | None:
    """The login uid of the process of that number, where it is of that user and the same one before and after."""
    before = _began(pid)
    login, ids = _login(pid), re.search(r"^Uid:\s+(\d+)\s+(\d+)", _text(PROC / f"{pid}/status"), re.MULTILINE)
    mine = ids is not None and uid in map(int, ids.groups())
    return login if before and mine and before == _began(pid) else None


def _began(pid: int) -> str:
    """When the process began, in ticks since the boot; "" where there is none."""
    return "".join(_text(PROC / f"{pid}/stat").rpartition(")")[2].split()[19:20])


def _login(pid: int) -> int | None:
    text = _text(PROC / f"{pid}/loginuid").strip()
    return int(text) if text.isdigit() and int(text) != UNSET else None


def _text(file: Path) -> str:
    with suppress(OSError):
        return file.read_text(errors="replace")
    return ""
