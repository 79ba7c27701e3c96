"""The daemon as a process, from a fault to the message, with nothing of it in the cluster's
way; and `recoverctl notify-test`.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from .clusters import Daemon
from .daemons import REQUIRED, Make, make, run
from .receivers import SECRET, Webhook

__all__ = ["make", "run"]
pytestmark = pytest.mark.timeout(300)


def configure(daemon: Daemon, **changes: Any) -> None:
    daemon.file.write_text(yaml.safe_dump(yaml.safe_load(daemon.file.read_text()) | changes))


SENT = 'recoverd_notifications_total{outcome="sent",receiver="oncall"}'


async def test_from_a_fault_to_a_message_and_to_the_message_that_it_is_over(
    make: Make, run: Callable[..., Daemon], tmp_path: Path
) -> None:
    prod = await make("prod", approval=REQUIRED)
    there, silent = await Webhook(tmp_path, "oncall").start(), await Webhook(tmp_path, "silent", hangs=True).start()
    beaten = await Webhook(tmp_path, "beat").start()
    beaten.write(f"http://127.0.0.1:{beaten.port}/{SECRET}")
    daemon = run(prod)
    told = [
        {"name": n, "url_file": str(w.url_file), "clusters": ["prod"]}
        for n, w in (("oncall", there), ("silent", silent))
    ]
    configure(daemon, notifications=told, heartbeat={"url_file": "beat.url", "every": "10s"})
    daemon.start(JOURNAL_STREAM="8:1")
    await daemon.ready()
    await daemon.in_phase("healthy")
    code, output = await daemon.ctl("notify-test", "oncall")
    assert code == 0 and output == "ok        oncall: the message was taken\n"
    assert there.titles[0].endswith(": a test")
    prod.node.unit("kubelet", "inactive")
    await daemon.in_phase("apiserver-down", "awaiting-approval")
    assert (await there.until(told=2))[1] == "prod: WAITS FOR YOU (start-node-services)"
    (plan,) = (await daemon.json("plans"))["plans"]
    lines = there.told[1]["message"].splitlines()
    assert lines[-1] == f"recoverctl approve {plan['id']}" and "kubelet" in lines[0]
    # who hangs has hung all the time, and what is asked for is done at once
    assert (await daemon.ctl("approve", plan["id"]))[0] == 0
    incident = await daemon.closed()
    assert prod.node.asked == ["start kubelet"]
    assert (await there.until(told=3))[2].startswith("prod: healthy again after ")
    assert "recoverd repaired it (start-node-services)" in there.told[2]["message"]
    assert (
        next(e["detail"] for e in incident["timeline"] if e["event"] == "notified") == f"oncall: waiting {plan['id']}"
    )
    # it is counted once its receiver has answered, which has told the test by then
    await daemon.until(lambda: daemon.metric(SENT), lambda n: bool(n == 2))
    await daemon.until(
        lambda: daemon.metric('recoverd_notifications_total{outcome="retried",receiver="silent"}'),
        lambda n: bool(n >= 1),
    )
    await beaten.until(asked=1)
    # what is loud in the log, by journald's priorities
    log = daemon.log.read_text()
    assert any(line.startswith("<4>") and "event_name=opened" in line for line in log.splitlines())
    assert any(line.startswith("<4>") and "event_name=not-notified" in line for line in log.splitlines())
    # a restart tells nothing twice, and whoever is taken out of the configuration is told nothing more
    assert daemon.kill(signal.SIGTERM) == 0
    configure(daemon, notifications=told[:1], heartbeat=None)
    daemon.start()
    await daemon.ready()
    await daemon.in_phase("healthy")
    code, output = await daemon.ctl("notify-test", "nobody")
    assert code == 4 and "there is no receiver nobody" in output
    there.statuses = [500]
    code, output = await daemon.ctl("notify-test")
    assert code == 1 and output == "FAILED    oncall: it answers 500 Internal Server Error\n"
    assert len(there.told) == 3
    # a reload takes receivers over too
    configure(daemon, notifications=[])
    assert daemon.process
    daemon.process.send_signal(signal.SIGHUP)
    await daemon.until(lambda: daemon.ctl("notify-test"), lambda answer: bool("nobody is told anything" in answer[1]))
    assert daemon.kill(signal.SIGTERM) == 0
    everything = daemon.log.read_text() + (tmp_path / "recoverd.yaml").read_text()
    assert SECRET not in everything and "Traceback" not in everything
    for hook in (there, silent, beaten):
        await hook.stop()
