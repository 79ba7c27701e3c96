"""Whether a person is at work on a machine, so that what would run there unasked is asked about first. Pure.

Seen are terminals that are open (recoverd opens none), tools that change a control plane, package managers, manifests
that somebody has moved away, a cordon that is not recoverd's, and a file with which anybody keeps its hands off. What
is not seen says nothing, for it or against it. A command over SSH without a terminal counts by what it runs and what it
moves, and not by being there: monitoring makes such a session every minute.

Between two terminals, as between the sessions of Ansible or a logout and the next login, whoever was there counts for
`KEPT` seconds more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from recoverd.diagnose.packages import package_manager
from recoverd.diagnose.scene import Scene
from recoverd.model.memory import Sight
from recoverd.model.people import LoginView, PeopleView, ToolView
from recoverd.model.static_pods import stands
from recoverd.model.text import utc

KEPT = 120.0
"""Seconds for which a terminal or a tool that was seen counts after that."""
REMEMBERED = 600.0
"""Seconds for which it is kept in mind when that was."""
HANGS = 2 * 3600.0
"""Seconds from which on a tool or a package manager counts as one that hangs: a `kubeadm reset` at an unmount and a
dpkg at a question that nobody sees do for days, and recoverd would ask for as long. An upgrade takes minutes.
"""
COPIED = timedelta(seconds=60)
"""For so long before the last healthy sweep a copy may have been made that is somebody's who then took the file away;
that of a backup is older.
"""
SEVERAL = 2
"""Manifests of control planes that are away at once: one is an accident, and two are how a restore by hand begins."""
KUBEADM = re.compile(r"^\S*kubeadm(?! +(version|config|token|help|certs +(check-expiration|certificate-key)|.*--help))")
ETCD = re.compile(
    r"^\S*etcd(ctl|utl)\b.*\b(restore|add|remove|update|promote|defrag|del|put|migrate|move-leader|compact(ion)?)\b"
)
"""etcdctl only where it changes something: probes and backups run it all the time."""


def at_work(host: str, scene: Scene) -> str:
    """Who is at work where something done on `host` would be in their way, as "alice is at work on cp1
    (pts/0 since 19:41)"; "" for nobody.

    For a control plane that is anywhere on the control planes: etcd and the API servers are one thing.
    """
    machines = _about(host, scene)
    return (
        next((sign for name in machines for sign in _signs(name, scene)), "")
        or (_away(scene) if host in scene.control_plane_names else "")
        or _cordoned(host, scene)
        or next((f"{sight.words}, last seen at {utc(sight.at)}" for sight in _kept(machines, scene)), "")
    )


def on_any(hosts: Iterable[str], scene: Scene) -> str:
    """The first such answer for these machines."""
    return next((why for host in dict.fromkeys(hosts) if (why := at_work(host, scene))), "")


def all_seen(hosts: Iterable[str], scene: Scene) -> bool:
    """Whether the newest sweep would have shown anybody at work where `on_any` looks."""
    machines = {name for host in hosts for name in _about(host, scene)}
    return all((view := scene.host(name)) is not None and view.people is not None for name in machines)


def left_at(hosts: Iterable[str], scene: Scene) -> datetime | None:
    """When somebody was seen there last, as far as that is remembered."""
    seen = (scene.memory.at_work.get(name) for host in hosts for name in _about(host, scene))
    return max((sight.at for sight in seen if sight), default=None)


def sights(scene: Scene) -> Mapping[str, Sight]:
    """Who is seen now, and who was a moment ago, by machine. While a plan is at work a tool may be its own."""
    kept = {name: sight for name, sight in scene.memory.at_work.items() if _lately(sight, scene, REMEMBERED)}
    for name in scene.addresses:
        view = scene.host(name)
        if view is None or view.people is None or name in scene.observation.carried:
            continue
        found = [*([] if scene.busy else _tools(name, view.people)), *_terminals(name, view.people, scene)]
        if found and not _ignored(scene):
            kept[name] = Sight(found[-1], scene.now)
    return kept


def _about(host: str, scene: Scene) -> Iterable[str]:
    planes = scene.control_plane_names
    return dict.fromkeys((host, *planes)) if host in planes else (host,)


def _kept(machines: Iterable[str], scene: Scene) -> Iterator[Sight]:
    for name in machines:
        sight = scene.memory.at_work.get(name)
        if sight and _lately(sight, scene) and not _ignored(scene):
            yield sight


def _lately(sight: Sight, scene: Scene, seconds: float = KEPT) -> bool:
    """Not where it lies ahead, as after the bastion's clock was set back."""
    return 0 <= (scene.now - sight.at).total_seconds() < seconds


def _ignored(scene: Scene) -> bool:
    return scene.settings.bounds.person_at_work == "ignore"


def _signs(name: str, scene: Scene) -> Iterator[str]:
    view = scene.host(name)
    if view is None or view.people is None:
        return
    if view.people.hands_off:
        yield f"hands off {name}, says /run/recoverd/hands-off there ({view.people.hands_off})"
    if not _ignored(scene):
        yield from _tools(name, view.people)
        yield from _terminals(name, view.people, scene)


def _tools(name: str, people: PeopleView) -> Iterator[str]:
    for tool in people.tools:
        if tool.runs >= HANGS:
            continue
        if manager := package_manager(tool.command):
            yield f"{manager} runs on {name}{_since(tool)} (`{tool.command[:100]}`)"
        elif KUBEADM.search(tool.command) or ETCD.search(tool.command):
            yield f"somebody runs `{tool.command[:100]}` on {name}"


def _since(tool: ToolView) -> str:
    return f" since {utc(tool.since)}" if tool.since else ""


def _terminals(name: str, people: PeopleView, scene: Scene) -> Iterator[str]:
    limit = scene.settings.bounds.idle_at_work
    awake = [login for login in people.logins if login.idle < limit]
    if awake:
        others = f" and {len(awake) - 1} more" if len(awake) > 1 else ""
        yield _terminal(min(awake, key=lambda login: login.idle), name) + others


def _terminal(login: LoginView, name: str) -> str:
    idle = f", idle for {login.idle / 60:.0f} min" if login.idle >= 300 else ""
    return f"{login.user} is at work on {name} ({login.tty} since {utc(login.since)}{idle})"


def _away(scene: Scene) -> str:
    """Static pods' manifests that were there while all was well and are not in kubelet's sight, on the
    control planes that can be seen: several at once, or one that lies where somebody has moved it.
    """
    gone, moved = [], ""
    for name in scene.control_plane_names:
        view = scene.host(name)
        if view is None or view.manifests_unread:
            continue
        for component, known in scene.memory.manifests.get(name, {}).items():
            if component not in view.manifests and not stands(known.pod, view.manifests.values()):
                gone.append(f"{component} on {name}")
                moved = moved or _moved(name, component, scene)
    if len(gone) < SEVERAL:
        return moved
    return (
        f"{len(gone)} manifests are gone at once ({', '.join(gone)}), as when somebody has moved "
        "them away to work by hand"
    )


def _moved(name: str, component: str, scene: Scene) -> str:
    """Where its manifest lies since then; "" where it lies nowhere that was looked at, and for a copy of before."""
    view, healthy = scene.host(name), scene.memory.healthy_at
    if view is None or view.people is None or healthy is None:
        return ""
    for each in view.people.aside:
        at = each.changed_at - timedelta(seconds=view.clock_offset)
        if each.component == component and at >= healthy - COPIED:
            return (
                f"the manifest of {component} on {name} lies in {each.path} since {utc(at)}, as when somebody "
                f"has moved it away to work by hand (`mv {each.path} /etc/kubernetes/manifests/{component}.yaml` "
                "there when not)"
            )
    return ""


def _cordoned(host: str, scene: Scene) -> str:
    node = scene.node(host)
    if node is None or not node.unschedulable or node.cordoned_by:
        return ""
    return (
        f"{node.name} is cordoned, and not by recoverd, as when somebody works on it (kubectl "
        f"uncordon {node.name} when not)"
    )
