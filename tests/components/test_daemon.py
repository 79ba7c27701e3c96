"""The daemon as a process, with recoverctl against it: an incident as people see it, and what outlives a kill."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import signal
import stat
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from .clusters import Cluster, Daemon
from .daemons import REQUIRED, Make, StartSshd, make, run
from .people import shown_as

__all__ = ["make", "run"]
pytestmark = pytest.mark.timeout(300)


def times(value: Any) -> list[str]:
    """Every value of a key that names a time, however deep."""
    if isinstance(value, list):
        return [t for each in value for t in times(each)]
    if isinstance(value, dict):
        own = [v for k, v in value.items() if v and (k in ("at", "since", "last_sweep") or k.endswith("_at"))]
        return own + [t for each in value.values() for t in times(each)]
    return []


async def test_an_incident_from_the_first_sweep_to_the_last_word(
    make: Make, run: Callable[..., Daemon], tmp_path: Path
) -> None:
    prod = await make(approval=REQUIRED)
    daemon = run(prod)
    assert (await daemon.ctl("status"))[0] == 3
    daemon.start()
    await daemon.ready()
    status = await daemon.in_phase("healthy")
    assert set(status) >= {"name", "state", "phase", "since", "paused", "findings", "incident", "plan"}
    assert (status["name"], status["paused"], status["incident"], status["plan"]) == ("prod", False, None, None)
    assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o660
    assert (await daemon.get("/-/healthy"), await daemon.get("/-/ready")) == ((200, "ok\n"), (200, "ok\n"))
    assert await daemon.metric('recoverd_cluster_state{cluster="prod",state="healthy"}') == 1
    assert (await daemon.json("restore-points", "prod")) == {"restore_points": []}
    assert await daemon.metric('recoverd_restore_point_interval_seconds{cluster="prod"}') == 7200
    assert await daemon.ctl("plans") == (0, "no plan is open (recoverctl plans --all shows the others)\n")
    connected = asyncio.Event()
    watching = asyncio.create_task(watched(daemon, connected, "closed"))
    while not connected.is_set():
        assert not watching.done(), watching.exception()
        for word in (("pause", "prod", "--reason", "is anybody watching?"), ("resume", "prod")):
            assert (await daemon.ctl(*word))[0] == 0

    prod.node.unit("kubelet", "inactive")
    status = await daemon.in_phase("apiserver-down", "awaiting-approval")
    assert any(set(f) >= {"code", "message", "evidence"} and f["code"] == "kubelet-down" for f in status["findings"])
    (plan,) = (await daemon.json("plans"))["plans"]
    assert set(plan) >= {"id", "incident", "cluster", "playbook", "destructive", "status", "expires_at", "steps"}
    assert (plan["id"], plan["incident"], plan["cluster"], plan["playbook"]) == (
        status["plan"],
        status["incident"],
        "prod",
        "start-node-services",
    )
    assert (plan["destructive"], plan["status"]) == (False, "awaiting-approval")
    (step,) = plan["steps"]
    assert step["host"] == "prod-cp1" and step["description"] and "systemctl start kubelet" in step["command"]
    assert await daemon.metric('recoverd_plans_awaiting_approval{cluster="prod"}') == 1
    for text in ((await daemon.ctl("status"))[1], (await daemon.ctl("plans"))[1]):
        assert f"recoverctl approve {plan['id']}" in text and "kubelet" in text
    script = (await daemon.ctl("plans", "--script"))[1].split("# what these steps call", 1)[1]
    assert [script.count(f"\n{name}() ") for name in ("start_unit", "not_anew", "pids", "write_file")] == [1, 1, 1, 0]

    for code, *arguments in REFUSALS:
        assert ((await daemon.ctl(*arguments))[0], arguments) == (code, arguments)
    assert prod.node.asked == [], "nothing was done unasked"

    code, said = await daemon.ctl("approve", plan["id"], "--reason", "go")
    assert code == 0 and plan["id"] in said
    assert (await daemon.ctl("approve", plan["id"]))[0] == 1, "it is running, or has run"
    await daemon.in_phase("healthy")
    assert (prod.node.unit("kubelet"), prod.node.asked) == ("active", ["start kubelet"])

    incident, shown = await _told_afterwards(daemon)
    assert {"opened", "plan-made", "approved", "closed"} <= {e["event"] for e in await watching}
    for at in times([status, plan, incident, shown]):
        assert at.endswith("Z") and datetime.fromisoformat(at).tzinfo == UTC

    assert daemon.kill(signal.SIGTERM) == 0
    assert not daemon.socket.exists()
    assert "Traceback" not in daemon.log.read_text()
    assert (await daemon.ctl("status"))[0] == 3


async def _told_afterwards(daemon: Daemon) -> tuple[Any, Any]:
    """The incident in the list and as it is shown alone, each looked at."""
    (incident,) = (await daemon.json("incidents"))["incidents"]
    assert set(incident) >= {"id", "cluster", "state", "opened_at", "closed_at", "outcome", "timeline"}
    assert (incident["state"], incident["outcome"]) == ("apiserver-down", "recovered") and incident["closed_at"]
    assert all(set(e) == {"at", "event", "detail"} for e in incident["timeline"])
    assert incident["timeline"][0]["event"] == "opened"
    shown = await daemon.json("show", incident["id"])
    assert shown["plans"][0]["decisions"][0]["by"] == shown_as(pwd.getpwuid(os.getuid()).pw_name)
    assert (shown["plans"][0]["decisions"][0]["reason"], shown["plans"][0]["results"][0]["ok"]) == ("go", True)
    text = (await daemon.ctl("show", incident["id"]))[1]
    assert "kubelet" in text and "approved" in text and "Traceback" not in text
    assert incident["id"] in (await daemon.ctl("incidents"))[1]
    assert (
        await daemon.metric('recoverd_actions_total{cluster="prod",outcome="succeeded",playbook="start-node-services"}')
        == 1
    )
    return incident, shown


REFUSALS = [
    (4, "status", "nowhere"),
    (4, "show", "prod-99"),
    (4, "approve", "prod-1.99"),
    (4, "reject", "prod-1.99", "--reason", "x"),
    (4, "ack", "prod-99"),
    (4, "pause", "nowhere", "--reason", "x"),
    (4, "run", "no-such-playbook", "prod"),
    (4, "run", "start-node-services", "nowhere"),
    (4, "run", "start-node-services", "prod", "--node", "stranger"),
    (4, "restore-points", "nowhere"),
    (4, "restore-points", "take", "nowhere"),
    (2, "restore-points", "take", "prod", "now"),
    (1, "restore-points", "take", "prod"),
    (1, "run", "force-new-cluster", "prod"),
    (1, "resume", "prod"),
    (2, "pause", "prod"),
    (2, "pause", "prod", "--all", "--reason", "x"),
    (2, "reject", "prod-1.1"),
    (2, "nonsense"),
]


async def watched(daemon: Daemon, connected: asyncio.Event, last: str, seconds: float = 120.0) -> list[dict[str, Any]]:
    """What `recoverctl watch -o json` prints until an event of this name, which has to come within so many
    seconds of the line before it.
    """
    command = [sys.executable, "-m", "recoverd.cli.ctl", "--socket", str(daemon.socket), "watch", "-o", "json"]
    pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
    # tests that a shell runs in its background ignore SIGINT, and so would whatever they start:
    # it is to be as at a terminal
    process = await asyncio.create_subprocess_exec("env", "--default-signal=INT", *command, **pipes)
    assert process.stdout and process.stderr
    seen: list[dict[str, Any]] = []
    try:
        while not seen or seen[-1]["event"] != last:
            async with asyncio.timeout(seconds):
                line = await process.stdout.readline()
            if not line:
                break
            connected.set()
            seen.append(json.loads(line))
            assert set(seen[-1]) == {"at", "cluster", "event", "detail"}
        assert seen and seen[-1]["event"] == last, f"it ended: {(await process.stderr.read()).decode()}"
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(seconds):
            assert await process.wait() == 130
    except TimeoutError:
        told = [e["event"] for e in seen]
        raise AssertionError(
            f"no {last}, or no end, within {seconds:g} s; watch told {told}\n{daemon.log.read_text()[-3000:]}"
        ) from None
    finally:
        if process.returncode is None:
            process.kill()
    return seen


async def waiting(make: Make, run: Callable[..., Daemon]) -> tuple[Cluster, Daemon, dict[str, Any]]:
    """A cluster whose kubelet was stopped, with a plan that waits for a person; its status then."""
    prod = await make(approval=REQUIRED)
    daemon = run(prod)
    daemon.start()
    await daemon.ready()
    await daemon.in_phase("healthy")
    prod.node.unit("kubelet", "inactive")
    return prod, daemon, await daemon.in_phase("apiserver-down", "awaiting-approval")


async def test_pause_and_incident_outlive_a_kill(make: Make, run: Callable[..., Daemon]) -> None:
    prod, daemon, before = await waiting(make, run)
    assert (await daemon.ctl("pause", "prod", "--reason", "maintenance"))[0] == 0
    assert (await daemon.ctl("pause", "prod", "--reason", "again"))[0] == 1
    assert "maintenance" in (await daemon.ctl("approve", before["plan"]))[1]
    daemon.kill()
    daemon.start()
    await daemon.ready()
    after = await daemon.in_phase("apiserver-down", "paused")
    assert (after["paused"], after["pause_reason"], after["incident"]) == (True, "maintenance", before["incident"])
    assert (await daemon.ctl("resume", "--all"))[0] == 0
    after = await daemon.in_phase("apiserver-down", "awaiting-approval")
    assert after["incident"] == before["incident"] and not after["paused"]
    daemon.kill()
    daemon.start()
    await daemon.ready()
    after = await daemon.in_phase("apiserver-down", "awaiting-approval")
    assert (await daemon.ctl("approve", after["plan"]))[0] == 0
    await daemon.in_phase("healthy")
    assert prod.node.asked == ["start kubelet"]
    (incident,) = (await daemon.json("incidents"))["incidents"]
    events = [e["event"] for e in incident["timeline"]]
    assert events.count("opened") == 1 and {"paused", "resumed", "approved", "closed"} <= set(events)
    assert await daemon.metric('recoverd_incidents_total{cluster="prod",state="apiserver-down"}') == 1


async def test_a_manifest_is_put_back_unasked(make: Make, run: Callable[..., Daemon]) -> None:
    prod = await make()
    daemon = run(prod)
    daemon.start()
    await daemon.ready()
    await daemon.in_phase("healthy")
    path = prod.node.manifests / "kube-apiserver.yaml"
    good = path.read_text()
    path.unlink()
    assert (await daemon.closed())["outcome"] == "recovered"
    assert path.read_text() == good


async def test_an_approval_waits_for_a_sweep_that_sees_what_it_is_for(
    make: Make, run: Callable[..., Daemon], start_sshd: StartSshd
) -> None:
    prod, daemon, status = await waiting(make, run)
    plan = status["plan"]
    prod.sshd.stop()
    await daemon.until(daemon.status, lambda s: any(f["code"] == "host-unseen" for f in s["findings"]))
    asked = asyncio.create_task(daemon.ctl("approve", plan))
    refused = 'recoverd_requests_total{answer="refused",request="approve"}'
    await daemon.until(lambda: daemon.metric(refused), bool)
    assert prod.node.asked == [], "what is not seen is not acted upon"
    address = prod.config["control_planes"][0]["address"]
    start_sshd(port=prod.sshd.port, address=address, ForceCommand=prod.node.forced())
    code, told = await asked
    assert code == 0 and "asked again after each sweep" in told and f"plan {plan} (" in told, told
    assert (await daemon.closed())["outcome"] == "recovered" and prod.node.asked == ["start kubelet"]
