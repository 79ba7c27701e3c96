"""`mode: observe` against a real sshd: everything is seen and planned, and no file of the machine changes."""

from __future__ import annotations

import hashlib
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .clusters import Cluster, Daemon
from .daemons import Make, make, run
from .test_daemon_reload import hup, rewrite

__all__ = ["make", "run"]
pytestmark = pytest.mark.timeout(300)


def contents(root: Path) -> dict[str, tuple[int, str]]:
    """Every file and directory of the machine: its mode, and what is in it."""
    found = {}
    for path in sorted(root.rglob("*")):
        text = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "directory"
        found[str(path.relative_to(root))] = (stat.S_IMODE(path.stat().st_mode), text)
    return found


async def shadows(daemon: Daemon) -> Any:
    return (await daemon.json("shadow", "prod"))["shadows"]


REFUSED = [
    ("run", "start-node-services", "prod"),
    ("run", "force-new-cluster", "prod"),
    ("restore-points", "take", "prod"),
    ("join-control-plane", "prod", "prod-cp2", "127.0.0.1"),
]


async def test_nothing_is_written_and_a_reload_lets_it_act(make: Make, run: Callable[..., Daemon]) -> None:
    prod: Cluster = await make(mode="observe")
    daemon = run(prod)
    before = contents(prod.node.root)
    daemon.start()
    await daemon.ready()
    status = await daemon.in_phase("healthy")
    assert status["mode"] == "observe"
    assert await daemon.metric('recoverd_cluster_observed{cluster="prod"}') == 1
    assert contents(prod.node.root) == before, "no lease, and no copies of certificates"

    prod.node.unit("kubelet", "inactive")
    before = contents(prod.node.root)
    status = await daemon.in_phase("apiserver-down", "confirmed")
    (shadow,) = await daemon.until(lambda: shadows(daemon), bool)
    assert (shadow["playbook"], shadow["unasked"], shadow["cluster"]) == ("start-node-services", True, "prod")
    assert shadow["would"].startswith("would have run unasked at ")
    assert (await daemon.json("plans"))["plans"] == [], "none is open"
    for command in (*REFUSED, ("approve", shadow["plan"], "--yes")):
        code, said = await daemon.ctl(*command)
        assert code == 1 and "only observes prod (mode: observe" in said and "mode: act" in said, (command, said)
    text = (await daemon.ctl("status"))[1]
    assert "(only observed)" in text and "recoverctl shadow prod" in text and "recoverctl approve" not in text
    text = (await daemon.ctl("shadow"))[1]
    assert shadow["plan"] in text and "would have run unasked" in text
    assert "systemctl start kubelet" in (await daemon.ctl("plans", shadow["plan"], "--full"))[1]
    assert (await daemon.ctl("shadow", "nowhere"))[0] == 4
    assert (contents(prod.node.root), prod.node.asked) == (before, [])

    rewrite(daemon, [prod.config | {"mode": "act"}])
    hup(daemon)
    await daemon.closed()
    assert prod.node.asked == ["start kubelet"] and contents(prod.node.root) != before
    assert await daemon.metric('recoverd_cluster_observed{cluster="prod"}') == 0
    assert [s["plan"] for s in await shadows(daemon)] == [shadow["plan"]], "what it would have done is kept"
    assert daemon.kill(signal.SIGTERM) == 0
    assert "Traceback" not in daemon.log.read_text()


async def test_a_reload_takes_its_hands_off(make: Make, run: Callable[..., Daemon]) -> None:
    prod: Cluster = await make()
    daemon = run(prod)
    daemon.start()
    await daemon.ready()
    await daemon.in_phase("healthy")
    rewrite(daemon, [prod.config], defaults={"mode": "observe"})
    hup(daemon)
    await daemon.until(lambda: daemon.metric('recoverd_cluster_observed{cluster="prod"}'), lambda n: n == 1)
    prod.node.unit("kubelet", "inactive")
    before = contents(prod.node.root)
    await daemon.until(lambda: shadows(daemon), bool)
    assert (contents(prod.node.root), prod.node.asked) == (before, [])
    assert "says now: mode" in daemon.log.read_text()
    assert daemon.kill(signal.SIGTERM) == 0
