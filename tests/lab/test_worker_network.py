"""`worker-network-broken` from the fault to the repair, by the daemon itself: found where it is, repaired
by the lowest rung that helps.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster
from tests.lab.kubelab.images import VERSION
from tests.lab.kubelab.node import Node
from tests.lab.witness import Client, boots, pods

FAULTS = Path(__file__).parent / "faults"
REBOOT = "rolling-worker-reboot"


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=1, workers=3)


@pytest.fixture
def site(cluster: Cluster) -> Iterator[Callable[..., Bastion]]:
    made: list[Bastion] = []

    def start(**bounds: object) -> Bastion:
        made.append(Bastion(cluster, bounds={"cooldown": 0, "attempts": 100, **bounds}))
        made[-1].start()
        made[-1].wait_healthy(240)
        made[-1].wait_network(cluster)
        return made[-1]

    yield start
    for each in made:
        each.remove()


def spread(cluster: Cluster, *, anew: bool = False) -> None:
    """Two web pods on every worker; with `anew`, seconds old."""
    cp1, workers = cluster.node("cp1"), [n.name for n in cluster.nodes if n.name != "cp1"]
    cp1.sh(f"kubectl uncordon {' '.join(workers)}")
    for tried in range(5):
        there = Counter(pod.node for pod in pods(cluster).values())
        if {there[w] for w in workers} == {2} and not anew:
            return
        anew = False
        cp1.sh("kubectl scale deploy/web --replicas=0")
        cp1.wait_for(lambda: not pods(cluster), "lists web pods still", 240)
        # the scheduler leaves out a worker that has other pods, as those of the cluster's DNS: one after the other then
        scaled = "kubectl scale deploy/web --replicas={}; kubectl rollout status deploy/web --timeout=180s"
        for number, worker in enumerate(workers if tried else (), 1):
            cp1.sh(f"kubectl cordon {' '.join(workers)}; kubectl uncordon {worker}; {scaled.format(2 * number)}")
        cp1.sh(f"kubectl uncordon {' '.join(workers)}; {scaled.format(2 * len(workers))}")
    raise AssertionError(f"the web pods are not spread: {there}")


def acted(s: Bastion) -> list[tuple[str, str, frozenset[str]]]:
    """(playbook, how it ended, nodes) of every plan, oldest first."""
    plans = sorted(s.plans(everything=True), key=lambda p: p["created_at"])
    return [(p["playbook"], p["status"], frozenset(step["host"] for step in p["steps"])) for p in plans]


@pytest.mark.parametrize(
    ("fault", "playbooks"),
    [
        pytest.param(
            "sysctl -qw net.ipv4.ip_forward=0",
            {"restore-node-network"},
            id="forwarding",
            marks=pytest.mark.core("restore-node-network"),
        ),
        pytest.param("ip link del cni0", {"restore-node-network"}, id="bridge"),
        pytest.param(
            "ip route del $(ip route | grep -m1 ' via 10.99.[0-9]*.22 ' | cut -d' ' -f1)",
            {"restore-node-network"},
            id="route",
        ),
        pytest.param(
            "sysctl -qw net.bridge.bridge-nf-call-iptables=0", {"restore-node-network"}, id="bridge-netfilter"
        ),
        pytest.param("pkill -STOP -x kube-proxy", {"restart-node-agents"}, id="kube-proxy"),
        pytest.param("systemctl stop kubelet", {"start-node-services"}, id="kubelet"),
    ],
)
def test_one_fault_on_one_worker_goes_by_the_lowest_rung(
    cluster: Cluster, site: Callable[..., Bastion], fault: str, playbooks: set[str]
) -> None:
    spread(cluster)
    before = boots(cluster)
    s = site()
    if "cni0" in fault:
        spread(cluster, anew=True)  # young pods show that a bridge is needed, too
    cluster.node("w1").sh(fault)
    incident = s.repaired(240)
    assert incident["state"] == "worker-network-broken" and incident["outcome"] == "recovered", s.ctl(
        "show", incident["id"]
    ).stdout
    done = acted(s)
    assert {name for name, _, _ in done} == playbooks, done
    assert all(hosts == {"w1"} for _, _, hosts in done), done
    assert boots(cluster) == before


def test_what_a_firewall_drops_is_asked_about_and_nothing_is_restarted(
    cluster: Cluster, site: Callable[..., Bastion]
) -> None:
    """As docker's start does it, and then as firewalld, whose table is its own."""
    spread(cluster)
    before = boots(cluster)
    s, node = site(), cluster.node("w1")
    node.sh("iptables -P FORWARD DROP")
    plan = s.approve("restore-node-network", 120)
    assert any("policy ACCEPT of FORWARD" in step["description"] for step in plan["steps"]), plan
    assert s.ended(plan, 120)["status"] == "succeeded"
    s.wait_state("healthy", seconds=120)
    node.sh("nft add table inet fw; nft 'add chain inet fw f { type filter hook forward priority 10; policy drop; }'")
    s.wait_state("worker-network-broken", "escalated", 120)
    assert any("inet fw f" in f["message"] for f in s.status()["findings"] if f["code"] == "forwarding-filtered")
    node.sh("nft delete table inet fw")
    s.wait_state("healthy", seconds=120)
    assert {name for name, _, _ in acted(s)} == {"restore-node-network"}, acted(s)
    assert boots(cluster) == before


def test_an_image_that_is_gone_is_named_and_nothing_is_restarted_for_it(
    cluster: Cluster, site: Callable[..., Bastion]
) -> None:
    """As where kubelet has deleted kube-proxy's from a full disk; the lab has no registry. The cure is the one that is
    told: by another node's.
    """
    if cluster.profile.load:
        pytest.skip("the image is taken out of containerd's store")
    before, image = boots(cluster), f"k8s.gcr.io/kube-proxy:v{VERSION}"
    s, w1, w2 = site(), cluster.node("w1"), cluster.node("w2")
    w1.sh(f"ctr -n k8s.io images export /root/image.tar {image}")
    # the CRI plugin has it by its id as well
    w2.sh(
        "all() { ctr -n k8s.io images ls | tail -n +2; }; "
        f"digest=$(all | awk -v i={image} '$1 == i {{ print $3 }}'); "
        "ctr -n k8s.io images rm --sync $(all | awk -v d=$digest '$3 == d { print $1 }') && pkill -x kube-proxy"
    )
    try:
        s.wait_state("worker-network-broken", "escalated", 240)
        (found,) = (f for f in s.status()["findings"] if f["code"] == "kube-proxy-down")
        assert found["subject"] == "w2", found
        for word in (f"its image {image} is not on the node", "images import", "No restart and no reboot"):
            assert word in found["message"], found
        began = time.time()
        s.wait("kubelet has named what the pull says", lambda: "is not reached" in json.dumps(s.status()), 60)
        s.wait("it has lasted for a minute", lambda: time.time() > began + 60, 120)
        assert not acted(s), acted(s)
    finally:
        with (w1.dir / "root/root/image.tar").open("rb") as file:
            w2.sh("ctr -n k8s.io images import - >/dev/null", stdin=file)
    s.wait_state("healthy", seconds=360)  # kubelet looks for it again within its back-off of five minutes
    assert not acted(s) and boots(cluster) == before, acted(s)


def rules(cluster: Cluster, node: Node) -> str:
    """What a failure to reach the service from the node may come from."""
    programmed = node.sh(
        "iptables-save -t nat | grep -E 'default/web|KUBE-SVC|POSTROUTING'", capture_output=True, check=False
    ).stdout
    return (
        programmed
        + cluster.node("cp1").sh("kubectl get endpoints,pods -o wide", capture_output=True, check=False).stdout
    )


def test_service_rules_flushed_on_all_nodes_are_written_again(cluster: Cluster, site: Callable[..., Bastion]) -> None:
    """By the agents' restart, or by kube-proxy itself where its own look at the rules (every 30 s)
    comes first; without a reboot.
    """
    before = boots(cluster)
    s = site()

    def flushed() -> bool:
        # kube-proxy may write them again before two sweeps have seen it: then once more
        if not s.incidents() and not any(f["code"] == "service-rules-stale" for f in s.status()["findings"]):
            for node in cluster.nodes:
                node.sh("iptables -t nat -F")
        return bool(s.incidents())

    s.wait("there is an incident", flushed, 240, every=5)
    incident = s.repaired(240)
    assert incident["state"] == "worker-network-broken", s.ctl("show", incident["id"]).stdout
    assert {name for name, _, _ in acted(s)} <= {"restart-node-agents"}, acted(s)
    assert boots(cluster) == before
    for node in cluster.nodes:
        # ports that no earlier connection had: where kube-proxy has written the rules by itself, conntrack still
        # knows what was begun without them
        ask = (
            'for i in $(seq 21001 21010); do curl -s -m 10 --local-port $i -o /dev/null -w "%{http_code} from port $i: '
            '%{exitcode} %{errormsg}, " '
            "http://10.96.0.80/ || echo; done"
        )
        answers = node.sh(ask, capture_output=True, check=False).stdout
        assert answers.count("200 from") == 10, f"{node.name}: {answers}; {rules(cluster, node)}"


def test_a_kubelet_that_ends_for_an_unknown_cause_is_not_restarted_and_a_reboot_asks(
    cluster: Cluster, site: Callable[..., Bastion]
) -> None:
    """systemd has started it again and again already. That a canary which comes back sick stops a rolling reboot is
    tried in test_worker_ladder.
    """
    spread(cluster)
    before = boots(cluster)
    s = site()
    w1 = cluster.node("w1")
    program = w1.sh("command -v kubelet", capture_output=True).stdout.strip()
    w1.sh(
        f"mv {program} {program}.whole; printf '#!/bin/sh\necho nobody knows this >&2; exit 3\n' >{program}; "
        f"chmod +x {program}; systemctl restart kubelet"
    )
    try:
        plan = s.wait_plan(REBOOT, 200)
        assert {step["host"] for step in plan["steps"]} == {"w1"}
        said = json.dumps(s.status()["findings"])
        assert "worker-kubelet-down" in said and "nobody knows this" in said, said
        fell = int(w1.sh("systemctl show -P NRestarts kubelet", capture_output=True).stdout)
        s.wait(
            "it has ended five times more",
            lambda: int(w1.sh("systemctl show -P NRestarts kubelet", capture_output=True).stdout) > fell + 5,
            120,
        )
        assert [name for name, _, _ in acted(s)] == [REBOOT] and boots(cluster) == before, acted(s)
        told = s.journal("SELECT event, detail FROM note WHERE incident <> ''")
        assert len(told) == len(set(map(tuple, told))) < 12, "told once each, and not with each of its ends"
    finally:
        w1.sh(f"mv {program}.whole {program}; systemctl restart kubelet", check=False)
    s.wait_state("healthy", seconds=120)


@pytest.mark.core("restart-node-agents")
@pytest.mark.spoils
def test_a_restore_to_older_data_is_healed_by_the_agents_restart(
    cluster: Cluster, site: Callable[..., Bastion]
) -> None:
    """Last: it leaves the cluster at an older revision."""
    spread(cluster)
    before = boots(cluster)
    s = site()
    clients = [Client(node) for node in cluster.nodes if node.name != "cp1"]
    s.wait("the clients are answered", lambda: all(c.answers() for c in clients), 30)
    fault = time.time()
    subprocess.run([str(FAULTS / "stale-restore"), str(cluster.number)], check=True, stdin=subprocess.DEVNULL)
    back = time.time()
    plan = s.wait(
        "its plan is made",
        lambda: next((p for p in s.plans(everything=True) if p["playbook"] == "restart-node-agents"), None),
        120,
    )
    print(
        f"plan made {datetime.fromisoformat(plan['created_at']).timestamp() - back:.1f} s after the API server's return"
    )
    s.wait_state("healthy", seconds=600)
    healthy = time.time()
    print(f"healthy {healthy - back:.1f} s after the API server's return")
    apart = cluster.profile.etcd_apart  # out of sight: what went back is known by what the nodes do
    succeeded = [e["detail"] for i in s.incidents() for e in i["timeline"] if e["event"] == "plan-succeeded"]
    # an API server that kubelet lets wait on a slow machine is started before
    ended = [detail for detail in succeeded if "(end-back-off)" not in detail]
    assert len(ended) == 1 or apart, ended
    assert apart or "etcd-revision-went-back" in ended[0], ended
    # which of the two shows first is a matter of a second: nothing else was named of the nodes on a slow
    # machine before the plan was made
    assert any("pods-not-on-node" in e or "service-rules-stale" in e for e in ended), ended
    done = acted(s)
    assert "restart-node-agents" in {name for name, _, _ in done} and REBOOT not in {name for name, _, _ in done}, done
    assert boots(cluster) == before
    proxies = [
        json.loads(result)["detail"]
        for (result,) in s.journal("SELECT result FROM step WHERE result LIKE '%kube-proxy%'")
    ]
    assert (apart or len(proxies) == len(cluster.nodes)) and all(
        "has written its rules" in detail for detail in proxies
    ), proxies
    s.wait("the clients have gone on asking", lambda: time.time() > healthy + 20, 60)
    failures = {}
    for client in clients:
        client.stop()
        failed = failures[client.node.name] = client.failures()
        print(
            f"{client.node.name}: of {len(client.answers())} failed, in seconds from healthy: "
            f"{' '.join(f'{at - healthy:.1f}' for at in failed)}"
        )
    # the fault itself rolls the deployment: what is asked while a pod ends may fail
    odd = {
        name: [f"{at - healthy:.1f}" for at in failed if at < fault or at > healthy]
        for name, failed in failures.items()
    }
    assert not any(odd.values()), odd
