"""Whether a person is at work on a machine, so that what would run there unasked is asked about first. Pure.

Seen are terminals that are open (recoverd opens none), tools that change a control plane, several manifests away at
once, a cordon that is not recoverd's, and a file with which anybody keeps its hands off. What is not seen says
nothing, for it or against it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from recoverd.diagnose.scene import Scene
from recoverd.model.observation import LoginView
from recoverd.model.static_pods import stands

FORGOTTEN = 8 * 3600.0
"""Seconds without a key from which on a terminal counts as left open by somebody who has gone home."""
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
    if scene.settings.bounds.person_at_work == "ignore":
        return ""
    planes = scene.control_plane_names
    machines = dict.fromkeys((host, *planes)) if host in planes else {host: None}
    return (
        next((sign for name in machines for sign in _signs(name, scene)), "")
        or (_away(scene) if host in planes else "")
        or _cordoned(host, scene)
    )


def on_any(hosts: Iterable[str], scene: Scene) -> str:
    """The first such answer for these machines."""
    return next((why for host in dict.fromkeys(hosts) if (why := at_work(host, scene))), "")


def all_seen(hosts: Iterable[str], scene: Scene) -> bool:
    """Whether the newest sweep would have shown anybody at work where `on_any` looks."""
    planes = scene.control_plane_names
    machines = {n for host in hosts for n in (host, *(planes if host in planes else ()))}
    return all((view := scene.host(name)) is not None and view.people is not None for name in machines)


def _signs(name: str, scene: Scene) -> Iterator[str]:
    view = scene.host(name)
    if view is None or view.people is None:
        return
    if view.people.hands_off:
        yield f"hands off {name}, says /run/recoverd/hands-off there ({view.people.hands_off})"
    for tool in view.people.tools:
        if KUBEADM.search(tool) or ETCD.search(tool):
            yield f"somebody runs `{tool[:100]}` on {name}"
    awake = [login for login in view.people.logins if login.idle < FORGOTTEN]
    if awake:
        others = f" and {len(awake) - 1} more" if len(awake) > 1 else ""
        yield _terminal(min(awake, key=lambda login: login.idle), name) + others


def _terminal(login: LoginView, name: str) -> str:
    idle = f", idle for {login.idle / 60:.0f} min" if login.idle >= 300 else ""
    return f"{login.user} is at work on {name} ({login.tty} since {login.since:%H:%M}{idle})"


def _away(scene: Scene) -> str:
    """Static pods' manifests that were there while all was well and are not in kubelet's sight, on the
    control planes that can be seen.
    """
    gone = []
    for name in scene.control_plane_names:
        view = scene.host(name)
        if view is None or any("manifest" in problem for problem in view.problems):
            continue
        gone += [
            f"{component} on {name}"
            for component, known in scene.memory.manifests.get(name, {}).items()
            if component not in view.manifests and not stands(known.pod, view.manifests.values())
        ]
    if len(gone) < SEVERAL:
        return ""
    return (
        f"{len(gone)} manifests are gone at once ({', '.join(gone)}), as when somebody has moved "
        "them away to work by hand"
    )


def _cordoned(host: str, scene: Scene) -> str:
    node = scene.node(host)
    if node is None or not node.unschedulable or node.cordoned_by:
        return ""
    return (
        f"{node.name} is cordoned, and not by recoverd, as when somebody works on it (kubectl "
        f"uncordon {node.name} when not)"
    )
