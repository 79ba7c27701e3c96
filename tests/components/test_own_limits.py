"""What recoverd itself lacks - file handles, time, its own files - is told as that, and
never as the silence of a cluster.
"""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from recoverd.clients.dial import LOGINS
from recoverd.clients.hosts import HostPool, HostUnseen
from recoverd.config import ClusterConfig, Deadlines, SshSettings
from recoverd.diagnose import diagnose
from recoverd.model.finding import State
from recoverd.model.memory import Memory
from recoverd.model.observation import EndpointHealth, Observation, Unseen, UnseenKind
from recoverd.model.settings import ClusterSettings, HostSettings
from recoverd.observe import Collector
from tests.unit.test_config import certified, user

from .clusters import Cluster, Daemon
from .conftest import Sshd
from .daemons import Make, make, run

__all__ = ["make", "run"]
pytestmark = pytest.mark.timeout(300)
HOSTS = 80
EXPIRY = 'recoverd_credential_expiry_timestamp_seconds{cluster="prod",kind="kubeconfig"}'


@contextmanager
def no_file_handle_left() -> Iterator[None]:
    """As when everything that the limit allows is in use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = os.dup(0)
    os.close(spare)
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def settings_of(cluster: Cluster, **deadlines: float) -> ClusterConfig:
    planes = tuple(HostSettings(p["name"], p["address"]) for p in cluster.config["control_planes"])
    return ClusterConfig(
        ClusterSettings(cluster.name, planes),
        1.0,
        cluster.api.kubeconfig,
        cluster.sshd.settings,
        Deadlines(**deadlines),
    )


async def sweep(config: ClusterConfig) -> Observation:
    pool = HostPool(config.ssh, config.settings.control_planes)
    collector = Collector(config, pool)
    try:
        return await collector.observe(1, Memory())
    finally:
        await collector.close()
        await pool.close()


async def test_without_a_file_handle_nothing_is_silent(sshd: Sshd, make: Make) -> None:
    config = settings_of(await make())
    pool = sshd.pool("cp1")
    await pool.run("cp1", "true", timeout=10)  # what is loaded at the first use is loaded
    await pool.close()
    await sweep(config)
    pool = sshd.pool("cp1")
    with no_file_handle_left():
        with pytest.raises(HostUnseen) as caught:
            await pool.run("cp1", "true", timeout=10)
        seen = await sweep(config)
    await pool.close()
    assert caught.value.unseen.kind is UnseenKind.OWN and "LimitNOFILE" in str(caught.value)
    assert seen.api.vip.health is EndpointHealth.NOT_TRIED
    assert all(isinstance(v, Unseen) and v.kind is UnseenKind.OWN for v in (*seen.hosts.values(), *seen.etcd.values()))
    assert any("LimitNOFILE" in why for why in seen.own)
    assert diagnose(seen, Memory(), config.settings).state is State.UNOBSERVABLE


@pytest.fixture
async def silent() -> AsyncIterator[Callable[[], int]]:
    """A port on all of loopback that lets everybody connect and says nothing; gives how
    many were there at once at most.
    """
    here = most = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal here, most
        here += 1
        most = max(most, here)
        await reader.read()  # the greeting; then until the other side is gone
        here -= 1
        writer.close()

    server = await asyncio.start_server(serve, "0.0.0.0", 0)
    serve.port = server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]

    def at_most() -> int:
        return most

    at_most.port = serve.port  # type: ignore[attr-defined]
    yield at_most
    server.close()


async def test_many_machines_that_do_not_answer_are_tried_in_turn(sshd: Sshd, silent: Callable[[], int]) -> None:
    port = silent.port  # type: ignore[attr-defined]
    ssh = SshSettings(sshd.settings.user, sshd.settings.key, sshd.settings.known_hosts, port, connect_timeout=3.0)
    pool = HostPool(ssh, [HostSettings(f"w{n}", f"127.1.2.{n}") for n in range(1, HOSTS + 1)])
    answers = await asyncio.gather(
        *(pool.run(f"w{n}", "true", timeout=2.0) for n in range(1, HOSTS + 1)), return_exceptions=True
    )
    kinds = [a.unseen.kind for a in answers if isinstance(a, HostUnseen)]
    await pool.close()
    assert len(kinds) == HOSTS
    assert silent() <= LOGINS
    assert kinds.count(UnseenKind.TIMEOUT) == LOGINS and kinds.count(UnseenKind.OWN) == HOSTS - LOGINS


async def test_machines_that_do_not_answer_keep_no_others_waiting(sshd: Sshd, silent: Callable[[], int]) -> None:
    port = silent.port  # type: ignore[attr-defined]
    ssh = SshSettings(sshd.settings.user, sshd.settings.key, sshd.settings.known_hosts, port, connect_timeout=1.0)
    dead = HostPool(ssh, [HostSettings(f"w{n}", f"127.1.2.{n}") for n in range(1, HOSTS + 1)])
    alive = sshd.pool("cp1")

    async def all_dead() -> None:
        await asyncio.gather(
            *(dead.run(f"w{n}", "true", timeout=10.0) for n in range(1, HOSTS + 1)), return_exceptions=True
        )

    await all_dead()
    again = asyncio.create_task(all_dead())
    await asyncio.sleep(0)
    assert (await alive.run("cp1", "echo hello", timeout=10)).stdout == "hello\n"
    assert not again.done()
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)
    await asyncio.gather(dead.close(), alive.close())


@pytest.mark.parametrize("busy", [False, True])
async def test_what_a_late_loop_missed_is_not_silence(
    make: Make, silent: Callable[[], int], busy: bool, tmp_path: Path
) -> None:
    """The API server accepts and says nothing. That is a fault when recoverd waited for it, and nothing at all
    when recoverd itself came late.
    """
    prod = await make()
    prod.api.kubeconfig.write_text(prod.api.kubeconfig.read_text().replace(":6443", f":{silent.port}"))  # type: ignore[attr-defined]
    config = settings_of(prod, api=2.0, etcd=2.0, hosts=20.0)

    async def hog() -> None:
        while True:
            time.sleep(0.3)  # noqa: ASYNC251  # the loop itself is held up
            await asyncio.sleep(0)

    task = asyncio.create_task(hog() if busy else asyncio.sleep(0))
    seen = await sweep(config)
    task.cancel()
    if busy:
        assert seen.behind > 1.0 and seen.api.vip.health is EndpointHealth.NOT_TRIED
        assert any("overloaded" in why for why in seen.own)
        assert diagnose(seen, Memory(), config.settings).state in (State.HEALTHY, State.UNOBSERVABLE)
    elif seen.behind < 0.4:  # else this machine is that busy by itself
        assert seen.api.vip.health is EndpointHealth.UNREACHABLE and seen.own == ()


async def test_a_kubeconfig_that_cannot_be_used_is_no_fault_of_the_cluster(
    make: Make, run: Callable[..., Daemon]
) -> None:
    prod = await make(deadlines={"api": "8s", "etcd": "1s", "hosts": "8s"})
    good = prod.api.kubeconfig.read_text()
    config = yaml.safe_load(good)
    config["users"][0]["user"] |= {"client-certificate-data": "Z2FyYmFnZQ==", "client-key-data": "Z2FyYmFnZQ=="}
    prod.api.kubeconfig.write_text(yaml.safe_dump(config))
    daemon = run(prod)
    daemon.start()
    await daemon.ready()
    status = await daemon.in_phase("unobservable")
    assert "cannot be used" in status["summary"] or "cannot be used" in status["explanation"]
    notices = (await daemon.json("status"))["notices"]
    assert any("cannot be used" in n and "recoverd check-config" in n for n in notices)
    unfinished = "prod: recoverd has never seen it healthy"
    told = await daemon.until(lambda: daemon.json("status"), lambda s: unfinished in str(s["notices"]), 120.0)
    assert any(n.startswith(unfinished) and "recoverd doctor prod" in n for n in told["notices"])
    assert (await daemon.json("incidents"))["incidents"] == []
    # a good one is taken up, and what comes after it, half a copy, does no harm
    prod.api.kubeconfig.write_text(good)
    await daemon.in_phase("healthy")
    assert "never seen it healthy" not in str((await daemon.json("status"))["notices"])
    prod.api.kubeconfig.write_text(good[: len(good) // 2])
    # a busy machine may have more to tell
    await daemon.until(
        lambda: daemon.json("status"), lambda s: "what was read from it before is used" in str(s["notices"])
    )
    await daemon.until(lambda: daemon.metric('recoverd_own_troubles{cluster="prod"}'), lambda n: bool(n >= 1))
    assert (await daemon.status())["state"] == "healthy"
    assert (await daemon.json("incidents"))["incidents"] == []


async def test_a_kubeconfig_that_is_over_soon_is_told_of_while_there_is_time(
    make: Make, run: Callable[..., Daemon]
) -> None:
    prod = await make()
    good = yaml.safe_load(prod.api.kubeconfig.read_text())

    def with_certificate(days: int) -> None:
        mine = {**good["users"][0], "user": good["users"][0]["user"] | user(*certified(days))}
        prod.api.kubeconfig.write_text(yaml.safe_dump(good | {"users": [mine]}))

    with_certificate(10)
    daemon = run(prod)
    daemon.start()
    await daemon.ready()
    await daemon.in_phase("healthy")
    await daemon.until(lambda: daemon.json("status"), lambda s: "in 10 days" in str(s["notices"]))
    left = await daemon.metric(EXPIRY) - time.time()
    assert 9 * 86400 < left < 11 * 86400
    assert await daemon.metric('recoverd_own_troubles{cluster="prod"}') >= 1
    assert (await daemon.json("incidents"))["incidents"] == [], "nothing is wrong with the cluster"
    with_certificate(300)
    await daemon.until(lambda: daemon.metric(EXPIRY), lambda at: at - time.time() > 200 * 86400)
    await daemon.until(lambda: daemon.json("status"), lambda s: "expires at" not in str(s["notices"]))


async def test_a_key_that_is_changed_is_used_from_the_next_login_on(sshd: Sshd) -> None:
    key, good = sshd.settings.key, sshd.settings.key.read_text()
    pool = sshd.pool("cp1")
    await pool.run("cp1", "true", timeout=10)
    await pool.close()
    key.write_text("no key at all")
    pool = sshd.pool("cp1")
    with pytest.raises(HostUnseen, match="cannot be used") as caught:
        await pool.run("cp1", "true", timeout=10)
    assert caught.value.unseen.kind is UnseenKind.OWN
    key.write_text(good)
    assert (await pool.run("cp1", "true", timeout=10)).exit_status == 0
    await pool.close()
