"""Machines that are one node, and nodes with one identity."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recoverd.diagnose import diagnose
from recoverd.diagnose.absence import doubt
from recoverd.diagnose.certificates import KUBELET_CLIENT
from recoverd.model.catalogue import Code
from recoverd.model.finding import Finding, Severity, State
from recoverd.model.observation import NodeView, ObjectsView, UnseenKind
from recoverd.playbooks.base import Refusal
from tests.unit.builders import Cluster, certificate, unseen
from tests.unit.pod_network import PodNetwork
from tests.unit.rungs import ask, fault, situation


def named(cluster: Cluster, name: str, node: str) -> None:
    client = replace(certificate(f"/var/lib/kubelet/pki/{KUBELET_CLIENT}"), subject=f"CN=system:node:{node},O=nodes")
    cluster.host(name, certificates=(client,), boot_id=f"boot of {name}")


def cloned(has_it: str = "w2") -> Cluster:
    """w2 was made of w1's disk; which of them has the node now."""
    cluster = Cluster(1, 2)
    named(cluster, "w1", "w1")
    named(cluster, "w2", "w1")
    assert isinstance(cluster.objects, ObjectsView)
    nodes = [n for n in cluster.objects.nodes if n.name != "w2"]
    nodes = [replace(n, address=cluster.address(has_it)) if n.name == "w1" else n for n in nodes]
    cluster.objects = replace(cluster.objects, nodes=tuple(nodes))
    return cluster


def found(cluster: Cluster) -> tuple[Finding, ...]:
    return diagnose(cluster.observation(), cluster.memory(), cluster.settings).findings


def test_two_kubelets_of_one_name_are_named_with_both_machines() -> None:
    (finding,) = (f for f in found(cloned()) if f.severity is Severity.FAULT)
    assert finding.key == (Code.MACHINES_SHARE_NODE, "w1>w2") and finding.state is State.WORKER_NETWORK_BROKEN
    assert "w1 and w2 are one node: the kubelets of both call themselves w1" in finding.message
    assert f"lists it at {Cluster.address('w2')} now" in finding.message
    assert [line.partition(" ")[0] for line in finding.evidence] == ["w1", "w2"]


def test_one_machine_under_two_names_is_no_double_of_itself() -> None:
    """As a control plane that the configuration knows by another name and address, and that takes workers' pods."""
    cluster = cloned()
    cluster.host("w2", boot_id="boot of w1")
    assert Code.MACHINES_SHARE_NODE not in {f.code for f in found(cluster)}


def test_the_one_without_the_node_is_no_machine_whose_node_was_deleted() -> None:
    net = PodNetwork(Cluster(1, 2))
    memory, shared = net.memory(), cloned("w1")
    codes = {f.code for f in diagnose(shared.observation(), memory, shared.settings).findings}
    assert Code.MACHINES_SHARE_NODE in codes and Code.NODE_DELETED not in codes
    named(shared, "w2", "w2")
    codes = {f.code for f in diagnose(shared.observation(), memory, shared.settings).findings}
    assert Code.MACHINES_SHARE_NODE not in codes and Code.NODE_DELETED in codes


@pytest.mark.parametrize("playbook", ["restart-node-agents", "rolling-worker-reboot"])
def test_neither_is_restarted_for_what_comes_of_it(playbook: str) -> None:
    cluster = cloned()
    (shared,) = (f for f in found(cluster) if f.code == Code.MACHINES_SHARE_NODE)
    deaf = fault(Code.PODS_NOT_ON_NODE, "w1")
    answer = ask(playbook, situation(cluster, deaf, shared))
    assert isinstance(answer, Refusal) and "w1 and w2 are one node" in answer.reason, answer


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("each has a name of its own", lambda c: named(c, "w2", "w2")),
        ("the clone's kubelet does not run", lambda c: c.unit("w2", "kubelet", active="inactive")),
        ("the clone was reset", lambda c: c.host("w2", joined=False)),
    ],
)
def test_that_is_no_double(what: str, change: object) -> None:
    cluster = cloned()
    assert callable(change)
    change(cluster)
    assert not [f for f in found(cluster) if f.code == Code.MACHINES_SHARE_NODE], what


def test_it_is_gone_only_when_both_were_looked_at() -> None:
    keys = [(Code.MACHINES_SHARE_NODE, "w1>w2")]
    for name in ("w1", "w2"):
        cluster = cloned()
        cluster.hosts[name] = unseen(UnseenKind.TIMEOUT)
        seen = cluster.observation()
        diagnosis = diagnose(seen, cluster.memory(), cluster.settings)
        assert not [f for f in diagnosis.findings if f.code == Code.MACHINES_SHARE_NODE]
        assert name in doubt(keys, diagnosis, seen)
    cluster = cloned()
    named(cluster, "w2", "w2")
    seen = cluster.observation()
    assert not doubt(keys, diagnose(seen, cluster.memory(), cluster.settings), seen)


def alike(**of: str) -> list[tuple[str, str, Severity]]:
    cluster = Cluster(1, 2)
    assert isinstance(cluster.objects, ObjectsView)

    def given(node: NodeView) -> NodeView:
        return replace(node, **{field: value.format(node=node.name) for field, value in of.items()})

    cluster.objects = replace(cluster.objects, nodes=tuple(map(given, cluster.objects.nodes)))
    return [(f.subject, f.message, f.severity) for f in found(cluster) if f.code == Code.MACHINE_IDS_SHARED]


@pytest.mark.parametrize(
    ("field", "word", "severity"),
    [("machine_id", "machine-id", Severity.WARNING), ("system_uuid", "product_uuid", Severity.NOTICE)],
)
def test_nodes_of_one_identity_are_named_together(field: str, word: str, severity: Severity) -> None:
    [(subject, said, of)] = alike(**{field: "4c4c4544"})
    assert (subject, of) == ("cp1", severity) and said.startswith(f"cp1, w1, w2 have the same {word}")
    assert not alike(**{field: "{node}"}) and not alike(**{field: ""})


def test_clones_are_told_once_by_what_does_most_harm() -> None:
    [(subject, said, of)] = alike(machine_id="4c4c4544", system_uuid="4c4c4544")
    assert (subject, of) == ("cp1", Severity.WARNING) and "machine-id" in said


def test_a_board_without_a_uuid_of_its_own_says_nothing() -> None:
    assert not alike(system_uuid="03000200-0400-0500-0006-000700080009")
