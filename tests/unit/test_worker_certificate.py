"""`renew-worker-certificate`: for whom a new certificate is signed, by whom, and where nothing is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from recoverd.model.catalogue import Code
from recoverd.model.facts import Facts, UnitFacts
from recoverd.model.finding import Finding
from recoverd.model.node_operations import AwaitNodeReady
from recoverd.model.observation import HostView
from recoverd.model.pki_operations import RenewWorkerClient
from recoverd.model.unit_operations import RestartUnit
from recoverd.playbooks.base import Proposal, Refusal, Situation
from recoverd.simulate import pki
from tests.unit.builders import Cluster
from tests.unit.rungs import ask, fault, proposal, situation

NAME = "renew-worker-certificate"
W1, W2 = (fault(Code.NODE_NOT_READY, name) for name in ("w1", "w2"))
ENDS = fault(
    Code.WORKER_KUBELET_DOWN, "w1", UnitFacts, unit="kubelet", why="it has no client certificate that is valid"
)


def papered(*over: str, ca: str = "", name: str = "") -> Cluster:
    """Of whom the certificate is over, whose CA is another, and which name the certificate of w1 has."""
    cluster = Cluster(1, 3)
    for host in (*cluster.joined, *cluster.workers):
        papers = pki.fresh() if host in cluster.joined else pki.of_worker()
        if host in over:
            papers = pki.dated(papers, -60.0)
        if host == ca:
            papers = pki.remade(papers, 0.0, pki.CA)
        certificates, view = pki.views(papers, name if name and host == "w1" else host)
        cluster.host(host, certificates=certificates, pki=view)
    return cluster


def now(cluster: Cluster, *found: Finding) -> Situation:
    return situation(cluster, *(found or (W1,)))


def test_a_key_that_stays_there_is_signed_on_a_control_plane_and_the_node_is_seen_ready() -> None:
    made = proposal(NAME, now(papered("w1", "w2"), W1, ENDS, W2))
    assert [s.host for s in made.steps] == ["w1"] * 4 + ["w2"] * 4
    renew, kubelet, _, ready = (s.operation for s in made.steps[:4])
    assert isinstance(renew, RenewWorkerClient) and (renew.node, renew.signer) == ("w1", "cp1")
    assert kubelet == RestartUnit("kubelet") and ready == AwaitNodeReady("w1")
    assert set(made.basis) == {W1.key, ENDS.key, W2.key}, "both findings of one worker are one part of it"
    assert "key" in made.steps[0].command and "cp1" in made.steps[0].command
    assert set(made.steps[0].skip_unless) == {W1.key, ENDS.key} and proposal(NAME, now(papered("w1"))).steps[0].requires


@pytest.mark.parametrize("offset", [-3600.0, 3600.0])
def test_a_clock_that_is_off_makes_nothing_expire(offset: float) -> None:
    cluster = papered("w1")
    assert ask(NAME, now(cluster.host("w1", clock_offset=offset))) is None or offset > 0
    assert ask(NAME, now(papered().host("w1", clock_offset=offset))) is None


def test_a_file_that_was_emptied_is_made_anew_where_kubelet_says_that_it_lacks_one() -> None:
    cluster = papered()
    assert ask(NAME, now(cluster, ENDS)) is None, "the certificate that is there is valid"
    view = cluster.hosts["w1"]
    assert isinstance(view, HostView)
    cluster.host("w1", certificates=tuple(c for c in view.certificates if c.path != pki.KUBELET_CLIENT))
    assert proposal(NAME, now(cluster, ENDS)).steps[0].host == "w1"
    assert ask(NAME, now(cluster, W1)) is None, "a file that could not be read proves nothing by itself"


def test_it_is_for_workers_alone() -> None:
    cluster = papered("cp1")
    assert ask(NAME, now(cluster, replace(W1, subject="cp1", facts=Facts("cp1", "cp1")))) is None


def refusal(cluster: Cluster, *found: Finding) -> str:
    answer = ask(NAME, now(cluster, *found))
    assert isinstance(answer, Refusal), answer
    return answer.reason


def test_nothing_is_signed_for_another_name_or_under_a_ca_that_is_not_trusted() -> None:
    assert "not of the node w1" in refusal(papered("w1", name="w2"))
    assert "not of the node w1" in refusal(papered("w1", name="w11"))
    assert "trusts another CA" in refusal(papered("w1", ca="cp1"))


def test_nobody_signs_without_the_key_or_with_a_ca_that_is_over() -> None:
    cluster = papered("w1")
    view = cluster.hosts["cp1"]
    assert isinstance(view, HostView) and view.pki
    keys = {p: k for p, k in view.pki.keys.items() if not p.endswith("/pki/ca.key")}
    assert "ca.key was not seen on cp1" in refusal(cluster.host("cp1", pki=replace(view.pki, keys=keys)))
    old = tuple(
        replace(c, not_after=cluster.now - timedelta(days=1)) if c.path == pki.CA else c for c in view.certificates
    )
    assert "itself over" in refusal(papered("w1").host("cp1", certificates=old))
    assert "cp1 cannot be looked at" in refusal(papered("w1").ssh_fails("cp1"))


@pytest.mark.parametrize(("path", "signs"), [(pki.CA, False), ("/etc/kubernetes/pki/front-proxy-ca.crt", True)])
def test_only_the_ca_that_signs_it_matters(path: str, signs: bool) -> None:
    """Seen in a random story: with the front proxy's CA replaced no worker was given a certificate."""
    other = Finding(Code.PKI_REPLACED, f"cp1:{path}", f"The CA {path} on cp1 is another one", (), facts=Facts("cp1"))
    answer = ask(NAME, now(papered("w1"), W1, other))
    assert isinstance(answer, Proposal) is signs, answer


def test_its_agents_are_not_restarted_and_it_is_not_rebooted() -> None:
    found = fault(Code.PODS_NOT_ON_NODE, "w1")
    for name in ("restart-node-agents", "rolling-worker-reboot"):
        answer = ask(name, now(papered("w1"), found))
        assert isinstance(answer, Refusal) and "signed anew (renew-worker-certificate)" in answer.reason, name
