"""An etcd that is none of the cluster's static pods: whether it serves the API servers, by its servers' own words, as
they are asked from a control plane. recoverd does not log in to their machines and does nothing there, so what is
found of them is for a person, and its words say where to begin. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from recoverd.diagnose.etcd import describe
from recoverd.diagnose.question import Question
from recoverd.diagnose.scene import Scene
from recoverd.model.catalogue import Code
from recoverd.model.etcd import EtcdView, MemberEntry, quorum_of
from recoverd.model.facts import Facts
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.observation import EndpointHealth, Unseen, UnseenKind

AWAY: Mapping[UnseenKind, str] = {
    UnseenKind.REFUSED: "no connection",
    UnseenKind.TIMEOUT: "no answer",
    UnseenKind.UNREACHABLE: "no answer",
    UnseenKind.UNTRUSTED: "a certificate that the API servers do not accept",
}
"""What it is to the API servers that a server cannot be asked for. Any other reason is one of the asking alone: sshd on
the control plane forbids the way, or the certificate there cannot be read or is over.
"""
THERE = "recoverd does not log in to its machines and does nothing there"
FREE = (
    "compact and defragment it there (`etcdctl compact REVISION`, `etcdctl defrag`, `etcdctl alarm disarm`), or raise "
    "--quota-backend-bytes"
)


def findings(scene: Scene) -> Iterator[Finding]:
    if not scene.external_etcd:
        return
    seen = scene.observation
    alarmed = {n: v for n, v in scene.outside.items() if v.alarms}
    if alarmed:
        yield _alarms(scene, alarmed)
    if scene.host(seen.outside_by) is None:
        return  # who was to ask them is not seen itself
    led = {n: v for n, v in scene.outside.items() if v.has_leader}
    away = {n: why for n, v in seen.outside.items() if n not in led and (why := _away(v))}
    if led:
        yield from (_server(scene, name, why, led) for name, why in away.items())
    elif away and not scene.api_ready and _fails_by_them(scene) and not _late(scene):
        yield _fails(scene, away)


def _away(view: EtcdView | Unseen) -> str:
    """How a server that has no leader is to the API servers; "" where that was not seen."""
    if isinstance(view, EtcdView):
        return "runs without a leader"
    return AWAY.get(view.kind, "")


def _late(scene: Scene) -> bool:
    """Whether recoverd itself came too late for one of them: what was told of it before stands. On an overloaded
    bastion a silent server was by turns one that gives no answer and one that could not be asked, and each was told
    (observed).
    """
    return any(isinstance(v, Unseen) and v.kind is UnseenKind.OWN for v in scene.observation.outside.values())


def _fails_by_them(scene: Scene) -> bool:
    """No API server says that it is anything but etcd that fails it; those that wait for it in vain listen no more."""
    ends = scene.observation.api.members.values()
    return all("etcd" in e.failing_checks or e.health is not EndpointHealth.NOT_READY for e in ends)


def _fails(scene: Scene, away: Mapping[str, str]) -> Finding:
    servers = scene.observation.outside
    told = "; ".join(
        f"{', '.join(n for n, why in away.items() if why == what)}: {what}" for what in dict.fromkeys(away.values())
    )
    unknown = [n for n in servers if n not in away]
    also = f"; {', '.join(unknown)}: could not be asked" if unknown else ""
    voters = next((len(v.voters) for v in scene.outside.values()), len(servers))
    needed = f" {quorum_of(voters)} of its {voters} members have to run and reach each other." if voters > 1 else ""
    return Finding(
        Code.EXTERNAL_ETCD_FAILS,
        "",
        f"The etcd of the API servers, which is elsewhere, does not serve ({told}{also}).{needed} {THERE}: start it "
        "there (the machines' consoles, `systemctl status etcd`, `journalctl -u etcd`, the dates of its certificates). "
        "Once it serves, kubelet starts the API servers again within five minutes; nothing on the control planes "
        "brings them back before.",
        _evidence(scene),
        state=State.ETCD_STUCK,
        facts=Facts(""),
    )


def _alarms(scene: Scene, alarmed: Mapping[str, EtcdView]) -> Finding:
    raised = {a.alarm for v in alarmed.values() for a in v.alarms}
    what = (
        f"has reached its quota and takes no writes (NOSPACE): {FREE}"
        if "CORRUPT" not in raised
        else "says that its members' data differ (CORRUPT): see which member is the odd one by its revision and its "
        "`etcdctl endpoint hashkv`, and make that one anew from the others"
    )
    return Finding(
        Code.EXTERNAL_ETCD_ALARM,
        "",
        f"The etcd of the API servers, which is elsewhere, {what}. {THERE}.",
        (
            *(f"{n}: alarm {a.alarm} of member {a.member_id}" for n, v in alarmed.items() for a in v.alarms),
            *_evidence(scene),
        ),
        state=State.ETCD_STUCK,
        facts=Facts(""),
    )


def _server(scene: Scene, name: str, why: str, led: Mapping[str, EtcdView]) -> Finding:
    view = next(iter(led.values()))
    voters, serving = len(view.voters), len({v.member_id for v in led.values() if not v.learner})
    entry = _entry(view, name)
    spare = serving - quorum_of(voters)
    rest = f"the other {serving} keep it going" if spare > 0 else "with one more lost, no API server serves any more"
    anew = (
        f" Where its data directory is gone, it is let in again as a new member alone: `etcdctl member remove "
        f"{entry.id}`, `etcdctl member add`, and its start with --initial-cluster-state=existing."
        if entry
        else ""
    )
    return Finding(
        Code.EXTERNAL_ETCD_SERVER_DOWN,
        name,
        f"One server of the etcd that is elsewhere, {name}, does not serve ({why}); {serving} of {voters} do, "
        f"{quorum_of(voters)} are needed: {rest}. {THERE}: see to it on its machine "
        f"(`systemctl status etcd`, `journalctl -u etcd`).{anew}",
        _evidence(scene),
        severity=Severity.WARNING,
        facts=Facts(""),
    )


def _entry(view: EtcdView, server: str) -> MemberEntry | None:
    """The row of the member list that has this HOST:PORT."""
    return next((m for m in view.members if any(urlsplit(u).netloc == server for u in m.client_urls)), None)


def _evidence(scene: Scene) -> tuple[str, ...]:
    return tuple(v.reason if isinstance(v, Unseen) else describe(n, v) for n, v in scene.observation.outside.items())


def serves(question: Question) -> str:
    """A server of it was seen to follow a leader, and none that was seen has an alarm up."""
    seen = question.observation
    views = [v for v in seen.outside.values() if isinstance(v, EtcdView)]
    if any(v.alarms for v in views):
        return "etcd elsewhere has an alarm up"
    if any(v.has_leader for v in views):
        return ""
    return "no server of the etcd that is elsewhere was seen with a leader"


def server(question: Question) -> str:
    """This very server was seen to follow a leader, or none of its name is asked any more while others are."""
    view = question.observation.outside.get(question.subject)
    if view is None:
        return "" if question.observation.outside else "the servers of the etcd that is elsewhere were not asked"
    if isinstance(view, EtcdView):
        return "" if view.has_leader else f"{question.subject} was not seen with a leader"
    return f"{question.subject} was not seen: {view.reason}"
