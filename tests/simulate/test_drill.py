"""`recoverd drill` as it is typed."""

from __future__ import annotations

import pytest
from click.testing import CliRunner, Result

from recoverd.cli.daemon import main
from recoverd.cli.drill import scenarios


def drill(*words: str) -> Result:
    return CliRunner().invoke(main, ["drill", *words])


def test_without_a_name_it_lists_what_there_is() -> None:
    result = drill()
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.output.splitlines()] == sorted(scenarios())
    assert "join-stuck" in scenarios()


def test_an_unknown_name_is_a_mistake_in_usage_and_the_nearest_one_is_named() -> None:
    result = drill("join-stuk")
    assert result.exit_code == 2 and "join-stuk" in result.output and "did you mean join-stuck?" in result.output
    assert "recoverd drill lists them" in result.output


@pytest.mark.parametrize("name", sorted(scenarios()))
def test_every_scenario_ends_well_when_approved(name: str) -> None:
    result = drill(name, "--approve")
    assert result.exit_code == 0, result.output
    assert "End: healthy" in result.output


def test_the_incident_is_told_whole() -> None:
    told = drill("join-stuck", "--approve").output
    for words in (
        "FAULT",
        "etcd-member-never-started cp2",
        "etcd has lost quorum: 1 of 2 voters alive, 2 needed",
        "WHAT IS LOST:",
        "how it is undone:",
        "<- point of no return",
        "Approve plan prod-1.1 (force-new-cluster)? yes (--approve)",
        "take --force-new-cluster out again",
        "+ - --force-new-cluster=true",
        "- - --force-new-cluster=true",
        "0 of 15 workload pods were restarted",
        "1 cluster alive",
    ):
        assert words in told, words


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("data-lost", "typed           recoverctl restore-points take prod"),
        ("drain-blocked", "typed           recoverctl ack prod-1"),
        (
            "join-guarded",
            "typed           recoverctl join-control-plane prod cp2 10.99.1.12 --take-back-single-member",
        ),
        ("join-guarded", "FAULT           The firewall drops etcd's port 2380 on these machines: cp2"),
    ],
)
def test_what_an_operator_would_type_and_see_is_told_and_no_word_of_the_story(name: str, typed: str) -> None:
    told = drill(name, "--approve").output
    assert typed in told
    words = {line.split()[3] for line in told.splitlines() if line[14:].startswith(("story", "FAULT", "happens"))}
    assert not words & {"ack", "restore-point", "join-control-plane", "roll-deployment", "block-peer-port", "heal"}


def test_where_nobody_can_be_asked_nothing_is_done_and_it_says_what_is_needed() -> None:
    result = drill("join-stuck")
    assert result.exit_code == 1
    assert "give --approve, or run the drill on a terminal" in result.output
    assert "recoverd carried out 0 steps" in result.output and "was not approved" in result.output


def test_the_longest_plan_is_one_that_can_be_read_with_what_is_lost_at_its_end() -> None:
    told = drill("data-lost").output
    plan = told[told.index("\nprod-1.1 ") + 1 : told.index("\n  recoverctl approve prod-1.1")].splitlines()
    assert len(plan) < 60 and any("etcdctl snapshot restore" in line for line in plan)
    lost = plan.index("  WHAT IS LOST:")
    assert len(plan) - lost < 10 and "everything written between" in plan[lost + 1]
    assert "13-21. cp1, cp2, cp3, one after the other:" in "\n".join(plan), "71 steps, folded"
