"""Images that do not come to a node: what is read of them, what is said of whom they stop, and that nothing is
restarted or rebooted for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any, cast

import pytest
from kubernetes.aio.client import ApiClient

from recoverd.diagnose import diagnose
from recoverd.diagnose.absence import doubt
from recoverd.diagnose.restless import odd_nodes
from recoverd.model.catalogue import Code
from recoverd.model.facts import WaitingFacts
from recoverd.model.finding import Finding
from recoverd.model.network import AgentView, NetworkView, SilentDns, UnpulledImage
from recoverd.model.node_look import FileView, NodeLook
from recoverd.model.node_operations import Agent, RestartDaemonPods
from recoverd.model.observation import DiskView, Unseen, UnseenKind
from recoverd.model.unit_operations import RestartUnit
from recoverd.observe.images import ImageWatch, unpulled
from recoverd.observe.kubelet import ListedPod
from recoverd.observe.lists import Answered, Lists, Read
from recoverd.observe.shapes import PODS
from recoverd.playbooks.base import Refusal
from tests.unit.builders import NOW, Cluster
from tests.unit.pod_network import PodNetwork
from tests.unit.rungs import BACK, STALE, ask, fault, proposal, situation

IMAGE = "k8s.gcr.io/kube-proxy:v1.20.2"
BACK_OFF = f'Back-off pulling image "{IMAGE}"'
NO_REGISTRY = (
    f'rpc error: code = Unknown desc = failed to pull and unpack image "{IMAGE}": failed to resolve reference '
    f'"{IMAGE}": failed to do request: Head https://k8s.gcr.io/v2/kube-proxy/manifests/v1.20.2: dial tcp: lookup '
    "k8s.gcr.io: no such host"
)
FULL = DiskView("/var/lib/containerd", 100 << 30, 15 << 30)


def judged(cluster: Cluster) -> tuple[Finding, ...]:
    return diagnose(cluster.observation(), cluster.memory(), cluster.settings).faults


class Without(PodNetwork):
    """kube-proxy of w2 has ended, and its image does not come."""

    def __init__(
        self, reason: str = "ImagePullBackOff", said: str = BACK_OFF, image: str = IMAGE, **agent: Any
    ) -> None:
        super().__init__()
        self.agent("w2", **{"running": False, "ready": False, "status": reason, "bad_for": 16.0, **agent})
        self.image = UnpulledImage("w2", image, reason.removeprefix("Init:"), said)

    def view(self) -> NetworkView:
        lacking = self.agents["w2"]
        namespace = lacking.daemonset.partition("/")[0]
        return replace(super().view(), unpulled={f"{namespace}/{lacking.pod}": self.image})

    def kubelet_says(self, *lines: str) -> Without:
        self.cluster.host("w2", journals={"kubelet": lines})
        return self

    def disk(self, *disks: DiskView, configured: str = "") -> Without:
        files = {"/var/lib/kubelet/config.yaml": FileView("0" * 64, configured)} if configured else {}
        self.cluster.host("w2", disks=disks, node=NodeLook(files=files))
        return self

    def found(self) -> Finding:
        (only,) = self.seen().faults
        return only


def test_the_image_the_node_the_pull_and_the_cure_are_named() -> None:
    found = Without("ErrImagePull", NO_REGISTRY).found()
    assert found.key == (Code.KUBE_PROXY_DOWN, "w2")
    assert found.facts == WaitingFacts("w2", "w2", "registry-not-reached", IMAGE)
    for word in (IMAGE, "on w2", "registry is not reached", "ctr -n k8s.io images import", "No restart and no reboot"):
        assert word in found.message, found.message
    assert "ErrImagePull" in found.evidence[0] and "no such host" in found.evidence[1]
    assert "deletes images" not in found.message


def test_while_kubelet_waits_with_the_next_try_its_journal_has_what_the_last_one_said() -> None:
    without = Without()
    assert "see what the pull says" in without.found().message
    said = f'Error syncing pod 0ab ("kube-proxy-w2_kube-system(0ab)"), skipping: with ErrImagePull: "{NO_REGISTRY}"'
    assert "registry is not reached" in without.kubelet_says(said).found().message
    assert "registry is not reached" not in without.kubelet_says(said.replace("kube-proxy-w2", "web-1")).found().message
    docker = 'pod kube-proxy-w2: ErrImagePull: "Error response from daemon: toomanyrequests: You have reached"'
    assert "how often it is asked" in without.kubelet_says(docker).found().message, "which does not name the image"


def test_where_the_pod_itself_was_not_read_the_reason_is_enough() -> None:
    found = Without("ErrImageNeverPull", "", "").found()
    assert found.key == (Code.KUBE_PROXY_DOWN, "w2") and "kubectl describe" in found.message
    assert "No restart" in found.message


def test_an_init_container_without_its_image_does_not_begin() -> None:
    """PULLING would be three minutes."""
    flannel = {"kind": "cni", "daemonset": "kube-flannel/kube-flannel-ds", "running": None, "bad_for": 61.0}
    assert Without("Init:ImagePullBackOff", **flannel).found().key == (Code.CNI_AGENT_DOWN, "w2")
    assert Without("Init:0/1", bad_for=61.0).seen().faults == ()


@pytest.mark.parametrize(
    ("disk", "configured", "says"),
    [
        (FULL, "", "more than 85 %"),
        (replace(FULL, path="/"), "", "/ on w2 is used"),
        (replace(FULL, free=(15 << 30) + (1 << 30)), "", ""),
        (replace(FULL, path="/var/lib/etcd"), "", ""),
        (replace(FULL, free=25 << 30), "imageGCHighThresholdPercent: 70\n", "more than 70 %"),
        (replace(FULL, free=25 << 30), "KUBELET_EXTRA_ARGS=--image-gc-high-threshold=75\n", "more than 75 %"),
        (FULL, "kind: KubeletConfiguration\nimageGCHighThresholdPercent: 100\n", ""),
    ],
    ids=["85 %", "one disk for all", "84 %", "another disk", "configured", "by a flag", "switched off"],
)
def test_it_is_said_where_kubelet_has_probably_deleted_it(disk: DiskView, configured: str, says: str) -> None:
    """As its image manager counts: 100 - available * 100 / capacity."""
    found = Without().disk(disk, configured=configured).found()
    assert ("deletes images" in found.message) is bool(says) and says in found.message, found.message
    assert any(disk.path + ":" in line for line in found.evidence) is bool(says)


def test_a_name_that_is_none_was_not_deleted() -> None:
    said = f'Failed to apply default image tag "{IMAGE}:1": couldn\'t parse image name "{IMAGE}:1": invalid'
    found = Without("InvalidImageName", said).disk(FULL).found()
    assert "no name of an image" in found.message and "deletes images" not in found.message


def test_it_is_gone_when_the_node_is_seen_without_it() -> None:
    without = Without()
    key = without.found().key
    without.agent("w2", running=True, ready=True, status="Running", bad_for=0.0)
    assert doubt([key], without.seen(), without.observation()) == ""
    assert odd_nodes(without.view()) == {"w2"}, "its kubelet is read"


def test_the_dns_whose_image_does_not_come_says_so() -> None:
    made, pod = Cluster(workers=2), "kube-system/coredns-1"
    silent = SilentDns(NOW - timedelta(seconds=95), (pod,), ("w1",))
    image = UnpulledImage("w1", "k8s.gcr.io/coredns:1.7.0", "ImagePullBackOff", 'Back-off pulling image "c"')
    made.network = NetworkView(1, {}, {}, silent_dns={"kube-system/kube-dns": silent}, unpulled={pod: image})
    (found,) = judged(made)
    assert found.code == Code.DNS_DOWN and "k8s.gcr.io/coredns:1.7.0 is not on the node" in found.message
    assert f"of {pod} on w1" in found.message and "describe pods" not in found.message
    file = FileView("0" * 64, "nameserver 127.0.0.1\n")
    made.host("w1", node=NodeLook(resolv="/etc/resolv.conf", files={"/etc/resolv.conf": file}))
    (found,) = judged(made)
    assert "is not on the node" in found.message and "names the machine itself" not in found.message, (
        "it was so while the DNS was well"
    )


@pytest.mark.parametrize(
    ("component", "image", "said", "why"),
    [
        ("etcd", "k8s.gcr.io/etcd:3.4.13-0", "dial tcp: lookup k8s.gcr.io: no such host", "registry is not reached"),
        ("kube-apiserver", "r/kube-apiserver:v1.20.99", "r/kube-apiserver:v1.20.99: not found", "that name and tag"),
    ],
)
def test_a_static_pod_whose_image_does_not_come_says_so(component: str, image: str, said: str, why: str) -> None:
    line = (
        f'E1130 pod_workers.go:191] Error syncing pod 0ab ("{component}-cp1_kube-system(0ab)"), skipping: '
        f'failed to "StartContainer" for "{component}" with ErrImagePull: "rpc error: code = Unknown desc = failed to '
        f'pull and unpack image \\"{image}\\": failed to resolve reference \\"{image}\\": {said}"'
    )
    later = (
        line.replace("ErrImagePull", "ImagePullBackOff").partition('"rpc')[0]
        + f'"Back-off pulling image \\"{image}\\""'
    )
    cluster = Cluster(1).container("cp1", component, running=False).api_down()
    cluster.host("cp1", journals={"kubelet": (line, later)}, disks=(FULL,))
    found = next(f for f in judged(cluster) if f.code == Code.STATIC_PODS_STUCK)
    assert image in found.message and why in found.message and "ctr -n k8s.io images import" in found.message
    assert "more than 85 %" in found.message and any(FULL.path in line for line in found.evidence)


# --- what is done about it ---


def lacks(node: str, code: str = Code.KUBE_PROXY_DOWN) -> Finding:
    return fault(code, node, WaitingFacts, cause="registry-not-reached", named=IMAGE)


@pytest.mark.parametrize("playbook", ["restart-node-agents", "rolling-worker-reboot"])
@pytest.mark.parametrize("beside", [(), (Code.SERVICE_RULES_STALE, Code.SERVICE_UNREACHABLE)], ids=["alone", "rules"])
def test_nothing_is_restarted_and_nothing_rebooted_for_an_image(playbook: str, beside: tuple[str, ...]) -> None:
    found = [*(fault(code, "w2") for code in beside), lacks("w2")]
    for each in found:
        answer = ask(playbook, situation(Cluster(1, 3), *found), each)
        assert isinstance(answer, Refusal) and IMAGE in answer.reason and "no reboot" in answer.reason, answer


def test_what_came_of_it_before_it_lasted_is_not_restarted_for_either() -> None:
    """The image is what the newest sweep finds; the rules alone are confirmed."""
    now = situation(Cluster(1, 3), fault(Code.SERVICE_RULES_STALE, "w2"), lacks("w2"))
    answer = ask("restart-node-agents", replace(now, confirmed=now.confirmed[:1]))
    assert isinstance(answer, Refusal) and IMAGE in answer.reason


def test_the_others_are_restarted_beside_it() -> None:
    plan = proposal("restart-node-agents", situation(Cluster(1, 3), fault(Code.KUBE_PROXY_DOWN, "w1"), lacks("w2")))
    assert {step.host for step in plan.steps} == {"w1"} and any(IMAGE in line for line in plan.evidence)


@pytest.mark.parametrize("beside", [fault(STALE, "w2"), BACK], ids=["a deaf kubelet", "a setback"])
def test_of_a_node_with_more_than_that_everything_else_is_restarted(beside: Finding) -> None:
    plan = proposal("restart-node-agents", situation(Cluster(1, 3), beside, lacks("w2")))
    on = [step.operation for step in plan.steps if step.part == "w2"]
    assert RestartUnit("kubelet") in on and RestartDaemonPods("w2", Agent.CNI) in on
    assert RestartDaemonPods("w2", Agent.KUBE_PROXY) not in on


def test_rules_that_a_cni_agent_does_not_write_are_no_matter_of_its_image() -> None:
    found = (lacks("w2", Code.CNI_AGENT_DOWN), fault(Code.SERVICE_RULES_STALE, "w2"))
    plan = proposal("restart-node-agents", situation(Cluster(1, 3), *found))
    assert [s.operation for s in plan.steps] == [RestartDaemonPods("w2", Agent.KUBE_PROXY)]


# --- what is read ---


class OneNode(Lists):
    """The pods of a node, as told; in the place of an API server."""

    def __init__(
        self, *statuses: dict[str, Any], spec: Mapping[str, Any] = MappingProxyType({}), unseen: bool = False
    ) -> None:
        super().__init__(1.0)
        self.unseen, self.asked = unseen, list[str]()
        pods = enumerate(statuses)
        items = [{"metadata": {"uid": f"u{i}", "name": f"p{i}"}, "spec": dict(spec), "status": s} for i, s in pods]
        self.body = cast(dict[str, Any], PODS.decode(json.dumps({"items": items}).encode()))

    async def pods_on(self, client: object, node: str) -> Read:
        self.asked.append(node)
        return Unseen(UnseenKind.DENIED, "no") if self.unseen else Answered(self.body, NOW)


def waits(reason: str, message: str, image: str = IMAGE) -> dict[str, Any]:
    return {"image": image, "imageID": "", "state": {"waiting": {"reason": reason, "message": message}}}


async def read(lists: Lists, status: str = "ErrImagePull", *, dns: bool = False) -> dict[str, UnpulledImage]:
    pod = ListedPod("u0", "kube-system/p0", "w2", "10.0.0.2", status, False, NOW, deleting=False)
    other = replace(pod, uid="u9", name="default/web", status="ErrImagePull")
    agents = () if dns else (AgentView("w2", "kube-proxy", "kube-system/kube-proxy", "p0", False, status, False),)
    silent = {"kube-system/kube-dns": SilentDns(NOW, ("kube-system/p0",), ("w2",))} if dns else {}
    return await unpulled(cast(ApiClient, None), lists, (pod, other), agents, silent)


RUNS = {"image": "r/other:1", "state": {"running": {"startedAt": "2026-03-05T18:00:00Z"}}}


@pytest.mark.parametrize("dns", [False, True], ids=["an agent", "the DNS"])
async def test_the_image_and_the_words_of_the_pull_are_those_of_the_container_that_waits(dns: bool) -> None:
    lists = OneNode({"phase": "Pending", "containerStatuses": [RUNS, waits("ErrImagePull", NO_REGISTRY)]})
    found = await read(lists, dns=dns)
    assert found == {"kube-system/p0": UnpulledImage("w2", IMAGE, "ErrImagePull", NO_REGISTRY)}


async def test_one_that_ran_before_is_called_as_its_pod_calls_it_and_not_by_its_id() -> None:
    """The status has the id of what ran, and no registry and no `ctr images export` knows that."""
    status = {
        "containerStatuses": [{"name": "kube-proxy", **waits("ErrImagePull", NO_REGISTRY, "sha256:2baa60989e0c")}]
    }
    spec = {"containers": [{"name": "other", "image": "r/other:1"}, {"name": "kube-proxy", "image": IMAGE}]}
    (only,) = (await read(OneNode(status, spec=spec))).values()
    assert only.image == IMAGE


async def test_an_init_container_comes_first_and_what_it_says_is_text() -> None:
    status = {
        "initContainerStatuses": [waits("ImagePullBackOff", "a\x1b[31mb\n" + "x" * 900, "r/init:1")],
        "containerStatuses": [{"image": "r/main:1", "state": {"waiting": {"reason": "PodInitializing"}}}],
    }
    (only,) = (await read(OneNode(status), "Init:ImagePullBackOff")).values()
    assert (only.image, only.reason) == ("r/init:1", "ImagePullBackOff")
    assert only.said.startswith("a [31mb x") and len(only.said) == 600


@pytest.mark.parametrize(
    "lists",
    [
        OneNode(unseen=True),
        OneNode(),
        OneNode({}),
        OneNode({"containerStatuses": None}),
        OneNode({"containerStatuses": [{}]}),
    ],
    ids=["denied", "gone", "nothing", "null", "no state"],
)
async def test_where_it_cannot_be_read_the_reason_stands_in_the_table(lists: OneNode) -> None:
    assert await read(lists) == {"kube-system/p0": UnpulledImage("w2", "", "ErrImagePull")}


async def test_nobody_is_asked_while_no_pod_of_these_lacks_an_image() -> None:
    lists = OneNode()
    assert await read(lists, "CrashLoopBackOff") == await read(lists, "Running", dns=True) == {} and lists.asked == []


def test_between_two_pulls_the_image_is_away_still_and_not_once_another_pod_has_its_place() -> None:
    pod = ListedPod("u0", "kube-system/p0", "w2", "10.0.0.2", "ErrImagePull", False, NOW, deleting=False)
    image, watch = UnpulledImage("w2", IMAGE, "ErrImagePull", NO_REGISTRY), ImageWatch()
    waiting, backing_off = {pod.name: image}, replace(pod, status="CrashLoopBackOff")
    assert watch.between({}, [backing_off], 0.0) == {}
    assert watch.between(waiting, [pod], 10.0) == waiting
    assert watch.between({}, [backing_off], 300.0) == waiting
    assert watch.between({}, [replace(backing_off, uid="u1")], 310.0) == {}
    assert watch.between(waiting, [pod], 320.0) == waiting
    assert watch.between({}, [replace(pod, status="Running", ready=True)], 330.0) == {}
    assert watch.between({}, [backing_off], 340.0) == {}, "it has run since, and ends for another reason"
    assert watch.between(waiting, [pod], 350.0) == waiting
    assert watch.between({}, [backing_off], 951.0) == {}
