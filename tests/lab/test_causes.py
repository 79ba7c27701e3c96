"""What a restart mends nowhere, and a person's one line does: the cause is named, nothing is restarted or rebooted for
it, and once it is put right the cluster is healthy again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.bastion import Bastion, Shape
from tests.lab.kubelab.cluster import Cluster
from tests.lab.test_operators_day import carried_out, until
from tests.lab.test_worker_network import spread
from tests.lab.witness import boots, pods, ready

CANARY = Path(__file__).parents[2] / "config/rbac-canary.yaml"
NAME = "sed '/k8s-api/d' /etc/hosts >/root/h; cp -p /etc/hosts /root/hosts; cat /root/h >/etc/hosts"
CONF = "/etc/cni/net.d/10-lab.conflist"
ETCD, MANIFEST = "/var/lib/etcd", "/etc/kubernetes/manifests/etcd.yaml"
SMALL = f"""mv {MANIFEST} /root/etcd.yaml; while pgrep -x etcd >/dev/null; do sleep 0.2; done
mv {ETCD}/member /root/member; mount -t tmpfs -o size=400m,mode=700 tmpfs {ETCD}; cp -a /root/member {ETCD}/
mv /root/etcd.yaml {MANIFEST}"""
"""etcd's data are on a file system of their own, which is small."""
WEBHOOK = """CA=$(base64 -w0 /etc/kubernetes/pki/ca.crt); kubectl apply -f - <<Y
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {{name: leases}}
webhooks: [{{name: leases.example.com, failurePolicy: Fail, sideEffects: None, admissionReviewVersions: [v1],
 timeoutSeconds: 5, rules: [{{apiGroups: [coordination.k8s.io], apiVersions: [v1], operations: {operations},
 resources: [leases]}}], clientConfig: {{caBundle: $CA, service: {{name: leases, namespace: default, path: /}}}}}}]
Y"""


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=1, workers=3)


@pytest.fixture
def site(cluster: Cluster, bastion: Callable[..., Bastion]) -> Callable[[], Bastion]:
    def start() -> Bastion:
        spread(cluster)
        cluster.node("cp1").sh(f"kubectl apply -f - >/dev/null <<'Y'\n{CANARY.read_text()}\nY\n")
        made = bastion(cluster)
        made.wait_network(cluster)
        made.wait("every /etc/hosts is known", lambda: _hosts_known(made, cluster), 300)
        return made

    return start


def _hosts_known(s: Bastion, cluster: Cluster) -> bool:
    files = s.memory()["files"]
    return all("/etc/hosts" in files.get(node.name, {}) for node in cluster.nodes)


def said(s: Bastion, code: str, words: str, seconds: float = 180) -> Shape:
    """The finding of this code, once it says these words."""

    def there() -> Shape | None:
        return next((f for f in s.status()["findings"] if f["code"] == code and words in f["message"]), None)

    found: Shape = s.wait(f"{code} says: {words}", there, seconds, every=1)
    print(f"{code} {found['subject']}: {found['message']}")
    return found


def told(s: Bastion) -> str:
    """All that was told, for the log of the test."""
    lines = [f"{e['at']} {e['event']}: {e['detail']}" for i in s.incidents() for e in i["timeline"]]
    return "\n".join([s.ctl("status").stdout, *lines])


def test_the_apis_name_is_lost_on_all_nodes_and_one_plan_for_all_asks(
    cluster: Cluster, site: Callable[[], Bastion]
) -> None:
    """Their kubelets cannot ask any more, as where whatever writes /etc/hosts has lost it."""
    s = site()
    before, web = boots(cluster), pods(cluster)
    names = {n.name for n in cluster.nodes}
    for node in cluster.nodes:
        node.sh(f"{NAME}; systemctl restart kubelet")
    plan = s.wait_plan("restore-node-files", 240)
    s.wait(
        "it is for all of them",
        lambda: any({step["host"] for step in p["steps"]} == names for p in s.plans()),
        120,
        every=1,
    )
    print(told(s))
    assert carried_out(s) == [], told(s)
    assert any(e["event"] == "common-cause" for i in s.incidents() for e in i["timeline"]), told(s)
    plan = s.approve("restore-node-files", 60)
    assert s.ended(plan, 300)["status"] == "succeeded", told(s)
    s.wait_state("healthy", seconds=180)
    print(told(s))
    assert carried_out(s) == ["restore-node-files"], told(s)
    assert boots(cluster) == before
    assert {n: p.uid for n, p in pods(cluster).items()} == {n: p.uid for n, p in web.items()}


def test_a_machine_that_calls_itself_otherwise_is_told_and_left_alone(
    cluster: Cluster, site: Callable[[], Bastion]
) -> None:
    """Its kubelet ends every pod there at once, and is not let be a node: what comes of that is no fault of agents."""
    s, w1 = site(), cluster.node("w1")
    before = boots(cluster)
    w1.sh("hostname w1-renamed; systemctl restart kubelet")
    try:
        s.wait(
            "the cause is named",
            lambda: "`hostnamectl set-hostname w1`" in str(s.status()["findings"]),
            240,
            every=1,
        )
        s.wait_state("worker-network-broken", "escalated", 120)
        print(told(s))
        assert carried_out(s) == [] and s.plans() == [], told(s)
    finally:
        w1.sh("hostname w1; systemctl restart kubelet")
    s.wait_state("healthy", seconds=180)
    assert carried_out(s) == [] and boots(cluster) == before, told(s)


def test_a_node_whose_part_of_the_pod_network_is_another_one_now_is_told(
    cluster: Cluster, site: Callable[[], Bastion]
) -> None:
    """Its bridge has the address of before, so that no new pod gets one there."""
    s, w1, cp1 = site(), cluster.node("w1"), cluster.node("cp1")
    before = boots(cluster)
    was, other = f"{w1.pods.rsplit('.', 1)[0]}.", f"10.{200 + cluster.number}.121."
    w1.sh(f"cp -p {CONF} /root/conflist; sed -i 's#{was}0/24#{other}0/24#' {CONF}; grep -q {other} {CONF}")
    try:
        # those that take their place have nowhere else to go
        cp1.sh("kubectl cordon w2 w3")
        cp1.sh("kubectl delete --wait=false $(kubectl get pods -l app=web --field-selector spec.nodeName=w1 -o name)")
        said(s, "pods-do-not-start", "cni0", 240)
        print(told(s))
        assert carried_out(s) == [], told(s)
    finally:
        w1.sh(f"cat /root/conflist >{CONF}")
        cp1.sh("kubectl uncordon w2 w3")
    s.wait_state("healthy", seconds=240)
    assert boots(cluster) == before, told(s)


@pytest.mark.parametrize("operations", ["[CREATE, UPDATE]", "[UPDATE]"], ids=["all", "update"])
def test_a_webhook_that_lets_no_lease_pass_is_named_and_nothing_is_restarted(
    cluster: Cluster, site: Callable[[], Bastion], operations: str
) -> None:
    """Whoever leads leads no more, and no node tells that it lives."""
    s, cp1 = site(), cluster.node("cp1")
    before = boots(cluster)
    cp1.sh(WEBHOOK.format(operations=operations))
    try:
        s.wait("it is named", lambda: "leases.example.com" in str(s.status()["findings"]), 240, every=1)
        print(told(s))
        s.wait("it is no healthy cluster", lambda: s.status()["state"] != "healthy", 240, every=1)
        s.wait("a person is called", lambda: s.status()["phase"] in ("escalated", "awaiting-approval"), 240, every=1)
        print(told(s))
        assert carried_out(s) == [], told(s)
    finally:
        cp1.sh("kubectl delete validatingwebhookconfiguration leases")
    s.wait_state("healthy", seconds=360)
    print(told(s))
    assert boots(cluster) == before and set(carried_out(s)) <= {"end-back-off"}, told(s)


@pytest.mark.spoils
def test_a_full_disk_below_etcd_is_named_and_freed_it_is_started_at_once(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    cp1 = cluster.node("cp1")
    cp1.sh(SMALL)
    until("etcd serves from the small disk", lambda: ready(cp1))
    s = bastion(cluster)
    before, web = boots(cluster), pods(cluster)
    cp1.sh(f"head -c 500M /dev/zero >{ETCD}/filler 2>/dev/null || true; pkill -x etcd")
    found = said(s, "disk-full", f"{ETCD} on cp1", 240)
    assert "Nothing is wrong with the member" in found["message"], found
    s.wait_state("etcd-stuck", "escalated", 120)
    print(told(s))
    assert s.plans(everything=True) == [], told(s)
    cp1.sh(f"rm {ETCD}/filler")
    s.wait_state("healthy", seconds=400)
    print(told(s))
    assert set(carried_out(s)) <= {"end-back-off"}, told(s)
    assert boots(cluster) == before
    assert {n: p.uid for n, p in pods(cluster).items()} == {n: p.uid for n, p in web.items()}
