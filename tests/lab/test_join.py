"""`recoverctl join-control-plane`: refused for a reason, taken back when port 2380 is blocked after the
checks, and done, up to three voters.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.lab import etcd
from tests.lab.bastion import RECOVERCTL, Bastion
from tests.lab.kubelab import balanced
from tests.lab.kubelab.cluster import Cluster
from tests.lab.kubelab.node import Node
from tests.lab.witness import ready

OPTIONS = ("--skip-preflight", "--take-back-single-member")
BLOCK = (
    "nft add table inet fault; nft add chain inet fault in '{ type filter hook input priority 0; }'; "
    "nft add chain inet fault out '{ type filter hook output priority 0; }'; "
    "nft add rule inet fault in tcp dport 2380 drop; nft add rule inet fault out tcp dport 2380 drop"
)
LEFT = (
    "/etc/kubernetes/*.conf /etc/kubernetes/manifests/{etcd,kube-*}.yaml /etc/kubernetes/pki /var/lib/etcd/member "
    "/var/lib/recoverd/joining"
)
CLEAN = f"! ls {LEFT} 2>/dev/null | grep ."
BALANCERS = "cat /etc/kubernetes/manifests/{haproxy,keepalived}.yaml 2>/dev/null | sha256sum"
"""Where the machines balance themselves, they are there before a join, and stay."""


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=1, spares=2, workers=1)


@contextmanager
def joining(daemon: Bastion, node: Node, *options: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """`recoverctl join-control-plane` at work, and the lines that it has printed so far."""
    command = [
        *RECOVERCTL,
        "--socket",
        str(daemon.socket),
        "join-control-plane",
        f"lab{node.cluster}",
        node.name,
        node.address,
        *options,
    ]
    lines: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True
    ) as process:
        reader = threading.Thread(target=_each, args=(process, lines))
        reader.start()
        try:
            yield process, lines
        finally:
            if process.poll() is None:
                process.wait(400)
            reader.join()


def _each(process: subprocess.Popen[str], lines: list[str]) -> None:
    assert process.stdout
    for line in process.stdout:
        lines.append(line.rstrip())


def join(daemon: Bastion, node: Node, *options: str) -> tuple[int, str]:
    with joining(daemon, node, *options) as (process, lines):
        process.wait(400)
    return process.returncode, "\n".join(lines)


@contextmanager
def lying(node: Node, program: str, script: str) -> Iterator[None]:
    """Another program of the same name comes first in the PATH."""
    node.sh(f"printf '#!/bin/sh\\n%s\\n' '{script}' > /usr/local/bin/{program}; chmod +x /usr/local/bin/{program}")
    try:
        yield
    finally:
        node.sh(f"rm /usr/local/bin/{program}")


def address_of_cp1_alone(cluster: Cluster) -> None:
    """keepalived on a machine that joins may have the cluster's address while the API server of the other is away; what
    is cleaned does not keep it.
    """
    if cluster.profile.balances_itself:
        cluster.node("cp1").wait_for(
            lambda: balanced.holders([n for n in cluster.nodes if n.name.startswith("cp")]) == ["cp1"],
            "has not the address alone",
            30,
        )


def untouched(cluster: Cluster, daemon: Bastion) -> None:
    assert etcd.members(cluster.node("cp1")) == ["cp1"]
    assert cluster.node("cp2").answers(CLEAN)
    assert daemon.plans(everything=True) == []


def test_blocked_after_the_checks_it_is_taken_back(cluster: Cluster, bastion: Callable[..., Bastion]) -> None:
    daemon = bastion(cluster, planes=("cp1",))
    cp1, cp2 = cluster.node("cp1"), cluster.node("cp2")
    others = cp2.sh(BALANCERS, capture_output=True).stdout
    away: list[float] = []
    with joining(daemon, cp2, *OPTIONS) as (process, lines):
        daemon.wait(
            "the plan begins",
            lambda: any("plan-started" in line for line in lines) or process.poll() is not None,
            90,
            every=0.05,
        )
        cp2.sh(BLOCK)
        while process.poll() is None:
            away += [] if ready(cp1) else [time.monotonic()]
            time.sleep(0.2)
    told = "\n".join(lines)
    print(told)
    assert process.returncode == 1, told
    assert "has not started within" in told
    assert f"ports cp1 -> cp2: 2379, 2380, {cluster.profile.api_port} open" in told
    assert away, "the API server never failed, so nothing was shown"
    print(f"the API server was away for {away[-1] - away[0]:.1f} s")
    assert away[-1] - away[0] < 60, "taking it back is not left to chance"
    assert etcd.members(cp1) == ["cp1"]
    assert cp2.answers(CLEAN), cp2.sh("ls /etc/kubernetes /var/lib/etcd", capture_output=True).stdout
    assert cp2.sh(BALANCERS, capture_output=True).stdout == others
    assert "cp2" not in cp1.sh("kubectl get nodes -o name", capture_output=True).stdout
    assert not daemon.journal("SELECT 1 FROM plan WHERE json LIKE '%certificate-key%'")
    cp2.sh("nft flush ruleset")
    address_of_cp1_alone(cluster)
    daemon.wait_state("healthy", seconds=60)


def test_what_is_not_as_it_must_be_is_refused_before_anything_is_changed(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    daemon = bastion(cluster, planes=("cp1",))
    cp1, cp2 = cluster.node("cp1"), cluster.node("cp2")
    cp2.sh(BLOCK)
    try:
        code, told = join(daemon, cp2, *OPTIONS)
    finally:
        cp2.sh("nft flush ruleset")
    print(told)
    assert code == 1, told
    assert "FAILED    ports cp1 -> cp2: 2380 no answer" in told
    assert "FAILED    ports cp2 -> cp1: 2380 no answer" in told
    assert told.count("FAILED") == 2, told
    with lying(cp2, "kubeadm", "echo v1.23.4"):
        code, told = join(daemon, cp2, *OPTIONS)
    assert code == 1 and "FAILED    versions: cp2 has kubeadm v1.23.4" in told, told
    with lying(cp2, "date", "echo $(($(/usr/bin/date +%s) + 3600)).0"):
        code, told = join(daemon, cp2, *OPTIONS)
    assert code == 1 and "FAILED    time: cp2 is 3" in told and " s ahead of cp1" in told, told
    code, told = join(daemon, cp2, "--skip-preflight")
    assert code == 1 and "FAILED    etcd quorum" in told and "--take-back-single-member" in told, told
    code, told = join(daemon, cp1, *OPTIONS)
    assert code == 1 and "there is a node cp1 already" in told, told
    untouched(cluster, daemon)


def test_a_certificate_key_that_is_over_when_kubeadm_asks_is_named_and_nothing_is_joined(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    """Each join makes its own key; the cluster deletes the Secret after two hours, and here
    before kubeadm has come to it.
    """
    daemon = bastion(cluster, planes=("cp1",))
    cp1, cp2 = cluster.node("cp1"), cluster.node("cp2")
    hold = 'case $1 in join) while ! [ -e /run/go ]; do sleep 0.1; done;; esac; exec /usr/bin/kubeadm "$@"'
    with lying(cp2, "kubeadm", hold), joining(daemon, cp2, *OPTIONS) as (process, lines):
        daemon.wait(
            "the join begins",
            lambda: any("kubeadm join is at work" in line for line in lines) or process.poll() is not None,
            90,
        )
        cp1.sh("kubectl -n kube-system delete secret kubeadm-certs >/dev/null")
        cp2.sh("touch /run/go")
        process.wait(400)
    told = "\n".join(lines)
    print(told)
    assert process.returncode == 1 and "kubeadm-certs" in told and "expired" in told, told
    assert etcd.members(cp1) == ["cp1"] and cp2.answers(CLEAN)
    assert "cp2" not in cp1.sh("kubectl get nodes -o name", capture_output=True).stdout
    daemon.wait_state("healthy", seconds=60)


def test_killed_during_the_join_it_is_watched_on_and_taken_back(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    daemon = bastion(cluster, planes=("cp1",))
    cp1, cp2 = cluster.node("cp1"), cluster.node("cp2")
    with joining(daemon, cp2, *OPTIONS) as (process, lines):
        daemon.wait(
            "the join begins",
            lambda: any("kubeadm join is at work" in line for line in lines) or process.poll() is not None,
            90,
            every=0.05,
        )
        cp2.sh(BLOCK)
        daemon.kill()
        process.wait(60)
    assert process.returncode == 3, lines
    daemon.start()
    try:
        daemon.wait("the plan ends", lambda: not daemon.plans(), 180)
    finally:
        cp2.sh("nft flush ruleset")
    [plan] = daemon.plans(everything=True)
    assert plan["status"] == "failed", plan
    print(plan["reason"])
    assert etcd.members(cp1) == ["cp1"]
    assert cp2.answers(CLEAN)
    address_of_cp1_alone(cluster)
    daemon.wait_state("healthy", seconds=60)


@pytest.mark.core("join-control-plane")
@pytest.mark.spoils
def test_good_joins_end_with_three_healthy_voters(cluster: Cluster, bastion: Callable[..., Bastion]) -> None:
    daemon = bastion(cluster, planes=("cp1",))
    cp1 = cluster.node("cp1")
    code, told = join(daemon, cluster.node("cp2"), *OPTIONS)
    print(told)
    assert code == 0, told
    assert f"  - {{name: cp2, address: {cluster.node('cp2').address}}}" in told
    assert etcd.members(cp1) == ["cp1", "cp2"]
    daemon.stop()
    daemon.let_go()
    daemon = bastion(cluster, planes=("cp1", "cp2"))
    code, told = join(daemon, cluster.node("cp3"), "--skip-preflight")
    print(told)
    assert code == 0, told
    assert etcd.members(cp1) == ["cp1", "cp2", "cp3"]
    for name in ("cp1", "cp2", "cp3"):
        assert ready(cluster.node(name))
