"""What a sweep must have shown before a step is begun, a node left alone, or a plan called a success."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from recoverd.diagnose import diagnose
from recoverd.diagnose.absence import doubt
from recoverd.diagnose.scene import Scene
from recoverd.machine.gate import Verdict, may_begin
from recoverd.machine.guards import Evidence, still_down
from recoverd.model.catalogue import Code
from recoverd.model.etcd import EtcdView
from recoverd.model.finding import Diagnosis, State
from recoverd.model.network import NetworkView, NodeNetworkView, PodProbe, ProbeAnswer, RulesView
from recoverd.model.node_operations import Drain
from recoverd.model.observation import Unseen, UnseenKind
from recoverd.model.plan import Step
from recoverd.model.settings import Bounds
from tests.unit.builders import NOW, Cluster

NETWORK = NodeNetworkView(True, (), (), {}, (), RulesView("iptables", 3))


@pytest.mark.parametrize(
    ("answers", "verdict"),
    [((), Verdict.HOLD), ((ProbeAnswer.TIMEOUT,), Verdict.HOLD), ((ProbeAnswer.OK,), Verdict.SKIP)],
)
def test_without_a_pod_that_answers_nobody_is_taken_for_reachable_again(
    answers: tuple[ProbeAnswer, ...], verdict: Verdict
) -> None:
    """As after a restart in the middle of a drain, when one pod is left or none."""
    seen = Cluster(1, 3).observation()
    probes = tuple(
        PodProbe("w2", "w1", f"10.244.1.{i}:80", "default/a", "default/web:80", answer)
        for i, answer in enumerate(answers)
    )
    quiet = replace(seen, network=NetworkView(1, {"w1": NETWORK}, {}, probes))
    step = Step("w1", "drain w1", Drain("w1"), 60, part="w1", skip_unless=((Code.POD_NETWORK_BROKEN, "w1"),))
    assert may_begin(step, Diagnosis(State.HEALTHY, (), ""), quiet, Bounds(), seen.started_at).verdict is verdict


def test_a_device_that_no_pod_needs_now_is_not_taken_for_mended() -> None:
    seen = Cluster(1, 3).observation()
    step = Step("w1", "drain w1", Drain("w1"), 60, part="w1", skip_unless=((Code.POD_DEVICE_MISSING, "w1"),))
    for pods, verdict in ((0, Verdict.HOLD), (2, Verdict.SKIP)):
        now = replace(seen, network=NetworkView(1, {"w1": replace(NETWORK, pods=pods)}, {}))
        assert may_begin(step, Diagnosis(State.HEALTHY, (), ""), now, Bounds(), seen.started_at).verdict is verdict


@pytest.mark.parametrize(
    "code",
    [
        Code.ETCD_NEVER_STARTED,
        Code.ETCD_QUORUM_LOST,
        Code.ETCD_NO_LEADER,
        Code.ETCD_MEMBER_DOWN,
        Code.ETCD_LEARNER_STUCK,
        Code.ETCD_NOSPACE,
    ],
)
def test_a_fault_of_etcd_is_gone_only_when_a_member_is_seen_with_a_leader(code: str) -> None:
    """Nothing may be found because no member says anything, and that is no success."""
    keys, well = [(code, "cp2")], Diagnosis(State.HEALTHY, (), "")
    cluster = Cluster(3, 1)
    seen = cluster.observation()
    assert doubt(keys, well, seen) == ""
    silent = Unseen(UnseenKind.REFUSED, "connection refused")
    for views in (
        dict.fromkeys(seen.etcd, silent),
        {},
        cluster.no_leader(*cluster.joined).observation().etcd,
        {n: replace(v, remembered="it answers no more") for n, v in seen.etcd.items() if isinstance(v, EtcdView)},
    ):
        assert "leader" in doubt(keys, well, replace(seen, etcd=views))
    assert doubt([(Code.ETCD_MANIFEST_MISSING, "cp2/etcd")], well, replace(seen, etcd={})) == "", (
        "that is seen on its host"
    )


@pytest.mark.parametrize(
    ("unit", "held"),
    [
        ({"active": "failed", "sub": "failed"}, True),
        ({"active": "activating", "sub": "auto-restart"}, True),
        ({"active": "active", "restarts": 7, "since": NOW - timedelta(seconds=3)}, True),
        ({"active": "active", "restarts": 7, "since": NOW - timedelta(minutes=3)}, False),
        ({"active": "active", "since": NOW - timedelta(seconds=3)}, False),
    ],
)
def test_a_node_whose_kubelet_does_not_stay_up_counts_as_down_though_it_is_called_ready(
    unit: dict[str, Any], held: bool
) -> None:
    """A restart of w3's kubelet had failed, and w4 was rebooted within the 40 s in which w3 was Ready still."""
    cluster = Cluster(1, 4).unit("w3", "kubelet", **unit)
    seen = cluster.observation()
    found = diagnose(seen, cluster.memory(), cluster.settings)
    evidence = Evidence(Scene(seen, cluster.memory(), cluster.settings), found, NOW)
    assert ("w3 to come back: kubelet does not run" in still_down(["w4"], evidence)) is held
    assert still_down(["w3"], evidence) == "" == still_down(["w4"], evidence, ahead=["w3"])
