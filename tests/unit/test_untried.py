"""A scheduler that leads and does not look at pods: by the pods themselves, since its lease says that all is well."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recoverd.diagnose import diagnose
from recoverd.diagnose.absence import doubt
from recoverd.model.catalogue import Code
from recoverd.model.finding import Diagnosis, State
from recoverd.model.observation import Observation, Unseen, UnseenKind
from recoverd.model.unit_operations import RestartStaticPod
from recoverd.model.witness import LeadView, UntriedPods
from recoverd.observe.kubelet import ListedPod
from recoverd.observe.untried import look, untried
from recoverd.playbooks import registry
from recoverd.playbooks.base import Answer, Proposal, Refusal, Situation
from tests.unit.builders import NOW, Cluster

SCHEDULER = "kube-scheduler"
KEY = (Code.SCHEDULER_IDLE, SCHEDULER)
WAITING = UntriedPods(46, 1000.0, ("default/web-1",))


def sweep(
    waiting: UntriedPods | Unseen | None = WAITING,
    *,
    holder: str = "cp2_1",
    unchanged: float | None = 0.0,
    ran: float = 9000.0,
    planes: int = 3,
) -> tuple[Cluster, Observation]:
    cluster = Cluster(planes)
    for name in cluster.joined:
        cluster.container(name, SCHEDULER, started_at=cluster.now - timedelta(seconds=ran))
    seen, lead = cluster.observation(), LeadView(holder, NOW, NOW, unchanged)
    return cluster, replace(seen, api=replace(seen.api, leads={SCHEDULER: lead}, untried=waiting))


def judged(cluster: Cluster, seen: Observation) -> Diagnosis:
    return diagnose(seen, cluster.memory(), cluster.settings)


def test_pods_that_it_has_not_looked_at_for_minutes_are_a_fault() -> None:
    """All nodes Ready, 46 pods Pending without an event for four hours: the cluster was healthy."""
    diagnosis = judged(*sweep())
    (finding,) = diagnosis.faults
    assert finding.key == KEY and finding.facts.host == "cp2" and diagnosis.state is State.APISERVER_DOWN
    assert "kube-scheduler on cp2 leads and does not look at 46 pods" in finding.message


@pytest.mark.parametrize(
    "well",
    [
        pytest.param({"waiting": UntriedPods()}, id="none"),
        pytest.param({"waiting": UntriedPods(9, 170.0, ("a/b",))}, id="there are many, and it comes to them"),
        pytest.param({"waiting": Unseen(UnseenKind.TIMEOUT, "late")}, id="not read"),
        pytest.param({"waiting": None}, id="of before"),
        pytest.param({"ran": 100.0}, id="started since"),
        pytest.param({"unchanged": 20.0}, id="does not lead, which is found of itself"),
        pytest.param({"unchanged": None}, id="seen once"),
    ],
)
def test_what_proves_nothing_is_nothing(well: dict[str, Any]) -> None:
    assert judged(*sweep(**well)).find(*KEY) is None


def test_it_is_gone_when_the_pods_were_read_without_one() -> None:
    for waiting, gone in ((UntriedPods(), True), (WAITING, False), (Unseen(UnseenKind.TIMEOUT, "late"), False)):
        cluster, seen = sweep(waiting, unchanged=None)
        assert (doubt([KEY], judged(cluster, seen), seen) == "") is gone


@pytest.mark.parametrize(
    ("holder", "planes", "host"), [("cp2_1", 3, "cp2"), ("node-7_1", 1, "cp1"), ("node-7_1", 3, "")]
)
def test_the_one_that_leads_is_started_anew_and_no_other(holder: str, planes: int, host: str) -> None:
    cluster, seen = sweep(holder=holder, planes=planes)
    (finding,) = judged(cluster, seen).faults
    diagnosis = judged(cluster, seen)
    there = Situation(NOW, "prod-1", cluster.settings, seen, diagnosis, cluster.memory(), diagnosis.faults)
    answer: Answer = next(p for p in registry() if p.name == "restart-controller").propose(finding, there)
    if not host:
        assert isinstance(answer, Refusal) and "who holds its lease" in answer.reason
        return
    assert isinstance(answer, Proposal) and not answer.asks
    restarts = [s.host for s in answer.steps if isinstance(s.operation, RestartStaticPod)]
    assert restarts == [host]


def pods(*changes: dict[str, Any]) -> dict[str, Any]:
    made = "2026-03-05T17:42:00Z"
    items: Iterable[dict[str, Any]] = (
        {
            "metadata": {
                "uid": str(n),
                "namespace": "d",
                "name": f"p{n}",
                "creationTimestamp": made,
                **c.get("meta", {}),
            },
            "spec": {"schedulerName": "default-scheduler", **c.get("spec", {})},
            "status": {"phase": "Pending", **c.get("status", {})},
        }
        for n, c in enumerate(changes)
    )
    return {"items": list(items)}


def test_only_pods_of_which_the_scheduler_has_said_nothing_count() -> None:
    told = {"status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}}
    own, bound = {"spec": {"schedulerName": "volcano"}}, {"spec": {"nodeName": "w1"}}
    ending = {"meta": {"deletionTimestamp": "2026-03-05T17:43:00Z"}}
    now = datetime(2026, 3, 5, 17, 52, tzinfo=UTC)
    assert untried(pods({}, told, own, bound, ending), now) == UntriedPods(1, 600.0, ("d/p0",))
    assert untried(pods(told, own), now) == UntriedPods()


async def test_nobody_is_asked_while_no_pod_waits_for_long() -> None:
    """The client would be asked, and is none."""
    client: Any = object()
    then = NOW - timedelta(seconds=30)
    young = ListedPod("u1", "d/p1", "", "", "Pending", ready=False, created=then, deleting=False)
    bound = replace(young, uid="u2", name="d/p2", node="w1", created=NOW - timedelta(hours=1))
    assert await look(client, (young, bound), 5.0, NOW) == UntriedPods()
    assert isinstance(await look(None, (), 5.0), Unseen)
