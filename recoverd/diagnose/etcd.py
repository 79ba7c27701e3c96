"""etcd: the member list, quorum and leader, alarms. Files are in `manifests`, data that went back in `setback`, members
that stand outside in `foreign`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from recoverd.diagnose import words
from recoverd.diagnose.connections import called_in_vain, connections
from recoverd.diagnose.etcd_space import alarms, large
from recoverd.diagnose.members import peer_address
from recoverd.diagnose.scene import DARK, SILENT, Scene
from recoverd.model.catalogue import Code
from recoverd.model.etcd import EtcdView, MemberEntry
from recoverd.model.facts import MemberFacts
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.observation import Unseen, UnseenKind

STUCK = State.ETCD_STUCK
STARTING = 40.0
"""Seconds that kubeadm itself waits for a new member to start (its own words: "This can take up to 40s")."""
CALLS = 20.0
"""Seconds from its start in which an etcd has yet to reach the others, as when all boot at once."""
PROMOTION = 120.0
"""Seconds that a learner may serve before it is called stuck: kubeadm promotes as soon as it has caught
up and gives up after 2 minutes.
"""


class Life(Enum):
    SERVES = auto()
    DEAD = auto()
    NEVER_STARTED = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class Vital:
    """What is proven about one voter."""

    entry: MemberEntry
    host: str | None
    life: Life
    why: str
    """A line of evidence."""
    dark: bool = False
    """Dead only by silence: its machine does not answer in any way."""


def findings(scene: Scene) -> Iterator[Finding]:
    vitals = tuple(_vital(scene, entry) for entry in scene.membership.voters)
    yield from _never_started(scene, vitals)
    yield from _quorum(scene, vitals)
    yield from _down(scene, vitals)
    yield from _down_unlisted(scene)
    yield from _learners(scene)
    yield from alarms(scene)
    yield from large(scene)


def _vital(scene: Scene, entry: MemberEntry) -> Vital:
    membership = scene.membership
    host = membership.host_of(entry)
    urls = ", ".join(entry.peer_urls)
    if host in membership.camp and membership.camp[host].member_id == entry.id:
        return Vital(entry, host, Life.SERVES, describe(host, membership.camp[host]))
    if not entry.started:
        return Vital(
            entry,
            host,
            Life.NEVER_STARTED,
            f"{urls}: member {entry.id} has no name and no client URL, so it was added and never started",
        )
    label = f"{host or entry.name} ({entry.id}, {urls})"
    if host is None:
        return Vital(
            entry,
            host,
            Life.UNKNOWN,
            f"{label}: no configured control plane has this address or name, so it cannot be looked at",
        )
    other = scene.etcd_views.get(host)
    if other is not None:
        return Vital(entry, host, Life.DEAD, f"{label}: the etcd that runs there is another member, {other.member_id}")
    if stopped := scene.etcd_stopped(host):
        return Vital(entry, host, Life.DEAD, stopped)
    return _unseen_vital(scene, entry, host, label)


def _unseen_vital(scene: Scene, entry: MemberEntry, host: str, label: str) -> Vital:
    """A voter whose etcd could not be seen: dead only when its whole machine is silent
    where it is known to have been.
    """
    endpoint, unseen = scene.endpoint(host), scene.unseen_host(host)
    right_place = peer_address(entry) == scene.addresses.get(host) or scene.remembered(host)
    silent = endpoint is None or endpoint.health in SILENT
    # a ready API server stands on a quorum, so with no leader among those that are seen it is
    # the silent ones that have it
    elsewhere = scene.api_ready and not scene.membership.leader
    if (
        unseen is not None
        and unseen.kind in DARK
        and silent
        and right_place
        and scene.bastion_sees(but=host)
        and not elsewhere
    ):
        answer = f"; its API server at {endpoint.address}: {endpoint.health}" if endpoint else ""
        why = f"{label}: the machine does not answer: {unseen.reason}{answer}"
        if scene.cut_off:
            return Vital(entry, host, Life.UNKNOWN, f"{why}; silent, not proven dead", dark=True)
        return Vital(entry, host, Life.DEAD, why, dark=True)
    etcd = scene.observation.etcd.get(host)
    reason = unseen.reason if unseen else etcd.reason if isinstance(etcd, Unseen) else "not looked at"
    serves = "; an API server is ready, so etcd has a quorum that is out of the bastion's sight" if elsewhere else ""
    return Vital(entry, host, Life.UNKNOWN, f"{label}: could not be seen: {reason}{serves}")


def describe(host: str, view: EtcdView) -> str:
    leader = f"leader {view.leader}" if view.has_leader else "no leader"
    health = "healthy" if view.healthy else f"not healthy{f' ({view.health_reason})' if view.health_reason else ''}"
    serves = "has its data" if view.remembered else "serves"
    words = f"; {view.remembered}" if view.remembered else ""
    return (
        f"{host} ({view.member_id}): {serves}, {leader}, {health}, revision {view.revision}, raft "
        f"term {view.raft_term}{words}"
    )


def _quorum_word(scene: Scene, vitals: tuple[Vital, ...]) -> str:
    if not scene.membership.known:
        return "unknown"
    if scene.membership.leader:
        return "present"
    possible = sum(v.life in (Life.SERVES, Life.UNKNOWN) for v in vitals)
    return "lost" if possible < scene.membership.needed else "unknown"


def _facts(scene: Scene, vitals: tuple[Vital, ...], entry: MemberEntry, host: str | None) -> MemberFacts:
    return MemberFacts(
        host or "", member_id=entry.id, peer_url=", ".join(entry.peer_urls), quorum=_quorum_word(scene, vitals)
    )


def _member_list(scene: Scene) -> tuple[str, ...]:
    source = scene.membership.source
    rows = (
        f"{e.id}  {e.name or '(unstarted)'}  {', '.join(e.peer_urls)}{'  learner' if e.learner else ''}"
        for e in scene.membership.entries
    )
    return (f"member list as {source} gives it:", *rows)


def _never_started(scene: Scene, vitals: tuple[Vital, ...]) -> Iterator[Finding]:
    for vital in vitals:
        if vital.life is not Life.NEVER_STARTED:
            continue
        facts = _facts(scene, vitals, vital.entry, vital.host)
        place = scene.membership.label(vital.entry)
        count, needed = len(vitals), scene.membership.needed
        effect = f"it counts as a voter all the same: {needed} of {count} are needed" + (
            "" if facts.quorum == "present" else ", and quorum is not there"
        )
        yield Finding(
            Code.ETCD_NEVER_STARTED,
            place,
            f"The etcd member at {facts.peer_url or place} was added and never started, as when a control "
            f"plane's join hangs; {effect}.",
            _member_list(scene),
            state=STUCK,
            facts=facts,
        )


def _quorum(scene: Scene, vitals: tuple[Vital, ...]) -> Iterator[Finding]:
    """No leader: quorum lost when too few voters can be alive, otherwise an election or a partition."""
    membership = scene.membership
    if not membership.camp or membership.leader:
        return
    if any(v.full and v.remembered for v in membership.camp.values()):
        return  # it is being restarted for its alarm, which is the finding
    if apart := _apart(scene, vitals):
        yield apart
        return
    serving = [v for v in vitals if v.life is Life.SERVES]
    unknown = [v for v in vitals if v.life is Life.UNKNOWN]
    count, needed, alive = len(vitals), membership.needed, len(serving)
    camp = membership.camp
    evidence = tuple(v.why for v in vitals) or _member_list(scene)  # a list without a voter says something, too
    if serving and alive + len(unknown) < needed:
        missing = ", ".join(f"{membership.label(v.entry)} ({_missing_as(v)})" for v in vitals if v not in serving)
        yield Finding(
            Code.ETCD_QUORUM_LOST,
            "",
            f"etcd has lost quorum: {alive} of {count} voters alive, {needed} needed. Missing: {missing}. "
            "Nothing can be written, and the API server cannot serve.",
            evidence,
            state=STUCK,
        )
        return
    unseen = (
        f" {len(unknown)} could not be seen, so whether quorum is lost cannot be told."
        if unknown
        else " An election lasts a second or two."
    )
    if scene.cut_off:
        silent = " and ".join(membership.label(v.entry) for v in unknown if v.dark)
        unseen = (
            f" {silent} are silent, not proven dead: they may serve on where the bastion does not reach. Look at their "
            "consoles; where they are off, "
            "switch them on."
        )
    yield Finding(
        Code.ETCD_NO_LEADER,
        "",
        f"etcd has no leader as far as {', '.join(sorted(camp))} can tell: {alive} of {count} voters are seen to "
        f"serve, {needed} needed.{unseen}",
        evidence,
        state=STUCK,
    )


def _apart(scene: Scene, vitals: tuple[Vital, ...]) -> Finding | None:
    """Enough voters for a quorum run, and none of them is connected to enough others for one."""
    runs = [v for v in vitals if v.life is Life.SERVES and v.host]
    ways = [connections(scene, v.host, v.entry) for v in runs if v.host and _runs(scene, v.host)]
    needed = scene.membership.needed
    if len(ways) < needed or any(not w.known or len(w.reached) + 1 >= needed for w in ways):
        return None
    cut = "; ".join(f"{w.host} has {w.none}" for w in ways if w.none)
    return Finding(
        Code.ETCD_NO_LEADER,
        "",
        f"etcd has no leader: {len(runs)} of {len(vitals)} voters run, {needed} are needed, and they do not reach each "
        f"other on the port of their peers ({cut}). A firewall, a route or a certificate is in the way, and recoverd "
        f"opens none; on {' and '.join(w.host for w in ways)}: `nft list ruleset`, `ip route`, `journalctl`. Each "
        "holds its data, and they elect a leader by themselves then: none is forced, removed or restored for that.",
        (*(v.why for v in runs), *(line for w in ways for line in w.lines)),
        state=STUCK,
    )


def _runs(scene: Scene, host: str) -> bool:
    """Its process runs, for long enough to have called the others."""
    container = scene.container(host, "etcd")
    age = scene.age(container.started_at) if container and container.running else None
    return age is not None and age >= CALLS


def _missing_as(vital: Vital) -> str:
    if vital.life is Life.NEVER_STARTED:
        return "never started"
    return "silent, not proven dead" if vital.dark else "dead"


def _down(scene: Scene, vitals: tuple[Vital, ...]) -> Iterator[Finding]:
    """Started voters that are proven dead; by silence alone only when a leader is known, the numbers agree,
    and no node object contradicts.
    """
    quorum = _quorum_word(scene, vitals)
    dead = [v for v in vitals if v.life is Life.DEAD]
    believable = bool(scene.membership.leader) and len(vitals) - len(dead) >= scene.membership.needed
    for vital in dead:
        host = vital.host
        if vital.dark:
            node = scene.node(host) if host else None
            if not believable or (node is not None and node.ready):
                continue
        elif host is not None and quorum == "present" and _may_come(scene, host, vital.entry):
            continue
        count, needed = len(vitals), scene.membership.needed
        left = (
            f"{count - len(dead)} of {count} voters are left and {needed} are needed"
            if quorum == "present"
            else f"quorum is {quorum}"
        )
        what = "Its whole machine does not answer" if vital.dark else "Its machine answers and its etcd does not serve"
        cause, proof = words.of_pod(scene, host, "etcd") if host and not vital.dark else ("", ())
        yield Finding(
            Code.ETCD_MEMBER_DOWN,
            scene.membership.label(vital.entry),
            f"The etcd member {vital.entry.name} is down. {what}; {left}.{cause}",
            (vital.why, *proof, *(v.why for v in vitals if v.life is Life.SERVES), *_logs(scene, host)),
            state=STUCK,
            facts=_facts(scene, vitals, vital.entry, host),
        )


def _may_come(scene: Scene, host: str, entry: MemberEntry) -> bool:
    """It is just starting, or is only cut off from the others (`following`)."""
    return scene.settling(host) or bool(called_in_vain(scene, host, entry))


def _logs(scene: Scene, host: str | None) -> tuple[str, ...]:
    container = scene.container(host, "etcd") if host else None
    return tuple(f"etcd on {host} says: {line}" for line in container.log_tail[-4:]) if container else ()


def _down_unlisted(scene: Scene) -> Iterator[Finding]:
    """No member answers, so there is no list: what is proven is only that etcd on these machines does not serve."""
    if scene.membership.known:
        return
    ids = {name: id_ for id_, name in scene.memory.watermark.members.items()} if scene.memory.watermark else {}
    for name in scene.parts:
        why = scene.etcd_stopped(name)
        if not why or (scene.settling(name) and scene.vip_ready):
            continue
        cause, proof = words.of_pod(scene, name, "etcd")
        yield Finding(
            Code.ETCD_MEMBER_DOWN,
            name,
            f"etcd on {name} does not run, and no other member answers, so nothing is known of quorum.{cause}",
            (why, *proof, *_logs(scene, name)),
            state=STUCK,
            facts=MemberFacts(name, member_id=ids.get(name, ""), quorum="unknown"),
        )


def _learners(scene: Scene) -> Iterator[Finding]:
    """A learner lives for seconds in a healthy join (kubeadm from 1.29): stuck only when it cannot be
    starting or catching up any more.
    """
    vitals = tuple(_vital(scene, entry) for entry in scene.membership.voters)
    for entry in scene.membership.entries:
        if not entry.learner:
            continue
        host = scene.membership.host_of(entry)
        stuck, why = _learner_stuck(scene, entry, host)
        yield Finding(
            Code.ETCD_LEARNER_STUCK,
            scene.membership.label(entry),
            f"The etcd learner at {', '.join(entry.peer_urls)} is not promoted to a voter: {why}.",
            _member_list(scene),
            severity=Severity.FAULT if stuck else Severity.NOTICE,
            state=STUCK if stuck else None,
            facts=_facts(scene, vitals, entry, host),
        )


def _learner_stuck(scene: Scene, entry: MemberEntry, host: str | None) -> tuple[bool, str]:
    container = scene.container(host, "etcd") if host else None
    age = scene.age(container.started_at) if container and container.running else None
    restarts = container.restarts if container else 0  # of one whose start fails each is as young as the first
    starting = age is not None and age < STARTING and not restarts
    if not entry.started:
        return (not starting, "its etcd has just been started" if starting else "it was added and never started")
    if host and (stopped := scene.etcd_stopped(host)):
        return (not starting, stopped)
    view, seen = scene.membership.camp.get(host or ""), scene.observation.etcd.get(host or "")
    mute = isinstance(seen, Unseen) and seen.kind is UnseenKind.TIMEOUT
    if restarts and (mute or (view is not None and not view.has_leader)):
        return True, "its etcd has been restarted and does not reach the leader, or answers nothing"
    node = scene.node(host) if host else None
    if scene.membership.leader and _vital(scene, entry).dark and not (node and node.ready):
        return True, "its whole machine does not answer"
    if view is not None and age is not None and age >= PROMOTION:
        return True, f"it has been serving for more than {PROMOTION:g} s, a healthy join takes seconds"
    return False, "a join seems to be in progress"
