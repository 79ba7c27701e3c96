"""kubelet and static pods: reacts to a changed manifest, polls, stops and starts containers,
backs off from those that crash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache

from recoverd.simulate.hosts import Container, Machine
from recoverd.simulate.texts import command_of

REACT = 0.5
"""Seconds from a change in the manifest directory to kubelet's acting on it (inotify)."""
POLL = 20.0
"""It looks at the whole directory this often (observed). Only then it drops a pod whose file has become unreadable."""
STOP = 1.0
"""From asking a container to stop until it is gone."""
BACKOFF, BACKOFF_MAX = 10.0, 300.0
FORGIVEN = 600.0
"""A container that ran this long has its back-off forgotten."""


class Kubelet:
    """The kubelet of one machine. What the process in a container does is not its affair: others call `exited`."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._acted: dict[str, str] = {}
        """The text of each component's manifest that was last acted upon."""
        self._noticed: dict[str, float] = {}
        self._polled = -1e9
        self._present: Mapping[str, str] | None = None
        self._crashes: dict[str, int] = {}
        self._not_before: dict[str, float] = {}
        """By pod uid: the end of the crash-loop back-off."""
        self.misses_changes = False
        """inotify does not reach it (seen on some file systems): only the poll is left."""

    def started(self) -> None:
        """It was (re)started: it reads everything anew, and its back-offs are forgotten (observed)."""
        self._acted.clear()
        self._noticed.clear()
        self._polled = -1e9
        self._crashes.clear()
        self._not_before.clear()

    def tick(self, now: float) -> None:
        machine = self._machine
        if (present := machine.manifests()) is not self._present:
            self._written(present, now)
        for container in machine.containers.values():
            if container.running and container.stops_at is not None and now >= container.stops_at:
                container.running, container.ended_at = False, now
        if not (machine.units["kubelet"].active and machine.units["containerd"].active):
            return
        poll = now - self._polled >= POLL
        if poll:
            self._polled = now
        if self._noticed or present != self._acted:
            self._read(present, now, poll)
        if not self._settled():
            for component in sorted({*self._acted, *machine.containers}):
                self._settle(component, now)

    def _written(self, present: Mapping[str, str], now: float) -> None:
        """The disk's doing and not kubelet's: files that were changed have a time of their own."""
        before, self._present = self._present, present
        for component, text in present.items():
            if before is not None and before.get(component) != text:
                self._machine.manifest_written[component] = now

    def _read(self, present: Mapping[str, str], now: float, poll: bool) -> None:
        """Take in changed files: by inotify a moment later, at a poll at once."""
        for component in {*present, *self._acted}:
            text = present.get(component)
            if text == self._acted.get(component):
                self._noticed.pop(component, None)
                continue
            since = self._noticed.setdefault(component, now)
            if not poll and (self.misses_changes or now - since < REACT):
                continue
            if text is not None and command_of(text).problem:
                # an unreadable file is skipped: the pod it held goes at the next poll, not before
                if poll:
                    self._acted.pop(component, None)
                continue
            self._noticed.pop(component, None)
            if text is None:
                self._acted.pop(component, None)
            else:
                self._acted[component] = text

    def _settled(self) -> bool:
        """Just what is wanted runs, and none of it is about to stop."""
        containers = self._machine.containers
        if len(containers) != len(self._acted):
            return False
        for (
            component,
            container,
        ) in containers.items():  # a tick of the model asks it of every machine, and `all` takes twice as long
            if (
                not container.running
                or container.stops_at is not None
                or self._acted.get(component) != container.content
            ):
                return False
        return True

    def _settle(self, component: str, now: float) -> None:
        machine, wanted = self._machine, self._acted.get(component)
        container = machine.containers.get(component)
        if container is not None and container.running:
            if (wanted is None or uid_of(wanted) != container.uid) and container.stops_at is None:
                container.stops_at = now + STOP
            return
        if wanted is None:
            return
        uid = uid_of(wanted)
        if now < self._not_before.get(uid, now):
            return
        again = container is not None and container.uid == uid
        if machine.no_sandbox and not (again and container is not None and container.boots == machine.boots):
            return
        if machine.unpulled_of(component):
            return
        restarts = container.restarts + 1 if container and again else 0
        machine.logs.pop(component, None)  # each start has a log of its own, and the newest is read
        machine.containers[component] = Container(component, uid, wanted, now, restarts, machine.boots)

    def exited(self, component: str, now: float, line: str) -> None:
        """The process in the container ended by itself, or a liveness probe killed it."""
        container = self._machine.container(component)
        if container is None:
            return
        self._machine.say(component, line)
        container.running, container.ended_at = False, now
        if now - container.started_at > FORGIVEN:
            self._crashes.pop(container.uid, None)
        crashes = self._crashes[container.uid] = self._crashes.get(container.uid, 0) + 1
        # the first restart comes at once, then 10 s, 20 s, 40 s ... up to 5 minutes
        self._not_before[container.uid] = now + (
            0.0 if crashes == 1 else min(BACKOFF * 2 ** (crashes - 2), BACKOFF_MAX)
        )


@lru_cache(maxsize=1024)
def uid_of(content: str) -> str:
    """A static pod's UID is made of its manifest's content."""
    return hashlib.sha256(content.encode()).hexdigest()[:32]
