"""When a finding is gone: only when what shows it was seen without it. Pure.

The catalogue says of each code what a sweep must have seen before it means anything that it is not found in it
(`ShownBy`); here are the witnesses of that, asked before a step is skipped, a plan is called a success or withdrawn, or
an incident is closed. No row of the catalogue can leave it out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from recoverd.diagnose import elsewhere
from recoverd.diagnose.absence_of_members import holding, leader, member, vote
from recoverd.diagnose.absence_of_nodes import (
    agents,
    bridges,
    deleted,
    devices,
    followed,
    forwards,
    inputs,
    listed,
    lists,
    node,
    ready,
    running_node,
    steady,
    tables,
)
from recoverd.diagnose.aggregated import aggregated
from recoverd.diagnose.api import refuses_us
from recoverd.diagnose.controllers import UNTRIED
from recoverd.diagnose.names import still_silent
from recoverd.diagnose.own_service import still_dead
from recoverd.diagnose.question import Question
from recoverd.diagnose.starting import still_waiting
from recoverd.model.catalogue import SHOWN_BY, ShownBy, path_in
from recoverd.model.etcd import EtcdView
from recoverd.model.finding import Diagnosis, FindingKey, State
from recoverd.model.observation import (
    EndpointHealth,
    EndpointView,
    HostView,
    ObjectsView,
    Observation,
    Unseen,
    UnseenKind,
)
from recoverd.model.pod_files import Is, by_path, unread
from recoverd.model.witness import HEARTBEAT, TRIED, LeadView, TryView, UntriedPods

Witness = Callable[[Question], str]
"""Why it was not seen that the finding is gone, in words that follow "could not be seen: "; "" when it was seen."""


def unproven(keys: Iterable[FindingKey], diagnosis: Diagnosis, observation: Observation) -> dict[FindingKey, str]:
    """Those of `keys` whose absence from this sweep proves nothing, and why: what they are about was not seen."""
    if diagnosis.state is State.UNOBSERVABLE:
        return dict.fromkeys(keys, diagnosis.summary)
    return {key: why for key in keys if (why := _unseen(key, diagnosis, observation))}


def doubt(keys: Iterable[FindingKey], diagnosis: Diagnosis, observation: Observation) -> str:
    """Why it proves nothing that this sweep does not find `keys`. "" when it proves that they are gone."""
    if diagnosis.state is State.UNOBSERVABLE:
        return diagnosis.summary
    return next(iter(unproven(keys, diagnosis, observation).values()), "")


def _unseen(key: FindingKey, diagnosis: Diagnosis, observation: Observation) -> str:
    code, subject = key
    question = Question(subject, diagnosis, observation)
    return next((why for shown in SHOWN_BY.get(code, ()) if (why := WITNESSES[shown](question))), "")


def machine(question: Question) -> str:
    """The machine was looked at, or is no longer one that recoverd watches or that is a part of the cluster."""
    view = question.observation.hosts.get(question.host)
    if isinstance(view, Unseen) and not _left(question, question.host):
        return f"{question.host} could not be looked at: {view.reason}"
    return ""


def both(question: Question) -> str:
    """Both machines were looked at."""
    for name in question.ends:
        if isinstance(view := question.observation.hosts.get(name), Unseen):
            return f"{name} could not be looked at: {view.reason}"
    return ""


def itself(question: Question) -> str:
    """The machine was looked at, though no member lists it any more: that is how one looks that was reset, and no sign
    that it is not missed (observed on an overloaded bastion: a rejoin stopped half-way, since for one sweep the
    machine was seen too late). Whoever replaces it by hand cordons its node, and then deletes it.
    """
    view, objects = question.observation.hosts.get(question.host), question.observation.api.objects
    nodes = objects.nodes if isinstance(objects, ObjectsView) else ()
    replaced = any(n.name == question.host and n.spared for n in nodes)
    if isinstance(view, Unseen) and not replaced and not deleted(question.observation, question.host):
        return f"{question.host} could not be looked at: {view.reason}"
    return ""


def stranger(question: Question) -> str:
    """Its etcd was seen not to run, or to have a leader in common with another, or every other
    control plane's was seen not to run.

    While one side only has no leader, as when somebody is at work on a machine of it, nothing says any
    more that there are two: they are two all the same. That no member lists the machine ends nothing here:
    it is what makes it a stranger.
    """
    view = question.observation.hosts.get(question.host)
    if isinstance(view, Unseen):
        return f"{question.host} could not be looked at: {view.reason}"
    mine = question.observation.etcd.get(question.host)
    if mine is None or _stopped(question.observation, question.host):
        return ""
    views = {n: v for n, v in question.observation.etcd.items() if n != question.host}
    if (
        isinstance(mine, EtcdView)
        and mine.has_leader
        and any(isinstance(v, EtcdView) and _follow_one(v, mine) for v in views.values())
    ):
        return ""
    left = [n for n in views if not _stopped(question.observation, n)]
    return (
        f"etcd on {question.host} was not seen to have a leader in common with {', '.join(left)}, and is "
        "not stopped on either side"
        if left
        else ""
    )


def _stopped(observation: Observation, name: str) -> bool:
    """The machine was looked at and its etcd does not run there."""
    host = observation.hosts.get(name)
    return isinstance(host, HostView) and isinstance(observation.etcd.get(name), Unseen) and not host.runs("etcd")


def manifests(question: Question) -> str:
    """The directory of static pod manifests on the machine was read."""
    if why := machine(question):
        return why
    view = question.observation.hosts.get(question.host)
    trouble = view.manifests_unread if isinstance(view, HostView) else ""
    return f"the manifests on {question.host} could not be read: {trouble}" if trouble else ""


def file(question: Question) -> str:
    """The certificate or kubeconfig was read, or the listing of the directory shows that there is none of that name.

    Of the API server's own, that the server is accepted says as much.
    """
    path, endpoint = path_in(question.subject), question.observation.api.members.get(question.host)
    if path.endswith("/apiserver.crt") and endpoint is not None and endpoint.health is EndpointHealth.READY:
        return ""
    if why := machine(question):
        return why
    view = question.observation.hosts.get(question.host)
    if not isinstance(view, HostView) or not path or path in {c.path for c in view.certificates}:
        return ""
    if view.pki is None or (view.pki.listed is None and path not in {*view.pki.keys, *view.pki.authorities}):
        return f"{path} on {question.host} could not be read"
    return ""


def pod_file(question: Question) -> str:
    """The file was looked at, or the manifests were read and none names it any more."""
    if why := manifests(question):
        return why
    view, path = question.observation.hosts.get(question.host), path_in(question.subject)
    if not isinstance(view, HostView):
        return ""
    if path not in by_path(view.manifests, view.pod_files or {}):
        naming = unread(view.manifests, view.pod_files)
        return f"{', '.join(naming)} on {question.host}, which may name {path}, could not be read" if naming else ""
    there = (view.pod_files or {}).get(path)
    return f"{path} on {question.host} could not be looked at" if there is None or there.what is Is.UNSEEN else ""


def unit(question: Question) -> str:
    """systemd on the machine said how its units stand."""
    if why := machine(question):
        return why
    view = question.observation.hosts.get(question.host)
    return (
        f"systemd on {question.host} said nothing of kubelet"
        if isinstance(view, HostView) and "kubelet" not in view.units
        else ""
    )


def disks(question: Question) -> str:
    """The machine's disks were looked at, or its etcd serves, which writes on them."""
    if isinstance(question.observation.etcd.get(question.host), EtcdView):
        return ""
    if why := machine(question):
        return why
    view = question.observation.hosts.get(question.host)
    blind = isinstance(view, HostView) and not view.disks
    return f"the disks of {question.host} could not be looked at" if blind else ""


def static_pods(question: Question) -> str:
    """Each of the machine's manifests was seen with its container running, or has gone. That kubelet says
    nothing of it now is no proof.
    """
    if why := manifests(question):
        return why
    view = question.observation.hosts.get(question.host)
    left = (
        [c for c in ("etcd", "kube-apiserver") if c in view.manifests and not view.runs(c)]
        if isinstance(view, HostView)
        else []
    )
    if not left or _left(question, question.host):
        return ""
    return f"{' and '.join(left)} on {question.host} was not seen to run"


def data(question: Question) -> str:
    """etcd's data directory on the machine was looked at, or its etcd serves."""
    if why := machine(question):
        return why
    view = question.observation.hosts.get(question.host)
    if (
        isinstance(view, HostView)
        and view.etcd_data is None
        and not isinstance(question.observation.etcd.get(question.host), EtcdView)
    ):
        return f"etcd's data directory on {question.host} could not be looked at"
    return ""


def serves(question: Question) -> str:
    """The API server of that control plane answered by its own address as one that works."""
    endpoint = question.observation.api.members.get(question.host)
    if endpoint is None or _works(endpoint) or _left(question, question.host):
        return ""
    return f"the API server on {question.host} was not seen to answer ({endpoint.address}: {endpoint.health})"


def address(question: Question) -> str:
    """The address in the kubeconfig answered as an API server, be it one that is not ready."""
    vip = question.observation.api.vip
    if _works(vip) or vip.health is EndpointHealth.NOT_READY:
        return ""
    return f"nothing at {vip.address} was seen to answer as an API server ({vip.health})"


def holders(question: Question) -> str:
    """Every control plane that is there was asked whether it has the address."""
    views = ((n, question.observation.hosts.get(n)) for n in question.observation.api.members)
    untold = [
        n
        for n, v in views
        if not _left(question, n) and not (isinstance(v, HostView) and v.node and v.node.held is not None)
    ]
    return f"whether {' and '.join(untold)} has {question.subject} was not told" if untold else ""


def _follow_one(one: EtcdView, other: EtcdView) -> bool:
    """They have a leader in common. Two that are the same member are two clusters, whoever they say leads."""
    return one.leader == other.leader and one.member_id != other.member_id


def controllers(question: Question) -> str:
    """The component was seen to run on a control plane, or every control plane was looked at."""
    views = [v for n, v in question.observation.hosts.items() if n in question.observation.etcd]
    runs = any(isinstance(v, HostView) and v.runs(question.subject) for v in views)
    unseen = next((v for v in views if isinstance(v, Unseen)), None)
    return (
        ""
        if runs or unseen is None
        else f"{question.subject} was not seen to run, and a control plane could not be looked at: {unseen.reason}"
    )


def lead(question: Question) -> str:
    """Its Lease was seen to have been renewed since the look before: what any clock makes of its age proves nothing."""
    view = question.observation.api.leads.get(question.subject)
    if isinstance(view, LeadView) and view.unchanged == 0.0:
        return ""
    why = view.reason if isinstance(view, Unseen) else "it is as it was" if view else "nobody has looked"
    return f"the lease of {question.subject} was not seen to be renewed: {why}"


def untried(question: Question) -> str:
    """The pods that have no node were read; that none is found among them shows the rest."""
    view = question.observation.api.untried
    if isinstance(view, UntriedPods):
        return f"{view.names[0]} waits still" if view.longest >= UNTRIED else ""
    return f"the pods that have no node were not read: {view.reason if view else 'nobody has looked'}"


def writes(question: Question) -> str:
    """A write of each kind was tried and accepted: one that something else refused shows nothing of this."""
    tries = question.observation.api.tries
    for kind in TRIED:
        view = tries.get(kind)
        if kind == HEARTBEAT and isinstance(view, Unseen) and view.kind is UnseenKind.NOT_TRIED:
            continue  # it may not be tried here, so nothing was found by it
        if not isinstance(view, TryView) or not view.accepted:
            why = view.reason if isinstance(view, Unseen) else view.said if view else "none is tried (canary.every: 0)"
            return f"a {kind} was not seen to be accepted: {why}"
    return ""


def _left(question: Question, host: str) -> bool:
    """The machine is no control plane of the cluster any more: members under a leader do not list it,
    so what fails on it is no fault.
    """
    roll = question.diagnosis.roll
    return (
        host in question.observation.etcd
        and roll is not None
        and roll.listed is not None
        and host not in {*roll.listed, *roll.parts}
    )


def _works(endpoint: EndpointView) -> bool:
    return endpoint.health is EndpointHealth.READY or refuses_us(endpoint)


WITNESSES: Mapping[ShownBy, Witness] = {
    ShownBy.MANIFESTS: manifests,
    ShownBy.FILE: file,
    ShownBy.POD_FILE: pod_file,
    ShownBy.UNITS: unit,
    ShownBy.MACHINE: machine,
    ShownBy.ITSELF: itself,
    ShownBy.DISKS: disks,
    ShownBy.STATIC_PODS: static_pods,
    ShownBy.STRANGER: stranger,
    ShownBy.DATA: data,
    ShownBy.LEADER: leader,
    ShownBy.HOLDING: holding,
    ShownBy.EXTERNAL: elsewhere.serves,
    ShownBy.SERVER: elsewhere.server,
    ShownBy.MEMBER: member,
    ShownBy.VOTE: vote,
    ShownBy.SERVES: serves,
    ShownBy.ADDRESS: address,
    ShownBy.HOLDERS: holders,
    ShownBy.LISTS: lists,
    ShownBy.READY: ready,
    ShownBy.LISTED: listed,
    ShownBy.NODE: node,
    ShownBy.RUNNING_NODE: running_node,
    ShownBy.FOLLOWED: followed,
    ShownBy.STEADY: steady,
    ShownBy.STARTS: lambda question: still_waiting(question.observation, question.subject),
    ShownBy.ENDPOINTS: lambda question: still_dead(question.subject, question.observation.network),
    ShownBy.NAMES: lambda question: still_silent(question.subject, question.observation.network),
    ShownBy.BOTH: both,
    ShownBy.BRIDGES: bridges,
    ShownBy.FORWARDS: forwards,
    ShownBy.INPUTS: inputs,
    ShownBy.DEVICES: devices,
    ShownBy.TABLES: tables,
    ShownBy.AGENTS: agents,
    ShownBy.CONTROLLERS: controllers,
    ShownBy.LEAD: lead,
    ShownBy.UNTRIED: untried,
    ShownBy.AGGREGATED: aggregated,
    ShownBy.WRITES: writes,
}
if without := set(ShownBy) - set(WITNESSES):
    raise ImportError(f"recoverd.diagnose.absence has no witness for {', '.join(sorted(without))}")
