"""What a drain does with each kind of pod, and what is told while something is waited for."""

from __future__ import annotations

from typing import Any

import pytest

from recoverd.act.drain import name_of, sort
from recoverd.act.node import is_agent
from recoverd.engine.progress import Telling, report, reporting
from recoverd.model.node_operations import Agent, Drain, PodChoice

SET = {"kind": "ReplicaSet", "name": "web", "controller": True}
DAEMON = {"kind": "DaemonSet", "name": "kube-proxy", "controller": True}


def pod(
    name: str,
    owner: dict[str, Any] | None = SET,
    *,
    mirror: bool = False,
    local: bool = False,
    phase: str = "Running",
    **spec: Any,
) -> Any:
    volumes = [{"name": "scratch", "emptyDir": {}}] if local else [{"name": "token", "secret": {}}]
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": name,
            "ownerReferences": [owner] if owner else [],
            "annotations": {"kubernetes.io/config.mirror": "x"} if mirror else {},
            "labels": spec.pop("labels", {}),
        },
        "spec": {"volumes": volumes, **spec},
        "status": {"phase": phase},
    }


def drained(operation: Drain, *pods: Any) -> dict[str, list[str]]:
    out = sort(pods, operation)
    return {
        "evict": [name_of(p) for p in out.evict],
        "refused": out.refused,
        "left": out.left,
        "daemons": out.daemons,
        "mirrors": out.mirrors,
    }


def test_pods_of_daemonsets_and_mirror_pods_stay_and_others_go() -> None:
    found = drained(
        Drain("w1"),
        pod("a"),
        pod("proxy", DAEMON, local=True),
        pod("etcd", {"kind": "Node", "controller": True}, mirror=True),
    )
    assert found == {
        "evict": ["default/a"],
        "refused": [],
        "left": [],
        "daemons": ["default/proxy"],
        "mirrors": ["default/etcd"],
    }


@pytest.mark.parametrize(
    ("choice", "where"),
    [(PodChoice.REFUSE, "refused"), (PodChoice.EVICT, "evict"), (PodChoice.LEAVE, "left")],
    ids=lambda v: str(v),
)
def test_local_storage_and_unmanaged_pods_as_chosen(choice: PodChoice, where: str) -> None:
    for each, operation in (
        (pod("cache", local=True), Drain("w1", local_storage=choice)),
        (pod("lone", None), Drain("w1", unmanaged=choice)),
        (pod("both", None, local=True), Drain("w1", choice, choice)),
    ):
        found = drained(operation, each)
        assert len(found[where]) == 1 and sum(map(len, found.values())) == 1, (each, found)


def test_one_choice_does_not_stand_for_the_other() -> None:
    assert drained(Drain("w1", local_storage=PodChoice.EVICT), pod("lone", None))["refused"]
    assert drained(Drain("w1", unmanaged=PodChoice.EVICT), pod("cache", local=True))["refused"]
    assert drained(Drain("w1", PodChoice.EVICT, PodChoice.LEAVE), pod("both", None, local=True))["left"] == [
        "default/both"
    ]


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_what_has_ended_goes_whatever_it_is(phase: str) -> None:
    assert drained(Drain("w1"), pod("job", None, local=True, phase=phase), pod("d", DAEMON, phase=phase))["evict"] == [
        "default/job",
        "default/d",
    ]


def test_agents_are_known_by_what_they_are() -> None:
    proxy = pod("kube-proxy-x", DAEMON, labels={"k8s-app": "kube-proxy"})
    cni = pod(
        "net-x", {"kind": "DaemonSet", "name": "net"}, volumes=[{"name": "cni", "hostPath": {"path": "/etc/cni/net.d"}}]
    )
    other = pod(
        "log-x", {"kind": "DaemonSet", "name": "log"}, volumes=[{"name": "v", "hostPath": {"path": "/var/log"}}]
    )
    assert [is_agent(p, Agent.KUBE_PROXY) for p in (proxy, cni, other)] == [True, False, False]
    assert [is_agent(p, Agent.CNI) for p in (proxy, cni, other)] == [False, True, False]
    for name in ("istio-cni-node", "kube-multus-ds", "whereabouts", "linkerd-cni"):  # behind another CNI's agent
        assert not is_agent(pod("x", {"kind": "DaemonSet", "name": name}, volumes=cni["spec"]["volumes"]), Agent.CNI)
    assert not is_agent(pod("kube-proxy-static", None, labels={"k8s-app": "kube-proxy"}), Agent.KUBE_PROXY), (
        "nothing would make it anew"
    )


def test_what_is_waited_for_is_told_when_it_changes_and_now_and_then() -> None:
    said: list[str] = []
    clock = [0.0]
    with reporting(Telling(said.append, lambda: clock[0])):
        for second, text in (
            (0, "w2 is not Ready"),
            (1, "w2 is not Ready"),
            (11, "w2 is not Ready"),
            (12, "w2 is Ready, boot id unchanged"),
        ):
            clock[0] = second
            report(text, second)
    report("nobody listens", 1)
    assert said == ["w2 is not Ready, 0 s", "w2 is not Ready, 11 s", "w2 is Ready, boot id unchanged, 12 s"]
