"""The API server: crash loops and silence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from recoverd.diagnose import words
from recoverd.diagnose.backoff import etcd_serves, lacks_etcd
from recoverd.diagnose.manifests import STOPPED_ON_REQUEST, of_before, restarted, up
from recoverd.diagnose.rules import reconnecting
from recoverd.diagnose.scene import API, NOT_SERVING, SILENT, Scene
from recoverd.model.catalogue import Code
from recoverd.model.facts import Facts
from recoverd.model.finding import Finding, State
from recoverd.model.network import NetworkView
from recoverd.model.observation import ContainerView, EndpointHealth, EndpointView

DOWN = State.APISERVER_DOWN
COMES_UP = 30.0
"""Seconds from the start of its container in which an API server may become ready (observed: 15 to 30 s with 1.20)."""
REFUSES_US = re.compile(r"\b40[13]\b")
"""HTTP statuses of an API server that works and does not accept the kubeconfig's credentials."""

TURNS_AWAY = re.compile(r"\bHTTP 429\b")
BUSY = (
    ": it works, and turns requests away for there are too many (HTTP 429: API priority and fairness, or "
    "--max-requests-inflight). A restart of it makes that worse. See who sends them: `kubectl get --raw "
    "/debug/api_priority_and_fairness/dump_priority_levels`, and the audit log."
)


def findings(scene: Scene, explained: frozenset[str]) -> Iterator[Finding]:
    """`explained`: control planes whose API server's manifest is already found to be the cause."""
    names = scene.parts or (() if scene.remembers or scene.membership.known else scene.control_plane_names)
    for name in names:
        if scene.endpoint_health(name) is EndpointHealth.READY or name in explained:
            continue
        if scene.settling(name) and scene.vip_ready:
            continue
        yield from _crash_loop(scene, name) or _not_answering(scene, name)


def refuses_us(endpoint: EndpointView) -> bool:
    return endpoint.health is EndpointHealth.ERROR and REFUSES_US.search(endpoint.detail) is not None


def answer(endpoint: EndpointView | None) -> str:
    """What an address answered, as a line of evidence."""
    if endpoint is None:
        return "its API server's address was not dialled"
    checks = f" (failing: {', '.join(endpoint.failing_checks)})" if endpoint.failing_checks else ""
    return (
        f"https://{endpoint.address}/readyz: "
        f"{endpoint.health}{f': {endpoint.detail}' if endpoint.detail else ''}{checks}"
    )


def _crash_loop(scene: Scene, name: str) -> tuple[Finding, ...]:
    container, host = scene.container(name, API), scene.host(name)
    kubelet = host.units.get("kubelet") if host else None
    if container is None or host is None or kubelet is None or not kubelet.running:
        return ()
    manifest = host.manifests.get(API)
    if (manifest is not None and of_before(manifest, container)) or not _loops(scene, container):
        return ()
    cause, proof = words.of_pod(scene, name, API)
    cause = _by_etcd(scene, name) or cause
    return (
        Finding(
            Code.CRASH_LOOPING,
            name,
            f"The API server on {name} does not stay up ({up(scene, container)}).{cause}",
            (
                f"{API} on {name}: {up(scene, container)}",
                *proof,
                answer(scene.endpoint(name)),
                *(f"it says: {line}" for line in container.log_tail[-6:]),
            ),
            state=DOWN,
            facts=Facts(name),
        ),
    )


def coming_up(scene: Scene, found: Sequence[Finding]) -> str:
    """What is waited for where nothing is found but API servers that were started again just now; else ""."""
    names = [f.facts.host for f in found if f.code == Code.CRASH_LOOPING]
    running = [c for n in names if (c := scene.container(n, API)) is not None and c.running]
    ages = [age for c in running if (age := scene.age(c.started_at)) is not None and age < COMES_UP]
    if not found or len(ages) < len(found):
        return ""
    return (
        f"The API server on {' and '.join(names)} was started again just now and may be ready soon: a person is called "
        f"when it ends for what recoverd does not cure, or is not ready {COMES_UP:.0f} s after its start"
    )


def _by_etcd(scene: Scene, name: str) -> str:
    """What is said of one that serves for want of an etcd which was seen to serve, in place of its own words."""
    container, endpoint = scene.container(name, API), scene.endpoint(name)
    if not etcd_serves(scene, name):
        return ""
    lacks = lacks_etcd(scene, name)
    others = [n for n in scene.ready_members if n != name]
    way = (
        f"see to the way from {name} to {', '.join(scene.external_etcd)} (a route, a firewall), and to its certificate "
        "apiserver-etcd-client.crt"
    )
    if container is not None and not container.running and lacks:
        again = f" If it ends again: {way}." if scene.external_etcd and others else ""
        return (
            " It ended while no etcd served it, and etcd serves now: kubelet starts it again within five minutes, and "
            f"at once when it is restarted itself (`systemctl restart kubelet` on {name}).{again}"
        )
    network = scene.observation.network
    if isinstance(network, NetworkView) and reconnecting(scene, network):
        return ""  # the others have come back just now, and this one may be on its way (observed)
    if scene.external_etcd and others and endpoint and (lacks or "etcd" in endpoint.failing_checks):
        return f" The etcd, which is elsewhere, serves the API servers of {', '.join(others)} and not this one: {way}."
    return ""


def _loops(scene: Scene, container: ContainerView) -> bool:
    if not container.running:
        return container.exit_code not in STOPPED_ON_REQUEST or container.restarts > 0
    return restarted(scene, container)


def _not_answering(scene: Scene, name: str) -> tuple[Finding, ...]:
    endpoint = scene.endpoint(name)
    if endpoint is None or refuses_us(endpoint) or not _proven_down(scene, name, endpoint):
        return ()
    evidence = [answer(endpoint), f"the cluster's address: {answer(scene.vip)}"]
    if unseen := scene.unseen_host(name):
        evidence.append(f"{name} could not be looked at over SSH ({unseen.kind}): {unseen.reason}")
        message = (
            f"The API server on {name} does not answer, and its machine cannot be looked at, so no cause is proven."
        )
    else:
        container = scene.container(name, API)
        evidence.append(f"{API} on {name}: {up(scene, container) if container else 'no container of it is known'}")
        evidence += [f"it says: {line}" for line in container.log_tail[-4:]] if container else []
        cause, proof = words.of_pod(scene, name, API)
        cause = _by_etcd(scene, name) or cause
        evidence += proof
        unknown = f"; what on {name} itself causes it is not proven."
        if TURNS_AWAY.search(endpoint.detail):
            unknown = BUSY
        message = f"The API server on {name} does not serve ({endpoint.health}){f'.{cause}' if cause else unknown}"
    return (Finding(Code.API_NOT_ANSWERING, name, message, tuple(evidence), state=DOWN, facts=Facts(name)),)


def _proven_down(scene: Scene, name: str, endpoint: EndpointView) -> bool:
    """Whether this API server certainly does not serve. Silence counts only when the rest of the cluster is
    visible and nothing else answers.
    """
    container = scene.container(name, API)
    stopped = container is not None and not container.running
    if scene.host(name) is None and scene.vip_ready and scene.dark(name):
        return False  # a machine that is away while the cluster serves: a reboot, or etcd's findings name it
    if endpoint.health in NOT_SERVING or stopped:
        return True
    if endpoint.health in SILENT:
        return not scene.api_ready and scene.memory.healthy_at is not None and scene.bastion_sees()
    return False
