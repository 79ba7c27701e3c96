"""What the programs of a machine say of why they do not run, as what is found of them needs it.
Pure; the table is in `causes`.
"""

from __future__ import annotations

import re
from dataclasses import replace

from recoverd.diagnose import disks
from recoverd.diagnose.cause import BY_SIGNAL, KERNEL, KUBELET, OF_DISKS, POD, row
from recoverd.diagnose.causes import Reason, reason, reason_of_pod
from recoverd.diagnose.causes_of_limits import KILLED
from recoverd.diagnose.scene import Scene
from recoverd.model.facts import UnitFacts
from recoverd.model.mounts import unmounted_above
from recoverd.model.observation import ContainerView, HostView, UnitView

FALLS = 2
"""Restarts by systemd itself; the count begins anew when somebody starts the unit."""
AGAIN = 3
"""Starts anew of a static pod from which on what ends it by a signal is no accident."""
COMM = 15
"""Characters of a process's name, as the kernel has it."""
LAST = 4
"""Lines of what is said that no row of the table knows."""
ENDING = re.compile(
    r"\"command failed\" err=\"(.+?)\"$|^Error: (.+)|^F\d{4} [\d:.]+ +\d+ \S+\] (.+)|^((?:panic|fatal error): .+)"
    r"|\"level\":\"(?:fatal|panic)\".*?\"msg\":\"([^\"]+)\"(?:.*?\"error\":\"([^\"]+)\")?"
)
"""How kubeadm's components say what they end with: from 1.23 on and before, klog's Fatal, Go, and etcd's zap."""
STANDS = 10.0
"""Seconds that a unit must be up after those: kubeadm's has systemd wait 10 s before each."""


KEEPS = {
    KUBELET: "/var/lib/kubelet",
    "containerd": "/var/lib/containerd",
    "docker": "/var/lib/docker",
    "crio": "/var/lib/containers",
}
"""Where each keeps what it cannot do without."""
UNMOUNTED = row(
    "not-mounted",
    (),
    "(?!)",  # nobody says it: it is seen
    "{0} is not mounted, as a file system should be, so what it keeps there is not there",
    "`mount {0}`, and see `dmesg` and `systemctl status` of its mount where that fails; nothing is to be written there "
    "before",
)


def falling(scene: Scene, unit: UnitView) -> bool:
    """One that systemd starts again and again is active for a moment each time; seen in
    such a moment it is no better.
    """
    age = scene.age(unit.since)
    return unit.restarts >= FALLS and age is not None and age < STANDS


def refused(unit: UnitView) -> bool:
    """systemd does not start it: it cannot read the unit or a drop-in of it, or that makes no sense to it."""
    return unit.load in ("bad-setting", "error") and not unit.running


def fails(scene: Scene, unit: UnitView) -> bool:
    """It ends by itself: systemd starts it again and again, or has given it up, or refuses it. One that somebody
    stopped does not.
    """
    return (
        refused(unit)
        or unit.active == "failed"
        or unit.sub == "auto-restart"
        or (unit.running and falling(scene, unit))
    )


def of_unit(scene: Scene, name: str, unit: UnitView) -> Reason | None:
    """Why a unit ends by itself. Of one that somebody stopped, what it said before says nothing. What it says of files
    that are not there comes of a disk that is not mounted, where one is not.
    """
    host = scene.host(name)
    if host is not None and fails(scene, unit) and (at := unmounted_above(host, KEEPS.get(unit.name, ""))):
        line = f"/etc/fstab has a file system for {at}, or one was there while all was well, and none is mounted"
        return Reason(UNMOUNTED, line, UNMOUNTED.why.format(at), UNMOUNTED.cure.format(at), (at,), seen=True)
    return reason(host.journals.get(unit.name, ()), unit.name) if host is not None and fails(scene, unit) else None


def of_static_pod(scene: Scene, name: str, component: str) -> tuple[str, Reason] | None:
    """Whose words say why a static pod does not run, and why: kubelet's, who cannot
    start it, before its own last ones.
    """
    host, container = scene.host(name), scene.container(name, component)
    if host is None:
        return None
    runs = container is not None and container.running
    if not runs and (stuck := reason_of_pod(host.journals.get(KUBELET, ()), component)):
        return KUBELET, stuck
    own = reason(container.log_tail, component) if container is not None else None
    if own and container and own.cause.name == BY_SIGNAL and container.restarts < AGAIN:
        own = None  # whoever takes its manifest away ends it so, and a boot does
    if own and own.cause.name in OF_DISKS and disks.cured(host):
        own = replace(
            own,
            why="it found its disk full or read-only, which has room and can be written now",
            cure=f"none is needed: {disks.THEN}",
        )
    if (own is None or own.cause.weak) and (why := _of_kernel(host, component)):
        return KERNEL, why
    if not runs and (own is None or own.cause.weak) and (refused := _refused(host, component)):
        return KUBELET, refused
    return (component, own) if own else None


def _refused(host: HostView, component: str) -> Reason | None:
    """What kubelet says of the very pod, which the runtime does not make, in whatever words."""
    about = re.compile(rf'pod[= ]\\*"(?:kube-system/)?{component}-')
    theirs = [line for line in host.journals.get(KUBELET, ()) if about.search(line)]
    return reason(theirs, POD)


def _last_word(container: ContainerView | None) -> str:
    """With what a component ended itself for what recoverd does not know, as the end of a finding's message."""
    lines = container.log_tail if container is not None and not container.running else ()
    said = next((found for line in reversed(lines) if (found := ENDING.search(line))), None)
    parts = [part for part in said.groups() if part] if said else []
    return f" It ended with: {': '.join(parts)[:300]}." if parts else ""


def _of_kernel(host: HostView, component: str) -> Reason | None:
    """What the kernel has done to it, or says of a disk: a process that is killed leaves no word of its own."""
    said = [
        line
        for line in host.journals.get(KERNEL, ())
        if (found := reason([line], KERNEL)) and (found.cause.name != KILLED or found.named[0] == component[:COMM])
    ]
    return reason(said, KERNEL)


def sentence(found: Reason | None, who: str = "") -> str:
    """As the end of a finding's message; "" without a reason."""
    if found is None:
        return ""
    whose = "" if found.seen else f", by {who}'s words" if who else ", by its own words"
    return f" Why{whose}: {found.why}. Cure: {found.cure}."


def of_pod(scene: Scene, name: str, component: str) -> tuple[str, tuple[str, ...]]:
    """The end of a message about a static pod that does not run, and the line that proves it."""
    found = of_static_pod(scene, name, component)
    if found is None:
        return _last_word(scene.container(name, component)), ()
    who, why = found
    return sentence(why, "" if who == component else who), proof(who, name, why)


def proof(who: str, name: str, found: Reason | None) -> tuple[str, ...]:
    """The line that it rests on."""
    if found is None:
        return ()
    return (f"{name}: {found.line}",) if found.seen else (f"{who} on {name} says: {found.line}",)


def last_words(scene: Scene, name: str, unit: UnitView) -> tuple[str, ...]:
    """What a unit says that ends by itself, where none of it is known to be a cause: a person may know."""
    host = scene.host(name)
    said = host.journals.get(unit.name, ()) if host is not None and fails(scene, unit) else ()
    return tuple(f"{unit.name} on {name} says: {line}" for line in said[-LAST:])


def unit_facts(scene: Scene, name: str, node: str, unit: UnitView, found: Reason | None) -> UnitFacts:
    if found is None:
        vain = fails(scene, unit) and unit.restarts >= FALLS
        why = "systemd starts it again and again, and it ends each time for what recoverd does not know"
        cure = f"see what it says: `journalctl -u {unit.name} -n 50` on {name}"
        return (
            UnitFacts(name, node, unit.name, why, cure, restart=False, said=False)
            if vain
            else UnitFacts(name, node, unit.name)
        )
    return UnitFacts(name, node, unit.name, found.why, found.cure, found.cause.restart)
