"""haproxy and keepalived on the control planes themselves (the profile `ha-nodes`): the cluster's address moves, is
nobody's, is two machines', or leads to nothing, while every API server serves. recoverd says so, of the machine where
it is so, and repairs what a file of theirs is missing for, and nothing else: no etcd, no API server, no worker is ill.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.lab import etcd
from tests.lab.bastion import Bastion
from tests.lab.kubelab import balanced
from tests.lab.kubelab.cluster import Cluster
from tests.lab.kubelab.node import Node
from tests.lab.test_operators_day import carried_out, is_ready, until
from tests.lab.witness import boots, ready

PLANES = ("cp1", "cp2", "cp3")
HAPROXY, KEEPALIVED = (f"{balanced.MANIFESTS}/{name}.yaml" for name in ("haproxy", "keepalived"))
LONG = 100.0
"""Seconds for which the address is away: kubelets ask by it, and their nodes are not Ready after 40 of them."""


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=3, spares=1, workers=2, profile="ha-nodes")


def planes(cluster: Cluster) -> list[Node]:
    return [cluster.node(name) for name in PLANES]


def holder(cluster: Cluster) -> Node:
    """The one machine that has the address, once one alone has it."""
    found: list[str] = []

    def one() -> bool:
        found[:] = balanced.holders(planes(cluster))
        return len(found) == 1

    until("one machine has the address", one)
    return cluster.node(found[0])


@contextmanager
def without(nodes: list[Node], file: str) -> Iterator[None]:
    """The file is away from its place, and comes back."""
    held = f"/root/held-{file.rpartition('/')[2]}"
    for node in nodes:
        node.sh(f"mv {file} {held}")
    try:
        yield
    finally:
        for node in nodes:
            node.sh(f"mv {held} {file}")


@contextmanager
def ended(nodes: list[Node], program: str) -> Iterator[None]:
    """The program ends as often as kubelet starts it, with everything that it needs in place."""
    loop = f"while :; do pkill -x {program}; sleep 0.1; done"
    pids = {n: n.sh(f"nohup sh -c '{loop}' >/dev/null 2>&1 </dev/null & echo $!", capture_output=True) for n in nodes}
    try:
        yield
    finally:
        for node, said in pids.items():
            node.sh(f"kill {said.stdout.strip()}; systemctl restart kubelet")  # which forgets its back-off with that


def kept(cluster: Cluster, s: Bastion, name: str) -> None:
    """Wait until each control plane's manifest of that name is known."""
    s.wait(
        f"{name}'s manifests are remembered",
        lambda: all(name in s.remembered(s.name).manifests.get(n, {}) for n in PLANES),
        240,
    )


def serving(cluster: Cluster) -> dict[str, str]:
    """By control plane: since when its API server and its etcd run, as the machine has it."""
    asked = "for p in kube-apiserver etcd; do cut -d ' ' -f 1,22 /proc/$(pgrep -xo $p)/stat; done"
    return {n.name: n.sh(asked, capture_output=True).stdout for n in planes(cluster)}


def unharmed(cluster: Cluster, s: Bastion, before: dict[str, str], began: dict[str, str]) -> None:
    """Nothing was carried out or offered, and everything runs that ran."""
    s.wait_state("healthy", seconds=180)
    assert s.plans(everything=True) == []
    assert boots(cluster) == before and serving(cluster) == began
    assert etcd.members(cluster.node("cp1")) == list(PLANES)


def said_of(s: Bastion, code: str, words: str, seconds: float = 120) -> dict[str, str]:
    """The finding, once it says this; what else is a fault meanwhile fails the test."""
    found: list[dict[str, str]] = []

    def said() -> bool:
        findings = s.status()["findings"]
        others = [f for f in findings if f["severity"] == "fault" and f["code"] != code]
        assert not others, others
        found[:] = [f for f in findings if f["code"] == code and words in f["message"]]
        return bool(found)

    s.wait(f"{code} says: {words}", said, seconds, every=1)
    print(found[0]["message"])
    return found[0]


def lasts(s: Bastion, code: str, since: float) -> None:
    """While the address is away for so long that every node is not Ready, that alone is found."""
    while time.monotonic() < since + LONG:
        assert {f["code"] for f in s.status()["findings"] if f["severity"] == "fault"} <= {code}, s.ctl("status").stdout
        time.sleep(1)


def test_the_address_moves_to_another_machine_and_nothing_is_done(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    """keepalived ends on the machine that has it, and is started again; then that machine is rebooted."""
    s = bastion(cluster, planes=PLANES)
    assert all(ready(n) for n in planes(cluster)) and s.status()["state"] == "healthy"
    first = holder(cluster)
    began = serving(cluster)
    with ended([first], "keepalived"):
        until("another machine has it", lambda: holder(cluster).name != first.name)
    until("keepalived is there again", lambda: first.answers("pgrep -x keepalived"))
    s.wait_state("healthy", seconds=60)
    assert s.incidents() == [] and serving(cluster) == began
    rebooted = holder(cluster)
    rebooted.reboot()
    other = next(n for n in planes(cluster) if n.name != rebooted.name)
    until("it is Ready", lambda: is_ready(other, rebooted.name) and ready(rebooted))
    holder(cluster)
    s.wait_state("healthy", seconds=180)
    assert s.plans(everything=True) == []


def test_haproxy_is_down_where_the_address_is_and_that_machine_is_named(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    """keepalived goes on holding it: its check sees nothing, as where there is none."""
    s = bastion(cluster, planes=PLANES)
    before, began = boots(cluster), serving(cluster)
    at, blind = holder(cluster), f"cp -p {balanced.CHECK} /root/check; printf '#!/bin/sh\\n' >{balanced.CHECK}"
    for node in planes(cluster):
        node.sh(blind)
    try:
        with ended([at], "haproxy"):
            since = time.monotonic()
            said_of(s, "api-address-wrong", f"it is on {at.name}, and nothing answers there on {balanced.BALANCED}")
            lasts(s, "api-address-wrong", since)
    finally:
        for node in planes(cluster):
            node.sh(f"cat /root/check >{balanced.CHECK}")
    unharmed(cluster, s, before, began)


def test_no_machine_has_the_address_and_that_is_said(cluster: Cluster, bastion: Callable[..., Bastion]) -> None:
    s = bastion(cluster, planes=PLANES)
    before, began = boots(cluster), serving(cluster)
    with ended(planes(cluster), "keepalived"):
        since = time.monotonic()
        said_of(s, "api-address-wrong", "no control plane has it on an interface")
        lasts(s, "api-address-wrong", since)
    unharmed(cluster, s, before, began)


def test_haproxys_manifest_is_gone_where_the_address_is_and_is_put_back_unasked(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    s = bastion(cluster, planes=PLANES)
    before, began = boots(cluster), serving(cluster)
    kept(cluster, s, "haproxy")
    at = holder(cluster)
    at.sh(f"cp -p {HAPROXY} /root/haproxy.yaml; rm {HAPROXY}")
    try:
        incident = s.repaired(240)
    finally:
        at.sh(f"[ -e {HAPROXY} ] || cp -p /root/haproxy.yaml {HAPROXY}")
    assert incident["state"] == "apiserver-down" and incident["outcome"] == "recovered", incident
    done = [(p["playbook"], p["status"], {step["host"] for step in p["steps"]}) for p in s.plans(everything=True)]
    assert done == [("restore-manifest", "succeeded", {at.name})], done
    assert at.answers(f"cmp {HAPROXY} /root/haproxy.yaml")
    s.wait_state("healthy", seconds=60)
    assert boots(cluster) == before and serving(cluster) == began


def test_keepaliveds_manifests_are_gone_everywhere_and_nothing_is_put_back_unasked(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    """What takes them away on all machines at once may do it again."""
    s = bastion(cluster, planes=PLANES)
    before, began = boots(cluster), serving(cluster)
    kept(cluster, s, "keepalived")
    with without(planes(cluster), KEEPALIVED):
        missing = {("static-pod-manifest-missing", f"{n}/keepalived") for n in PLANES}
        s.wait(
            "each is found",
            lambda: missing <= {(f["code"], f["subject"]) for f in s.status()["findings"]},
            120,
        )
        plan = s.wait_plan("restore-manifest", 120)
        assert "manifests are gone at once" in str(plan["evidence"]), plan
        found = {f["code"] for f in s.status()["findings"] if f["severity"] == "fault"}
        assert found <= {"static-pod-manifest-missing", "api-address-wrong"}, found
        assert carried_out(s) == [], s.ctl("show", s.incidents()[0]["id"]).stdout
    s.wait_state("healthy", seconds=180)
    assert carried_out(s) == [] and s.plans() == []
    assert boots(cluster) == before and serving(cluster) == began


def test_two_machines_that_do_not_hear_each_other_both_have_the_address(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    """Found within the ten minutes between two closer looks at a machine that is well; here with the first ones."""
    before, began = boots(cluster), serving(cluster)
    at = holder(cluster)
    at.sh(
        "nft add table inet fault; nft add chain inet fault out '{ type filter hook output priority 0; }'; "
        "nft add rule inet fault out ip protocol 112 drop"
    )
    s = bastion(cluster, planes=PLANES, healthy=False)
    try:
        until("two machines have it", lambda: len(balanced.holders(planes(cluster))) == 2)
        found = s.wait(
            "it is found",
            lambda: next((f for f in s.status()["findings"] if f["code"] == "api-address-on-several"), None),
            120,
        )
        assert found["subject"] == balanced.address(cluster.number) and at.name in found["message"], found
        print(found["message"])
    finally:
        at.sh("nft delete table inet fault")
    holder(cluster)
    s.wait("it is gone", lambda: not any(f["code"] == "api-address-on-several" for f in s.status()["findings"]), 120)
    unharmed(cluster, s, before, began)


def test_haproxys_configuration_is_gone_everywhere_and_is_put_back(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    """kubelet makes an empty file in its place (FileOrCreate), with which haproxy ends; the copies are those of the
    healthy time.
    """
    s = bastion(cluster, planes=PLANES)
    before, began = boots(cluster), serving(cluster)
    s.wait(
        "they are remembered",
        lambda: all(balanced.HAPROXY_CFG in s.remembered(s.name).pod_files.get(n, {}) for n in PLANES),
        120,
    )
    for node in planes(cluster):
        node.sh(f"cp -p {balanced.HAPROXY_CFG} /root/haproxy.cfg; rm {balanced.HAPROXY_CFG}; pkill -x haproxy")
    try:
        plan = s.approve("restore-pod-files", 240)
        print([step["description"] for step in plan["steps"]])
        s.wait_state("healthy", seconds=400)
    finally:
        for node in planes(cluster):
            node.sh(f"[ -s {balanced.HAPROXY_CFG} ] || cat /root/haproxy.cfg >{balanced.HAPROXY_CFG}")
    assert {p["playbook"] for p in s.plans(everything=True)} == {"restore-pod-files"}
    assert boots(cluster) == before and serving(cluster) == began
