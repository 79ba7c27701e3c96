"""Before kubelet, the runtime or an API server is started on a control plane: would etcd begin
anew there, or does it already?
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from recoverd.model.observation import EtcdDataView
from recoverd.model.operations import MovePath
from recoverd.model.unit_operations import Unit
from recoverd.playbooks import registry
from recoverd.playbooks.base import Answer, Proposal, Refusal
from recoverd.playbooks.starts import begins_anew
from tests.unit.builders import Cluster
from tests.unit.test_playbooks import situation
from tests.unit.test_restore import anew, built, lost, with_points

GONE = EtcdDataView("/var/lib/etcd", False, True)
Change = Callable[[Cluster], object]


def propose(name: str, code: str, cluster: Cluster) -> Answer:
    now = situation(cluster, memory=with_points(cluster))
    finding = now.diagnosis.find(code)
    assert finding, [f.code for f in now.diagnosis.findings]
    return next(p for p in registry() if p.name == name).propose(finding, now)


def emptied(cluster: Cluster, name: str = "cp1") -> Cluster:
    return cluster.etcd_stopped(name).host(name, etcd_data=GONE)


@pytest.mark.parametrize("unit", ["kubelet", "containerd"])
def test_neither_kubelet_nor_the_runtime_is_started_over_an_empty_directory(unit: str) -> None:
    code = "kubelet-down" if unit == "kubelet" else "container-runtime-down"
    answer = propose("start-node-services", code, emptied(built(1).stopped("cp1", unit)).api_down())
    assert isinstance(answer, Refusal) and "a new, empty cluster" in answer.reason
    out = emptied(built(1).stopped("cp1", unit)).api_down().manifest("cp1", "etcd", None)
    assert isinstance(propose("start-node-services", code, out), Proposal), (
        "with the manifest out of its sight kubelet starts no etcd"
    )


def test_an_api_server_is_not_put_in_front_of_an_etcd_that_has_begun_anew() -> None:
    cluster = anew(built(1)).manifest("cp1", "kube-apiserver", None).api_down()
    answer = propose("restore-manifest", "apiserver-manifest-missing", cluster)
    assert isinstance(answer, Refusal) and "begun a new, empty cluster" in answer.reason
    whole = built(1).manifest("cp1", "kube-apiserver", None).api_down()
    assert isinstance(propose("restore-manifest", "apiserver-manifest-missing", whole), Proposal)


def test_an_api_server_is_not_put_in_front_of_an_etcd_of_which_it_is_not_seen_what_it_holds() -> None:
    """It is behind what was seen of the cluster, and its nodes were not counted in time."""
    behind = built(1).manifest("cp1", "kube-apiserver", None).api_down().etcd_changed("cp1", revision=700, nodes=None)
    answer = propose("restore-manifest", "apiserver-manifest-missing", behind)
    assert isinstance(answer, Refusal) and "was not seen yet" in answer.reason


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        (lambda c: c, False),
        (lambda c: emptied(c, "cp2"), True),
        (lambda c: c.etcd_stopped("cp2"), False),
        (lambda c: c.etcd_stopped("cp2").host("cp2", etcd_data=None), True),
        (lambda c: emptied(c, "cp2").manifest("cp2", "etcd", None), False),
        (lambda c: anew(c, "cp2"), True),
    ],
    ids=["well", "empty", "stopped, its data whole", "not looked at", "no manifest in place", "begun anew"],
)
def test_what_kubelet_would_start_there(change: Change, refused: bool) -> None:
    """The manifest of cp2 says `existing`: that its machine has lost its data, its peers must be told
    by a member that is added anew.
    """
    cluster = built(3)
    change(cluster)
    assert bool(begins_anew("cp2", situation(cluster))) is refused
    assert begins_anew("w1", situation(cluster)) == "", "a worker has no etcd"


def test_a_machine_that_is_just_joining_gets_its_data_from_the_others() -> None:
    cluster = built(3)
    joining = replace(cluster.entry("cp2"), name="", client_urls=())
    emptied(cluster, "cp2").member_list(*(joining if m.name == "cp2" else m for m in cluster.members))
    assert begins_anew("cp2", situation(cluster)) == ""


def test_the_plans_that_bring_the_data_back_start_kubelet_once_no_manifest_is_in_its_sight() -> None:
    for name, code, cluster in (
        ("restore-etcd-snapshot", "etcd-data-lost", lost(3).stopped("cp1", "kubelet", "containerd")),
        (
            "rebuild-member",
            "etcd-split-brain",
            emptied(built(3)).stopped("cp1", "kubelet", "containerd").api_down("cp1"),
        ),
    ):
        answer = propose(name, code, cluster)
        assert isinstance(answer, Proposal), answer
        mine = [s.operation for s in answer.steps if s.host == "cp1"]
        started = [i for i, o in enumerate(mine) if isinstance(o, Unit)]
        moved = [i for i, o in enumerate(mine) if isinstance(o, MovePath) and o.source.endswith("/etcd.yaml")]
        assert [mine[i].unit for i in started] == ["containerd", "kubelet"] and moved[0] < started[0]  # type: ignore[union-attr]
        assert not [s for s in answer.steps if isinstance(s.operation, Unit) and s.host != "cp1"]
