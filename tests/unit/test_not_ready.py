"""Nodes that are not Ready: when that is a fault, whose, and what proves it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from recoverd.diagnose import diagnose
from recoverd.diagnose.notready import SHORT
from recoverd.diagnose.why_not_ready import CLIENT, LONG
from recoverd.memory.remember import notice
from recoverd.model.catalogue import Code
from recoverd.model.facts import UnitFacts
from recoverd.model.finding import Diagnosis, Severity, State
from recoverd.model.lease import HeldBy
from recoverd.model.memory import KnownFile, Memory, NodeNetwork
from recoverd.model.node_look import CNI_DIR, HOSTS, Heard, NodeLook
from recoverd.model.observation import EndpointHealth, UnseenKind
from recoverd.playbooks.base import Proposal
from tests.unit.builders import VIP, Cluster, certificate
from tests.unit.rungs import ask, situation
from tests.unit.test_places import external, two_sweeps

LINE = "10.99.1.10 k8s-api"
WELL = NodeLook(
    "k8s-api:6443",
    ("10.99.1.10",),
    True,
    "",
    (LINE,),
    Heard.ANSWERS,
    "HTTP/1.0 200 OK",
    Heard.ANSWERS,
    "",
    ("10-lab.conflist",),
)
STOPPED = {"reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
PLEG = {
    "reason": "KubeletNotReady",
    "message": "PLEG is not healthy: pleg was last seen active 3m5s ago; threshold is 3m0s",
}
UNINITIALISED = {
    "reason": "KubeletNotReady",
    "message": "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
    "message:docker: network plugin is not "
    "ready: cni config uninitialized",
}


def not_ready(name: str = "w1", seconds: float = LONG, condition: dict[str, str] | None = None, **look: Any) -> Cluster:
    cluster = Cluster(1, 2)
    since = cluster.now - timedelta(seconds=seconds)
    return cluster.node(name, ready=False, since=since, **(condition or STOPPED)).host(name, node=replace(WELL, **look))


def judged(cluster: Cluster, memory: Memory | None = None) -> Diagnosis:
    return diagnose(cluster.observation(), memory or cluster.memory(), cluster.settings)


@pytest.mark.parametrize(
    ("condition", "look", "code"),
    [
        pytest.param(STOPPED, {"kubelet": Heard.SILENT}, Code.KUBELET_HANGS, id="kubelet stands still"),
        pytest.param(
            STOPPED, {"runtime": Heard.SILENT}, Code.RUNTIME_HANGS, id="the runtime stands still, and kubelet with it"
        ),
        pytest.param(PLEG, {"runtime": Heard.SILENT}, Code.RUNTIME_HANGS, id="kubelet says so of its runtime"),
        pytest.param(PLEG, {"runtime": Heard.UNKNOWN}, Code.RUNTIME_HANGS, id="by kubelet's word alone"),
        pytest.param(PLEG, {}, Code.KUBELET_HANGS, id="the runtime answers, and kubelet takes it for broken"),
        pytest.param(
            STOPPED, {"addresses": (), "reaches": False, "hosts": ()}, Code.NODE_CUT_OFF, id="its name does not resolve"
        ),
        pytest.param(STOPPED, {"reaches": False, "said": "No route to host"}, Code.NODE_CUT_OFF, id="no way there"),
        pytest.param(UNINITIALISED, {"cni": ()}, Code.CNI_CONFIG_MISSING, id="no CNI configuration"),
    ],
)
def test_a_proven_cause_is_a_fault_at_once(condition: dict[str, str], look: dict[str, Any], code: Code) -> None:
    found = judged(not_ready(seconds=SHORT, condition=condition, **look))
    assert [(f.code, f.subject) for f in found.faults] == [(code, "w1")]
    assert found.state is State.WORKER_NETWORK_BROKEN and found.faults[0].facts.host == "w1"
    assert condition["message"][:40] in found.faults[0].evidence[0]
    assert judged(not_ready(seconds=SHORT - 1, condition=condition, **look)).state is State.HEALTHY, (
        "a flap of seconds is none"
    )


NO_PORT = (
    "bash: connect: Cannot assign requested address / bash: /dev/tcp/k8s-api/6443: Cannot assign requested address"
)


@pytest.mark.parametrize(
    ("look", "says", "cure"),
    [
        ({"reaches": False, "said": NO_PORT}, "", "ss -tanp"),
        ({}, "proxyconnect tcp: dial tcp 10.0.0.9:3128: connect: connection refused", "NO_PROXY"),
        ({}, "dial tcp 10.99.1.10:6443: connect: cannot assign requested address", "ss -tanp"),
    ],
)
def test_no_restart_for_a_proxy_or_for_want_of_ports(look: dict[str, Any], says: str, cure: str) -> None:
    """A kubelet that goes through a proxy answers, and its machine reaches the API server: its connection was called
    dead, and it was restarted. A machine without a free port was called cut off, by a firewall or a route.
    """
    line = f'"Error updating node status" err="Get \\"https://k8s-api:6443/api/v1/nodes/w1\\": {says}"'
    cluster = not_ready(**look).host("w1", journals={"kubelet": (line,) if says else ()})
    (found,) = judged(cluster).faults
    assert found.code == Code.NODE_NOT_READY and cure in found.message
    assert isinstance(found.facts, UnitFacts) and not found.facts.restart
    for name in ("restart-node-agents", "rolling-worker-reboot"):
        assert not isinstance(ask(name, situation(cluster, found)), Proposal)


def test_no_kubelet_is_started_anew_that_ends_its_pods_for_a_shutdown() -> None:
    """It was offered after a minute. A kubelet that starts then starts pods on a machine that goes down, and its
    inhibitor lock, for which systemd waits, is gone (kubernetes/kubernetes #122674).
    """
    cluster = not_ready(condition={"reason": "KubeletNotReady", "message": "node is shutting down"})
    (found,) = judged(cluster).faults
    assert found.code == Code.NODE_NOT_READY and "called off" in found.message
    for name in ("restart-node-agents", "rolling-worker-reboot"):
        assert not isinstance(ask(name, situation(cluster, found)), Proposal)


def test_a_kubelet_that_the_api_server_takes_for_nobody_is_not_restarted_unasked() -> None:
    """It was said to keep to a dead connection, since it answers, reaches the API server, and posts nothing."""
    line = (
        '"Unable to register node with API server" err="nodes is forbidden: User \\"system:anonymous\\" cannot create '
        'resource \\"nodes\\" in API group \\"\\" at the cluster scope" node="w1"'
    )
    cluster = not_ready().host("w1", journals={"kubelet": (line,)})
    (found,) = judged(cluster).faults
    assert found.code == Code.NODE_NOT_READY and "takes it for nobody" in found.message
    assert not isinstance(ask("restart-node-agents", situation(cluster, found)), Proposal)


REFUSED = (
    '"Unable to register node with API server" err="nodes is forbidden: User \\"system:node:w1\\" cannot create"',
    'failed to ensure lease exists, will retry in 7s, error: admission webhook "a.b" denied the request: no',
    '"Error updating node status, will retry" err="error getting node: Get \\"https://k8s-api:6443/api/v1/nodes/w1\\": '
    'http: server gave HTTP response to HTTPS client"',
)


@pytest.mark.parametrize("line", REFUSED)
def test_a_kubelet_whose_reports_are_refused_is_not_restarted(line: str) -> None:
    """Its connection was called dead, it was restarted unasked, and a reboot was offered: all that for the lost rights
    of nodes, or for a policy.
    """
    (found,) = judged(not_ready().host("w1", journals={"kubelet": (line,)})).faults
    assert found.code == Code.NODE_NOT_READY and "Why, by kubelet's words" in found.message
    for name in ("restart-node-agents", "rolling-worker-reboot"):
        assert not isinstance(ask(name, situation(not_ready(), found)), Proposal)


def asking_one(of: str, name: str = "cp2", health: EndpointHealth = EndpointHealth.REFUSED, **look: Any) -> Cluster:
    """A cluster of three whose machine `name` asks the API server of `of` alone, which ends again and again."""
    cluster, address = Cluster(3, 2), Cluster.address(of)
    asks = {"server": f"{address}:6443", "addresses": (address,), "reaches": False}
    own: dict[str, Any] = asks | look
    cluster.node(name, ready=False, since=cluster.now - timedelta(seconds=LONG), **STOPPED).host(
        name, node=replace(WELL, **own)
    )
    return cluster.api_down(of, health=health).container(of, "kube-apiserver", running=False, exit_code=1, restarts=7)


@pytest.mark.parametrize("name", ["cp2", "w1"])
@pytest.mark.parametrize("reaches", [False, True])
def test_a_node_whose_kubelet_asks_one_api_server_alone_hangs_on_that_one(name: str, reaches: bool) -> None:
    """kubeadm writes so on control planes from 1.31 on (ControlPlaneKubeletLocalMode). It was called cut off from where
    the API server is ready; and where that answers that it is not, its connection dead.
    """
    health = EndpointHealth.NOT_READY if reaches else EndpointHealth.REFUSED
    found = judged(asking_one("cp2", name, health, reaches=reaches)).faults
    assert [(f.code, f.subject) for f in found] == [(Code.CRASH_LOOPING, "cp2"), (Code.NODE_NOT_READY, name)]
    assert "one API server alone" in found[1].message and "cp1, cp3 do" in found[1].message
    assert not isinstance(ask("restart-node-agents", situation(Cluster(3, 2), found[1])), Proposal)


def test_a_kubelet_whose_own_api_server_serves_again_has_a_minute_to_tell_it() -> None:
    """Each such kubelet was to be restarted unasked in the seconds until it has."""
    cluster = asking_one("cp2", reaches=True)
    cluster.endpoint("cp2", EndpointHealth.READY)
    for ago, fault in ((20, False), (LONG, True)):
        cluster.container("cp2", "kube-apiserver", running=True, started_at=cluster.now - timedelta(seconds=ago))
        assert bool([f for f in judged(cluster).faults if f.subject == "cp2"]) is fault


@pytest.mark.parametrize(
    "look",
    [
        pytest.param({"addresses": tuple(map(Cluster.address, ("cp1", "cp2")))}, id="a name of several"),
        pytest.param({"server": VIP, "addresses": (Cluster.address("cp2"),)}, id="the name that all share"),
    ],
)
def test_an_address_that_is_not_of_one_alone_is_no_reason(look: dict[str, Any]) -> None:
    found = judged(asking_one("cp2", "w1", **look)).find(Code.NODE_CUT_OFF)
    assert found and found.subject == "w1"


def test_a_worker_whose_own_balancer_is_down_is_told_to_see_to_that() -> None:
    """kubespray's nginx-proxy listens there; it was said that the API server is ready where nothing listens."""
    found = judged(not_ready(server="localhost:6443", addresses=("127.0.0.1",), reaches=False)).find(Code.NODE_CUT_OFF)
    assert found and "nginx-proxy" in found.message and "API server is ready" not in found.message


def test_a_kubelet_whose_disk_is_not_mounted_is_told_so_and_not_to_write_its_configuration_anew() -> None:
    lacks = (
        "failed to load Kubelet config file /var/lib/kubelet/config.yaml, error: open /var/lib/kubelet/config.yaml: "
    )
    cluster = not_ready().unit("w1", "kubelet", active="activating", sub="auto-restart", result="exit-code", restarts=7)
    cluster.host("w1", journals={"kubelet": (f"{lacks}no such file or directory",)})
    assert "kubeadm upgrade node" in judged(cluster).faults[0].message
    (found,) = judged(cluster.host("w1", unmounted=("/var/lib/kubelet",))).faults
    assert "Why: /var/lib/kubelet is not mounted" in found.message and "kubeadm" not in found.message
    assert any("/etc/fstab" in line for line in found.evidence)
    assert isinstance(found.facts, UnitFacts) and not found.facts.restart


def test_a_unit_that_systemd_refuses_is_not_said_to_be_started_again() -> None:
    cluster = not_ready().unit("w1", "kubelet", load="bad-setting", active="inactive", sub="dead")
    said = (
        "kubelet.service: Service has more than one ExecStart= setting, which is only allowed for Type=oneshot services"
    )
    for journals in ({"kubelet": (f"{said}. Refusing.",)}, {}):
        (found,) = judged(cluster.host("w1", journals=journals)).faults
        assert found.code == Code.WORKER_KUBELET_DOWN and "refuses its unit" in found.message
        assert "again and again" not in found.message and "systemd-analyze verify" in found.message
        assert ("more than one" in found.message) is bool(journals)


@pytest.mark.parametrize("name", ["w1", "cp1"])
def test_what_posts_nothing_and_answers_is_a_dead_connection_after_a_minute(name: str) -> None:
    assert judged(not_ready(name, LONG - 1)).state is State.HEALTHY
    found = judged(not_ready(name)).faults
    assert [(f.code, f.subject) for f in found] == [(Code.KUBELET_HANGS, name)] and "connection that is dead" in found[
        0
    ].message


@pytest.mark.parametrize(
    ("condition", "look"),
    [
        pytest.param(UNINITIALISED, {}, id="a CNI whose file is there"),
        pytest.param(
            {"reason": "KubeletNotReady", "message": "Missing node capacity for resources: ephemeral-storage"},
            {},
            id="some other reason",
        ),
        pytest.param(
            STOPPED,
            {"reaches": None, "kubelet": Heard.UNKNOWN, "runtime": Heard.UNKNOWN},
            id="a machine that could be asked nothing",
        ),
        pytest.param({"reason": "", "message": ""}, {}, id="no reason at all"),
    ],
)
def test_without_a_proven_cause_it_is_a_fault_after_a_minute_with_its_own_words(
    condition: dict[str, str], look: dict[str, Any]
) -> None:
    assert judged(not_ready(seconds=LONG - 1, condition=condition, **look)).state is State.HEALTHY
    found = judged(not_ready(condition=condition, **look)).faults
    assert [(f.code, f.subject) for f in found] == [(Code.NODE_NOT_READY, "w1")]
    assert condition["message"] in found[0].message


def test_a_client_certificate_that_is_over_is_named_and_no_restart_is_of_use() -> None:
    cluster = not_ready()
    cluster.host("w1", certificates=(certificate(CLIENT, cluster.now - timedelta(hours=2)),))
    (fault,) = [f for f in judged(cluster).faults if f.code == Code.NODE_NOT_READY]
    assert "certificate" in fault.message and "restart does not help" in fault.message


def test_what_kubelet_says_of_it_decides_whether_a_restart_is_of_use() -> None:
    """Texts of kubelet 1.20; the first ends with a restart (kubernetes/kubernetes#87615), the second
    with another name of the machine.
    """
    dead = (
        "E1128 14:37:29.1 12 kubelet_node_status.go:447] Error updating node status, will retry: write tcp: use of "
        "closed network connection"
    )
    renamed = (
        'E1128 14:37:29.1 12 kubelet.go:1] nodes "w1-new" is forbidden: node "w1" is not '
        'allowed to modify node "w1-new"'
    )
    (fault,) = judged(not_ready(reaches=None).host("w1", journals={"kubelet": (dead,)})).faults
    assert fault.code == Code.KUBELET_HANGS and dead in fault.evidence[1]
    (fault,) = judged(not_ready().host("w1", journals={"kubelet": (renamed,)})).faults
    assert fault.code == Code.NODE_NOT_READY and "Cure: " in fault.message
    assert isinstance(fault.facts, UnitFacts) and not fault.facts.restart


@pytest.mark.parametrize(
    "excused",
    [
        pytest.param(lambda c: c.node("w1", unschedulable=True), id="cordoned"),
        pytest.param(lambda c: c.host("w1", uptime=40.0), id="booting"),
        pytest.param(lambda c: c.node("w1", since=None), id="since when is not said"),
        pytest.param(
            lambda c: c.container("cp1", "kube-apiserver", started_at=c.now - timedelta(seconds=30)),
            id="an API server that just started",
        ),
    ],
)
def test_what_is_on_its_way_or_wanted_so_is_a_notice(excused: Any) -> None:
    found = judged(excused(not_ready(kubelet=Heard.SILENT)))
    assert found.state is State.HEALTHY
    assert found.find(Code.NODE_NOT_READY) is not None


def test_the_time_is_that_of_the_clock_which_said_it() -> None:
    """The node controller's is that of a control plane, kubelet's its own."""
    behind = [
        judged(not_ready(condition=condition, seconds=SHORT, kubelet=Heard.SILENT).host(name, clock_offset=-50.0))
        for condition, name in ((STOPPED, "cp1"), (PLEG, "w1"))
    ]
    assert all(d.find(Code.NODE_NOT_READY) and not d.find(Code.KUBELET_HANGS) for d in behind)


def test_units_that_do_not_run_are_found_of_them_and_not_twice() -> None:
    found = judged(not_ready().stopped("w1", "kubelet"))
    assert [f.code for f in found.faults] == [Code.WORKER_KUBELET_DOWN]
    assert found.find(Code.NODE_NOT_READY) is not None


@pytest.mark.parametrize("kind", [UnseenKind.UNREACHABLE, UnseenKind.DENIED])
def test_a_worker_that_cannot_be_looked_at_is_a_fault_after_a_minute(kind: UnseenKind) -> None:
    assert judged(not_ready(seconds=LONG - 1).ssh_fails("w1", kind=kind)).state is State.HEALTHY
    found = judged(not_ready().ssh_fails("w1", kind=kind)).faults
    assert [(f.code, f.subject) for f in found] == [(Code.NODE_NOT_READY, "w1")]


def test_the_name_that_it_had_is_named() -> None:
    cluster = not_ready(addresses=(), reaches=False, hosts=())
    memory = replace(cluster.memory(), files={"w1": {HOSTS: KnownFile("d", cluster.now)}}, texts={"d": f"{LINE}\n"})
    assert f"`{LINE}`" in judged(cluster, memory).faults[0].message


def test_a_node_that_was_deleted_is_found_where_it_is_known_to_have_been_one() -> None:
    cluster = Cluster(1, 2)
    objects = cluster.objects
    cluster.objects = replace(objects, nodes=tuple(n for n in objects.nodes if n.name != "w2"))  # type: ignore[union-attr, type-var]
    assert judged(cluster).state is State.HEALTHY, "the address in the configuration may be another one than the node's"
    memory = replace(cluster.memory(), networks={"w2": NodeNetwork(True)})
    assert [(f.code, f.subject) for f in judged(cluster, memory).faults] == [(Code.NODE_DELETED, "w2")]
    assert judged(cluster.stopped("w2", "kubelet"), memory).find(Code.NODE_DELETED) is None


def test_a_directory_that_could_not_be_listed_proves_nothing() -> None:
    assert judged(not_ready(seconds=SHORT, condition=UNINITIALISED, cni=None)).state is State.HEALTHY
    assert CNI_DIR not in judged(not_ready(condition=UNINITIALISED, cni=None)).faults[0].message


DEAD = EndpointHealth.REFUSED


@pytest.mark.parametrize(
    ("look", "severity"),
    [
        ({"reaches": False, "said": "connect: Connection refused"}, Severity.NOTICE),
        ({"server": "", "addresses": None, "reaches": None}, Severity.NOTICE),
        ({"server": "10.9.9.9:6443", "addresses": ("10.9.9.9",), "reaches": False}, Severity.FAULT),
        ({"reaches": True}, Severity.FAULT),
        ({"reaches": False, "kubelet": Heard.SILENT}, Severity.FAULT),
    ],
)
def test_a_node_whose_kubelet_asks_at_an_address_that_does_not_answer_is_no_fault_of_its_own(
    look: dict[str, Any], severity: Severity
) -> None:
    """Every node is not Ready then, and no restart of a kubelet helps; one that hangs, or asks elsewhere, is found."""
    cluster = not_ready(seconds=LONG + 60, **look)
    listed = cluster.objects
    for health in (DEAD, EndpointHealth.NOT_TRIED):
        cluster.address_answers(health).objects = listed
        found = [f for f in judged(cluster).findings if f.subject == "w1"]
        assert [f.severity for f in found] == [severity], found
        assert severity is Severity.FAULT or "where the API server is ready" not in found[0].message


@pytest.mark.parametrize(("ago", "fault"), [(5.0, False), (LONG - 1, False), (LONG, True)])
def test_kubelets_have_a_minute_to_tell_how_they_are_once_the_address_answers_again(ago: float, fault: bool) -> None:
    """Each reaches it and has told nothing yet, which is how one looks whose connection is dead."""
    cluster = not_ready(seconds=LONG + 60)
    silent = not_ready(seconds=LONG + 60)
    silent.now -= timedelta(seconds=ago)
    silent.address_answers(DEAD)
    memory = notice(silent.observation(), cluster.memory(), cluster.settings)
    assert bool(judged(cluster, memory).faults) is fault
    assert judged(cluster, replace(memory, silent_at=None)).faults


@pytest.mark.parametrize("off", [("cp1",), ("cp1", "cp2")])
def test_a_control_plane_that_is_dark_is_found_by_its_node_where_its_etcd_is_elsewhere(off: tuple[str, ...]) -> None:
    """Two of three were switched off for ten minutes, and it was `healthy` with a warning."""
    _, memory = two_sweeps(external())

    def away(seconds: float, **node: Any) -> Diagnosis:
        cluster = external().powered_off(*off)
        for name in off:
            cluster.node(name, ready=False, since=cluster.now - timedelta(seconds=seconds), **STOPPED, **node)
        return judged(cluster, memory)

    assert away(LONG - 1).state is State.HEALTHY
    found = away(LONG)
    assert [(f.code, f.subject) for f in found.faults] == [(Code.NODE_NOT_READY, name) for name in off]
    assert found.state is State.APISERVER_DOWN and "switch it on" in found.faults[0].message
    assert away(LONG, unschedulable=True).state is State.HEALTHY, "a cordon says that nobody misses it"


def test_a_control_plane_that_is_dark_is_found_once_where_it_has_an_etcd_member() -> None:
    cluster = Cluster(3).powered_off("cp3")
    found = judged(cluster.node("cp3", ready=False, since=cluster.now - timedelta(seconds=LONG), **STOPPED))
    assert [(f.code, f.subject) for f in found.faults] == [(Code.ETCD_MEMBER_DOWN, "cp3")]


def test_a_control_plane_that_refuses_the_bastion_is_found_by_its_node_though_its_etcd_serves() -> None:
    """Nothing is down of which an etcd member tells, and its kubelet posts nothing: it was a notice for ever."""
    cluster = Cluster(3).ssh_fails("cp3", kind=UnseenKind.DENIED)
    cluster.node("cp3", ready=False, since=cluster.now - timedelta(seconds=LONG), **STOPPED)
    found = judged(cluster)
    assert [(f.code, f.subject) for f in found.faults] == [(Code.NODE_NOT_READY, "cp3")]


def test_a_machine_that_boots_again_and_again_is_a_fault_of_which_nothing_is_done() -> None:
    """It is excused while it boots, and one in a loop boots for ever. Whatever it does not answer yet is no cause."""
    boot = Cluster(1).settings.bounds.force_after
    assert judged(not_ready(seconds=boot - 1, kubelet=Heard.SILENT).host("w1", uptime=40.0)).state is State.HEALTHY
    cluster = not_ready(seconds=boot, kubelet=Heard.SILENT, reaches=False).host("w1", uptime=40.0)
    (found,) = judged(cluster).faults
    assert (found.code, found.subject) == (Code.NODE_NOT_READY, "w1") and "booted 40 s ago" in found.message
    for name in ("restart-node-agents", "rolling-worker-reboot"):
        assert not isinstance(ask(name, situation(cluster, found)), Proposal)


@pytest.mark.parametrize(
    ("by", "busy", "lease", "fault"),
    [
        ("", "", None, False),
        ("prod-1.2", "", None, True),
        ("prod-1.2", "prod-1.2", None, False),
        ("prod-1.2", "prod-2.1", None, True),
        ("prod-1.2", "", HeldBy("other", 50.0), False),
    ],
    ids=["a person's", "of a plan that is over", "of the plan at work", "of another", "of the bastion that acts"],
)
def test_one_that_recoverd_has_cordoned_is_missed_unless_it_is_being_rebooted(
    by: str, busy: str, lease: HeldBy | None, *, fault: bool
) -> None:
    away = not_ready().ssh_fails("w1").node("w1", unschedulable=True, cordoned_by=by)
    hangs = not_ready(kubelet=Heard.SILENT).node("w1", unschedulable=True, cordoned_by=by)
    for cluster, found in ((away, fault), (hangs, bool(by))):
        seen = replace(cluster.observation(), lease=lease)
        faults = diagnose(seen, cluster.memory(), cluster.settings, busy).faults
        assert bool(faults) is found, faults
