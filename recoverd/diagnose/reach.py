"""What the bastion can see at all, and what it must not conclude from what it cannot."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from recoverd.diagnose.api import answer, refuses_us
from recoverd.diagnose.cause import SANDBOX
from recoverd.diagnose.causes import reason
from recoverd.diagnose.causes_of_limits import NO_PROCESS
from recoverd.diagnose.scene import NOT_SERVING, Scene
from recoverd.model.catalogue import Code
from recoverd.model.finding import Finding, Severity
from recoverd.model.observation import EndpointHealth, ObjectsView, Unseen, UnseenKind

ADVICE = {
    UnseenKind.UNREACHABLE: "it is powered off or rebooting, the path to it is cut, or its address in "
    "the configuration is wrong",
    UnseenKind.REFUSED: "the machine answers and no sshd listens there: it is booting, or ssh.port in "
    "the configuration is wrong",
    UnseenKind.TIMEOUT: "it accepts connections and then hangs: look at its console for memory, disk or a stuck mount",
    UnseenKind.DENIED: "it does not let recoverd in: check ssh.user and ssh.key, authorized_keys on it, and "
    "that sudo asks no password",
    UnseenKind.UNTRUSTED: "its host key is not the one in ssh.known_hosts: replace that line if the machine was "
    "rebuilt; else somebody is in between",
    UnseenKind.GARBAGE: "what it answers is not understood, or it ends the connection at once: look at its sshd's "
    "log, and at what its login shell prints",
    UnseenKind.NOT_TRIED: "something that is needed for it was unseen itself",
    UnseenKind.OWN: "that is recoverd's own trouble on the bastion, and says nothing of the machine",
}


def findings(scene: Scene) -> Iterator[Finding]:
    for name, address in scene.addresses.items():
        unseen = scene.unseen_host(name)
        if unseen is not None:
            yield _host_unseen(scene, name, address, unseen)
        elif (host := scene.host(name)) is not None and host.problems:
            yield source(name, f"Parts of {name} could not be looked at.", *host.problems)
    yield from _etcd_unseen(scene)
    yield from _api_unseen(scene)


def _host_unseen(scene: Scene, name: str, address: str, unseen: Unseen) -> Finding:
    evidence = [f"ssh to {name} ({address}): {unseen.kind}: {unseen.reason}"]
    node = scene.node(name)
    if node is not None:
        evidence.append(f"the API server calls the node {node.name} {'Ready' if node.ready else 'not Ready'}")
    advice = _own_words(unseen) or ADVICE[unseen.kind]
    if node is not None and node.ready and scene.dark(name):
        advice = "its node is Ready, so suspect the bastion's path to it or its address in the configuration"
    return Finding(
        Code.HOST_UNSEEN,
        name,
        f"{name} could not be looked at over SSH ({unseen.kind}); {advice}. Nothing is concluded about it.",
        tuple(evidence),
        severity=Severity.NOTICE,
    )


def _own_words(unseen: Unseen) -> str:
    """Why a machine that answers starts no program, as its shell or its sshd says; "" where they say nothing of it."""
    lines = re.split(r"\\n|\n|'", unseen.reason)
    found = next((why for line in lines if (why := reason([line.strip()], SANDBOX))), None)
    return f"{found.why}: {found.cure}" if found and found.cause.name in NO_PROCESS else ""


def source(subject: str, message: str, *evidence: str) -> Finding:
    """The notice that a source was not seen, or not whole."""
    return Finding(Code.SOURCE_UNSEEN, subject, message, evidence, severity=Severity.NOTICE)


def _etcd_unseen(scene: Scene) -> Iterator[Finding]:
    if servers := scene.external_etcd:
        yield source(
            "etcd",
            f"etcd is none of this cluster's static pods: its API servers use {', '.join(servers)}. recoverd takes no "
            "restore points of it and repairs nothing there: see to its health and its snapshots there. "
            f"{_goes_on(scene)}",
            "no control plane has a manifest or data of etcd, and --etcd-servers of kube-apiserver names others",
            *(f"{n}: member {v.member_id}, etcd {v.version}" for n, v in scene.outside.items()),
            *(f"{n}: {v.reason}" for n, v in scene.observation.outside.items() if isinstance(v, Unseen)),
        )
        return
    for name in scene.parts:
        seen = scene.observation.etcd.get(name)
        if isinstance(seen, Unseen) and scene.host(name) is not None and not scene.etcd_stopped(name):
            # observed on 3.4: restarted without quorum, a member listens on 2379 and answers
            # nothing until there is a leader
            hint = (
                " A member that was restarted while quorum is gone listens and does not answer."
                if seen.kind is UnseenKind.TIMEOUT
                else ""
            )
            yield source(
                f"{name}/etcd",
                f"etcd on {name} could not be seen ({seen.kind}); nothing is concluded about it.{hint}",
                seen.reason,
            )


def _goes_on(scene: Scene) -> str:
    if scene.outside:
        return "Whether its data went back in time is read from the leader's revision."
    if not scene.observation.outside:
        return "Whether its data went back in time was not asked yet."
    return (
        "Whether its data went back in time cannot be told, since no server could be asked from the control planes: "
        "sshd there has to permit their ports (permitopen), and the API server's client certificate has to be readable."
    )


def _same_machines(scene: Scene, objects: ObjectsView) -> str:
    """That they are its nodes all the same, by what the kernel calls its boot; "" where that is not seen.

    The configuration has names and addresses of their own for them, as of a network for administrators alone.
    """
    boots = {n.boot_id: n.name for n in objects.nodes if n.boot_id}
    ours = {name: host.boot_id for name in scene.addresses if (host := scene.host(name))}
    # containers of one machine have one boot
    once = Counter((*ours.values(), *(n.boot_id for n in objects.nodes)))
    same = {name: boots[boot] for name, boot in ours.items() if boot in boots and once[boot] == 2}
    if not same:
        return ""
    pairs = ", ".join(f"{name} is {node}" for name, node in same.items())
    return (
        f" By their boots they are the same machines ({pairs}): name each in the configuration as its node is named; "
        "its address there may be any."
    )


def _api_unseen(scene: Scene) -> Iterator[Finding]:
    objects, vip = scene.observation.api.objects, scene.vip
    if scene.foreign_kubeconfig and isinstance(objects, ObjectsView):
        names = ", ".join(sorted(n.name for n in objects.nodes)[:10])
        ours = ", ".join(scene.addresses)
        yield source(
            "kubeconfig",
            f"The kubeconfig leads to another cluster: {vip.address} lists the nodes {names}, and "
            f"none of {ours} is among them.{_same_machines(scene, objects)}",
            answer(vip),
        )
    elif refuses_us(vip):
        yield source(
            "kubeconfig",
            f"{vip.address} does not accept the credentials in the kubeconfig; check it and its RBAC, and "
            "that it is this cluster's.",
            answer(vip),
        )
    elif isinstance(objects, Unseen) and scene.api_ready:
        yield source(
            "api",
            f"Nodes and pods could not be listed ({objects.kind}); check the kubeconfig's credentials and RBAC.",
            objects.reason,
        )
    for name in scene.parts or scene.control_plane_names:
        endpoint = scene.endpoint(name)
        if endpoint is not None and (refuses_us(endpoint) or endpoint.health is EndpointHealth.TLS):
            yield source(
                f"{name}/api",
                f"The API server on {name} answers, and it cannot be judged: {endpoint.health}. Check the "
                "kubeconfig's CA and credentials.",
                answer(endpoint),
            )


def blindness(scene: Scene) -> str:
    """Why the bastion must be taken to be blind; "" when it sees enough to judge."""
    api = scene.observation.api
    if (
        scene.api_ready
        or scene.etcd_views
        or any(e.health in (*NOT_SERVING, EndpointHealth.TLS) for e in api.members.values())
    ):
        return _half_blind(scene)
    if api.vip.health in (EndpointHealth.READY, EndpointHealth.NOT_READY, EndpointHealth.REFUSED, EndpointHealth.TLS):
        return _half_blind(scene)
    names = tuple(scene.addresses)
    if names and all(scene.dark(n) or n not in scene.observation.hosts for n in names):
        return (
            f"None of the {len(names)} machines answers, nor does the API server at {api.vip.address}: "
            "everything went dark together. "
            "Suspect the bastion's own network before the cluster"
        )
    return _half_blind(scene)


def _half_blind(scene: Scene) -> str:
    """A few control planes together with the bastion may be cut off from a majority that serves on: what they
    say of quorum is no proof then.
    """
    if scene.api_ready or scene.membership.leader or not scene.workers:
        return ""
    total = len(scene.membership.voters) or len(scene.parts) or len(scene.control_plane_names)
    dark = [n for n in scene.control_plane_names if scene.dark(n) and (n in scene.parts or not scene.parts)]
    answers = [n for n in dark if scene.endpoint_health(n) in NOT_SERVING]
    if total > 1 and len(dark) - len(answers) >= total // 2 + 1 and all(scene.dark(w.name) for w in scene.workers):
        return (
            f"{', '.join(dark)} and every worker went dark together: the bastion may be cut off from "
            "them while they serve on. "
            "Suspect the network between the bastion and them"
        )
    return ""


def lacking(scene: Scene) -> tuple[str, ...]:
    """What `healthy` rests on and was not seen, in words: the lists; a member of etcd where one was seen
    before; a control plane's machine.

    One machine of several may be out of reach for a while: that is a notice, and `healthy`
    names how many were looked at.
    """
    found = []
    objects = scene.observation.api.objects
    if scene.objects is None:
        why = objects.reason if isinstance(objects, Unseen) else "the kubeconfig leads to another cluster"
        found.append(f"nodes and pods were not listed ({why})")
    elif not scene.objects.nodes and scene.remembers:
        # as with the data of a new, empty etcd behind the API server that answers
        found.append("the API server lists no node at all")
    if scene.memory.watermark is not None and not any(not v.remembered for v in scene.etcd_views.values()):
        found.append(
            f"no etcd member was seen{_why(u for u in scene.observation.etcd.values() if isinstance(u, Unseen))}"
        )
    planes = scene.parts or scene.control_plane_names
    if planes and not any(scene.host(n) for n in planes):
        found.append(
            f"no control plane's machine could be looked at{_why(u for n in planes if (u := scene.unseen_host(n)))}"
        )
    return tuple(found)


def _why(unseen: Iterable[Unseen]) -> str:
    return next((f" ({u.reason})" for u in unseen), "")


def own_trouble(scene: Scene) -> str:
    """What kept recoverd itself from looking, so that what it did not see is no silence; "" when nothing did."""
    seen = scene.observation
    unseen = (
        u
        for u in (seen.api.objects, *seen.etcd.values(), *seen.hosts.values())
        if isinstance(u, Unseen) and u.kind is UnseenKind.OWN
    )
    endpoints = (e.detail for e in (seen.api.vip, *seen.api.members.values()) if e.health is EndpointHealth.NOT_TRIED)
    return next((why for why in (*endpoints, *(u.reason for u in unseen)) if why), "")


def dark_notice(scene: Scene, why: str) -> Finding:
    lines = [
        f"{n} ({scene.addresses[n]}): {u.kind}: {u.reason}" for n in scene.addresses if (u := scene.unseen_host(n))
    ]
    return Finding(
        Code.CLUSTER_DARK,
        "",
        f"{why}. Nothing is concluded and nothing is done.",
        (answer(scene.vip), *lines[:12]),
        severity=Severity.NOTICE,
    )
