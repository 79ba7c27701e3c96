"""What came of an episode, from the journal and the truth: recovered by itself, after approval,
escalated rightly, let be, or wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tests.lab.bastion import Bastion, Shape
from tests.lab.soak.trouble import Episode

UNASKED = {
    "restore-manifest",
    "end-back-off",
    "start-node-services",
    "restore-node-files",
    "restore-pod-files",
    "restore-node-network",
    "restart-node-agents",
    "restart-controller",
}
"""What README promises to do without a person."""
OURS = {
    "rolling-worker-reboot",
    "force-new-cluster",
    "restore-etcd-snapshot",
    "rebuild-member",
    "rebuild-control-plane",
}
"""Playbooks after which a history or a boot id may be another."""


@dataclass(frozen=True)
class Acts:
    """What recoverd did since a moment."""

    steps: tuple[Shape, ...]
    """Each begun: plan, playbook, host, index, undo, at."""
    approved: frozenset[str]
    """Ids of plans."""
    restarts: int
    """How often recoverd was ended meanwhile."""

    @property
    def playbooks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(s["playbook"] for s in self.steps))


def acts(bastion: Bastion, since: datetime, restarts: int) -> Acts:
    """From the journal, which tells every step before it is begun."""
    plans = {p["id"]: p for p in bastion.plans(everything=True)}
    rows = bastion.journal("SELECT plan, step, undo, intent_at FROM step ORDER BY n")
    steps = [
        {
            "plan": plan,
            "playbook": plans[plan]["playbook"],
            "host": plans[plan]["steps"][index]["host"],
            "index": index,
            "undo": undo,
            "at": at,
        }
        for plan, index, undo, at in rows
        if plan in plans and datetime.fromisoformat(at) >= since
    ]
    decided = bastion.journal("SELECT plan FROM decision WHERE approved = 1")
    return Acts(tuple(steps), frozenset(plan for (plan,) in decided), restarts)


def wrongs(
    episode: Episode, done: Acts, boots: tuple[Mapping[str, str], Mapping[str, str]], histories: Sequence[str]
) -> list[str]:
    """Promises that were broken, in words. `boots` before and after, `histories` of etcd in the
    order in which they were seen.
    """
    found = []
    unasked = [s for s in done.steps if s["plan"] not in done.approved]
    for step in unasked:
        if step["playbook"] not in UNASKED:
            found.append(f"{step['playbook']} ran without a decision, on {step['host']}")
    for trouble, machine in episode.troubles:
        at_work = [
            s for s in unasked if trouble.hands_off and (trouble.paused or not trouble.cordoned or s["host"] == machine)
        ]
        found += [f"{s['playbook']} ran on {s['host']} though a person was at work: {trouble.name}" for s in at_work]
    again = Counter((s["plan"], s["index"], s["undo"]) for s in done.steps)
    found += [
        f"step {index + 1} of {plan} was begun {n} times"
        for (plan, index, _), n in again.items()
        if n > 1 + done.restarts
    ]
    ours = {s["host"] for s in done.steps if s["playbook"] == "rolling-worker-reboot"}
    theirs = {machine for t, machine in episode.troubles if t.power or "reboot" in t.strike + t.mend}
    found += [
        f"{name} was rebooted"
        for name, boot in boots[0].items()
        if boots[1].get(name) != boot and name not in ours | theirs
    ]
    if len(set(histories)) > 1 and not OURS & set(done.playbooks):
        found.append(f"etcd's history became another: {', '.join(histories)}")
    return list(dict.fromkeys(found))


def outcome(episode: Episode, done: Acts, *, escalated: bool, mended: bool) -> str:
    """The kind, of an episode in which nothing was wrong. `mended`: the person had to."""
    may = any(t.may_escalate or t.hands_off for t, _ in episode.troubles)
    if mended and not may:
        return "escalated" if escalated else "left"
    if not done.steps:
        return "let be"
    return "after approval" if any(s["plan"] in done.approved for s in done.steps) else "by itself"
