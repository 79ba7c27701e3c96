"""The SSH pool against a real sshd: every way in which a host can fail gets its own word,
in time, and delays nobody else.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh
import pytest

from recoverd.clients.dial import has_aes
from recoverd.clients.hosts import HostPool, HostUnseen
from recoverd.model.observation import UnseenKind
from recoverd.model.settings import HostSettings

from .conftest import Sshd, free_port

StartSshd = Callable[..., Sshd]


@asynccontextmanager
async def opened(pool: HostPool) -> AsyncIterator[HostPool]:
    try:
        yield pool
    finally:
        await pool.close()


async def unseen(pool: HostPool, script: str = "true", within: float = 3.0, host: str = "cp1") -> HostUnseen:
    """What a command that must fail was answered; fails when that took more than a second beyond its deadline."""
    began = time.monotonic()
    async with opened(pool):
        with pytest.raises(HostUnseen) as caught:
            await pool.run(host, script, timeout=within)
    assert time.monotonic() - began < within + 1
    assert host in str(caught.value)
    return caught.value


async def test_a_command_gives_its_status_and_both_outputs(sshd: Sshd) -> None:
    async with opened(sshd.pool()) as pool:
        result = await pool.run("cp1", "echo out; echo err >&2; cat; exit 7", timeout=5)
    assert (result.exit_status, result.stdout, result.stderr, result.truncated) == (7, "out\n", "err\n", False)


async def test_what_is_not_utf8_is_replaced(sshd: Sshd) -> None:
    async with opened(sshd.pool()) as pool:
        result = await pool.run("cp1", r"printf 'a\377\376b'", timeout=5)
    assert result.stdout == "a\ufffd\ufffdb"


async def test_too_much_output_is_cut_and_the_command_closed(sshd: Sshd, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    async with opened(sshd.pool()) as pool:
        result = await pool.run("cp1", f"echo $$ > {pid}; exec yes", timeout=10, max_output=1 << 20)
        assert (len(result.stdout), result.truncated, result.exit_status) == (1 << 20, True, None)
        await until(lambda: not Path(f"/proc/{pid.read_text().strip()}").exists())
        assert (await pool.run("cp1", "echo again", timeout=5)).stdout == "again\n"


async def test_commands_share_one_connection(sshd: Sshd) -> None:
    async with opened(sshd.pool()) as pool:
        results = await asyncio.gather(*(pool.run("cp1", 'echo "$SSH_CONNECTION"', timeout=5) for _ in range(5)))
    assert len({r.stdout for r in results}) == 1


async def test_aes_comes_first_where_the_processor_has_it(start_sshd: StartSshd) -> None:
    sshd = start_sshd(LogLevel="DEBUG1")
    async with opened(sshd.pool()) as pool:
        await pool.run("cp1", "true", timeout=5)
    spoken = "aes256-gcm@openssh.com" if has_aes() else "chacha20-poly1305@openssh.com"
    assert f"kex: client->server cipher: {spoken}" in sshd.log.read_text()


@pytest.mark.parametrize("cipher", ["chacha20-poly1305@openssh.com", "aes128-gcm@openssh.com", "aes128-ctr"])
async def test_a_host_that_speaks_another_cipher_only_is_spoken_to(start_sshd: StartSshd, cipher: str) -> None:
    sshd = start_sshd(Ciphers=cipher)
    async with opened(sshd.pool()) as pool:
        assert (await pool.run("cp1", "echo hello", timeout=5)).stdout == "hello\n"


async def test_a_command_that_hangs_is_a_timeout_and_is_killed(sshd: Sshd, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    error = await unseen(sshd.pool(), f"echo $$ > {pid}; exec sleep 1000", within=1)
    assert (error.unseen.kind, error.sent) == (UnseenKind.TIMEOUT, True)
    await until(lambda: not Path(f"/proc/{pid.read_text().strip()}").exists())


async def test_a_host_that_hangs_on_every_command_is_a_timeout_each_time_and_delays_no_other(
    start_sshd: StartSshd,
) -> None:
    hung, well = start_sshd(ForceCommand="sleep 60"), start_sshd()
    async with opened(hung.pool()) as bad, opened(well.pool()) as good:
        for _ in range(12):  # sshd allows ten sessions a connection; those of hung commands stay open
            with pytest.raises(HostUnseen, match=r"did not (end|start) a command|gave no SSH connection"):
                await bad.run("cp1", "true", timeout=0.5)
        sick = [asyncio.create_task(bad.run("cp1", "true", timeout=60)) for _ in range(3)]
        assert (await good.run("cp1", "echo well", timeout=30)).stdout == "well\n"
        assert not any(task.done() for task in sick)
        for task in sick:
            task.cancel()
        await asyncio.gather(*sick, return_exceptions=True)


async def test_nothing_listens_is_refused(sshd: Sshd) -> None:
    error = await unseen(sshd.pool(port=free_port()))
    assert error.unseen.kind is UnseenKind.REFUSED


@pytest.mark.parametrize(("timeout", "sure"), [(0.5, False), (1.8, True)])
async def test_no_answer_is_unreachable(sshd: Sshd, timeout: float, sure: bool) -> None:  # noqa: ASYNC109
    """For sure once the kernel has asked again, which it does after a second."""
    with socket.socket() as full:  # a listener whose queue is full does not answer, as a machine that is off
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        error = await unseen(sshd.pool(port=full.getsockname()[1], connect_timeout=timeout))
        for filler in fillers:
            filler.close()
    assert (error.unseen.kind, error.unseen.sure) == (UnseenKind.UNREACHABLE, sure)


async def test_a_listener_that_never_speaks_is_a_timeout(sshd: Sshd) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(5)
        error = await unseen(sshd.pool(port=silent.getsockname()[1], connect_timeout=0.5))
    assert error.unseen.kind is UnseenKind.TIMEOUT


async def test_an_sshd_that_takes_connections_and_closes_them_is_said_to_be_one(sshd: Sshd) -> None:
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as server:
        error = await unseen(sshd.pool(port=server.sockets[0].getsockname()[1]))
    assert error.unseen.kind is UnseenKind.GARBAGE
    assert "takes connections and closes them" in error.unseen.reason and "MaxStartups" in error.unseen.reason


async def test_something_that_is_no_sshd_is_garbage(sshd: Sshd) -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\xff\xfe220 mail.example ESMTP\r\n" * 2000)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1", 0) as server:
        error = await unseen(sshd.pool(port=server.sockets[0].getsockname()[1]))
    assert error.unseen.kind is UnseenKind.GARBAGE


async def test_a_name_without_an_address_is_unreachable(sshd: Sshd) -> None:
    error = await unseen(HostPool(sshd.settings, [HostSettings("cp1", "no-such-host.invalid")]), within=10)
    assert error.unseen.kind is UnseenKind.UNREACHABLE


async def test_the_wrong_key_is_denied(sshd: Sshd, tmp_path: Path) -> None:
    other = tmp_path / "other"
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(other))
    error = await unseen(sshd.pool(key=other))
    assert error.unseen.kind is UnseenKind.DENIED
    assert "authorized_keys" in str(error)


async def test_a_key_that_is_no_key_is_recoverds_own_trouble(sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "junk").write_text("junk")
    assert (await unseen(sshd.pool(key=tmp_path / "junk"))).unseen.kind is UnseenKind.OWN


@pytest.mark.parametrize("content", ["", "[127.0.0.1]:{port} {other}\n"], ids=["unknown", "another"])
async def test_a_host_key_that_is_not_the_expected_one_is_untrusted(sshd: Sshd, tmp_path: Path, content: str) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    known = tmp_path / "known"
    known.write_text(content.format(port=sshd.port, other=other))
    error = await unseen(sshd.pool(known_hosts=known))
    assert error.unseen.kind is UnseenKind.UNTRUSTED


async def test_sudo_that_wants_a_password_is_denied(start_sshd: StartSshd, tmp_path: Path) -> None:
    sudo = tmp_path / "sudo"  # what sudo -n says, word for word, since the machine that runs the tests may have none
    sudo.write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    sudo.chmod(0o755)
    sshd = start_sshd(SetEnv=f"PATH={tmp_path}:/usr/bin:/bin")
    error = await unseen(sshd.pool(sudo=True))
    assert error.unseen.kind is UnseenKind.DENIED
    assert "may not become root" in str(error)


async def test_a_host_without_an_address_is_not_tried(sshd: Sshd) -> None:
    assert (await unseen(sshd.pool(), host="w9")).unseen.kind is UnseenKind.NOT_TRIED


async def test_a_connection_found_dead_is_made_anew(start_sshd: StartSshd) -> None:
    sshd = start_sshd()
    async with opened(sshd.pool()) as pool:
        await pool.run("cp1", "true", timeout=5)
        sshd.stop()
        start_sshd(port=sshd.port)
        assert (await pool.run("cp1", "echo back", timeout=5)).stdout == "back\n"


async def test_a_connection_lost_in_the_middle_is_told_and_the_command_not_repeated(
    start_sshd: StartSshd, tmp_path: Path
) -> None:
    sshd, ran = start_sshd(), tmp_path / "ran"
    async with opened(sshd.pool()) as pool:
        task = asyncio.create_task(pool.run("cp1", f"echo once >> {ran}; sleep 60", timeout=10))
        await until(ran.exists)
        sshd.stop()
        start_sshd(port=sshd.port)
        with pytest.raises(HostUnseen) as caught:
            await task
    assert (caught.value.unseen.kind, caught.value.sent) == (UnseenKind.UNREACHABLE, True)
    assert ran.read_text() == "once\n"


async def test_a_tunnel_leads_to_the_port_on_the_host(sshd: Sshd) -> None:
    async def hello(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    async with (
        await asyncio.start_server(hello, "127.0.0.1", 0) as server,
        opened(sshd.pool()) as pool,
        pool.tunnel("cp1", server.sockets[0].getsockname()[1], timeout=5) as port,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b"hello"
        writer.close()


async def test_a_tunnel_to_a_port_where_nothing_listens_is_refused(sshd: Sshd) -> None:
    async with opened(sshd.pool()) as pool:
        with pytest.raises(HostUnseen) as caught:
            async with pool.tunnel("cp1", free_port(), timeout=5) as port:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await reader.readexactly(1)
    assert caught.value.unseen.kind is UnseenKind.REFUSED


async def test_a_host_behind_a_jump_host(start_sshd: StartSshd) -> None:
    jump, inner = start_sshd(), start_sshd()
    inner.trust(jump)
    via = f"{inner.settings.user}@127.0.0.1:{jump.port}"
    async with opened(inner.pool(jump=via)) as pool:
        result = await pool.run("cp1", 'echo "$SSH_CONNECTION"', timeout=5)
        assert result.stdout.split()[3] == str(inner.port)
    inner.stop()
    error = await unseen(inner.pool(jump=via))
    assert (error.unseen.kind, "through the jump host" in str(error)) == (UnseenKind.REFUSED, True)
    jump.stop()
    async with opened(inner.pool(jump=via)) as pool:
        with pytest.raises(HostUnseen, match=r"the jump host .* refused"):
            await pool.run("cp1", "true", timeout=3)


async def test_hosts_can_be_learnt_later(sshd: Sshd) -> None:
    async with opened(sshd.pool("cp1")) as pool:
        await pool.run("cp1", "true", timeout=5)
        pool.update_hosts(sshd.hosts("cp1", "w1"))
        assert (await pool.run("w1", "echo w1", timeout=5)).stdout == "w1\n"
        pool.update_hosts(sshd.hosts("w1"))
        with pytest.raises(HostUnseen):
            await pool.run("cp1", "true", timeout=5)


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  what is awaited happens in another process
            await asyncio.sleep(0.02)
