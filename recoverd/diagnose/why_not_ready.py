"""Why a node is not Ready, as far as its machine's answers and kubelet's own words prove it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from recoverd.diagnose import clocks, tables
from recoverd.diagnose.cause import ANOTHER_NAME, KUBELET
from recoverd.diagnose.causes import Reason, reason
from recoverd.diagnose.scene import API, NOT_SERVING, SILENT, Scene
from recoverd.diagnose.words import proof, sentence
from recoverd.model.catalogue import Code
from recoverd.model.node_look import CNI_DIR, HOSTS, Heard, NodeLook
from recoverd.model.observation import EndpointHealth, HostView, NodeView
from recoverd.model.places import host_of
from recoverd.model.text import some, utc

LONG = 60.0
"""Seconds after which a node that is not Ready is a fault whatever the cause. The API server must have
been up for as long, since what an outage of the control planes left in the list says nothing; and a unit,
before it counts as one that hangs.
"""
CLIENT = "/var/lib/kubelet/pki/kubelet-client-current.pem"
UNKNOWN = "NodeStatusUnknown"
"""The reason that the node controller gives when kubelet posts nothing."""
OF_RUNTIME = re.compile(
    r"PLEG is not healthy|[Cc]ontainer runtime is down|runtime status check may not have completed", re.IGNORECASE
)
NO_PORT = "annot assign requested address"
"""As bash and curl say it."""
GOING_DOWN = re.compile(r"node is shutting down", re.IGNORECASE)
"""kubelet's word (pkg/kubelet/nodeshutdown) from when systemd announces a shutdown, while it ends its pods, for as long
as shutdownGracePeriod lets it.
"""
OF_ITSELF = frozenset({"localhost", "127.0.0.1", "::1"})
OF_CNI = re.compile(
    r"cni (config|plugin) (uninitialized|not initialized)|NetworkPluginNotReady|[Nn]etwork plugin is not ready",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Cause:
    code: Code
    why: str
    """What follows "not Ready since then"."""
    evidence: tuple[str, ...]
    """What proves it beside the condition."""
    words: Reason | None = None
    """What kubelet says of it, where that is what it rests on."""
    vain: str = ""
    """Why no restart changes it, where something else than its words says so."""
    cure: str = ""


def proven(scene: Scene, node: NodeView, name: str, look: NodeLook, age: float) -> Cause | None:
    """The one that its machine's answers show, of a node that has not been Ready for `age` seconds."""
    host = scene.host(name)
    if host is None:
        return None
    return (
        _going_down(node, name, age)
        or _hanging(scene, node, name, host, look)
        or _dropping(scene, node, name, look)
        or _without_ports(node, name, look)
        or _without_cni(node, name, look)
        or _called_otherwise(node, name, host)
    )


def boots_again(name: str, host: HostView, age: float) -> Cause:
    """It has only just booted, and its node was not Ready for long before that: nothing is done to it meanwhile."""
    why = f"{name} was booted {host.uptime:.0f} s ago, and its node has not been Ready for {age:.0f} s"
    cure = "see by its console, and by `journalctl --list-boots` there, whether it boots again and again"
    return Cause(Code.NODE_NOT_READY, f"{why}. When that does not end: {cure}.", (), vain=why, cure=cure)


def unproven(scene: Scene, node: NodeView, name: str, host: HostView, look: NodeLook) -> Cause:
    """What is left where nothing that its machine answers says why."""
    said = node.message or node.reason or "no reason is given"
    if over := _expired(host, scene.now):
        text = (
            f"kubelet's client certificate on {name} was over at {over:%Y-%m-%d %H:%M} UTC, so that the API server "
            "does not know it any more"
        )
        return Cause(
            Code.NODE_NOT_READY,
            f"{text}. A restart does not help: {CLIENT} has to be signed anew.",
            (f"{name}: {CLIENT}",),
        )
    if node.reason == UNKNOWN and (off := clocks.grave(scene, name)):
        return Cause(
            Code.NODE_NOT_READY, f"{off}. Cure: {clocks.CURE}.", _asked(name, look), vain=off, cure=clocks.CURE
        )
    if words := _words(scene, host):
        code = Code.KUBELET_HANGS if words.cause.restart else Code.NODE_NOT_READY
        return Cause(
            code,
            f"{said.rstrip('.')}.{sentence(words, KUBELET)}",
            (*proof(KUBELET, name, words), *_asked(name, look)),
            words,
        )
    posts_nothing = (
        node.reason == UNKNOWN and look.kubelet is Heard.ANSWERS and look.reaches and look.runtime is not Heard.SILENT
    )
    if posts_nothing and up(scene, host, "kubelet") >= LONG:
        text = (
            f"kubelet on {name} runs, answers there and reaches {look.server}, and tells the API server nothing, as "
            "over a connection that is dead."
        )
        return Cause(
            Code.KUBELET_HANGS,
            text,
            (f"{name}: kubelet's /healthz: {look.kubelet_said}", f"{name}: {look.server} was connected to from there"),
        )
    return Cause(Code.NODE_NOT_READY, f"{said}{'' if said.endswith('.') else '.'}", _asked(name, look))


def _words(scene: Scene, host: HostView) -> Reason | None:
    """What kubelet, which runs, says of why it does not do its work."""
    return reason(host.journals.get(KUBELET, ()), KUBELET) if up(scene, host, KUBELET) >= LONG else None


def _hanging(scene: Scene, node: NodeView, name: str, host: HostView, look: NodeLook) -> Cause | None:
    runtime = host.runtime or "the container runtime"
    if up(scene, host, host.runtime) >= LONG and (
        look.runtime is Heard.SILENT or (look.runtime is not Heard.ANSWERS and OF_RUNTIME.search(node.message))
    ):
        text = (
            f"{runtime} on {name} hangs: systemd has called it active since {_since(host, host.runtime)}, and "
            "its socket answers nothing."
        )
        return Cause(
            Code.RUNTIME_HANGS, text, (f"{name}: {runtime} asked for its version: {look.runtime_said or look.runtime}",)
        )
    lasts = up(scene, host, "kubelet") >= LONG
    if lasts and look.kubelet is Heard.SILENT:
        text = (
            f"kubelet on {name} hangs: systemd has called it active since "
            f"{_since(host, 'kubelet')}, and it answers nothing."
        )
        return Cause(Code.KUBELET_HANGS, text, (f"{name}: kubelet's /healthz: connected, and no answer within 2 s",))
    if lasts and OF_RUNTIME.search(node.message) and look.runtime is Heard.ANSWERS:
        text = f"kubelet on {name} takes {runtime} for broken, which answers there: {node.message}."
        return Cause(Code.KUBELET_HANGS, text, (f"{name}: {runtime} answered when asked for its version",))
    return None


def _going_down(node: NodeView, name: str, age: float) -> Cause | None:
    """A kubelet that is started anew meanwhile starts pods on a machine that goes down (kubernetes/kubernetes #122674).
    It goes on saying so where somebody has called the shutdown off.
    """
    if age < LONG or not GOING_DOWN.search(node.message):
        return None
    why = f"{name} is being shut down, by its kubelet's word, and its pods are ended first"
    cure = (
        "let it go down. Where it does not, `systemd-inhibit --list` and `systemctl list-jobs` there say why; "
        "where the shutdown was called off, `systemctl restart kubelet` has the node Ready again"
    )
    text = f"{why}. Cure: {cure}."
    return Cause(Code.NODE_NOT_READY, text, (), vain=why, cure=cure)


def _dropping(scene: Scene, node: NodeView, name: str, look: NodeLook) -> Cause | None:
    """Its kernel has no room for new connections, and kubelet's old one is gone."""
    if node.reason != UNKNOWN or not (full := tables.dropping(scene, name)):
        return None
    why, cure = full
    text = f"{why}, and its kubelet does not reach the API server. No restart and no reboot changes that for long. "
    return Cause(Code.NODE_NOT_READY, f"{text}Cure: {cure}.", _asked(name, look), vain=why, cure=cure)


def _without_ports(node: NodeView, name: str, look: NodeLook) -> Cause | None:
    """A connection could not even begin: connect(2) fails so where every local port of that way is in use."""
    if node.reason != UNKNOWN or look.reaches is not False or NO_PORT not in look.said:
        return None
    why = f"{name} has no port left for one more connection to {look.server}"
    cure = "see who has so many (`ss -tanp`), and end it; a wider net.ipv4.ip_local_port_range helps for a while"
    text = f"{why}. No restart of its kubelet and no firewall has to do with it. Cure: {cure}."
    return Cause(Code.NODE_NOT_READY, text, _asked(name, look), vain=why, cure=cure)


def by_one_api_server(scene: Scene, name: str, look: NodeLook) -> Cause | None:
    """Its kubelet asks the API server of one control plane alone, and not at an address that all share, as kubeadm has
    it on control planes themselves from 1.31 on (ControlPlaneKubeletLocalMode): where that one does not serve, nothing
    is wrong with the node, though the API server is ready elsewhere.
    """
    of = _only_asks(scene, name, look)
    health = scene.endpoint_health(of) if of else None
    if health not in NOT_SERVING and not (health in SILENT and look.reaches is not True):
        return None
    whose = "its own" if of == name else f"that of {of}"
    others = [n for n in scene.ready_members if n != of]
    why = f"kubelet on {name} asks one API server alone, {whose} ({look.server}), which does not serve ({health})"
    cure = f"see to the API server on {of}"
    if of != name:
        cure += ", or have `server:` in /etc/kubernetes/kubelet.conf name the address that all share"
    ready = f", while {some(others, 3)} {'does' if len(others) == 1 else 'do'}" if others else ""
    text = f"{why}{ready}. Nothing is wrong with the node. Cure: {cure}."
    return Cause(Code.NODE_NOT_READY, text, _asked(name, look), vain=why, cure=cure)


def just_served_again(scene: Scene, name: str, look: NodeLook) -> bool:
    """That one was started a moment ago, and the kubelet has not told it yet how it is."""
    host = scene.host(of) if (of := _only_asks(scene, name, look)) else None
    age = scene.age(host.running_since(API)) if host is not None else None
    return age is not None and age < LONG


def _only_asks(scene: Scene, name: str, look: NodeLook) -> str:
    """The control plane at whose own address its kubelet asks; "" where it asks elsewhere, as at one that all share."""
    asked = set(look.addresses or (host_of(look.server),)) - {""}
    shared = {host_of(scene.vip.address)}
    if name in scene.control_plane_names and asked and asked <= OF_ITSELF:
        return name
    if not asked or shared & {host_of(look.server), *asked}:
        return ""
    return next((n for n in scene.control_plane_names if asked <= _addresses(scene, n)), "")


def _addresses(scene: Scene, name: str) -> set[str]:
    node = scene.node(name)
    return {scene.addresses[name], node.address if node else ""} - {""}


def cut_off(scene: Scene, node: NodeView, name: str, look: NodeLook) -> Cause | None:
    """Its machine does not find or reach the API server, which the bastion sees ready."""
    if node.reason != UNKNOWN or not look.server:
        return None
    host = host_of(look.server)
    known = scene.memory.known_file(name, HOSTS)
    then = f", which was `{known.strip()}` in {HOSTS} there while all was well" if known else ""
    if look.addresses == ():
        return Cause(
            Code.NODE_CUT_OFF,
            f"{name} does not resolve {host}{then}: its kubelet does not find the API server.",
            _asked(name, look),
        )
    if look.reaches is False:
        to = f" ({', '.join(look.addresses)})" if look.addresses and look.addresses != (host,) else ""
        itself = OF_ITSELF & {host, *(look.addresses or ())}
        there = (
            "on the machine itself, where a balancer of its own (a static pod as nginx-proxy or haproxy) is to lead to "
            "the API servers, so see to that and what it says"
            if itself
            else "where the API server is ready"
        )
        text = f"{name} does not reach {look.server}{to}, {there}: {look.said or 'no answer within 2 s'}{then}."
        return Cause(Code.NODE_CUT_OFF, text, _asked(name, look))
    return None


def by_the_address(scene: Scene, look: NodeLook) -> bool:
    """The cluster's address was not seen to answer, which is found of itself (`address`) where that is proven, and the
    machine's kubelet asks there and nowhere else as far as was seen: nothing is wrong with the node, and a restart of
    its kubelet does not help (observed with haproxy down on the machine with the address: every node was not Ready, and
    one was to be restarted; and on a bastion that was too late to tell that the address was silent).
    """
    named = host_of(scene.vip.address)
    elsewhere = look.server and named not in (host_of(look.server), *(look.addresses or ()))
    answers = scene.vip.health in (EndpointHealth.READY, EndpointHealth.NOT_READY)
    return not answers and not elsewhere and look.reaches is not True


def _without_cni(node: NodeView, name: str, look: NodeLook) -> Cause | None:
    if look.cni == () and OF_CNI.search(node.message):
        return Cause(
            Code.CNI_CONFIG_MISSING,
            f"there is no configuration of the pod network in {CNI_DIR} on {name}.",
            (f"{name}: {CNI_DIR} holds none",),
        )
    return None


def _called_otherwise(node: NodeView, name: str, host: HostView) -> Cause | None:
    """Its kubelet is refused for a name that is not its node's, which it says from its start on, and no time mends."""
    words = reason(host.journals.get(KUBELET, ()), KUBELET)
    if node.reason != UNKNOWN or words is None or words.cause.name != ANOTHER_NAME:
        return None
    text = f"{node.message.rstrip('.')}.{sentence(words, KUBELET)}"
    return Cause(Code.NODE_NOT_READY, text, proof(KUBELET, name, words), words)


def _asked(name: str, look: NodeLook) -> tuple[str, ...]:
    """What its machine answered, for the evidence."""
    if not look.server and look.kubelet is Heard.UNKNOWN and look.runtime is Heard.UNKNOWN:
        return ()
    resolved = "not asked" if look.addresses is None else ", ".join(look.addresses) or "nothing"
    reached = (
        "not tried"
        if look.reaches is None
        else "reached"
        if look.reaches
        else f"not reached ({look.said or 'no answer'})"
    )
    return (
        f"{name}: {look.server or 'no server'} resolves to {resolved}, {reached}",
        f"{name}: kubelet {look.kubelet}, the runtime {look.runtime}",
    )


def _expired(host: HostView, now: datetime) -> datetime | None:
    return next((c.not_after for c in host.certificates if c.path == CLIENT and c.not_after < now), None)


def up(scene: Scene, host: HostView, unit: str) -> float:
    """Seconds for which systemd has called the unit active; 0 where it does not."""
    view = host.units.get(unit)
    age = scene.age(view.since) if view is not None and view.running else None
    return max(0.0, age or 0.0)


def _since(host: HostView, unit: str) -> str:
    view = host.units.get(unit)
    return f"{utc(view.since)}" if view and view.since else "an unknown time"
