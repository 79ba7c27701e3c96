"""Flags that all API servers must have in common."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from recoverd.diagnose import diagnose
from recoverd.model.catalogue import Code
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.observation import EndpointHealth
from recoverd.playbooks import registry
from tests.unit.builders import Cluster, manifest

API = "kube-apiserver"
RANGE = "--service-cluster-ip-range"


def given(*flags: tuple[str, ...], changed: float = 3600.0) -> Cluster:
    cluster = Cluster(len(flags), 2)
    for number, of_one in enumerate(flags, 1):
        view = manifest(API, "--secure-port=6443", *of_one)
        cluster.manifest(f"cp{number}", API, replace(view, modified_at=cluster.now - timedelta(seconds=changed)))
    return cluster


def found(cluster: Cluster) -> list[Finding]:
    seen = diagnose(cluster.observation(), cluster.memory(), cluster.settings)
    assert seen.state is State.HEALTHY
    return [f for f in seen.findings if f.code == Code.API_FLAGS_DIFFER]


def test_another_range_of_services_is_told_of_the_one_that_has_it() -> None:
    cluster = given((f"{RANGE}=10.96.0.0/12",), (f"{RANGE}=10.97.0.0/16",), (f"{RANGE}=10.96.0.0/12",))
    (told,) = found(cluster)
    assert (told.subject, told.severity) == ("cp2", Severity.WARNING) and RANGE in told.message
    assert told.evidence == (f"{RANGE}: cp1: 10.96.0.0/12, cp2: 10.97.0.0/16, cp3: 10.96.0.0/12",)
    assert [p.name for p in registry() if Code.API_FLAGS_DIFFER in p.repairs] == []


def test_of_two_one_is_told_with_all_that_differs() -> None:
    (told,) = found(given(("--authorization-mode=Node,RBAC", "--oidc-client-id=a"), ("--etcd-prefix=/other",)))
    assert all(name in told.message for name in ("--authorization-mode", "--oidc-client-id", "--etcd-prefix"))
    assert "--etcd-prefix: cp1: /registry, cp2: /other" in told.evidence


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("--enable-admission-plugins=A,B",), ("--enable-admission-plugins=B,A",)),
        (("--service-node-port-range=30000-32767",), ()),
        (("--etcd-prefix=registry",), ()),
        (("--service-account-issuer=a", "--service-account-issuer=b"), ("--service-account-issuer=b",)),
        (("--advertise-address=10.0.0.1", "--v=4"), ("--advertise-address=10.0.0.2",)),
    ],
)
def test_what_comes_to_the_same_or_may_differ_is_not_told(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert found(given(one, other)) == []


def test_one_that_was_only_just_edited_or_does_not_serve_is_not_compared() -> None:
    flags = (f"{RANGE}=10.96.0.0/12",), (f"{RANGE}=10.97.0.0/16",)
    assert found(given(*flags)) and found(given(*flags, changed=500.0)) == []
    cluster = given(*flags).endpoint("cp2", EndpointHealth.REFUSED)
    seen = diagnose(cluster.observation(), cluster.memory(), cluster.settings)
    assert not [f for f in seen.findings if f.code == Code.API_FLAGS_DIFFER]
