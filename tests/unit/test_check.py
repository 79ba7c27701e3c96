"""`recoverctl check`: the code and the line that a monitoring plugin gives."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from recoverd.cli.check import CRITICAL, OK, UNKNOWN, WARNING, verdict
from recoverd.cli.ctl import main as recoverctl


def cluster(name: str = "prod", state: str = "healthy", **other: Any) -> dict[str, Any]:
    calm = {
        "phase": None,
        "paused": False,
        "pause_reason": "",
        "summary": "",
        "findings": [],
        "last_sweep": "2026-03-05T19:10:00Z",
    }
    return {"name": name, "state": state, **calm, **other}


WARNED = cluster(
    "w", findings=[{"severity": "notice", "message": "no"}, {"severity": "warning", "message": "a disk fills"}]
)
DOWN = cluster("d", "etcd-stuck", phase="awaiting-approval", summary="etcd has\nlost quorum")
CASES = [
    ([cluster("a"), cluster("b", "maintenance")], [], OK, "OK: a healthy, b maintenance | clusters=2 not_healthy=0"),
    ([cluster("a"), WARNED], [], WARNING, "WARNING: w is healthy: a disk fills | clusters=2 not_healthy=0"),
    (
        [WARNED, DOWN],
        [],
        CRITICAL,
        "CRITICAL: d is etcd-stuck/awaiting-approval: etcd has lost quorum; w is healthy: a disk fills | clusters=2",
    ),
    (
        [cluster("u", "unobservable", summary="nothing answers")],
        [],
        CRITICAL,
        "CRITICAL: u is unobservable: nothing answers | clusters=1",
    ),
    (
        [cluster("p", paused=True, pause_reason="upgrade")],
        [],
        WARNING,
        "WARNING: p is healthy and paused: upgrade | clusters=1 not_healthy=0",
    ),
    (
        [cluster("n", last_sweep=None), DOWN],
        [],
        CRITICAL,
        "CRITICAL: d is etcd-stuck/awaiting-approval: etcd has lost quorum; n has not been swept yet",
    ),
    ([cluster("n", last_sweep=None)], [], UNKNOWN, "UNKNOWN: n has not been swept yet | clusters=1"),
    (
        [cluster("a")],
        ["the configuration was not reloaded"],
        WARNING,
        "WARNING: recoverd: the configuration was not reloaded | clusters=1",
    ),
    (
        [cluster("a", watched_by="b", last_sweep=None), cluster("c", watched_by="nobody", last_sweep=None)],
        [],
        CRITICAL,
        "CRITICAL: c is watched by no bastion | clusters=2 not_healthy=0",
    ),
    ([cluster("a", watched_by="b", last_sweep=None)], [], OK, "OK: a healthy | clusters=1"),
    (
        [cluster("a", withheld="the bastions' etcd is not there")],
        [],
        CRITICAL,
        "CRITICAL: a is healthy, and nothing is done to it: the bastions' etcd is not there",
    ),
    (
        [cluster("new", "apiserver-down", never_healthy=True)],
        [],
        WARNING,
        "WARNING: new was never seen healthy, so its installation may not be finished: recoverd doctor new",
    ),
    ([], [], UNKNOWN, "UNKNOWN: recoverd watches no cluster"),
]


@pytest.mark.parametrize(("clusters", "notices", "code", "line"), CASES, ids=[line[:40] for *_, line in CASES])
def test_the_worst_comes_first(clusters: list[dict[str, Any]], notices: list[str], code: int, line: str) -> None:
    found = verdict(clusters, notices)
    assert found[0] == code and found[1].startswith(line), found


@pytest.mark.parametrize("words", [("check", "--frob"), ("check", "a", "b")])
def test_what_a_monitoring_system_asks_wrongly_is_no_outage(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(recoverctl, words)
    assert result.exit_code == UNKNOWN and result.stdout.startswith("UNKNOWN: ")
    assert CliRunner().invoke(recoverctl, ["check", "--help"]).exit_code == 0
