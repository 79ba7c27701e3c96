"""What a taking back does to etcd: chosen of what was seen, and of nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recoverd.model.bastion_operations import AwaitEtcd, RemoveMember
from recoverd.model.etcd import FORCE, EtcdView, MemberEntry
from recoverd.model.join_operations import ForceAlone, TakeBackJoin
from recoverd.model.operations import WriteFile
from recoverd.model.unit_operations import AwaitFlag
from recoverd.playbooks.take_back import Force, Look, Looks, Nothing, Remove, Seen, Silence, Stop, choose, listed
from tests.unit.builders import Cluster

ADDRESS = "10.99.1.12"
FORCED = ForceAlone("/etc/kubernetes/manifests/etcd.yaml", "before", f"- etcd\n- {FORCE}\n", "- etcd\n")
ALONE = TakeBackJoin("cp2-label", "cp1", "cp2", ADDRESS, 1, FORCED)
UNFORCED = replace(ALONE, force=None)
OTHER = MemberEntry("aa", "cp9", ("https://10.99.1.19:2380",))
NEVER = MemberEntry("f8d5635289df23d3", "", (f"https://{ADDRESS}:2380",))
STARTED = replace(NEVER, name="cp2")
LEARNER = replace(NEVER, learner=True)


def view(*more: MemberEntry, leader: bool = True) -> EtcdView:
    seen = Cluster(1).etcd_view("cp1")
    return replace(seen, members=(*seen.members, *more), leader=seen.leader if leader else "")


def away(*more: MemberEntry) -> EtcdView:
    return view(*more, leader=False)


LOST = Seen(away(NEVER), silenced=True)

CASES = {
    # two voters, one never started
    "ended-first": (ALONE, Seen(away(NEVER)), Silence),
    "ended-first-though-there-is-a-leader": (ALONE, Seen(view(NEVER)), Silence),
    "nobody-can-be-elected": (ALONE, LOST, Force),
    "a-leader-that-is-none-any-more": (ALONE, replace(LOST, view=view(NEVER)), Look),
    "a-leader-all-the-same": (ALONE, replace(LOST, view=view(NEVER), looking=61.0), Remove),
    "not-agreed-to": (UNFORCED, LOST, Stop),
    "its-machine-is-gone": (ALONE, Seen(away(NEVER), reachable=False, leaderless=4.0), Force),
    "its-machine-is-gone-just-now": (ALONE, Seen(away(NEVER), reachable=False, leaderless=3.9), Look),
    # the new member has started after all
    "started": (ALONE, Seen(view(STARTED)), Remove),
    "started-and-gone": (ALONE, Seen(view(STARTED), reachable=False), Stop),
    "started-without-a-leader-yet": (ALONE, Seen(away(STARTED), leaderless=3.9), Look),
    "started-without-a-leader": (ALONE, Seen(away(STARTED), leaderless=4.0), Silence),
    "started-and-ended": (ALONE, Seen(away(STARTED), silenced=True), Force),
    # three voters and more
    "three-never-started": (replace(UNFORCED, members=2), Seen(view(OTHER, NEVER), silenced=True), Remove),
    "three-without-a-leader-yet": (replace(UNFORCED, members=2), Seen(away(OTHER, NEVER), silenced=True), Look),
    "three-without-a-leader": (
        replace(UNFORCED, members=2),
        Seen(away(OTHER, NEVER), silenced=True, leaderless=4.0),
        Stop,
    ),
    "somebody-joined-another": (ALONE, Seen(away(OTHER, NEVER), silenced=True, leaderless=9.0, looking=60.0), Stop),
    "somebody-joined-another-just-now": (ALONE, Seen(away(OTHER, NEVER), silenced=True, leaderless=9.0), Look),
    # a learner has no vote, and takes quorum from nobody
    "learner": (ALONE, Seen(view(LEARNER), silenced=True), Remove),
    "learner-without-a-leader": (ALONE, Seen(away(LEARNER), silenced=True, leaderless=9.0), Look),
    "learner-without-a-leader-for-long": (
        ALONE,
        Seen(away(LEARNER), silenced=True, leaderless=60.0, looking=60.0),
        Stop,
    ),
    "learner-beside-two": (replace(ALONE, members=2), Seen(away(OTHER, LEARNER), silenced=True), Look),
    # removed meanwhile, or never added
    "not-listed": (ALONE, Seen(view()), Nothing),
    "not-listed-beside-others": (ALONE, Seen(view(OTHER)), Nothing),
    "not-listed-while-electing": (ALONE, Seen(away(), leaderless=9.0), Look),
    "not-listed-without-a-leader": (ALONE, Seen(away(), leaderless=60.0, looking=60.0), Stop),
    # mute
    "mute-from-the-start": (ALONE, Seen(None, mute=14.0), Look),
    "mute-for-long": (ALONE, Seen(None, mute=15.1), Silence),
    "mute-and-ended": (ALONE, Seen(None, mute=15.1, silenced=True), Force),
    "mute-and-neither-answers": (ALONE, Seen(None, mute=15.1, reachable=False), Look),
    "mute-and-not-agreed-to": (UNFORCED, Seen(None, mute=30.0), Look),
    "mute-to-the-end": (UNFORCED, Seen(None, "refused", mute=60.0), Stop),
    "one-late-answer-is-no-lost-quorum": (ALONE, replace(LOST, mute=4.5), Look),
    "mute-after-its-words": (ALONE, replace(LOST, mute=15.1), Force),
    "mute-after-its-words-and-the-new-machine-gone": (ALONE, Seen(away(NEVER), mute=15.1, reachable=False), Force),
    "mute-after-it-was-removed": (ALONE, Seen(view(), mute=30.0), Look),
    "mute-beside-others": (ALONE, Seen(away(OTHER, NEVER), mute=30.0, silenced=True), Look),
    "mute-with-one-that-started-and-is-gone": (ALONE, Seen(away(STARTED), mute=30.0, reachable=False), Look),
    # interrupted
    "flag-in": (ALONE, Seen(None, mute=0.1, flagged=True), Force),
    "flag-in-and-the-new-machine-gone": (ALONE, Seen(away(NEVER), reachable=False, flagged=True), Force),
    "flag-in-and-started-after-all": (ALONE, Seen(view(STARTED), flagged=True), Force),
    "somebody-elses-flag": (UNFORCED, Seen(view(STARTED), flagged=True), Remove),
    # two histories
    "another-cluster": (ALONE, replace(LOST, clusters=2), Stop),
    "another-cluster-while-the-flag-is-in": (ALONE, replace(LOST, clusters=2, flagged=True), Force),
}


@pytest.mark.parametrize(("it", "seen", "kind"), CASES.values(), ids=CASES)
def test_what_was_seen_says_what_is_done(it: TakeBackJoin, seen: Seen, kind: type) -> None:
    choice = choose(it, seen)
    assert type(choice) is kind, choice
    if isinstance(choice, Stop):
        assert it.name in choice.reason or "other members" in choice.reason


def test_the_member_that_is_removed_is_the_one_of_the_join() -> None:
    choice = choose(ALONE, Seen(view(STARTED)))
    assert isinstance(choice, Remove) and choice.member_id == STARTED.id
    assert (choice.via.host, choice.via.operation) == ("cp1", RemoveMember(STARTED.id))


@pytest.mark.parametrize("flagged", [False, True])
def test_by_force_the_flag_goes_in_once_and_always_out(flagged: bool) -> None:
    choice = choose(ALONE, replace(LOST, flagged=flagged))
    assert isinstance(choice, Force) and choice.on == "cp1"
    into, out = [s.operation for s in choice.into], [s.operation for s in choice.out]
    put_in = [o for o in into if isinstance(o, WriteFile)]
    assert len(put_in) == (0 if flagged else 1) and into[-1] == AwaitEtcd(1)
    assert all((o.content, o.before) == (FORCED.flagged, "before") for o in put_in), "over nobody else's manifest"
    take_out, gone, alone = out
    assert isinstance(take_out, WriteFile) and take_out.content == FORCED.final and FORCE not in take_out.content
    assert isinstance(gone, AwaitFlag) and not gone.present and alone == AwaitEtcd(1)


def test_what_an_interrupted_one_may_not_have_seen_is_waited_for() -> None:
    choice, plain = choose(ALONE, Seen(view())), choose(UNFORCED, Seen(view()))
    assert isinstance(choice, Nothing) and all(s.looks for s in choice.waits) and len(choice.waits) == 2
    assert plain == Nothing()


def test_a_leader_that_flaps_begins_the_count_anew_and_a_late_answer_does_not_go_on_with_it() -> None:
    looks = Looks(100.0)

    def look(now: float, seen: EtcdView | None) -> Seen:
        return looks.seen(now, seen, "late", reachable=True, flagged=False)

    assert look(101.0, away(STARTED)).leaderless == 0.0
    assert look(104.0, away(STARTED)).leaderless == 3.0
    assert look(104.5, view(STARTED)).leaderless == 0.0
    assert look(105.0, away(STARTED)).leaderless == 0.0
    late = look(110.0, None)
    assert (late.leaderless, late.mute, late.view) == (0.0, 5.0, away(STARTED))
    assert (look(111.0, away(STARTED)).leaderless, looks.seen(111.0, None, "", reachable=True, flagged=False).mute) == (
        6.0,
        0.001,
    )


def test_the_source_that_tells_of_another_cluster_is_noticed() -> None:
    looks = Looks(0.0)
    assert looks.seen(0.0, view(STARTED), "", reachable=True, flagged=False).clusters == 1
    other = replace(view(STARTED), cluster_id="another")
    assert looks.seen(1.0, other, "", reachable=True, flagged=False).clusters == 2


def test_the_member_is_known_by_its_whole_address() -> None:
    near = MemberEntry("bb", "", ("https://10.99.1.1:2380",))
    six = MemberEntry("cc", "", ("https://[fd00::12]:2380",))
    assert listed(view(near), ADDRESS) is None and listed(view(near, NEVER), ADDRESS) == NEVER
    assert listed(view(six), "fd00::12") == six
