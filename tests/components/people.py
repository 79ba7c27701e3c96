"""Real users and groups of this machine, made for a test and taken away after it, and recoverctl typed by them."""

from __future__ import annotations

import asyncio
import os
import pwd
import secrets
import subprocess
import sys
from pathlib import Path

from .forkserver import Person, server

LOGIN = Path("/proc/self/loginuid")
UNSET = str(2**32 - 1)


def cannot() -> str:
    """Why users cannot be made here and log in; "" where they can."""
    if os.getuid() != 0:
        return "only root can make users"
    code = 'open("/proc/self/loginuid", "w").write("4242"); print(open("/proc/self/loginuid").read())'
    tried = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=False)
    if tried.stdout.strip() != "4242":
        return f"this kernel does not let root write a login uid: {tried.stderr.strip() or tried.stdout.strip()}"
    return ""


class People:
    """Names have a random end: tests run beside each other on one machine."""

    def __init__(self) -> None:
        self._end = secrets.token_hex(3)
        self._made: list[list[str]] = []

    def group(self, name: str) -> str:
        self._run("groupadd", f"{name}{self._end}")
        self._made.append(["groupdel", f"{name}{self._end}"])
        return f"{name}{self._end}"

    def user(self, name: str, *groups: str) -> str:
        self._run("useradd", "--no-create-home", "--shell", "/bin/false", "-G", ",".join(groups), f"{name}{self._end}")
        self._made.append(["userdel", f"{name}{self._end}"])
        return f"{name}{self._end}"

    def joins(self, user: str, group: str) -> None:
        self._run("usermod", "-aG", group, user)

    def lets_sudo(self, user: str) -> None:
        """The user may do everything as root, without a password."""
        rule = Path(f"/etc/sudoers.d/{user}")
        rule.write_text(f"{user} ALL=(ALL) NOPASSWD: ALL\n")
        rule.chmod(0o440)
        self._made.append(["rm", str(rule)])

    def close(self) -> None:
        for command in reversed(self._made):
            self._run(*command)

    @staticmethod
    def _run(*command: str) -> None:
        subprocess.run(command, check=True, capture_output=True, timeout=60)


def shown_as(account: str) -> str:
    """How a process of this user is named that these tests start: who runs them may have logged in, and use sudo."""
    login = LOGIN.read_text().strip() if LOGIN.exists() else ""
    if login in ("", UNSET, str(uid(account))) or (login == "0" and account != "root"):
        return account
    return f"{pwd.getpwuid(int(login)).pw_name} (as {account})"


def uid(name: str) -> int:
    return pwd.getpwnam(name).pw_uid


async def types(socket: Path, *words: str, login: str | None = None, process: str | None = None) -> tuple[int, str]:
    """Exit code and output of recoverctl, typed by who logged in as `login`, in a process of `process` (by default the
    same; "root": by sudo). It is in the socket's group.
    """
    group = os.stat(socket).st_gid  # noqa: PTH116  # a moment, in a test
    person = Person(uid(login) if login else None, uid(process or login or "root"), group)
    reads, writes = os.pipe()
    with os.fdopen(reads, "rb") as output:
        with os.fdopen(writes, "wb") as theirs:
            running = server().start(["--socket", str(socket), *words], os.environ, theirs, person)
        out = await asyncio.to_thread(output.read)
    return await asyncio.to_thread(running.wait), out.decode()
