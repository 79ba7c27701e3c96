"""Failures that are recoverd's own: of this machine and this process, and not of what was looked at."""

from __future__ import annotations

import errno
import socket
import ssl

REMEDIES = {
    errno.EMFILE: "recoverd has no file handle left: raise LimitNOFILE in its unit (ulimit "
    "-n), or watch fewer machines",
    errno.ENFILE: "this machine has no file handle left: see what holds them (lsof), or raise fs.file-max",
    errno.ENOMEM: "there is no memory left on this machine, or within MemoryMax of recoverd's unit",
    errno.ENOBUFS: "this machine's network has no buffer left",
    errno.EADDRNOTAVAIL: "this machine has no local port or address left to connect from",
    errno.EPERM: "this machine's own firewall or sandbox forbids the connection",
    errno.EACCES: "this machine's own firewall, routes or sandbox forbid the connection",
}
"""By error number: what is the matter on the bastion, and what to do."""


def own_failure(error: BaseException | None) -> str:
    """What is the matter with recoverd itself that made `error`, with what to do about it; ""
    when it is no failure of its own.

    An error number is looked for in the error and in whatever it was made of.
    """
    while error is not None:
        # the numbers of those two are others than the system's; aiohttp hands that of the second on
        if (
            isinstance(error, OSError)
            and not isinstance(error, socket.gaierror | ssl.SSLError)
            and "[SSL" not in str(error)
            and error.errno in REMEDIES
        ):
            return f"{REMEDIES[error.errno]} ({error.strerror or error})"
        if isinstance(error, MemoryError) or (isinstance(error, socket.gaierror) and error.errno == socket.EAI_MEMORY):
            return REMEDIES[errno.ENOMEM]
        error = getattr(error, "os_error", None) or error.__cause__ or error.__context__
    return ""
