"""What kube-proxy, the CNI's agents and the cluster's DNS say of why they do not do their work: what is taken of their
logs, what is found, and that nothing is restarted or rebooted in vain.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from recoverd.diagnose import diagnose
from recoverd.diagnose.restless import odd_nodes
from recoverd.model.catalogue import Code
from recoverd.model.facts import CureFacts, DeviceFacts, Facts
from recoverd.model.finding import Finding
from recoverd.model.memory import NodeNetwork
from recoverd.model.network import RuleGap, SilentDns
from recoverd.model.node_look import NodeLook, PodLog
from recoverd.model.node_operations import Agent, RestartDaemonPods
from recoverd.model.observation import EndpointHealth
from recoverd.observe.pod_logs import read
from recoverd.playbooks.base import Refusal
from tests.unit.builders import NOW, Cluster
from tests.unit.pod_network import PodNetwork
from tests.unit.rungs import ask, fault, proposal, situation

POD = "kube-system/kube-proxy-w2"
CONNTRACK = (
    'E0908 10:00:00.000000       1 run.go:72] "command failed" err="could not set conntrack parameters from kube-proxy '
    'configuration: open /proc/sys/net/netfilter/nf_conntrack_max: permission denied"'
)
REFUSED = (
    'E0908 10:00:00.1 1 proxier.go:1484] "Failed to execute iptables-restore" err="exit status 4 (Another app is '
    'currently holding the xtables lock; still 4s 100000us time ahead to have a chance to grab the lock...)"'
)
STALE = RuleGap("default/web:80", "10.96.0.1:80", {"10.244.3.2:8080": 60.0})
ENDED = {"running": False, "ready": False, "status": "CrashLoopBackOff", "bad_for": 41.0}


def says(net: PodNetwork, *lines: str, now: bool = True, container: str = "kube-proxy", pod: str = POD) -> PodNetwork:
    log = PodLog(container, lines, lines if now else ())
    net.cluster.host("w2", node=NodeLook(logs={pod: log}))
    return net


def only(net: PodNetwork) -> Finding:
    (found,) = net.seen().faults
    return found


def test_a_kube_proxy_that_ends_says_why() -> None:
    found = only(says(PodNetwork().agent("w2", **ENDED), CONNTRACK, now=False))
    assert found.key == (Code.KUBE_PROXY_DOWN, "w2") and isinstance(found.facts, CureFacts)
    for word in ("may not set the kernel's nf_conntrack_max", "No restart and no reboot", "maxPerCore: 0"):
        assert word in found.message, found.message
    assert found.evidence[-1] == f"kube-proxy-w2 on w2: {CONNTRACK}"


def test_what_one_said_before_it_was_stopped_is_not_why_it_stands_still() -> None:
    stopped = PodNetwork().agent("w2", running=False, bad_for=16.0)
    found = only(says(stopped, "Failed to watch *v1.Service: Unauthorized", now=False))
    assert type(found.facts) is Facts and "Why" not in found.message


def test_what_a_restart_may_cure_is_named_and_restarted() -> None:
    found = only(says(PodNetwork().agent("w2", **ENDED), "Failed to watch *v1.Service: Unauthorized", now=False))
    assert type(found.facts) is Facts and "does not accept its token" in found.message
    assert "No restart" not in found.message


def test_one_that_runs_and_does_not_keep_its_rules_says_why() -> None:
    found = only(says(PodNetwork().rules("w2", STALE), REFUSED))
    assert found.key == (Code.SERVICE_RULES_STALE, "w2") and isinstance(found.facts, CureFacts)
    assert "holds the lock of iptables" in found.message and "No restart and no reboot" in found.message
    assert REFUSED in found.evidence[-1]
    old = only(says(PodNetwork().rules("w2", STALE), REFUSED, now=False))
    assert type(old.facts) is Facts and "Why" not in old.message


def test_kubelet_says_what_its_pod_lacks() -> None:
    line = 'MountVolume.SetUp failed for volume "kube-proxy" pod "kube-proxy-w2" : configmap "kube-proxy" not found'
    waits = PodNetwork().agent("w2", ready=False, running=False, status="ContainerCreating", bad_for=181.0)
    waits.cluster.host("w2", journals={"kubelet": (line,)})
    found = only(waits)
    assert "the ConfigMap kube-proxy, which its pod mounts, is not there" in found.message
    waits.cluster.host("w2", journals={"kubelet": (line.replace("kube-proxy-w2", "web-1"),)})
    assert "ConfigMap" not in only(waits).message


def test_the_cnis_agent_says_why() -> None:
    flannel = {"kind": "cni", "daemonset": "kube-flannel/kube-flannel-ds", "pod": "kube-flannel-ds-x"}
    net = PodNetwork().agent("w2", **{**ENDED, **flannel, "running": None, "bad_for": 61.0})
    line = 'Error registering network: failed to acquire lease: node "w2" pod cidr not assigned'
    found = only(says(net, line, now=False, container="kube-flannel", pod="kube-flannel/kube-flannel-ds-x"))
    assert found.key == (Code.CNI_AGENT_DOWN, "w2") and "--allocate-node-cidrs=true" in found.message


CILIUM = {"kind": "cni", "daemonset": "kube-system/cilium", "pod": "cilium-x", "running": None}
CUT_OFF = (
    'level=error msg="Unable to contact k8s api-server" error="Get \\"https://10.99.1.12:6443/api/v1/namespaces/kube-system'
    '\\": dial tcp 10.99.1.12:6443: connect: no route to host" ipAddr="https://10.99.1.12:6443" subsys=k8s-client'
)


@pytest.mark.parametrize("health", [EndpointHealth.UNREACHABLE, EndpointHealth.READY])
def test_an_agent_that_asks_one_api_server_alone_is_not_restarted_while_that_is_away(health: EndpointHealth) -> None:
    """Cilium's k8sServiceHost is often that of the first control plane."""
    net = PodNetwork(Cluster(3, 2)).agent("w2", **{**ENDED, **CILIUM, "bad_for": 61.0})
    net.cluster.endpoint("cp2", health)
    says(net, CUT_OFF, now=False, container="cilium-agent", pod="kube-system/cilium-x")
    found = net.seen().find(Code.CNI_AGENT_DOWN, "w2")
    assert found is not None
    if health is EndpointHealth.READY:
        assert type(found.facts) is Facts, "it serves again, and a fresh agent finds it at once"
    else:
        assert isinstance(found.facts, CureFacts) and "the API server at 10.99.1.12:6443 alone" in found.message


def test_what_ciliums_agent_waits_for_is_read_where_that_has_said_nothing_itself() -> None:
    of = [("pod-log", f"{container} kube-system/cilium-x") for container in ("config", "cilium-agent")]
    ages = {"new": 5, "old": 86400}
    at = {n: f"{NOW - timedelta(seconds=s):%Y-%m-%dT%H:%M:%SZ} stderr F {n}" for n, s in ages.items()}
    for lines, container in (
        ((["new"], ["old"]), "config"),
        ((["new"], ["new"]), "cilium-agent"),
        (([], []), "config"),
    ):
        found = read([(*o, [at[x] for x in said]) for o, said in zip(of, lines, strict=True)], NOW)
        assert found["kube-system/cilium-x"].container == container


CALICO = {"kind": "cni", "daemonset": "kube-system/calico-node", "pod": "calico-node-x", "running": None}


@pytest.mark.parametrize("playbook", ["restart-node-agents", "rolling-worker-reboot"])
def test_calicos_agent_without_any_session_is_not_restarted_for_it(playbook: str) -> None:
    net = PodNetwork().agent("w2", **CALICO, ready=False, status="Running", bad_for=61.0)
    net.cluster.host("w2", node=NodeLook(bgp={"10.99.1.11": False, "10.99.1.21": False}))
    found = only(net)
    assert found.key == (Code.CNI_AGENT_DOWN, "w2") and isinstance(found.facts, CureFacts)
    assert "has no BGP session with any other node" in found.message and "TCP port 179" in found.message
    assert "by its own words" not in found.message
    assert found.evidence[-1].endswith("calls 10.99.1.11, 10.99.1.21 in vain"), found.evidence
    answer = ask(playbook, situation(Cluster(1, 3), found), found)
    assert isinstance(answer, Refusal) and "TCP port 179" in answer.reason, answer


@pytest.mark.parametrize(
    ("sessions", "changes"),
    [
        ({"10.99.1.11": True, "10.99.1.21": False}, {}),
        (None, {}),
        ({}, {"daemonset": "kube-flannel/kube-flannel-ds"}),
        ({}, {"status": "CrashLoopBackOff"}),
    ],
    ids=["a session", "nobody listens", "no Calico", "ends"],
)
def test_what_else_keeps_a_cnis_agent_is_not_its_sessions(
    sessions: dict[str, bool] | None, changes: dict[str, str]
) -> None:
    net = PodNetwork().agent("w2", **{**CALICO, "ready": False, "status": "Running", "bad_for": 61.0, **changes})
    net.cluster.host("w2", node=NodeLook(bgp=sessions))
    found = only(net)
    assert found.key == (Code.CNI_AGENT_DOWN, "w2") and type(found.facts) is Facts


def test_the_clusters_dns_says_why() -> None:
    net = PodNetwork()
    pod = "kube-system/coredns-0ab"
    line = "/etc/coredns/Corefile:10 - Error during parsing: Unknown directive 'proxy'"
    says(net, line, now=False, container="coredns", pod=pod)
    silent = SilentDns(net.now - timedelta(seconds=95), (pod,), ("w2",))
    observation = replace(net.observation(), network=replace(net.view(), silent_dns={"kube-system/kube-dns": silent}))
    (found,) = diagnose(observation, net.memory(), net.cluster.settings).faults
    assert found.code == Code.DNS_DOWN and "its Corefile cannot be read (Unknown directive 'proxy')" in found.message
    assert "configmap coredns" in found.message and line in found.evidence[-1]


def test_a_machine_whose_agent_is_not_well_is_looked_at_more_closely() -> None:
    assert odd_nodes(PodNetwork().view()) == frozenset()
    assert odd_nodes(PodNetwork().agent("w2", bad_for=1.0).view()) == {"w2"}


# --- what is done about it ---


def told(code: str = Code.KUBE_PROXY_DOWN, node: str = "w2") -> Finding:
    return fault(code, node, CureFacts, cure="edit the ConfigMap")


@pytest.mark.parametrize("playbook", ["restart-node-agents", "rolling-worker-reboot"])
@pytest.mark.parametrize("code", [Code.KUBE_PROXY_DOWN, Code.SERVICE_RULES_STALE])
def test_nothing_is_restarted_or_rebooted_in_vain(playbook: str, code: str) -> None:
    found = (told(code), fault(Code.SERVICE_UNREACHABLE, "w2"))
    for each in found:
        answer = ask(playbook, situation(Cluster(1, 3), *found), each)
        assert isinstance(answer, Refusal) and "Cure: edit the ConfigMap" in answer.reason, answer
        assert "no reboot changes" in " ".join(answer.reason.split())


def test_other_nodes_and_what_else_is_found_of_it_are_repaired() -> None:
    plan = proposal("restart-node-agents", situation(Cluster(1, 3), fault(Code.KUBE_PROXY_DOWN, "w1"), told()))
    assert {step.host for step in plan.steps} == {"w1"}
    beside = (fault(Code.PODS_NOT_ON_NODE, "w2"), told())
    plan = proposal("restart-node-agents", situation(Cluster(1, 3), *beside))
    on = [step.operation for step in plan.steps if step.part == "w2"]
    assert RestartDaemonPods("w2", Agent.CNI) in on and RestartDaemonPods("w2", Agent.KUBE_PROXY) not in on


PROXY_ALONE, CNI_ALONE = frozenset({Agent.KUBE_PROXY}), frozenset({Agent.CNI})


@pytest.mark.parametrize(
    ("found", "device", "agents"),
    [
        ((Code.KUBE_PROXY_DOWN, Code.SERVICE_UNREACHABLE), "", PROXY_ALONE),
        ((Code.SERVICE_RULES_STALE,), "", PROXY_ALONE),
        ((Code.CNI_AGENT_DOWN, Code.POD_NETWORK_BROKEN), "", CNI_ALONE),
        ((Code.POD_NETWORK_BROKEN,), "flannel.1", CNI_ALONE),
        ((Code.POD_NETWORK_BROKEN,), "cni0", PROXY_ALONE | CNI_ALONE),
        ((Code.CNI_AGENT_DOWN, Code.SERVICE_UNREACHABLE), "", PROXY_ALONE | CNI_ALONE),
        ((Code.KUBE_PROXY_DOWN, Code.POD_NETWORK_BROKEN), "", PROXY_ALONE | CNI_ALONE),
        ((Code.SERVICE_UNREACHABLE,), "", PROXY_ALONE | CNI_ALONE),
    ],
)
def test_only_the_agent_of_which_all_comes_is_made_anew(
    found: tuple[str, ...], device: str, agents: frozenset[Agent]
) -> None:
    """As the lab showed on VXLAN, where kube-proxy was ended because flannel's device was gone; what reaches services
    may be an agent's of another kind, as Cilium's, where kube-proxy is not found to be the cause.
    """
    gone = [fault(Code.POD_DEVICE_MISSING, "w2", DeviceFacts, device=device, problem="gone")] if device else []
    now = situation(Cluster(1, 3), *(fault(code, "w2") for code in found), *gone)
    known = NodeNetwork(True, {"cni0": "bridge", "flannel.1": "vxlan"}, {}, ())
    plan = proposal("restart-node-agents", replace(now, memory=replace(now.memory, networks={"w2": known})))
    assert {s.operation.agent for s in plan.steps if isinstance(s.operation, RestartDaemonPods)} == agents


# --- what is read ---


def stamped(ago: float, text: str) -> str:
    return f"{(NOW - timedelta(seconds=ago)):%Y-%m-%dT%H:%M:%S}.123456789Z stderr F {text}"


def test_how_old_a_line_is_goes_by_what_the_runtime_has_put_before_it() -> None:
    lines = (
        stamped(900, "E0101 10:00:00.1 1 x.go:1] long ago"),
        stamped(500, "E0101 10:00:00.1 1 x.go:1] try 17 failed"),
        stamped(60, "E0101 10:05:00.1 1 x.go:1] try 18 failed"),
        stamped(10, 'E0101 10:06:00.1 1 x.go:1] "Failed" err=<'),
        "\texit status 2: what goes on in another line",
    )
    log = read([("pod-log", "kube-proxy kube-system/kube-proxy-w2", lines), ("node", "", ())], NOW)[POD]
    assert log.container == "kube-proxy" and len(log.lines) == 3, "the same with another number is said once"
    assert [line.rpartition("] ")[2] for line in log.now] == [
        "try 18 failed",
        '"Failed" err=<',
        "exit status 2: what goes on in another line",
    ]
    assert read([("pod-log", "kube-proxy kube-system/kube-proxy-w2", lines)], None) == {}


def test_dockers_log_is_understood() -> None:
    at = f"{(NOW - timedelta(seconds=10)):%Y-%m-%dT%H:%M:%S}.5Z"
    line = f'{{"log":"F0513 15:57:17.4 1 server.go:495] {{it}} \\"x\\" denied\\n","stream":"stderr","time":"{at}"}}'
    log = read([("pod-log", "kube-proxy a/b", (line,))], NOW)["a/b"]
    assert log.now == ('F0513 15:57:17.4 1 server.go:495] {it} \\"x\\" denied',)
    assert read([("pod-log", "kube-proxy a/b", (line,))], NOW + timedelta(hours=1))["a/b"].lines == ()
