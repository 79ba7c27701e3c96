"""SIGHUP: what the file says now is taken over, one with an error is not, and nobody's watch or plan ends by it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from .clusters import Daemon, Notified
from .daemons import REQUIRED, Make, make, run

__all__ = ["make", "run"]
pytestmark = pytest.mark.timeout(300)
SWEEPS = 'recoverd_sweep_duration_seconds_count{{cluster="{}",source="hosts"}}'


def rewrite(daemon: Daemon, clusters: list[dict[str, Any]], **changes: Any) -> None:
    daemon.file.write_text(yaml.safe_dump(yaml.safe_load(daemon.file.read_text()) | {"clusters": clusters} | changes))


def hup(daemon: Daemon) -> None:
    assert daemon.process
    daemon.process.send_signal(signal.SIGHUP)


async def names(daemon: Daemon) -> list[str]:
    return [c["name"] for c in (await daemon.json("status"))["clusters"]]


async def test_a_file_with_an_error_is_refused_and_the_old_one_stays(
    make: Make, run: Callable[..., Daemon], tmp_path: Path
) -> None:
    prod = await make()
    daemon, told = run(prod), Notified(tmp_path / "notify")
    daemon.start(NOTIFY_SOCKET=str(told.path))
    await told.awaited("READY=1")
    rewrite(daemon, [prod.config | {"intervall": "1s"}, {"name": "x"}])
    hup(daemon)
    await told.awaited("RELOADING=1")
    assert "configuration refused" in await told.awaited("READY=1")
    assert await daemon.metric("recoverd_config_last_reload_successful") == 0
    (notice,) = await daemon.notices()
    assert "intervall: unknown key; did you mean interval?" in notice and "clusters[1].kubeconfig" in notice
    assert notice in daemon.log.read_text().replace('\\"', '"') and "Traceback" not in daemon.log.read_text()
    swept = await daemon.metric(SWEEPS.format("prod"))
    await daemon.until(lambda: daemon.metric(SWEEPS.format("prod")), lambda n: bool(n > swept))
    rewrite(daemon, [prod.config])
    hup(daemon)
    await told.awaited("RELOADING=1")
    await told.awaited("READY=1")
    assert await daemon.notices() == []
    assert await daemon.metric("recoverd_config_last_reload_successful") == 1
    assert daemon.kill(signal.SIGTERM) == 0
    told.close()


async def test_clusters_come_go_and_change_and_the_others_are_watched_on(
    make: Make, run: Callable[..., Daemon]
) -> None:
    prod, standby, third = await make("prod"), await make("standby"), await make("third")
    daemon = run(prod, standby)
    daemon.start()
    await daemon.ready()
    await daemon.in_phase("healthy")
    daemon_sweeps = await daemon.metric(SWEEPS.format("prod"))
    rewrite(daemon, [prod.config, third.config], listen="127.0.0.1:1")
    hup(daemon)
    await daemon.until(lambda: names(daemon), lambda n: bool(n == ["prod", "third"]))
    await daemon.in_phase("healthy", cluster="third")
    assert await daemon.metric(SWEEPS.format("prod")) >= daemon_sweeps, "prod was not begun anew"
    assert 'cluster="standby"' not in (await daemon.get("/metrics"))[1]
    (notice,) = await daemon.notices()
    assert "listen changed, which needs a new start" in notice
    assert (await daemon.ctl("status", "standby"))[0] == 4
    # what was automatic is asked for from now on
    rewrite(daemon, [prod.config | {"approval": REQUIRED}, third.config], listen=f"127.0.0.1:{daemon.port}")
    hup(daemon)
    await daemon.until(lambda: daemon.json("status"), lambda _: "reconfigured" in daemon.log.read_text())
    assert "says now: approval" in daemon.log.read_text()
    await daemon.ready()
    prod.node.unit("kubelet", "inactive")
    await daemon.in_phase("apiserver-down", "awaiting-approval")
    assert prod.node.asked == []
    # and what waits for a person waits on through another change
    (plan,) = (await daemon.json("plans"))["plans"]
    rewrite(daemon, [prod.config | {"approval": REQUIRED, "interval": "2s"}, third.config])
    hup(daemon)
    await daemon.until(lambda: daemon.json("status"), lambda _: daemon.log.read_text().count("reconfigured") == 2)
    assert [p["id"] for p in (await daemon.json("plans"))["plans"]] == [plan["id"]]
    await daemon.until(lambda: daemon.ctl("approve", plan["id"]), lambda answer: bool(answer[0] == 0))
    await daemon.closed()
    assert prod.node.asked == ["start kubelet"]
    assert daemon.kill(signal.SIGTERM) == 0
    assert "Traceback" not in daemon.log.read_text()


@pytest.mark.parametrize("gone", [False, True], ids=["changed", "taken out"])
async def test_a_running_plan_ends_before_its_cluster_is_changed(
    make: Make, run: Callable[..., Daemon], gone: bool
) -> None:
    prod, standby = await make("prod"), await make("standby")
    daemon = run(prod, standby)
    daemon.start()
    await daemon.ready()
    await daemon.in_phase("healthy")
    # the unit starts only when it is let: the step is in flight until then
    systemctl = prod.node.root / "bin/systemctl"
    gate = prod.node.root / "let"
    systemctl.write_text(
        systemctl.read_text().replace("start|restart) ", f"start|restart) while ! [ -e {gate} ]; do sleep 0.1; done; ")
    )
    prod.node.unit("kubelet", "inactive")
    await daemon.in_phase("apiserver-down", "remediating")
    rewrite(daemon, [standby.config] if gone else [prod.config | {"interval": "2s"}, standby.config])
    hup(daemon)
    said = await daemon.until(daemon.notices, bool)
    assert "when plan prod-1.1 has ended" in said[0]
    assert (await daemon.status("prod"))["phase"] == "remediating"
    gate.touch()
    await daemon.until(daemon.notices, lambda said: said == [])
    assert ("let-go" if gone else "reconfigured") in daemon.log.read_text()
    assert prod.node.asked == ["start kubelet"], "it was carried out once"
    assert await names(daemon) == (["standby"] if gone else ["standby", "prod"])
    assert daemon.kill(signal.SIGTERM) == 0
    assert "Traceback" not in daemon.log.read_text()
