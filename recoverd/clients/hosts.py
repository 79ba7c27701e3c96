"""SSH to the machines of one cluster: one connection a host, reused, and a deadline on everything.

Nothing of the bastion user's own SSH set-up is used (no agent, no ~/.ssh/config, no password), and a host key that is
not in the configured known_hosts is never accepted. Every failure is a `HostUnseen` that says which host, what was
tried and what to do about it.
"""

from __future__ import annotations

import asyncio
import base64
import math
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh

from recoverd.clients.dial import LOGINS, HostUnseen, NothingListens, Target
from recoverd.clients.own import own_failure
from recoverd.clients.streams import collect, feed, tell
from recoverd.config.types import jump_parts
from recoverd.model.call import Call
from recoverd.model.observation import UnseenKind
from recoverd.model.places import KUBEADM, LOOPBACK, Places, authority
from recoverd.model.settings import HostSettings
from recoverd.shell import script as script_of

if TYPE_CHECKING:
    from recoverd.config import SshSettings
from recoverd.clients.link import Lease, Link

__all__ = ["CommandResult", "HostPool", "HostUnseen", "NothingListens"]

PROBE_SECONDS = 1.0
PROGRAMS = "/usr/local/sbin:/usr/local/bin:/opt/bin"
"""Where people and Flatcar put kubeadm, kubectl, crictl, ctr and etcdctl, and where sudo's `secure_path` does not look
(RHEL, Rocky, SUSE, Amazon Linux); after what is in PATH.
"""

BEGINS = "@@recoverd@@"
"""The line after which a script's own output begins: a login shell's files and sshd's rc may print before it. Taken for
the script's, a greeting made a machine that had not gone down one with another boot id.
"""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command on a host came to. Text is UTF-8, with what is not UTF-8 replaced."""

    exit_status: int | None
    """None when a signal ended it, or when it was closed because of too much output."""
    stdout: str
    stderr: str
    truncated: bool
    """The output was longer than allowed; the command was closed there and may not have ended."""


class HostPool:
    """The machines of one cluster over SSH. Hosts are named as configured; a hung one delays nobody else."""

    def __init__(self, ssh: SshSettings, hosts: Sequence[HostSettings]) -> None:
        self._ssh = ssh
        self._jump = Link(_jump_target(ssh.jump, ssh.user), ssh) if ssh.jump else None
        self._links: dict[str, Link] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self.guard: Callable[[str], Call | None] = lambda host: None
        """By host: what stands before every call that changes something there (`recoverd.clients.lease`)."""
        self.lapsed: Callable[[], str] = lambda: ""
        """Why this bastion may do nothing to the cluster any more; "" while it may."""
        self.places: dict[str, Places] = {}
        """By control plane: where things listen there, as its manifests say."""
        self.update_hosts(hosts)

    def places_of(self, host: str) -> Places:
        """Where things listen there, as far as that is known."""
        return self.places.get(host, KUBEADM)

    def update_hosts(self, hosts: Sequence[HostSettings]) -> None:
        """Set which hosts there are, in the event loop once connections exist; those to hosts that stay are kept."""
        links: dict[str, Link] = {}
        for host in hosts:
            target = Target(host.name, self._ssh.user, host.address, self._ssh.port, host.host_key)
            known = self._links.pop(host.name, None)
            links[host.name] = known if known and known.target == target else Link(target, self._ssh, self._jump)
            if known and known is not links[host.name]:
                self._links[host.name] = known
        for gone in self._links.values():
            task = asyncio.create_task(gone.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        self._links = links

    @property
    def addresses(self) -> dict[str, str]:
        """The address of each machine, by host name."""
        return {name: link.target.address for name, link in self._links.items()}

    def queued(self, host: str) -> bool:
        """Whether a login to it, the newest of which has not failed, waits for its turn."""
        return host in self._links and self._links[host].first

    async def run(
        self,
        host: str,
        script: str | Callable[[], str],
        *,
        timeout: float,  # noqa: ASYNC109
        max_output: int = 1 << 20,
    ) -> CommandResult:
        """Run a POSIX sh script on a host, as root where `sudo` is set, and return what came
        of it within `timeout` seconds.

        The script, which may be made in the moment when it is sent, is read whole before its first command runs, and
        its stdin is /dev/null. stdout and stderr are each cut at `max_output` bytes. Raises `HostUnseen` when the host
        cannot be reached, asks for a sudo password or does not end the script in time. A script that may have run is
        never sent again; `HostUnseen.sent` says whether it may have.
        """
        link = self._link(host)
        running = _Running()
        try:
            async with asyncio.timeout(timeout):
                lease, process = await self._start(link, running, self._shell(timeout))
                try:
                    text = script if isinstance(script, str) else script()
                    result = await self._converse(link, lease, process, text, max_output, running)
                finally:
                    lease.release()
        except TimeoutError:
            raise self._late(link, running, timeout) from None
        # a login shell may have printed a banner before it
        said = next((line for line in result.stderr.splitlines() if line.startswith("sudo:")), "")
        if self._ssh.sudo and result.exit_status in (1, 127) and said:
            what = (
                f"{link.target}: {link.target.user} may not become root ({said}); allow it `NOPASSWD: "
                "/bin/sh` in sudoers there"
            )
            raise HostUnseen(UnseenKind.DENIED, what)
        return result

    async def ask(self, host: str, call: Call, *, timeout: float, max_output: int = 1 << 20) -> CommandResult:  # noqa: ASYNC109
        """Run a call of the shell library for which no lease is needed, as `run` does; the functions
        that it needs are sent before it.
        """
        return await self.run(host, script_of(call), timeout=timeout, max_output=max_output)

    async def act(self, host: str, call: Call, *, timeout: float) -> CommandResult:  # noqa: ASYNC109
        """Run a call that changes something: as `ask`, and behind the host's guard, in the same script."""
        # a login may take its time, and this process may have stood still meanwhile: the guard is what is so then
        return await self.run(host, lambda: self._guarded(host, call), timeout=timeout)

    async def send(self, host: str, call: Call, source: Path, *, timeout: float) -> CommandResult:  # noqa: ASYNC109
        """Run a call on a host, as `act` does, with the file `source` of the bastion as its stdin. The
        call must not matter by halves.

        Raises `HostUnseen` as `run` does, and `OSError` when the file cannot be read.
        """
        link = self._link(host)
        running = _Running()
        try:
            async with asyncio.timeout(timeout):
                # its stdin is the file's, so the functions are in the command itself: they have to stay few there
                lease, process = await self._start(link, running, self._shell(timeout, self._guarded(host, call)))
                try:
                    running.sent = True
                    return await self._collected(link, lease, process, feed(process, source), 1 << 16)
                finally:
                    lease.release()
        except TimeoutError:
            raise self._late(link, running, timeout) from None

    @asynccontextmanager
    async def tunnel(
        self,
        host: str,
        port: int,
        *,
        to: str = LOOPBACK,
        timeout: float,  # noqa: ASYNC109
    ) -> AsyncIterator[int]:
        """A port on the bastion's 127.0.0.1 that leads to `to`:`port` as seen from the host,
        for as long as the context lasts.

        `timeout` seconds are for opening it; what is done inside needs deadlines of its own. When the body fails
        because nothing listens on the host's port, the `HostUnseen` of that is raised instead of what the body raised.
        """
        link = self._link(host)
        if why := self.lapsed():
            raise HostUnseen(UnseenKind.NOT_TRIED, f"{link.target} was not asked: {why}")
        try:
            async with asyncio.timeout(timeout):
                lease = await link.get()
        except TimeoutError:
            raise _no_connection(link, timeout) from None
        lease.users += 1
        try:
            try:
                listener = await lease.connection.forward_local_port(LOOPBACK, 0, to, port)
            except (asyncssh.Error, OSError) as error:
                own = own_failure(error)
                kind, why = (UnseenKind.OWN, own) if own else (UnseenKind.UNREACHABLE, str(error))
                raise HostUnseen(kind, f"no tunnel could be opened to {link.target}: {why}") from error
            try:
                yield listener.get_port()
            except HostUnseen:
                raise
            except Exception as error:
                # the local port accepts whatever is behind it, so only now is it known that nothing is
                await _raise_if_closed(link, lease, (to, port), error)
                raise
            finally:
                listener.close()
        except (asyncssh.Error, OSError) as error:
            if lease.connection.is_closed():
                raise HostUnseen(UnseenKind.UNREACHABLE, f"the SSH connection to {link.target} was lost") from error
            raise
        finally:
            lease.release()

    async def close(self) -> None:
        """Give back every connection; takes about a second at most."""
        links = [*self._links.values()]
        await asyncio.gather(*(link.close() for link in links), *self._closing, return_exceptions=True)
        if self._jump:
            await self._jump.close()

    def _guarded(self, host: str, call: Call) -> str:
        return script_of(*filter(None, (self.guard(host), call)))

    def _link(self, host: str) -> Link:
        link = self._links.get(host)
        if link is None:
            raise HostUnseen(
                UnseenKind.NOT_TRIED, f"no address of {host} is configured or was learnt from the API server"
            )
        return link

    def _shell(self, seconds: float, script: str = "") -> str:
        """The command that reads the script, or runs the given one. The host itself ends it at the deadline, since sshd
        delivers no signal to what runs as root. Whatever the machine's language is, its programs speak English.

        A login shell reads it first, and not all quote as POSIX does: in fish a backslash between single quotes means
        something, and csh has no line end there. So a given script is sent as base64.
        """
        packed = base64.b64encode(script.encode()).decode()
        shell = f'sh -c "$(echo {packed} | base64 -d)"' if script else "sh -s"
        limited = f"command -v timeout >/dev/null && exec timeout -s KILL {math.ceil(seconds)} {shell}; exec {shell}"
        limited = f"PATH=$PATH:{PROGRAMS} LC_ALL=C; export PATH LC_ALL; echo {BEGINS}; {limited}"
        return f"{'sudo -n ' if self._ssh.sudo else ''}sh -c {shlex.quote(limited)}"

    async def _start(
        self, link: Link, running: _Running, command: str
    ) -> tuple[Lease, asyncssh.SSHClientProcess[bytes]]:
        """Start the shell, which waits for its script; so on a connection that turns out to be
        dead this can be tried once more.
        """
        for last in (False, True):
            running.lease = None
            lease = await link.get()
            lease.users += 1
            running.lease = lease
            try:
                return lease, await lease.connection.create_process(command, encoding=None)
            except (asyncssh.Error, OSError) as error:
                lease.retire()
                lease.release()
                if last:
                    raise HostUnseen(
                        UnseenKind.UNREACHABLE, f"{link.target} let recoverd in, but started no command: {error}"
                    ) from error
            except BaseException:
                lease.retire()
                lease.release()
                raise
        raise AssertionError("not reached")

    async def _converse(
        self,
        link: Link,
        lease: Lease,
        process: asyncssh.SSHClientProcess[bytes],
        script: str,
        max_output: int,
        running: _Running,
    ) -> CommandResult:
        """Send the script, collect its output."""
        running.sent = True
        return await self._collected(link, lease, process, tell(process, script), max_output)

    async def _collected(
        self,
        link: Link,
        lease: Lease,
        process: asyncssh.SSHClientProcess[bytes],
        give: Awaitable[None],
        max_output: int,
    ) -> CommandResult:
        """Give the process its stdin and collect its output. After a command that does not end, its
        connection is not used for anything new.
        """
        ended = False
        try:
            (out, out_cut), (err, err_cut), _ = await asyncio.gather(
                # the line before the script's own output is none of it
                collect(process, process.stdout, max_output + len(BEGINS) + 1),
                collect(process, process.stderr, max_output),
                give,
            )
            truncated = out_cut or err_cut
            if not truncated:
                await process.wait_closed()
                ended = process.exit_status is not None
            if process.exit_status is None and not truncated and lease.connection.is_closed():
                raise self._lost(link)
            status = process.exit_status if process.exit_signal is None and not truncated else None
            return CommandResult(status, own(out.decode(errors="replace")), err.decode(errors="replace"), truncated)
        except (asyncssh.Error, OSError) as error:
            raise self._lost(link) from error
        finally:
            if not ended:
                # sshd keeps the session of a hung command, and allows only ten
                lease.retire()
                process.close()

    @staticmethod
    def _lost(link: Link) -> HostUnseen:
        return HostUnseen(
            UnseenKind.UNREACHABLE,
            f"the SSH connection to {link.target} was lost while a command ran there; it may or may not have ended",
            sent=True,
        )

    def _late(self, link: Link, running: _Running, timeout: float) -> HostUnseen:
        if running.sent:
            what = (
                f"{link.target} let recoverd in, but did not end a command within {timeout:g} s; the command was "
                "given up and is killed there"
            )
            return HostUnseen(UnseenKind.TIMEOUT, what, sent=True)
        if running.lease:
            return HostUnseen(
                UnseenKind.TIMEOUT, f"{link.target} let recoverd in, but did not start a command within {timeout:g} s"
            )
        return _no_connection(link, timeout)


def _no_connection(link: Link, seconds: float) -> HostUnseen:
    if link.queued:
        what = (
            f"{link.target} was not tried within {seconds:g} s: recoverd logs in to {LOGINS} machines at "
            "once, and others came first"
        )
        return HostUnseen(UnseenKind.OWN, what)
    return HostUnseen(UnseenKind.TIMEOUT, f"{link.target} gave no SSH connection within {seconds:g} s")


def own(output: str) -> str:
    """What the script itself has printed; all of it where the script did not come to its beginning."""
    _, begins, said = output.partition(f"{BEGINS}\n")
    return said if begins else output


@dataclass(slots=True)
class _Running:
    """How far a command has come, for the words of its failure."""

    lease: Lease | None = None
    sent: bool = False


async def _raise_if_closed(link: Link, lease: Lease, to: tuple[str, int], error: Exception) -> None:
    """Raise `HostUnseen` when the host says that it cannot be connected to there."""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            _, writer = await lease.connection.open_connection(*to)
            writer.close()
    except asyncssh.ChannelOpenError as closed:
        if closed.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
            raise HostUnseen(
                UnseenKind.DENIED,
                f"sshd on {link.target} forbids tunnels ({closed.reason}); it needs AllowTcpForwarding yes (or local)",
            ) from error
        where = authority(*to)
        what = (
            f"nothing listens on {where} of {link.target}"
            if to[0] == LOOPBACK
            else f"{link.target} gets no connection to {where}"
        )
        raise NothingListens(UnseenKind.REFUSED, f"{what}: {closed.reason}") from error
    except (TimeoutError, asyncssh.Error, OSError):
        return


def _jump_target(jump: str, user: str) -> Target:
    name, host, port = jump_parts(jump)
    return Target("the jump host", name or user, host, port)
