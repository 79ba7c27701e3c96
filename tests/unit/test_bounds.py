"""The bounds: what they forbid, what they say, and until when."""

from datetime import UTC, datetime, timedelta

from recoverd.bounds import prune, unasked
from recoverd.model.plan import ActionRecord
from recoverd.model.settings import Bounds

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CAUSE = (("apiserver-manifest-missing", "cp1"),)
OTHER = (("apiserver-manifest-invalid", "cp1"),)
BOUNDS = Bounds(attempts=2, window=3600, cooldown=600)


def ran(
    minutes_ago: float, basis: tuple[tuple[str, str], ...] = CAUSE, *, ok: bool = True, acknowledged: bool = False
) -> ActionRecord:
    at = NOON - timedelta(minutes=minutes_ago)
    return ActionRecord("restore-manifest", basis, at, at, ok, acknowledged=acknowledged)


def test_the_first_run_is_allowed() -> None:
    assert unasked("restore-manifest", CAUSE, (), BOUNDS, NOON) is None


def test_the_same_cause_again_is_blocked_until_the_cooldown_is_over() -> None:
    blocked = unasked("restore-manifest", CAUSE, (ran(4),), BOUNDS, NOON)
    assert blocked is not None and blocked.bound == "cooldown"
    assert blocked.until == NOON + timedelta(minutes=6)
    assert "12:06:00 UTC" in blocked.reason and "recoverctl ack" in blocked.reason
    assert unasked("restore-manifest", CAUSE, (ran(10),), BOUNDS, NOON) is None


def test_another_cause_does_not_wait_for_the_cooldown_but_counts_as_an_attempt() -> None:
    assert unasked("restore-manifest", OTHER, (ran(4),), BOUNDS, NOON) is None
    blocked = unasked("restore-manifest", OTHER, (ran(50), ran(4)), BOUNDS, NOON)
    assert blocked is not None and blocked.bound == "attempts"
    assert blocked.until == NOON + timedelta(minutes=10)
    assert unasked("restore-manifest", OTHER, (ran(61), ran(11)), BOUNDS, NOON) is None


def test_an_acknowledgement_lifts_both() -> None:
    history = (ran(5, acknowledged=True), ran(4, acknowledged=True))
    assert unasked("restore-manifest", CAUSE, history, BOUNDS, NOON) is None


def test_another_playbook_is_not_meant() -> None:
    assert unasked("start-node-services", CAUSE, (ran(1), ran(1)), BOUNDS, NOON) is None


def test_history_that_can_no_longer_matter_is_dropped() -> None:
    assert prune((ran(61), ran(30)), BOUNDS, NOON) == (ran(30),)
