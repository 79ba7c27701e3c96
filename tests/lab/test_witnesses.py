"""What /readyz shows nothing of: controllers that run and do not lead, and webhooks that fail closed."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster
from tests.lab.kubelab.node import Node

MANAGER = "kube-controller-manager"
CONF = "/etc/kubernetes/controller-manager.conf"


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=1, spares=1, workers=2)


def wanted(cp1: Node, replicas: int) -> None:
    cp1.sh(f"kubectl scale deploy/web --replicas={replicas}")


def ready_is(cp1: Node, replicas: int) -> bool:
    ask = "kubectl get deploy web -o jsonpath='{.status.readyReplicas}'"
    return cp1.sh(ask, capture_output=True).stdout.strip() == str(replicas)


def found(daemon: Bastion, code: str, since: float, seconds: float) -> None:
    daemon.wait(f"{code} is found", lambda: code in daemon.codes(), seconds, 0.5)
    print(f"{code} was found after {time.monotonic() - since:.0f} s")


def misdirect(cp1: Node, address: str) -> None:
    """Its kubeconfig names an address that is gone, and it has read that: kubelet has started it anew, and it asks
    there.
    """
    cp1.sh(f"cp -p {CONF} /root/kept.conf; sed -i 's#server: .*#server: https://{address}:6443#' {CONF}")
    cp1.sh(f"kill $(pidof {MANAGER})")
    cp1.wait_for(
        lambda: cp1.answers(f"ss -Htn state syn-sent dst {address} | grep -q ."),
        "starts no controller manager that asks there",
        120,
    )


@pytest.mark.core("restart-controller")
def test_a_controller_with_an_old_file_in_its_memory_is_started_anew(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    """The file is right again, as after a renewal, and the process has read the one before."""
    cp1, daemon = cluster.node("cp1"), bastion(cluster)
    daemon.wait_healthy()
    misdirect(cp1, f"10.99.{cluster.number}.99")
    since = time.monotonic()
    cp1.sh(f"cp -p /root/kept.conf {CONF}")
    found(daemon, "controller-not-leading", since, 180)
    # its last words are that it does not reach the address, which the file names no more: so it asks
    plan = daemon.approve("restart-controller", 60)
    assert daemon.ended(plan, 200)["status"] == "succeeded", daemon.tail()
    daemon.wait_state("healthy", seconds=120)
    wanted(cp1, 4)
    cp1.wait_for(lambda: ready_is(cp1, 4), "makes pods", 120)
    wanted(cp1, 3)


HOOK = """CA=$(base64 -w0 /etc/kubernetes/pki/ca.crt); kubectl apply -f - <<Y
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: policy-validator}
webhooks: [{name: policy.example.com, failurePolicy: Fail, sideEffects: None, admissionReviewVersions: [v1],
 timeoutSeconds: 5, rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}],
 clientConfig: {caBundle: $CA, service: {name: policy-validator, namespace: default, path: /}}}]
Y"""


def test_a_webhook_that_keeps_every_pod_away_is_named(cluster: Cluster, bastion: Callable[..., Bastion]) -> None:
    cp1, daemon = cluster.node("cp1"), bastion(cluster)
    daemon.wait_healthy()
    cp1.sh(HOOK)
    try:
        found(daemon, "admission-webhook-fails", time.monotonic(), 60)
        [finding] = [f for f in daemon.status()["findings"] if f["code"] == "admission-webhook-fails"]
        assert finding["subject"] == "policy.example.com" and "policy-validator" in str(finding["evidence"]), finding
        daemon.wait_state("apiserver-down", seconds=30)
    finally:
        cp1.sh("kubectl delete validatingwebhookconfiguration policy-validator")
    daemon.wait_state("healthy", seconds=60)


SERVICE = """image=$(kubectl get deploy web -o jsonpath='{..image}' | cut -d' ' -f1)
kubectl create deploy policy-validator --image=$image -- /bin/busybox httpd -f -p 80
kubectl expose deploy policy-validator --port=443 --target-port=80"""


@pytest.mark.core("relax-webhook")
def test_a_webhook_whose_own_pods_it_keeps_away_is_passed_by_until_they_are_there(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    """What serves there speaks no TLS, so the webhook is asked in vain afterwards: the plan may call that a failure."""
    cp1, daemon = cluster.node("cp1"), bastion(cluster)
    daemon.wait_healthy()
    policy = "kubectl get validatingwebhookconfiguration policy-validator -o jsonpath='{..failurePolicy}'"
    cp1.sh(HOOK)
    try:
        cp1.sh(SERVICE)
        plan = daemon.approve("relax-webhook", 90)
        ended = daemon.ended(plan, 500)
        assert len(daemon.begun(plan)) >= 3, daemon.tail()
        assert ended["status"] in ("succeeded", "failed"), daemon.tail()
        ready = "kubectl get deploy policy-validator -o jsonpath='{.status.readyReplicas}'"
        assert cp1.sh(ready, capture_output=True).stdout.strip() == "1", "its pods were made"
        assert cp1.sh(policy, capture_output=True).stdout.strip() == "Fail", "it was put back"
    finally:
        cp1.sh(
            "kubectl delete validatingwebhookconfiguration policy-validator; kubectl delete deploy,svc policy-validator"
        )
    daemon.wait_state("healthy", seconds=90)


ELSEWHERE = """kubectl -n kube-system get cm kube-proxy -o yaml | sed -E 's#(server: https://)[^:]+:#\\110.99.1.99:#' |
kubectl apply -f -
kubectl -n kube-system delete pod -l k8s-app=kube-proxy"""


def boot(cluster: Cluster, name: str) -> str:
    return str(cluster.node(name).sh("cat /proc/sys/kernel/random/boot_id", capture_output=True).stdout)


@pytest.mark.core("repoint-kube-proxy")
def test_a_kube_proxy_that_follows_an_api_server_that_is_gone_is_told_the_right_one(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    """Every kube-proxy was started anew since; nothing is restarted or rebooted in vain."""
    cp1, daemon = cluster.node("cp1"), bastion(cluster)
    daemon.wait_healthy()
    named = "kubectl -n kube-system get cm kube-proxy -o jsonpath='{.data.kubeconfig\\.conf}' | grep server:"
    before = cp1.sh(named, capture_output=True).stdout
    boots = {name: boot(cluster, name) for name in ("cp1", "w1", "w2")}
    cp1.sh(ELSEWHERE)
    cp1.sh("kubectl scale deploy/web --replicas=6; kubectl rollout restart deploy/web")
    began = time.monotonic()
    plan = daemon.approve("repoint-kube-proxy", 120)
    print(f"offered and approved after {time.monotonic() - began:.1f} s: {plan['evidence']}")
    done = daemon.ended(plan, 400)
    assert done["status"] == "succeeded", (done, daemon.tail())
    daemon.wait_state("healthy", seconds=120)
    print(f"healthy {time.monotonic() - began:.1f} s after the pods were made anew")
    assert cp1.sh(named, capture_output=True).stdout == before
    assert not [p for p in daemon.plans(everything=True) if p["playbook"] != "repoint-kube-proxy"]
    assert boots == {name: boot(cluster, name) for name in boots}
    cp1.sh("kubectl scale deploy/web --replicas=4")
