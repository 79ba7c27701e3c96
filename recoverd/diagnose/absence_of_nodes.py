"""The witnesses of what is found of nodes, of their agents and their network: the lists of the API server, the
machines, and what they see of each other. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from recoverd.diagnose.question import Question
from recoverd.diagnose.rules import RECONNECT, SYNC, fresh
from recoverd.diagnose.scene import just_booted
from recoverd.model.network import NetworkView, NodeNetworkView, NodePods, RulesView
from recoverd.model.observation import HostView, ObjectsView, Observation, Unseen
from recoverd.model.text import utc


def lists(question: Question) -> str:
    """The API server listed nodes and pods."""
    objects = question.observation.api.objects
    return f"the API server did not list nodes and pods: {objects.reason}" if isinstance(objects, Unseen) else ""


def ready(question: Question) -> str:
    """The API server lists the node as Ready, or as cordoned by a person, which nobody misses, or lists no such node
    any more.

    What keeps a node from being Ready may be out of sight while it is not: after the API server's address was silent
    for a moment each is given a minute, and an incident of seven minutes was closed with no node Ready (observed).
    """
    if why := lists(question):
        return why
    objects = question.observation.api.objects
    listed = {n.name: n for n in objects.nodes} if isinstance(objects, ObjectsView) else {}
    waits = (end for end in question.ends if (n := listed.get(end)) and not (n.ready or n.spared))
    return next((f"{end} is not Ready yet" for end in waits), "")


def listed(question: Question) -> str:
    """The API server lists a node of the machine again, or there is no kubelet that could make it one: none runs there,
    or it is no machine of the cluster's any more.

    Why its Node was deleted on purpose is not seen of a machine that is silent for a moment, nor while the API server's
    address is: an incident was closed by either, and opened again (reproduced on the model).
    """
    if why := lists(question):
        return why
    name, roll, objects = question.host, question.diagnosis.roll, question.observation.api.objects
    names = {n.name for n in objects.nodes} if isinstance(objects, ObjectsView) else set()
    if name in names or (roll is not None and name in roll.hosts.values()):
        return ""
    view = question.observation.hosts.get(name)
    if isinstance(view, Unseen):
        return f"{name} is no node, and could not be looked at: {view.reason}"
    kubelet = view.units.get("kubelet") if isinstance(view, HostView) and view.joined else None
    return f"{name} is no node yet, and its kubelet runs" if kubelet and kubelet.running else ""


def node(question: Question) -> str:
    """The API server listed nodes and pods, and the node's machine and its network were looked at; or
    it lists no such node any more.
    """
    if why := lists(question):
        return why
    for end, host, view in _ends(question):
        if isinstance(view, Unseen):
            return f"{host} could not be looked at: {view.reason}"
        if why := witness_unseen(host, end, question.observation):
            return why
    return ""


def running_node(question: Question) -> str:
    """As `node`, and each is Ready, and no machine of them has just booted: pods of a node that is not Ready are not
    tried, and nothing is said of a network that is just starting, so that an incident which closed then was opened anew
    60 or 80 s later.
    """
    if why := node(question) or ready(question):
        return why
    for _, host, view in _ends(question):
        if isinstance(view, HostView) and just_booted(view):
            return f"{host} is up for {view.uptime:.0f} s, and nothing is said of a network that is just starting"
    return ""


def _ends(question: Question) -> Iterator[tuple[str, str, HostView | Unseen | None]]:
    """The nodes that it is about and that were not deleted, each with its machine and how that was seen."""
    for end in question.ends:
        if not deleted(question.observation, end):
            host = question.machine_of(end)
            yield end, host, question.observation.hosts.get(host)


def bridges(question: Question) -> str:
    """Whether packets over the machine's bridges pass iptables was read."""
    return _unread(question, "bridge-nf-call-iptables", lambda v: v.bridge_netfilter)


def forwards(question: Question) -> str:
    """The chains of the machine that forwarded packets pass were read."""
    return _unread(question, "the chains", lambda v: v.dropping)


def inputs(question: Question) -> str:
    """The rules of the machine that what comes to it passes were read."""
    return _unread(question, "the rules for what comes in", lambda v: v.refusing)


def devices(question: Question) -> str:
    """The machine's network devices were listed."""
    return _unread(question, "the network devices", lambda v: v.links)


def tables(question: Question) -> str:
    """The machine's kernel told how full its tables are."""
    return _unread(question, "the kernel's tables", lambda v: v.kernel)


def followed(question: Question) -> str:
    """Where the API server was away just now: nothing of it is there. Kubelets and kube-proxies may be on their way
    back for as long, so that less is found than there is: an incident was closed by that, and opened again. A
    kube-proxy that has only just been started is given time as well.
    """
    network, at = question.observation.network, question.observation.at
    if not isinstance(network, NetworkView):
        return ""
    since = network.back_since
    if since is not None and (at - since).total_seconds() < RECONNECT:
        late = next((end for end in question.ends if _differs(network, question.machine_of(end), end)), "")
        if late:
            return f"{late} may be on its way back to the API server, which serves since {utc(since)}"
    writes = next((end for end in question.ends if _writes(network.hosts.get(question.machine_of(end)), at)), "")
    return writes and f"the kube-proxy of {writes} was only just started, and may be writing its rules"


def steady(question: Question) -> str:
    """No service is without an answer from the node of which nothing is said only because its endpoints have changed:
    pods that were rolled closed the incident of a service that nobody reached (observed with 1.20.2, with kube-proxy's
    DaemonSet deleted).
    """
    network = question.observation.network
    probes = network.services if isinstance(network, NetworkView) else ()
    for end in question.ends:
        host = question.machine_of(end)
        for probe in probes:
            if probe.source == host and not probe.answered and probe.steady < SYNC:
                return f"{probe.service} does not answer {end}, and its endpoints have only just changed"
    return ""


def _writes(view: NodeNetworkView | Unseen | None, at: datetime) -> bool:
    """Whether a kube-proxy was only just started, and its rules are not there yet or not those of the endpoints."""
    if not isinstance(view, NodeNetworkView) or not fresh(view, at) or not isinstance(view.rules, RulesView):
        return False
    ipv6 = view.ipv6.rules
    return not view.rules.mode or bool(view.rules.gaps) or (isinstance(ipv6, RulesView) and bool(ipv6.gaps))


def _differs(network: NetworkView, host: str, node: str) -> bool:
    """Whether anything of a node's services or pods is not as the API server has it."""
    view, pods = network.hosts.get(host), network.pods.get(node)
    rules = (view.rules, view.ipv6.rules) if isinstance(view, NodeNetworkView) else ()
    return (
        any(isinstance(r, RulesView) and r.gaps for r in rules)
        or any(s.source == host and not s.answered for s in network.services)
        or (isinstance(pods, NodePods) and bool(pods.missing or pods.extra))
    )


def _unread(question: Question, what: str, of: Callable[[NodeNetworkView], object]) -> str:
    network = question.observation.network
    views = network.hosts if isinstance(network, NetworkView) else {}
    hosts = [question.machine_of(end) for end in question.ends]
    blind = [h for h in hosts if isinstance(view := views.get(h), NodeNetworkView) and of(view) is None]
    return f"{what} of {blind[0]} to be read" if blind else ""


def agents(question: Question) -> str:
    """Every machine was looked at whose node is Ready: what runs there may still follow the history that is gone.

    One whose node is not Ready has no kubelet at work: it shows what is wrong with it when it is back.
    """
    if why := lists(question):
        return why
    objects = question.observation.api.objects
    ready = {n.name for n in objects.nodes if n.ready} if isinstance(objects, ObjectsView) else set()
    machines = {question.machine_of(name) for name in ready}
    for host, view in question.observation.hosts.items():
        if isinstance(view, Unseen) and host in machines:
            return f"{host} could not be looked at: {view.reason}"
    return witness_unseen("", "", question.observation)


def witness_unseen(host: str, node: str, observation: Observation) -> str:
    """Which witness of the node's network says nothing now, so that its silence proves nothing; "" when they speak."""
    network = observation.network
    if isinstance(network, Unseen):
        return f"the pod network to be looked at ({network.reason})"
    for view in (network.hosts.get(host), network.pods.get(node)) if isinstance(network, NetworkView) else ():
        if isinstance(view, Unseen):
            return f"the network of {host} to be looked at ({view.reason})"
    return ""


def deleted(observation: Observation, name: str) -> bool:
    """Somebody deleted the node: the API server lists others, and not this one."""
    objects = observation.api.objects
    return isinstance(objects, ObjectsView) and bool(objects.nodes) and name not in {n.name for n in objects.nodes}
