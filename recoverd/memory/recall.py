"""What etcd members that have lost their leader, or reached their quota, said last, while
they cannot say it again. Pure.

kubelet restarts an etcd whose /health fails, about 80 s after quorum is lost (the liveness probe in kubeadm's
manifest), and a member that was restarted without quorum listens and answers nothing until there is a leader
(observed on 3.4). What it said before still holds: without a leader neither its data nor the member list can change,
and with one it would answer. It is held against the data that are there: where somebody has put others in their
place, nobody has said anything of them.

The same probe fails while the NOSPACE alarm is up (etcd's /health; kubeadm before 1.31 asks it as it is), whether there
is a leader or not, so that each member is restarted again and again, with kubelet's back-off of up to 5 minutes in
between. The alarm is in the data: it holds until a member that has a leader tells of none.

A member that does not come up by its own fault is no mute one. Where the log of its etcd says that its files are
damaged, what it said was of files that are not there any more, and is forgotten. Where its etcd ended itself for
another reason, it is not recalled until one has stayed up: that moment after a start in which it listens as well as
any is not taken for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from recoverd.diagnose.loss import says_damaged, says_why_it_ends
from recoverd.model.etcd import EtcdView
from recoverd.model.observation import EndpointHealth, HostView, Observation, Unseen, UnseenKind
from recoverd.model.text import utc

MUTE = frozenset({UnseenKind.TIMEOUT, UnseenKind.REFUSED})
"""It listens and says nothing, or is just being restarted."""
BACK_OFF = 400.0
"""Seconds for which what a member with the alarm said holds: kubelet's longest back-off, and the start after it."""

OLD = 300.0
"""Seconds from which on it is said when it was, since whoever approves goes by it."""

STAYS = 60.0
"""Seconds for which an etcd runs that does not end itself: longer than it reads its files, and shorter than the 80 s
after which kubelet's probe ends one without a leader.
"""


def last_words(observation: Observation, before: Mapping[str, EtcdView]) -> Mapping[str, EtcdView]:
    """The newest words of the members that have no leader, by host, none as soon as anything shows that there is
    one; and of those with the alarm. Those whose etcd says since that its files are damaged have none.
    """
    views = {n: v for n, v in observation.etcd.items() if isinstance(v, EtcdView)}
    before = {
        n: kept for n, v in before.items() if (kept := v if n in views else _since(observation, n, v)) is not None
    }
    if _has_leader(observation, views):
        if any(v.has_leader and not v.full for v in views.values()):
            return {}
        before = {n: v for n, v in before.items() if v.full}
        views = {n: v for n, v in views.items() if v.full}
    if not views:
        return before
    now = {
        n: replace(_counted(v, before.get(n)), seen_at=observation.at, of_data=_identity(observation, n))
        for n, v in views.items()
    }
    return {**before, **now}


def recall(observation: Observation, witnessed: Mapping[str, EtcdView]) -> Observation:
    """The observation with the last words of those members that are mute now and still have
    their data, marked as `remembered`.
    """
    views = {n: v for n, v in observation.etcd.items() if isinstance(v, EtcdView)}
    led = _has_leader(observation, views)
    witnessed = {n: v for n, v in witnessed.items() if (_holds_on(v, observation) if v.full else not led)}
    if not witnessed:
        return observation
    recalled = {n: counted for n, v in views.items() if (counted := _counted(v, witnessed.get(n))) != v}
    for name, view in witnessed.items():
        if view.ended:
            continue
        seen, host = observation.etcd.get(name), observation.hosts.get(name)
        data = host.etcd_data if isinstance(host, HostView) else None
        same = data is not None and (not view.of_data or data.identity == view.of_data)
        if isinstance(seen, Unseen) and seen.kind in MUTE and data is not None and data.holds and same:
            # nobody knows whether it would find a leader
            leader = "" if view.full else view.leader
            recalled[name] = replace(
                view,
                healthy=False,
                leader=leader,
                remembered=_why(seen, host if isinstance(host, HostView) else None, view, observation.at),
            )
    return replace(observation, etcd={**observation.etcd, **recalled}) if recalled else observation


def _since(observation: Observation, name: str, view: EtcdView) -> EtcdView | None:
    """What it said, by what its etcd has said in its log since; None where that is of its own damage."""
    host = observation.hosts.get(name)
    container = host.containers.get("etcd") if isinstance(host, HostView) else None
    if not isinstance(host, HostView) or container is None:
        return view
    began = host.running_since("etcd")
    if container.running and began and view.seen_at and began <= view.seen_at:
        return view  # its log may be of before it said this
    if says_damaged(container.log_tail):
        return None
    if not container.running:
        return replace(view, ended=view.ended or says_why_it_ends(container.log_tail))
    stays = began is not None and (observation.at - began).total_seconds() >= STAYS
    return replace(view, ended=view.ended and not stays)


def _identity(observation: Observation, name: str) -> str:
    host = observation.hosts.get(name)
    return host.etcd_data.identity if isinstance(host, HostView) and host.etcd_data else ""


def _counted(view: EtcdView, before: EtcdView | None) -> EtcdView:
    """With what was read of its data at the same revision, where it was not in time: a plan is to check against the
    numbers, and by the UID it is known for this cluster.
    """
    if before is None or before.revision != view.revision:
        return view
    return replace(
        view,
        nodes=before.nodes if view.nodes is None else view.nodes,
        pods=before.pods if view.pods is None else view.pods,
        uid=before.uid if view.uid is None else view.uid,
    )


def _why(seen: Unseen, host: HostView | None, view: EtcdView, at: datetime) -> str:
    """ "" for a member that is the same process as before and only slow: what it said
    stands as if it had said it now, for some minutes.
    """
    old = view.seen_at is not None and (at - view.seen_at).total_seconds() >= OLD
    began = host.running_since("etcd") if host else None
    same = bool(began and view.seen_at and began < view.seen_at and seen.kind is UnseenKind.TIMEOUT)
    if same and not old:
        return ""
    how = "listens and does not answer" if seen.kind is UnseenKind.TIMEOUT else "is not running"
    since = (
        "kubelet's probe restarts it again and again while the alarm is up, and it"
        if view.full
        else "without quorum it"
    )
    when = f" at {utc(view.seen_at)}" if view.seen_at and old else ""
    before = "" if same else f"{',' if when else ''} before it was restarted"
    return f"as it said{when}{before}; {since} {how} now"


def _holds_on(view: EtcdView, observation: Observation) -> bool:
    return view.seen_at is not None and (observation.at - view.seen_at).total_seconds() < BACK_OFF


def _has_leader(observation: Observation, views: Mapping[str, EtcdView]) -> bool:
    ready = any(e.health is EndpointHealth.READY for e in (observation.api.vip, *observation.api.members.values()))
    return ready or any(v.has_leader for v in views.values())
