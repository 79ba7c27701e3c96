"""`python -m recoverd` and recoverctl, forked from a process that has imported them: of what most of these tests'
daemons cost, the imports alone were two thirds.

What is forked is in every other way the process that it would have been: it has the directory, environment and
descriptors that it is given, no other descriptor, no thread, the signals' default dispositions, and it runs the module
as `python -m` does, to the interpreter's own end. Where the start itself is what a test is about, the daemon is started
by exec (`Daemon(exec=True)`, test_systemd.py). recoverctl is run by whoever is named, as pam_loginuid and sudo leave a
process.
"""

from __future__ import annotations

import array
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

MODULE = "recoverd"
MOST = 1 << 18
"""Bytes of a request: arguments, directory and environment."""


@dataclass(frozen=True)
class Person:
    """Whose process it is."""

    login: int | None
    """Of whom logged in; None: nobody did."""
    uid: int
    group: int

    def take_over(self) -> None:
        """The login uid is written by root, once, and stays."""
        Path("/proc/self/loginuid").write_text("4294967295" if self.login is None else str(self.login))
        os.setgroups([self.group])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(self.uid, self.uid, self.uid)
        os.environ.update(USER="root", LOGNAME="root", SUDO_USER="root", HOME="/")


class Forked:
    """A process that the server forked, with what these tests use of subprocess.Popen."""

    def __init__(self, pid: int, pidfd: int, status: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._pidfd, self._status = pidfd, status
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired([MODULE], timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended(self, seconds: float | None) -> int | None:
        if self.returncode is None:
            told = select.poll()
            told.register(self._status, select.POLLIN)
            told.poll(None if seconds is None else seconds * 1000)
        with self._lock:
            if self.returncode is None:
                with suppress(BlockingIOError):
                    said = os.read(self._status, 16)
                    assert said, "the server that forked it has died"
                    self.returncode = int(said)
                    os.close(self._status)
                    os.close(self._pidfd)
        return self.returncode


class ForkServer:
    """This process's side: started at the first use, ended with it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", __name__, str(theirs.fileno())]
        self._process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], cwd=Path(__file__).parents[2], stdin=subprocess.DEVNULL
        )
        theirs.close()

    def start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        output: BinaryIO,
        person: Person | None = None,
    ) -> Forked:
        """`python -m recoverd` with these arguments, or recoverctl of that person; both its outputs go to `output`."""
        status, theirs = os.pipe()
        os.set_blocking(status, False)
        request = {
            "arguments": list(arguments),
            "environment": dict(environment),
            "directory": str(Path.cwd()),
            "person": asdict(person) if person else None,
        }
        socket.send_fds(self._socket, [json.dumps(request).encode()], [0, output.fileno(), output.fileno(), theirs])
        os.close(theirs)
        pid, (pidfd,), *_ = socket.recv_fds(self._socket, 16, 1)
        os.set_inheritable(pidfd, False)
        return Forked(int(pid), pidfd, status)


@cache
def server() -> ForkServer:
    return ForkServer()


class Server:
    """The side that has imported everything, and forks."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._running: dict[int, tuple[int, int]] = {}
        """Process and the descriptor that is told its end, by the descriptor of the process."""

    def serve(self) -> dict[str, Any]:
        """Serve until nobody asks any more. Returns in what was forked only, with what was asked."""
        while True:
            poll = select.poll()
            for fd in (self._requests.fileno(), *self._running):
                poll.register(fd, select.POLLIN)
            for fd, _ in poll.poll():
                if fd in self._running:
                    self._reap(fd)
                    continue
                said, fds, *_ = socket.recv_fds(self._requests, MOST, 4)
                if not said:  # who started it is gone, however it ended, and so is the use of what runs here
                    for pidfd in self._running:
                        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                    sys.exit()
                request: dict[str, Any] = json.loads(said)
                if self._fork(fds) == 0:
                    os.chdir(request["directory"])
                    os.environ.clear()
                    os.environ.update(request["environment"])
                    return request

    def _fork(self, fds: array.array[int] | list[int]) -> int:
        assert threading.active_count() == 1, threading.enumerate()
        *standard, status = fds
        if (pid := os.fork()) == 0:
            for number, fd in enumerate(standard):
                os.dup2(fd, number)
            self._requests.detach()
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
            signal.signal(signal.SIGINT, signal.default_int_handler)
            return 0
        for fd in standard:
            os.close(fd)
        pidfd = os.pidfd_open(pid)
        self._running[pidfd] = pid, status
        socket.send_fds(self._requests, [b"%d" % pid], [pidfd])
        return pid

    def _reap(self, pidfd: int) -> None:
        pid, status = self._running.pop(pidfd)
        os.close(pidfd)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with suppress(BrokenPipeError):
            os.write(status, b"%d" % code)
        os.close(status)


def main() -> None:
    import recoverd.config.schema  # noqa: F401  what recoverctl loads when it needs it: a user may not read the checkout
    from recoverd.cli import ctl
    from recoverd.daemon import logs, wiring  # noqa: F401  what `recoverd run` loads

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with the tests, which a terminal's Ctrl-C reaches as well
    gc.freeze()  # what is loaded stays shared
    request = Server(socket.socket(fileno=int(sys.argv[1]))).serve()
    sys.argv = [MODULE, *request["arguments"]]
    if request["person"]:
        Person(**request["person"]).take_over()
        ctl.main(request["arguments"])
    runpy.run_module(MODULE, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
