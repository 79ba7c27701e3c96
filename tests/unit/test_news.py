"""What a person reads on a telephone: each kind of news, off the real machine, with the cluster
first and the command to type last.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from recoverd.model.events import Acknowledged, Approved, Instruction, Rejected
from recoverd.model.finding import Phase, State
from recoverd.model.fleet import CommonCause
from recoverd.model.news import News, Topic
from recoverd.model.plan import StepResult
from recoverd.model.settings import PersonsNeeded
from recoverd.notifications.news import (
    LONGEST,
    OFFERED_AGAIN,
    _emergency,
    common_cause,
    failed,
    happened,
    line,
    no_common_cause,
    nobody_acts,
    seen_again,
    standing,
)
from tests.unit.test_machine import Script, manifest_gone, performing, stuck, stuck_without_room

RULES = Path(__file__).parents[2] / "config/alerts/recoverd.yml"


def so(s: Script) -> dict[Topic, News]:
    return {n.topic: n for n in standing(s.machine.status(), s.machine.record, "bastion1")}


def came(s: Script, out: list[Instruction]) -> list[News]:
    return list(happened(out, s.machine.record, "bastion1", s.now))


def read(news: News) -> str:
    return f"{news.title}\n{news.body}"


def test_of_a_healthy_cluster_and_of_a_suspicion_there_is_no_news() -> None:
    s = Script()
    s.sweep()
    assert so(s) == {}
    s.sweep(stuck)
    assert s.machine.lifecycle.phase is Phase.SUSPECTED and so(s) == {}


def test_a_plan_that_waits_says_what_is_broken_what_is_lost_until_when_and_what_to_type() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    waiting = so(s)[Topic.WAITING]
    assert waiting.title == "prod: WAITS FOR YOU (DESTRUCTIVE, force-new-cluster)"
    fault, since, plan, lost, more, until, command = waiting.lines
    assert "was added and never started" in fault and since.startswith("Broken since ")
    assert plan.startswith("Plan prod-1.1: make cp1")
    assert (
        lost.startswith("LOST: every write")
        and more.startswith("LOST: ")
        and f"({len(s.plan.destroys) - 2} more: recoverctl plans prod-1.1)" in more
    )
    assert until == f"Until {s.plan.expires_at:%Y-%m-%d %H:%M:%S} UTC. On bastion1:"
    assert command == "recoverctl approve prod-1.1"
    assert all(len(each) <= LONGEST for each in (waiting.title, *waiting.lines))


def test_what_waits_is_another_thing_with_another_plan_and_the_same_while_it_waits() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    first = so(s)[Topic.WAITING]
    s.sweep(stuck)
    assert so(s)[Topic.WAITING].key == first.key == "waiting prod-1.1"
    s.now = s.plan.expires_at
    s.sweep(stuck, times=3)  # after half an hour without a sweep everything is confirmed anew
    assert so(s)[Topic.WAITING].key == "waiting prod-1.2"


def test_a_fault_that_is_repaired_unasked_is_told_with_what_is_being_done_and_its_end_with_by_what() -> None:
    s = Script()
    out = s.sweep(manifest_gone, times=2)
    confirmed = so(s)[Topic.CONFIRMED]
    assert (
        confirmed.title == "prod: BROKEN, apiserver-down"
        and "Now: " in confirmed.body
        and "step 1 of" in confirmed.body
    )
    assert confirmed.lines[-1] == "On bastion1: recoverctl status prod"
    s.run_all(out)
    assert Topic.CONFIRMED in so(s), "it stands until the incident is closed"
    s.sweep()
    (over,) = came(s, s.sweep())
    assert over.topic is Topic.RECOVERED and over.over and over.incident == "prod-1"
    assert (
        over.title.startswith("prod: healthy again after ")
        and over.lines[0] == "By: recoverd repaired it (restore-manifest)."
    )
    assert "kube-apiserver" in over.lines[1] and over.lines[-1].endswith("recoverctl show prod-1")
    assert so(s) == {}


def test_a_call_for_a_person_says_why_nothing_is_done_and_comes_anew_after_another_plan() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    out = s.give(Rejected(s.plan.id, "alice", "I do it\x1b[31m by hand", s.now)) and s.sweep(stuck)
    called = so(s)[Topic.ESCALATED]
    assert called.title == "prod: A PERSON IS NEEDED, etcd-stuck"
    assert "recoverd does nothing more: " in called.body and "I do it\\x1b[31m by hand" in called.body, (
        "control characters are made visible"
    )
    assert "recoverctl ack prod-1" in called.lines[-1]
    assert came(s, out) == [], "a plan that was rejected has not failed"
    s.give(Acknowledged("prod-1", "alice", s.now))
    s.sweep(stuck)
    s.give(Rejected(s.plan.id, "alice", "no", s.now))
    s.sweep(stuck)
    assert so(s)[Topic.ESCALATED].key != called.key


def test_a_plan_that_failed_says_what_failed_and_where_to_look() -> None:
    s = Script()
    s.sweep(stuck_without_room, times=2)
    out = s.answer(performing(s.approve()), StepResult(False, "no space left"))
    (news,) = came(s, out)
    assert news.title == "prod: FAILED, plan prod-1.1 (force-new-cluster)"
    assert "no space left" in news.lines[0] and "recoverctl show prod-1" in news.lines[1]


def test_a_cluster_that_cannot_be_seen_and_that_it_can_again() -> None:
    s = Script()
    s.sweep()
    s.sweep(lambda c: c.everything_dark(), times=2)
    assert s.machine.lifecycle.state is State.UNOBSERVABLE
    dark = so(s)[Topic.UNOBSERVABLE]
    assert dark.title == "prod: CANNOT BE SEEN from bastion1" and "Nothing is known of it" in dark.body
    s.sweep(lambda c: c.everything_dark())
    assert so(s)[Topic.UNOBSERVABLE].key == dark.key
    s.sweep()
    assert so(s) == {}
    back = seen_again(s.machine.status(), s.machine.record, dark.subject, dark.since + timedelta(minutes=3))
    assert (
        read(back) == "prod: can be seen again, after 3 min\nIt is healthy."
        and back.key == f"unobservable-over {dark.subject}"
    )


def test_maintenance_that_waits_is_offered_and_not_shouted_and_told_again_only_after_a_day() -> None:
    s = Script()
    s.sweep(stuck, times=2)
    plan = replace(
        s.plan, playbook="renew-certificates", id="prod-m1.1", incident="prod-m1", destructive=False, destroys=()
    )
    s.machine.state = replace(
        s.machine.state, record=replace(s.machine.record, plan=plan, incident=None, state="healthy")
    )
    offered = so(s)[Topic.WAITING]
    assert (
        offered.title == "prod: maintenance is offered (renew-certificates)"
        and offered.lines[-1] == "recoverctl plans prod"
    )
    s.machine.state = replace(
        s.machine.state, record=replace(s.machine.record, plan=replace(plan, id="prod-m2.1", incident="prod-m2"))
    )
    assert so(s)[Topic.WAITING].key == offered.key and offered.again == OFFERED_AGAIN, (
        "an offer that is made anew every half hour is one thing"
    )


@pytest.mark.parametrize("text", ["a\nb", "\u202egpj.exe", "x\x07y", "a" * 1000])
def test_no_line_breaks_out_of_its_message(text: str) -> None:
    told = line(text)
    assert told.isprintable() and len(told) <= LONGEST


def test_labels_are_those_of_the_rule_on_the_same_thing() -> None:
    rules = {r["alert"]: r for g in yaml.safe_load(RULES.read_text())["groups"] for r in g["rules"]}
    s = Script()
    s.sweep(stuck, times=2)
    found = [*so(s).values(), failed(s.plan, s.now, "b")]
    s.give(Rejected(s.plan.id, "alice", "no", s.now))
    s.sweep(stuck)
    found.append(so(s)[Topic.ESCALATED])
    s.sweep(lambda c: c.everything_dark(), times=3)
    found.append(so(s)[Topic.UNOBSERVABLE])
    s.machine.state = replace(s.machine.state, memory=replace(s.machine.memory, healthy_at=None))
    found.append(so(s)[Topic.UNFINISHED])
    found.append(nobody_acts("no answer", s.now, "b"))
    found.append(common_cause(CommonCause("kubelet-down", ("a", "b", "c"), s.now), "b"))
    for news in found:
        rule = rules[news.labels["alertname"]]
        assert rule["labels"]["severity"] == news.labels["severity"]
        # what a route or an inhibition may match on are the labels of the series in the rule's expression
        for label in set(news.labels) - {"alertname", "severity"}:
            assert label in ("plan", "playbook") or f'{label}="{news.labels[label]}"' in rule["expr"], (
                news.labels,
                rule["expr"],
            )
    assert {n.topic for n in found} == set(Topic) - {Topic.RECOVERED, Topic.EMERGENCY, Topic.SHADOW}, (
        "which only happen in a moment, or are for information"
    )


def test_of_a_cluster_that_was_never_seen_healthy_one_thing_is_told_and_it_calls_nobody() -> None:
    s = Script()
    s.machine.state = replace(s.machine.state, memory=replace(s.machine.memory, healthy_at=None))
    s.sweep(lambda c: c.api_down())
    assert so(s) == {}
    s.sweep(lambda c: c.api_down(), times=3)
    assert s.machine.record.incident
    (news,) = so(s).values()
    assert news.topic is Topic.UNFINISHED and news.labels["severity"] == "ticket" and news.again == OFFERED_AGAIN
    assert any("recoverd doctor prod" in each for each in news.lines), news.lines
    s.sweep(stuck, times=2)
    assert [n.key for n in so(s).values()] == [news.key], "another fault is no other news"
    s.sweep(times=30)
    assert s.machine.memory.healthy_at and so(s) == {}
    s.sweep(stuck, times=2)
    assert Topic.WAITING in so(s)


def test_a_fault_of_many_clusters_names_them_once_and_says_that_it_is_over() -> None:
    s = Script()
    news = common_cause(CommonCause("kubelet-down", ("a", "b", "c"), s.now), "bastion1")
    assert news.title == "recoverd on bastion1: kubelet-down IN 3 CLUSTERS TOGETHER"
    assert news.lines[0] == "a, b, c." and not news.cluster
    grown = common_cause(CommonCause("kubelet-down", ("a", "b", "c", "d"), s.now), "bastion1")
    assert grown.key == news.key, "it is the same one when more of them have it"
    over = no_common_cause(news, s.now + timedelta(minutes=5))
    assert over.title == "recoverd on bastion1: kubelet-down: not in many clusters any more, after 5 min"
    assert over.key != news.key and not over.labels


def test_who_goes_alone_where_two_are_needed_is_told_to_everybody() -> None:
    s = Script()
    s.machine.settings = replace(s.settings, persons=PersonsNeeded(2, emergency=True))
    s.sweep(stuck, times=2)
    plan = s.plan
    out = s.give(Approved(plan.id, "alice", "", s.now, person=1001))
    assert came(s, out) == []
    assert "1 of 2 persons has approved it, alice: another person must." in so(s)[Topic.WAITING].lines
    [news] = came(s, s.give(Approved(plan.id, "alice", "no one is there", s.now, person=1001, emergency=True)))
    assert news.topic is Topic.EMERGENCY
    assert news.title == "prod: ONE PERSON ALONE has approved plan prod-1.1 (force-new-cluster)"
    assert "approved by alice ALONE, as an emergency: no one is there" in news.body


def test_where_it_only_observes_nobody_is_called_for_a_plan_or_at_its_end() -> None:
    s = Script()
    s.sweep(stuck, times=3)
    assert set(so(s)) == {Topic.CONFIRMED, Topic.WAITING}
    observed = replace(s.machine.status(), observed=True)
    record = s.machine.record
    assert {n.topic for n in standing(observed, record, "b")} == {Topic.CONFIRMED}, "the plan of before is void"
    ended = replace(observed, phase=Phase.ESCALATED, explanation="no playbook is for it")
    told = {n.topic: n for n in standing(ended, record, "b")}
    assert set(told) == {Topic.CONFIRMED, Topic.SHADOW}
    assert told[Topic.CONFIRMED].labels["severity"] == "page" and not told[Topic.SHADOW].labels
    assert told[Topic.SHADOW].title == "prod: only observed; recoverd would have called a person"
    assert "Why: no playbook is for it" in told[Topic.SHADOW].lines


def test_what_has_to_be_known_is_in_the_hundred_characters_that_a_pager_shows() -> None:
    """Of a cluster with the longest name that there may be, whose plans have it in their names."""
    name = "x" * 63
    s = Script()
    s.sweep(stuck, times=2)
    plan = replace(s.plan, cluster=name, id=f"{name}-123.45", incident=f"{name}-123")
    status = replace(s.machine.status(), name=name)
    told = [
        *standing(status, replace(s.machine.record, plan=plan), "bastion1"),
        *standing(replace(status, phase=Phase.ESCALATED, plan=None), replace(s.machine.record, plan=None), "bastion1"),
        failed(plan, s.now, "bastion1"),
        _emergency(plan, "because", s.now, "bastion1"),
    ]
    words = {
        "BROKEN, etcd-stuck",
        "WAITS FOR YOU (DESTRUCTIVE",
        "A PERSON IS NEEDED",
        "FAILED",
        "ONE PERSON ALONE has appr",
    }
    assert {w for w in words for n in told if f"{name}: {w}" in n.title} == words
    assert max(len(n.title) for n in told) <= 100
