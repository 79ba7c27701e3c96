"""etcd members whose process runs and that do not follow the leader the others have: cut off from their peers, or
hanging. Pure.

A member that is cut off answers for a moment, without a leader. The liveness probe of its static pod restarts it then,
and one that has had no leader since its start listens and answers nothing (observed on 3.4.13).
"""

from __future__ import annotations

from collections.abc import Iterator

from recoverd.diagnose.connections import Connections, called_in_vain, connections
from recoverd.diagnose.etcd import describe
from recoverd.diagnose.scene import Scene
from recoverd.model.catalogue import Code
from recoverd.model.etcd import MemberEntry
from recoverd.model.facts import MemberFacts
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.observation import EndpointHealth, Unseen, UnseenKind

JOINS = 20.0
"""Seconds from the start of its process in which a member has yet to find the leader."""


def findings(scene: Scene) -> Iterator[Finding]:
    leader = scene.membership.leader
    if not leader or scene.external_etcd:
        return
    for entry in scene.membership.voters:
        host = scene.membership.host_of(entry)
        if host is None or not entry.started:
            continue
        if vain := called_in_vain(scene, host, entry):
            said = f"etcd on {host} is started again and again, and ended by kubelet's probe each time"
        else:
            said = _without_leader(scene, host, entry)
        if said:
            yield _found(scene, host, entry, said, vain)


def _without_leader(scene: Scene, host: str, entry: MemberEntry) -> str:
    """What shows that its process runs, for long enough, and follows nobody; "" where that is not proven."""
    container = scene.container(host, "etcd")
    age = scene.age(container.started_at) if container and container.running else None
    if age is not None and age < JOINS:
        return ""
    view = scene.membership.camp.get(host)
    if view is not None:
        alone = view.member_id == entry.id and not (view.has_leader or view.remembered or view.alarms)
        return describe(host, view) if alone else ""
    unseen = scene.observation.etcd.get(host)
    if age is None or not isinstance(unseen, Unseen) or unseen.kind is not UnseenKind.TIMEOUT:
        return ""
    return f"etcd on {host} has run for {age:.0f} s and answers nothing: {unseen.reason}"


def _found(scene: Scene, host: str, entry: MemberEntry, said: str, vain: tuple[str, ...]) -> Finding:
    view, it = scene.membership.camp.get(host), connections(scene, host, entry)
    leads = next((n for n, v in scene.membership.camp.items() if v.has_leader), "")
    evidence = (said, f"{leads}: follows the leader {scene.membership.leader}", *(vain or it.lines))
    facts = MemberFacts(host, member_id=entry.id, peer_url=", ".join(entry.peer_urls), quorum="present")
    if view is None and not vain and (not it.known or it.reached):
        quiet = scene.endpoint_health(host) is EndpointHealth.READY
        return Finding(
            Code.ETCD_MEMBER_HANGS,
            host,
            f"etcd on {host} runs and answers nothing, while the others have a leader. Its disk or its machine is too "
            "slow for it, or its process is stopped; look at the disk there and at what it logs. It holds its data and "
            "is neither removed nor made anew for that.",
            evidence,
            severity=Severity.WARNING if quiet else Severity.FAULT,
            state=None if quiet else State.ETCD_STUCK,
            facts=facts,
        )
    return Finding(
        Code.ETCD_MEMBER_ISOLATED,
        host,
        f"etcd on {host} runs and follows no leader, while the others have one: {_way(it)}. A firewall, a route or a "
        f"certificate is in the way, and recoverd opens none; on {host}: `nft list ruleset`, `ip route`, `journalctl`. "
        "It holds its data and joins by itself then: it is neither removed nor made anew for that.",
        evidence,
        state=State.ETCD_STUCK,
        facts=facts,
    )


def _way(it: Connections) -> str:
    """What is between a member and the others, in words."""
    if not it.known:
        return "what is between them is not seen"
    if it.none:
        return f"it has {it.none}"
    if len(it.reached) < len(it.others):
        return f"it is connected to {' and '.join(it.reached)} and not to the others"
    return "it is connected to them, and nothing comes of that"
