"""What machines are asked before a join, over real sshd and with real connections: who listens,
who refuses, who says nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recoverd.clients.hosts import CommandResult, HostPool, HostUnseen
from recoverd.model.joining import JoinRequest, MachineFacts, Reached
from recoverd.model.observation import UnseenKind
from recoverd.model.settings import HostSettings
from recoverd.observe import joining

from .conftest import Sshd, free_port

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="as on real machines, root is asked")
CP1, CP2 = "127.0.0.1", "127.0.0.2"


@contextmanager
def listening(address: str, port: int) -> Iterator[None]:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(16)
        yield


@contextmanager
def silent(address: str, port: int) -> Iterator[None]:
    """A port that answers no connection attempt any more: its queue is full."""
    with ExitStack() as stack:
        sock = stack.enter_context(socket.socket())
        sock.bind((address, port))
        sock.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((address, port))
        yield


@pytest.fixture
def pool(start_sshd: Callable[..., Sshd]) -> HostPool:
    first = start_sshd(address=CP1)
    start_sshd(address=CP2, like=first)
    return HostPool(first.settings, (HostSettings("cp1", CP1), HostSettings("cp2", CP2)))


async def test_open_refused_and_silent_ports_are_told_apart_in_both_directions(pool: HostPool) -> None:
    heard, refused, mute = free_port(), free_port(), free_port()
    try:
        with listening(CP1, heard), silent(CP1, mute):
            probes, why = await joining.reach(pool, "cp2", {"cp1": CP1, "cp2": CP2}, (heard, refused, mute))
    finally:
        await pool.close()
    assert why == ""
    assert {(p.source, p.target, p.port): p.reached for p in probes} == {
        ("cp2", "cp1", heard): Reached.OPEN,
        ("cp2", "cp1", refused): Reached.REFUSED,
        ("cp2", "cp1", mute): Reached.FILTERED,
        ("cp1", "cp2", heard): Reached.OPEN,
        ("cp1", "cp2", refused): Reached.OPEN,
        ("cp1", "cp2", mute): Reached.OPEN,
    }
    for port in (heard, refused, mute):
        with listening(CP2, port):
            pass  # nobody holds it any more, as the join needs it
    assert not Path("/run/recoverd/listen").exists()  # noqa: ASYNC240


async def test_a_port_that_is_taken_on_the_new_machine_is_told(pool: HostPool) -> None:
    taken = free_port()
    try:
        with listening(CP2, taken):
            probes, why = await joining.reach(pool, "cp2", {"cp1": CP1, "cp2": CP2}, (taken,))
    finally:
        await pool.close()
    assert "nothing could listen on cp2" in why and "in use" in why
    assert [(p.source, p.target) for p in probes] == [("cp2", "cp1")]


@pytest.mark.parametrize("missing", ["python3", "python3 perl"])
async def test_something_else_listens_where_there_is_no_python(
    pool: HostPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    port = free_port()
    run = pool.run

    async def lacking(host: str, script: str, **how: Any) -> CommandResult:
        for name in missing.split():
            script = script.replace(f"command -v {name} ", "false ")
        return await run(host, script, **how)

    monkeypatch.setattr(pool, "run", lacking)
    try:
        probes, why = await joining.reach(pool, "cp2", {"cp1": CP1, "cp2": CP2}, (port,))
    finally:
        await pool.close()
    assert why == ""
    assert [p.reached for p in probes if p.target == "cp2"] == [Reached.OPEN]
    with listening(CP2, port):
        pass


async def test_the_port_that_is_tried_is_that_of_the_sources_own_api_server(pool: HostPool) -> None:
    """And not 6443, where a balancer may be on each of the machines, whatever lies behind it."""
    port = free_port()
    request, addresses = JoinRequest("cp2", CP2), {"cp1": CP1, "cp2": CP2}
    try:
        with listening(CP1, port):
            facts = await joining.look(pool, ("cp1",), request, "cp1", addresses, lambda left: False, api_port=port)
    finally:
        await pool.close()
    reached = {(p.source, p.port): p.reached for p in facts.probes}
    assert facts.api_port == port and facts.listening == ""
    assert reached["cp2", port] is reached["cp1", port] is Reached.OPEN and ("cp2", 6443) not in reached, facts.probes


async def test_a_machine_tells_of_itself(pool: HostPool) -> None:
    try:
        facts = await joining.machine(pool, "cp1", ["localhost", "no-such-host.invalid"])
    finally:
        await pool.close()
    assert isinstance(facts, MachineFacts)
    assert facts.hostname == socket.gethostname()
    assert "127.0.0.1" in facts.addresses or facts.addresses
    assert abs(facts.clock_offset) <= facts.clock_error + 0.05
    assert facts.free["/var/lib/etcd"] > 0
    assert "no-such-host.invalid" not in facts.resolves
    assert set(facts.resolves.get("localhost", ())) & {"127.0.0.1", "::1"}


async def test_a_host_key_that_was_given_is_believed_and_no_other(start_sshd: Callable[..., Sshd]) -> None:
    sshd, other = start_sshd(address=CP1), start_sshd(address=CP2)
    own, foreign = (_text(f"{s.host_key}.pub") for s in (sshd, other))
    nobody = sshd.settings.known_hosts.with_name("empty")
    nobody.touch()
    settings = replace(sshd.settings, known_hosts=nobody)
    for key, kind in (
        (own, None),
        ("", UnseenKind.UNTRUSTED),
        (foreign, UnseenKind.UNTRUSTED),
        ("no key", UnseenKind.UNTRUSTED),
    ):
        pool = HostPool(settings, (HostSettings("cp9", CP1, key),))
        try:
            if kind is None:
                assert (await pool.run("cp9", "echo in", timeout=5)).stdout == "in\n"
            else:
                with pytest.raises(HostUnseen) as caught:
                    await pool.run("cp9", "true", timeout=5)
                assert caught.value.unseen.kind is kind
        finally:
            await pool.close()


def _text(path: str) -> str:
    return Path(path).read_text()
