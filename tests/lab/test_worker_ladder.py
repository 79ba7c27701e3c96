"""The repairs of workers on a real cluster: agents restarted, nodes drained, rebooted and lost on the way.
One control plane, two workers.

What is found wrong is said by the test (`tests.lab.sick`); what is done about it is all real.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import yaml

from tests.lab.bastion import Bastion, Shape
from tests.lab.kubelab.cluster import Cluster
from tests.lab.witness import boots

ROLLING = "rolling-worker-reboot"
PDB = """apiVersion: policy/v1beta1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 4, selector: {matchLabels: {app: web}}}
"""
LONE = """apiVersion: v1
kind: Pod
metadata: {name: lone}
spec:
  nodeName: NODE
  terminationGracePeriodSeconds: 1
  volumes: [{name: scratch, emptyDir: {}}]
  containers:
  - name: a
    image: docker.io/lab/busybox:1
    command: [/bin/busybox, sleep, "1000000"]
    volumeMounts: [{name: scratch, mountPath: /scratch}]
"""


class Sick(Bastion):
    """A bastion whose recoverd finds the nodes sick that the test says."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        approval: dict[str, str] | None = None,
        drain: dict[str, str] | None = None,
        **bounds: Any,
    ) -> None:
        super().__init__(cluster, bounds=bounds)
        self.file = self.home / "sick.json"
        self.file.write_text("{}")
        config = yaml.safe_load(self.config.read_text())
        config["defaults"] |= {"approval": approval or {"restart-node-agents": "never"}, "drain": drain or {}}
        self.config.write_text(yaml.safe_dump(config, sort_keys=False))

    @property
    def program(self) -> Sequence[str]:
        return (sys.executable, "-m", "tests.lab.sick", str(self.file))

    def make_sick(self, *nodes: str, always: bool = False) -> None:
        """They are found sick until they have been rebooted (`always`: even then)."""
        cluster = self.clusters[0]
        self.file.write_text(json.dumps({n: {"boot_id": "" if always else cluster.node(n).boot_id()} for n in nodes}))

    def approve(self, plan: Shape) -> None:
        done = self.ctl("approve", plan["id"])
        assert done.returncode == 0, done.stderr


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=1, workers=3)


@pytest.fixture
def site(cluster: Cluster) -> Iterator[Callable[..., Sick]]:
    made: list[Sick] = []

    def start(**options: Any) -> Sick:
        made.append(Sick(cluster, **options))
        made[-1].start()
        made[-1].wait_healthy(240)
        return made[-1]

    yield start
    for each in made:
        each.remove()
    kubectl(cluster, "delete", "pdb", "web", "--ignore-not-found")
    kubectl(cluster, "delete", "pod", "lone", "--ignore-not-found", "--grace-period=1")
    for node in cluster.nodes:
        if not node.running:
            node.power_on()
        kubectl(cluster, "uncordon", node.name)
    kubectl(cluster, "annotate", "node", "--all", "recoverd.io/cordoned-by-")
    kubectl(cluster, "wait", "--for=condition=Ready", "nodes", "--all", "--timeout=120s")
    kubectl(cluster, "rollout", "status", "deploy/web", "--timeout=120s")


def kubectl(cluster: Cluster, *words: str, stdin: str = "") -> str:
    script = f"kubectl {' '.join(words)}" + (f" <<'E'\n{stdin}E" if stdin else "")
    return str(cluster.node("cp1").sh(script, capture_output=True).stdout)


def node(cluster: Cluster, name: str) -> Shape:
    found: Shape = json.loads(kubectl(cluster, "get", "node", name, "-o", "json"))
    return found


def ending(cluster: Cluster) -> list[str]:
    """Pods that are being deleted and are listed still, until their grace is over."""
    items = json.loads(kubectl(cluster, "get", "pods", "-o", "json"))["items"]
    return [pod["metadata"]["name"] for pod in items if pod["metadata"].get("deletionTimestamp")]


def cordoned(cluster: Cluster) -> set[str]:
    return {n.name for n in cluster.nodes if node(cluster, n.name)["spec"].get("unschedulable")}


def crowd(cluster: Cluster, name: str) -> None:
    """All web pods onto one worker."""
    others = [n.name for n in cluster.nodes if n.name not in (name, "cp1")]
    for other in others:
        kubectl(cluster, "cordon", other)
    kubectl(cluster, "rollout", "restart", "deploy/web")
    kubectl(cluster, "rollout", "status", "deploy/web", "--timeout=120s")
    for other in others:
        kubectl(cluster, "uncordon", other)


def test_a_blocked_drain_ends_in_time_and_the_node_is_uncordoned(cluster: Cluster, site: Callable[..., Sick]) -> None:
    crowd(cluster, "w1")
    kubectl(cluster, "apply", "-f", "-", stdin=PDB)
    before = boots(cluster)
    s = site(drain={"timeout": "20s"})
    s.make_sick("w1")
    plan = s.wait_plan(ROLLING, 120)
    assert any("local storage (emptyDir) are refused" in line for line in plan["evidence"])
    s.approve(plan)
    ended = s.ended(plan, 60)
    assert ended["status"] == "failed"
    assert "budget web needs 4 healthy pods" in ended["reason"] and "w1: taken back" in ended["reason"]
    assert s.begun(plan) == ["cordon w1", "drain w1", "undo cordon w1"]
    assert cordoned(cluster) == set() and boots(cluster) == before


def test_pods_that_kubectl_drain_refuses_are_refused_before_anything_is_evicted(
    cluster: Cluster, site: Callable[..., Sick]
) -> None:
    kubectl(cluster, "apply", "-f", "-", stdin=LONE.replace("NODE", "w1"))
    kubectl(cluster, "wait", "--for=condition=Ready", "pod/lone", "--timeout=60s")
    s = site()
    s.wait("no pod of an earlier test is ending", lambda: not ending(cluster), 120)
    pods = kubectl(cluster, "get", "pods", "-o", "name")
    s.make_sick("w1")
    plan = s.wait_plan(ROLLING, 120)
    s.approve(plan)
    ended = s.ended(plan, 60)
    assert (
        "default/lone has local storage (emptyDir scratch) and no controller" in ended["reason"]
        and "before anything was evicted" in ended["reason"]
    )
    assert kubectl(cluster, "get", "pods", "-o", "name") == pods and cordoned(cluster) == set()


@pytest.mark.core("rolling-worker-reboot")
def test_both_workers_are_rebooted_one_after_the_other_and_the_daemon_is_killed_on_the_way(
    cluster: Cluster, site: Callable[..., Sick]
) -> None:
    """w2 was cordoned by somebody and stays so; the daemon is killed while w1 reboots, and goes on."""
    kubectl(cluster, "cordon", "w2")
    before = boots(cluster)
    s = site(drain={"local_storage": "leave", "unmanaged": "leave", "timeout": "120s"}, min_ready=0)
    s.make_sick("w1", "w2")
    plan = s.wait_plan(ROLLING, 120)
    s.approve(plan)
    s.wait("the canary is being rebooted", lambda: any(b.endswith("is in a new boot") for b in s.begun(plan)), 180)
    s.kill()
    s.start()
    ended = s.ended(plan, 400)
    assert ended["status"] == "succeeded", ended["reason"]
    after = boots(cluster)
    assert after["cp1"] == before["cp1"] and after["w1"] != before["w1"] and after["w2"] != before["w2"]
    begun = s.begun(plan)
    first, second = ("w1", "w2") if begun[0] == "cordon w1" else ("w2", "w1")
    assert begun.index(f"uncordon {first}") < begun.index(f"cordon {second}")
    assert begun.count(f"reboot {first}") == begun.count(f"reboot {second}") == 1
    assert cordoned(cluster) == {"w2"}
    s.wait_state("healthy", seconds=30)
    shown = s.ctl("show", ended["incident"]).stdout
    assert "resumed" in shown and "somebody cordoned it" in shown


def test_a_worker_that_does_not_return_stops_the_plan_and_the_rest_is_untouched(
    cluster: Cluster, site: Callable[..., Sick]
) -> None:
    before = boots(cluster)
    s = site(step_deadline=90, min_ready=0, drain={"timeout": "80s"})
    s.make_sick("w1", "w2")
    plan = s.wait_plan(ROLLING, 120)
    first = plan["steps"][0]["host"]
    other = "w2" if first == "w1" else "w1"
    s.approve(plan)
    s.wait("the canary is being rebooted", lambda: f"reboot {first}" in s.begun(plan), 150)
    cluster.node(first).power_off()
    ended = s.ended(plan, 240)
    assert ended["status"] == "failed"
    assert f"{first} did not come back from its reboot" in ended["reason"] and f"{other}: not begun" in ended["reason"]
    assert cordoned(cluster) == {first}, "what does not come back stays cordoned"
    assert cluster.node(other).boot_id() == before[other] and not any(other in b for b in s.begun(plan))
    assert s.status()["phase"] == "escalated"


def test_a_canary_that_comes_back_sick_stops_the_plan(cluster: Cluster, site: Callable[..., Sick]) -> None:
    s = site(step_deadline=150, min_ready=0, drain={"timeout": "80s"})  # nothing is said of a node in its first 90 s
    s.make_sick("w1", "w2", always=True)
    plan = s.wait_plan(ROLLING, 120)
    first = plan["steps"][0]["host"]
    s.approve(plan)
    ended = s.ended(plan, 500)
    assert ended["status"] == "failed" and f"{first} is sick" in ended["reason"]
    assert cordoned(cluster) == {first}
    watched = s.ctl("show", ended["incident"]).stdout
    assert f"see that nothing is found of {first} any more" in watched


def test_the_agents_restart_is_done_unasked_and_the_next_rung_asks(cluster: Cluster, site: Callable[..., Sick]) -> None:
    """w1 is said to stay sick whatever is done: its agents really start anew, and then a
    reboot of w1 alone is offered.
    """
    before = boots(cluster)
    since = cluster.node("w1").sh("systemctl show -p ActiveEnterTimestampMonotonic kubelet", capture_output=True).stdout
    proxy = cluster.node("w1").sh("pidof kube-proxy", capture_output=True).stdout
    s = site(approval={"restart-node-agents": "automatic"})
    s.make_sick("w1", always=True)
    plan = s.wait_plan(ROLLING, 500)
    assert {step["host"] for step in plan["steps"]} == {"w1"}
    tried = next(p for p in s.plans(everything=True) if p["playbook"] == "restart-node-agents")
    assert tried["status"] == "failed" and tried["automatic"]
    assert (
        cluster.node("w1").sh("systemctl show -p ActiveEnterTimestampMonotonic kubelet", capture_output=True).stdout
        != since
    )
    now = cluster.node("w1").sh("pidof kube-proxy", capture_output=True).stdout
    assert now != proxy and now.strip()
    assert boots(cluster) == before
