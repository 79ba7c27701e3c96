"""systemd's etcd on a machine of its own: Debian's unit, which starts anew what a signal has ended and lets be what
ends by itself (`Restart=on-abnormal`). Nobody probes it.
"""

from __future__ import annotations

from recoverd.simulate.hosts import Container, Machine, SystemdUnit
from recoverd.simulate.pki import of_etcd
from recoverd.simulate.texts import manifest


class Service:
    """The unit of one machine. What runs is held as kubelet's is, with its command line."""

    def __init__(self, machine: Machine, named: dict[str, str]) -> None:
        machine.units = {"etcd": SystemdUnit("etcd")}
        machine.papers = of_etcd()
        self._machine = machine
        self._content = manifest("etcd", machine.name, machine.address, named, "new")

    def tick(self, now: float) -> None:
        machine, container = self._machine, self._machine.container("etcd")
        unit = machine.units["etcd"]
        if container is not None and container.started_at < unit.since:
            container.running, container.ended_at, container = False, now, None
        if not unit.active and container is not None:
            container.running, container.ended_at = False, now
        elif unit.active and container is None:
            machine.containers["etcd"] = Container("etcd", "etcd.service", self._content, now)

    def exited(self, component: str, now: float, line: str) -> None:
        """It has ended by itself, as by a panic or by what it was told: systemd lets it be."""
        container = self._machine.container(component)
        if container is not None:
            self._machine.say(component, line)
            container.running, container.ended_at = False, now
            self._machine.units["etcd"].stop(now)
