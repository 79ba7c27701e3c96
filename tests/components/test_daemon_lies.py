"""Configurations that lie, and hosts that hang."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.authority import Authority

from .clusters import Daemon, a_loopback_address
from .daemons import Make, StartSshd, make, run

__all__ = ["make", "run"]
pytestmark = pytest.mark.timeout(300)


async def test_lies_and_hangs_are_told_and_delay_no_other_cluster(
    make: Make, run: Callable[..., Daemon], start_sshd: StartSshd, tmp_path: Path
) -> None:
    good = await make("good")
    liars = {name: await make(name) for name in ("key", "host-key", "ca", "node", "foreign", "hung", "mute")}
    config = {name: cluster.config for name, cluster in liars.items()}
    address = {name: c["control_planes"][0]["address"] for name, c in config.items()}
    port = {name: cluster.sshd.port for name, cluster in liars.items()}
    other = asyncssh.generate_private_key("ssh-ed25519")
    other.write_private_key(str(tmp_path / "other"))
    (tmp_path / "other").chmod(0o600)
    config["key"]["ssh"]["key"] = str(tmp_path / "other")
    known = f"[{address['host-key']}]:{port['host-key']} {other.export_public_key().decode()}"
    liars["host-key"].sshd.settings.known_hosts.write_text(known)
    liars["ca"].api.write_kubeconfig(Authority(tmp_path / "foreign-ca", "kubernetes"))
    config["node"]["workers"] = [{"name": "no-such-node", "address": a_loopback_address()}]
    config["foreign"]["kubeconfig"] = str(good.api.kubeconfig)
    for settings in config.values():
        settings["interval"] = "4s"
    for name in ("hung", "mute"):
        liars[name].sshd.stop()
        config[name]["deadlines"]["hosts"] = "5s"
        config[name]["ssh"]["connect_timeout"] = "4s"
    start_sshd(port=port["hung"], address=address["hung"], ForceCommand="sleep 600")
    daemon = run(good, *liars.values())
    with socket.socket() as silent:  # accepts connections and never speaks
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        silent.bind((address["mute"], port["mute"]))
        silent.listen(64)
        daemon.start()
        await daemon.ready()
        for name, words in LIES.items():
            status = await daemon.until(lambda n=name: daemon.status(n), told(words))
            assert status["plan"] is None and status["incident"] is None, status
        assert (await daemon.status("good"))["state"] == "healthy"
        await asyncio.gather(*(delayed_nobody(daemon, name) for name in ("hung", "mute")))
    assert (await daemon.json("plans"))["plans"] == []
    assert all(c.node.asked == [] for c in liars.values())
    assert "Traceback" not in daemon.log.read_text()


async def delayed_nobody(daemon: Daemon, hangs: str) -> None:
    """From the end of one of its sweeps to the end of the next it hangs for 4 s and more; the good one goes on."""
    begin = await beyond(daemon, hangs, (await counted(daemon, hangs))[hangs])
    good_then = (await counted(daemon, "good"))["good"]
    await beyond(daemon, hangs, begin)
    assert (await counted(daemon, "good"))["good"] >= good_then + 2


LIES = {
    "key": ("host-unseen", "authorized_keys"),
    "host-key": ("host-unseen", "is not the one in"),
    "ca": ("source-unseen", "kubeconfig's CA"),
    "node": ("source-unseen", "the cluster has no node of this name or address"),
    "foreign": ("source-unseen", "The kubeconfig leads to another cluster"),
    "hung": ("host-unseen", "did not end a command within 5 s"),
    "mute": ("host-unseen", "did not complete the SSH login"),
}


def told(words: tuple[str, str]) -> Callable[[dict[str, Any]], bool]:
    code, text = words
    return lambda status: any(
        f["code"] == code and text in " ".join((f["message"], *f["evidence"])) for f in status["findings"]
    )


async def beyond(daemon: Daemon, cluster: str, number: float) -> float:
    """How many sweeps the cluster has had, once they are more."""
    return float((await daemon.until(lambda: counted(daemon, cluster), lambda n: bool(n[cluster] > number)))[cluster])


async def counted(daemon: Daemon, *clusters: str) -> dict[str, float]:
    """How many sweeps each cluster has had."""
    return {
        c: await daemon.metric(f'recoverd_sweep_duration_seconds_count{{cluster="{c}",source="hosts"}}')
        for c in clusters
    }


async def test_a_cluster_that_nobody_has_seen_is_healthy_nowhere(make: Make, run: Callable[..., Daemon]) -> None:
    """Not before its first sweep has ended, nor after one that saw nothing: in the terminal, the page, the API, the
    metrics and for a monitoring system.
    """
    prod = await make()
    address = prod.config["control_planes"][0]["address"]
    prod.config["control_planes"][0]["address"] = "224.0.0.1"  # no TCP leads to a group's address
    prod.api.kubeconfig.write_text(prod.api.kubeconfig.read_text().replace(address, "224.0.0.1"))
    daemon = run(prod)
    daemon.start()

    async def asked() -> dict[str, Any]:
        code, check = await daemon.ctl("check")
        if "nobody listens" in check or "no daemon" in check or not daemon.socket.exists():
            return {}
        status = await daemon.status()
        table, page, api = (
            (await daemon.ctl("status"))[1],
            (await daemon.get("/"))[1],
            await daemon.get("/api/v1/status"),
        )
        healthy = await daemon.metric('recoverd_cluster_state{cluster="prod",state="healthy"}')
        assert (status["state"], healthy) == ("unobservable", 0.0) and "healthy" not in table.splitlines()[1]
        assert code in (1, 3) and ("was never seen healthy" in check or "not been swept yet" in check), check
        assert api[0] != 200 or '"state": "unobservable"' in api[1]
        assert "1 of 1 healthy" not in page
        return status

    await daemon.until(asked, lambda s: bool(s) and "cannot be seen" in s["explanation"])
    assert await daemon.metric('recoverd_cluster_state{cluster="prod",state="unobservable"}') == 1.0
