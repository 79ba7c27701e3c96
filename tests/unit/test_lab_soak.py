"""What the lab's soak draws, and what it calls wrong; that needs no machine."""

from __future__ import annotations

import pytest

from tests.lab.soak import judge
from tests.lab.soak.judge import Acts
from tests.lab.soak.trouble import KINDS, Episode, Trouble, drawn
from tests.soak import record

PLANES, WORKERS = ["cp1"], ["w1", "w2", "w3"]
KIND = {kind.name: kind for kind in KINDS}
STOPPED, CORDONED = KIND["kubelet stopped"], KIND["a cordoned worker's kubelet stopped by hand"]
BOOTS = {"cp1": "a", "w1": "b"}


def episode(trouble: Trouble, machine: str = "w1") -> Episode:
    return Episode(1, ((trouble, machine),), 0.0, "lives", 0.0, 0.0)


def step(playbook: str = "start-node-services", host: str = "w1", plan: str = "p", index: int = 0) -> dict[str, object]:
    return {"plan": plan, "playbook": playbook, "host": host, "index": index, "undo": 0, "at": ""}


def acts(*steps: dict[str, object], approved: str = "", restarts: int = 0) -> Acts:
    return Acts(steps, frozenset(approved.split()), restarts)


def test_an_episode_is_drawn_from_its_number_alone() -> None:
    assert [str(drawn(7, n, PLANES, WORKERS)) for n in range(1, 60)] == [
        str(drawn(7, n, PLANES, WORKERS)) for n in range(1, 60)
    ]
    assert {t.name for n in range(400) for t, _ in drawn(7, n, PLANES, WORKERS).troubles} == {
        kind.name for kind in KINDS if len(PLANES) in kind.planes
    }


def test_two_troubles_have_two_machines_and_a_person_at_work_is_alone() -> None:
    for n in range(400):
        troubles = drawn(3, n, PLANES, WORKERS).troubles
        assert len({machine for _, machine in troubles}) == len(troubles)
        assert len(troubles) == 1 or not any(t.hands_off for t, _ in troubles)


@pytest.mark.parametrize(
    ("trouble", "done", "boots", "histories", "word"),
    [
        pytest.param(STOPPED, acts(step("remove-member")), BOOTS, ["1"], "without a decision", id="unasked"),
        pytest.param(CORDONED, acts(step()), BOOTS, ["1"], "a person was at work", id="at work"),
        pytest.param(
            KIND["paused, the API server's manifest moved away"],
            acts(step(host="w2")),
            BOOTS,
            ["1"],
            "a person was at work",
            id="paused",
        ),
        pytest.param(STOPPED, acts(step(), step()), BOOTS, ["1"], "begun 2 times", id="repeated"),
        pytest.param(STOPPED, acts(), BOOTS | {"cp1": "z"}, ["1"], "cp1 was rebooted", id="rebooted"),
        pytest.param(STOPPED, acts(), BOOTS, ["1", "2"], "history became another", id="history"),
    ],
)
def test_a_broken_promise_is_told(
    trouble: Trouble, done: Acts, boots: dict[str, str], histories: list[str], word: str
) -> None:
    assert [word in told for told in judge.wrongs(episode(trouble), done, (BOOTS, boots), histories)] == [True]


@pytest.mark.parametrize(
    ("trouble", "done", "boots", "histories"),
    [
        pytest.param(STOPPED, acts(step()), BOOTS, ["1"], id="unasked and allowed"),
        pytest.param(
            STOPPED,
            acts(step("rolling-worker-reboot"), approved="p"),
            BOOTS | {"w1": "z"},
            ["1"],
            id="an approved reboot",
        ),
        pytest.param(STOPPED, acts(step(), step(), restarts=1), BOOTS, ["1"], id="begun again after a kill"),
        pytest.param(CORDONED, acts(step(host="w2")), BOOTS, ["1"], id="at work elsewhere"),
        pytest.param(KIND["a worker rebooted by hand"], acts(), BOOTS | {"w1": "z"}, ["1"], id="a person's reboot"),
        pytest.param(
            KIND["a voter that never starts"],
            acts(step("force-new-cluster"), approved="p"),
            BOOTS,
            ["1", "2"],
            id="an approved history",
        ),
    ],
)
def test_what_is_promised_is_not_told(
    trouble: Trouble, done: Acts, boots: dict[str, str], histories: list[str]
) -> None:
    assert judge.wrongs(episode(trouble), done, (BOOTS, boots), histories) == []


@pytest.mark.parametrize(
    ("done", "escalated", "mended", "kind"),
    [
        (acts(step()), False, False, "by itself"),
        (acts(step(), approved="p"), False, False, "after approval"),
        (acts(), False, False, "let be"),
        (acts(), True, True, "escalated"),
        (acts(), False, True, "left"),
    ],
)
def test_what_came_of_it(done: Acts, escalated: bool, mended: bool, kind: str) -> None:
    assert judge.outcome(episode(STOPPED), done, escalated=escalated, mended=mended) == kind


def test_a_run_that_is_recorded_is_a_row_more_and_counted() -> None:
    first = record.Row("2026-12-01", "abc1234", "model", 7, 12_345, "1,800 h", "12,000 ended healthy", 0)
    second = record.Row("2026-12-02", "abc1235+", "lab, 3 control planes", 9, 14, "31 min", "8 by itself", 1)
    page = record.written([first, second])
    assert "Together 12,345 stories and 14 episodes, 1 of them wrong." in page
    assert record.read(page) == [first, second]
