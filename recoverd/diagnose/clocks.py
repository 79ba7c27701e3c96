"""Clocks that are wrong: a notice of seconds, a warning of minutes, and the cause of what does not work beside them.

A certificate is valid by the clock of whoever is shown it: on a machine that woke up with the time of its snapshot, or
whose battery is empty, every one is over or not valid yet, whatever its file says (kubernetes/kubernetes #105440,
containerd/containerd #10842). Service account tokens, which live for an hour, are judged by the API server's.
"""

from __future__ import annotations

from collections.abc import Iterator

from recoverd.diagnose.nodes import node_of
from recoverd.diagnose.scene import Scene
from recoverd.model.catalogue import Code
from recoverd.model.etcd import EtcdView
from recoverd.model.facts import Facts
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.observation import EndpointHealth, HostView

GRAVE = 300.0
"""Seconds from which on something that stands still beside it is put down to the clock."""
CURE = "see to its time synchronisation (`chronyc makestep`, or `timedatectl set-ntp true`)"


def findings(scene: Scene) -> Iterator[Finding]:
    for name in scene.addresses:
        if (host := scene.host(name)) is not None:
            yield from _skew(scene, name, host)
            yield from _unsynchronised(name, host)


def grave(scene: Scene, name: str) -> str:
    """By how much the clock of this machine is off, in words, where that alone keeps it from being trusted; else ""."""
    host = scene.host(name)
    if host is None or abs(host.clock_offset) < GRAVE or scene.bastion_off:
        return ""
    return (
        f"the clock of {name} is {_off(host)}, so that certificates and tokens which are valid are over there, or not "
        "valid yet"
    )


def _off(host: HostView) -> str:
    return f"{abs(host.clock_offset):.1f} s {'ahead of' if host.clock_offset > 0 else 'behind'} the bastion's"


def _skew(scene: Scene, name: str, host: HostView) -> Iterator[Finding]:
    limit = scene.settings.bounds.max_clock_skew
    if abs(host.clock_offset) <= limit:
        return
    why = grave(scene, name)
    struck = _struck(scene, name) if why else ""
    severity = Severity.FAULT if struck else Severity.WARNING if why else Severity.NOTICE
    plane = name in scene.control_plane_names
    if scene.bastion_off:
        message = f"The clock of {name} is {_off(host)}, as all machines' are: the bastion's own is wrong; see to that."
    elif struck:
        message = f"{why[0].upper()}{why[1:]}, and {struck}. Cure: {CURE}; it is trusted again then."
    else:
        message = f"The clock of {name} is {_off(host)}; {CURE}."
    yield Finding(
        Code.CLOCK_SKEW,
        name,
        message,
        (f"{name}: clock offset {host.clock_offset:+.3f} s, allowed {limit:g} s",),
        severity=severity,
        state=None if not struck else State.APISERVER_DOWN if plane else State.WORKER_NETWORK_BROKEN,
        facts=Facts(name, node_of(scene, name)),
    )


def _struck(scene: Scene, name: str) -> str:
    """What is wrong with the machine that a wrong clock explains."""
    node, endpoint = scene.node(name), scene.endpoint(name)
    if node is not None and not node.ready and not node.spared:
        return f"its node {node.name} is not Ready"
    if name not in scene.parts or endpoint is None:
        return ""
    if endpoint.health in (EndpointHealth.ERROR, EndpointHealth.TLS, EndpointHealth.NOT_READY):
        return f"its API server does not serve ({endpoint.health}: {endpoint.detail})"
    if not isinstance(scene.observation.etcd.get(name), EtcdView) and not scene.external_etcd:
        return "its etcd is not seen to serve"
    return ""


def _unsynchronised(name: str, host: HostView) -> Iterator[Finding]:
    if host.synchronised is False:
        yield Finding(
            Code.CLOCK_UNSYNCHRONISED,
            name,
            f"The clock of {name} is not synchronised: it drifts, and certificates, leases and etcd's own times rest "
            "on it. See to chrony, ntpd or "
            "systemd-timesyncd there.",
            (f"{name}: timedatectl says NTPSynchronized=no; now {host.clock_offset:+.3f} s beside the bastion's",),
            severity=Severity.NOTICE,
        )
