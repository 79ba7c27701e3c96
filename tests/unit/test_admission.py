"""Writes that are tried by dry run: what the API server's own words prove, and what they do not."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta

import pytest

from recoverd.diagnose import diagnose
from recoverd.diagnose.absence import doubt
from recoverd.model.catalogue import Code
from recoverd.model.finding import Diagnosis, Severity, State
from recoverd.model.observation import HostView, Observation, Unseen, UnseenKind
from recoverd.model.witness import LeadView, TryView
from recoverd.observe.canary import judged
from tests.unit.builders import NOW, Cluster

Tried = TryView | Unseen
FINE = TryView(True)
HOOK = TryView(False, webhook="policy.example.com", said='failed calling webhook "policy.example.com"', times=2)
KEY = (Code.ADMISSION_WEBHOOK_FAILS, "policy.example.com")
POST = 'Post "https://policy-validator.default.svc:443/?timeout=5s": '


def sweep(
    pod: Tried = FINE, lease: Tried = FINE, cluster: Cluster | None = None, *, heartbeat: Tried = FINE
) -> Observation:
    seen = (cluster or Cluster()).observation()
    return replace(seen, api=replace(seen.api, tries={"pod": pod, "lease": lease, "heartbeat": heartbeat}))


def found(seen: Observation) -> Diagnosis:
    return diagnose(seen, Cluster().memory(), Cluster().settings)


def answer(status: int, message: str, kind: str = "pod") -> Tried:
    body = {"kind": "Status", "status": "Failure", "message": message, "code": status}
    return judged(kind, "kube-system", status, json.dumps(body).encode())


@pytest.mark.parametrize(
    "why",
    [
        f'failed calling webhook "policy.example.com": {POST}no endpoints available for service "policy-validator"',
        f'failed calling webhook "policy.example.com": {POST}service "policy-validator" not found',
        f'failed calling webhook "policy.example.com": failed to call webhook: {POST}context deadline exceeded',
        f'failed calling webhook "policy.example.com": {POST}x509: certificate has expired or is not yet valid',
    ],
)
def test_a_webhook_that_fails_is_named_by_the_api_servers_words(why: str) -> None:
    view = answer(500, f"Internal error occurred: {why}")
    assert isinstance(view, TryView) and not view.accepted and view.webhook == "policy.example.com"


EXPIRED = (
    'pods "recoverd-canary" is forbidden: Get "https://[::1]:6443/api/v1/namespaces/kube-system/limitranges": x509: '
    "certificate has expired or is not yet valid: current time 2026-03-10T14:43:23+08:00 is after 2026-03-08T15:05:21Z"
)


@pytest.mark.parametrize("said", [EXPIRED, EXPIRED.replace('"https', "https").replace('ranges"', "ranges")])
def test_an_api_server_that_cannot_ask_itself_any_more_is_a_fault(said: str) -> None:
    view = answer(403, said)
    assert isinstance(view, TryView) and not view.accepted and view.itself == said
    cluster = Cluster(2)
    for name, days in (("cp1", 400), ("cp2", 20)):
        cluster.container(name, "kube-apiserver", started_at=NOW - timedelta(days=days))
    assert not found(sweep(view)).faults, "told once"
    seen = sweep(replace(view, times=2), cluster=cluster)
    diagnosis = diagnose(seen, cluster.memory(), cluster.settings)
    (fault,) = diagnosis.faults
    assert fault.key == (Code.LOOPBACK_EXPIRED, "") and diagnosis.state is State.APISERVER_DOWN
    assert "cp1 (for 400 days)" in fault.message and "cp2" not in fault.message and fault.evidence[0].endswith(said)
    assert doubt([fault.key], diagnose(sweep(), cluster.memory(), cluster.settings), sweep()) == ""
    assert doubt([fault.key], diagnosis, sweep(Unseen(UnseenKind.TIMEOUT, "late")))


@pytest.mark.parametrize(
    ("days", "image", "soon"),
    [
        (334, "v1.28.5", False),
        (336, "v1.28.5", True),
        (500, "v1.28.5", True),
        (390, "v1.33.2", False),
        (396, "v1.33.2", True),
    ],
)
def test_that_it_soon_cannot_is_a_warning(days: int, image: str, soon: bool) -> None:
    cluster = Cluster(1).container("cp1", "kube-apiserver", started_at=NOW - timedelta(days=days))
    host = cluster.hosts["cp1"]
    assert isinstance(host, HostView)
    view = host.manifests["kube-apiserver"]
    content = re.sub(r"image: \S+", f"image: registry.k8s.io/kube-apiserver:{image}", view.content)
    cluster.manifest("cp1", "kube-apiserver", replace(view, content=content))
    diagnosis = diagnose(cluster.observation(), cluster.memory(), cluster.settings)
    assert bool(diagnosis.find(Code.LOOPBACK_EXPIRES, "cp1")) is soon and not diagnosis.faults


def test_a_webhook_whose_certificate_is_over_is_not_the_api_servers() -> None:
    view = answer(500, f'Internal error occurred: failed calling webhook "p": {POST}x509: certificate has expired')
    assert isinstance(view, TryView) and view.webhook == "p" and not view.itself


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ('no endpoints available for service "policy-validator"', "no pod behind its service is ready"),
        ('service "policy-validator" not found', "its service is not there"),
        ("context deadline exceeded", "does not answer in time"),
        ("x509: certificate has expired or is not yet valid: current time", "certificate is over"),
        ("tls: failed to verify certificate: x509: certificate signed by unknown authority", "caBundle"),
        ("dial tcp 10.96.3.3:443: connect: connection refused", "nothing listens"),
        ("something new", ""),
    ],
)
def test_why_a_webhook_fails_is_said(said: str, why: str) -> None:
    """Of one whose certificate was over it was said that its pods may be kept away."""
    hook = replace(HOOK, said=f'failed calling webhook "policy.example.com": failed to call webhook: {POST}{said}')
    message = found(sweep(hook)).faults[0].message
    assert (why in message) if why else "Why" not in message


def test_a_quota_is_named_with_its_namespace() -> None:
    said = (
        'pods "recoverd-canary" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=4, limited: pods=4'
    )
    view = answer(403, said)
    assert isinstance(view, TryView) and view.quota == "kube-system/compute"


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (403, 'pods is forbidden: User "recoverd" cannot create resource "pods" in API group ""', UnseenKind.DENIED),
        (403, 'pods "recoverd-canary" is forbidden: violates PodSecurity "restricted:latest"', UnseenKind.DENIED),
        (400, 'admission webhook "p.example.com" does not support dry run', UnseenKind.NOT_TRIED),
        (400, 'admission webhook "p.example.com" denied the request: no owner', UnseenKind.NOT_TRIED),
        (404, 'namespaces "gone" not found', UnseenKind.GARBAGE),
    ],
)
def test_whatever_else_keeps_the_write_away_leaves_it_unseen(status: int, said: str, kind: UnseenKind) -> None:
    view = answer(status, said)
    assert isinstance(view, Unseen) and view.kind is kind and said in view.reason
    diagnosis = found(sweep(pod=view))
    assert diagnosis.state is State.HEALTHY and not diagnosis.find(*KEY)
    notice = diagnosis.find(Code.SOURCE_UNSEEN, "writes")
    assert notice and notice.severity is Severity.NOTICE and "rbac-canary.yaml" in notice.message
    assert any(said in line for line in notice.evidence)


def test_an_answer_that_is_none_of_an_api_servers_is_unseen() -> None:
    assert isinstance(judged("pod", "kube-system", 502, b"<html>"), Unseen)
    assert judged("pod", "kube-system", 201, b"{}") == FINE


def test_it_is_a_fault_when_it_was_said_twice_and_names_what_is_kept_away() -> None:
    assert not found(sweep(pod=replace(HOOK, times=1))).find(*KEY), "its pods may be on their way"
    diagnosis = found(sweep(pod=HOOK, lease=HOOK))
    finding = diagnosis.find(*KEY)
    assert finding and diagnosis.state is State.APISERVER_DOWN
    assert "no pod and no lease" in finding.message and any("failed calling" in line for line in finding.evidence)


def test_a_webhook_that_lets_no_lease_of_a_node_be_renewed_is_named_with_what_that_means() -> None:
    finding = found(sweep(heartbeat=HOOK)).find(*KEY)
    assert finding and "no kubelet renew the lease of its node" in finding.message and "be made" not in finding.message
    finding = found(sweep(pod=HOOK, heartbeat=HOOK)).find(*KEY)
    assert finding and "no pod be made and no kubelet renew" in finding.message


def test_a_heartbeat_that_may_not_be_tried_keeps_nothing_from_ending_and_one_that_is_late_does() -> None:
    for kind, gone in ((UnseenKind.NOT_TRIED, True), (UnseenKind.TIMEOUT, False), (UnseenKind.DENIED, False)):
        seen = sweep(heartbeat=Unseen(kind, "HTTP 403"))
        assert (doubt([KEY], found(seen), seen) == "") is gone, kind


def test_a_quota_is_a_warning() -> None:
    diagnosis = found(sweep(pod=TryView(False, quota="kube-system/compute", said="exceeded quota", times=2)))
    finding = diagnosis.find(Code.QUOTA_USED_UP, "kube-system/compute")
    assert finding and finding.severity is Severity.WARNING and diagnosis.state is State.HEALTHY


def test_it_is_gone_when_both_writes_were_accepted_and_not_before() -> None:
    other = replace(HOOK, webhook="other.example.com")
    slow = Unseen(UnseenKind.TIMEOUT, "3 s")
    for pod, lease, gone in ((FINE, FINE, True), (other, FINE, False), (FINE, slow, False)):
        seen = sweep(pod, lease)
        assert (doubt([KEY], found(seen), seen) == "") is gone, (pod, lease)
    off = Cluster().observation()
    assert "canary.every" in doubt([KEY], found(off), off)


def test_controllers_are_not_called_idle_where_no_lease_is_let_pass() -> None:
    still = {"kube-controller-manager": LeadView("cp1_a", NOW.replace(hour=1), NOW, 300.0)}
    for lease, idle in ((FINE, True), (HOOK, False)):
        seen = sweep(lease=lease)
        diagnosis = found(replace(seen, api=replace(seen.api, leads=still)))
        assert bool(diagnosis.find(Code.CONTROLLER_NOT_LEADING)) is idle
