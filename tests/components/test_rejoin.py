"""What is done before a machine joins again: what it has left running is ended, among processes of its own; and its
node is awaited not Ready, at a real API server.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recoverd.act.carry import HANDS, Carry
from recoverd.act.kube import Kube
from recoverd.act.rejoin import await_node_unready
from recoverd.clients.etcd import EtcdClient
from recoverd.clients.hosts import HostPool
from recoverd.model.join_operations import CheckJoin, EndLeftPods
from recoverd.model.joining import Probe
from recoverd.model.node_operations import AwaitNodeUnready
from recoverd.model.settings import Bounds, HostSettings
from tests.shells import SHELLS, command, sent

from .apiserver import ApiServer
from .conftest import EtcdNode, Sshd
from .test_certs import Node, Processes, processes  # noqa: F401  a fixture
from .test_cordon import kube  # noqa: F401  a fixture

POD = "0::/kubepods.slice/kubepods-burstable.slice/x"


@pytest.fixture
def machine(processes: Processes, tmp_path: Path) -> Node:  # noqa: F811
    """A machine that was reset, without systemd and without a runtime."""
    for folder in ("etc/kubernetes/manifests", "bin", "var/lib/etcd"):
        (tmp_path / folder).mkdir(parents=True)
    for program in ("systemctl", "crictl", "ctr"):
        (tmp_path / "bin" / program).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "bin" / program).chmod(0o755)
    return Node(tmp_path, processes)


def end_left(machine: Node, shell: str) -> subprocess.CompletedProcess[str]:
    """One process is a pod's, by what is mounted over its control group, and one is not."""
    machine.root.joinpath("cgroup").write_text(f"{POD}\n")
    machine.root.joinpath("end.sh").write_text(sent(EndLeftPods().call()))
    script = (
        f"{machine.enter}; export PATH; sleep 600 & pod=$!; sleep 600 & other=$!; "
        f"mount --bind {machine.root}/cgroup /proc/$pod/cgroup; "
        f"{' '.join(command(shell))} {machine.root}/end.sh; status=$?; "
        "kill -0 $pod 2>/dev/null && grep -q State:.Z /proc/$pod/status && wait $pod; "
        "kill -0 $pod 2>/dev/null && echo pod; kill -0 $other && echo other; "
        "kill -9 $pod $other 2>/dev/null; exit $status"
    )
    return subprocess.run(machine.processes.enter(script), capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("shell", SHELLS)
def test_what_runs_in_pods_is_ended_and_nothing_else(machine: Node, shell: str) -> None:
    done = end_left(machine, shell)
    assert (done.stdout.split(), done.returncode) == (["other"], 0), done.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_what_runs_in_a_pod_is_asked_to_end_before_it_is_made_to(machine: Node, shell: str) -> None:
    """As keepalived, which takes the cluster's address off the machine then; and one that does not listen is killed."""
    machine.root.joinpath("cgroup").write_text(f"{POD}\n")
    machine.root.joinpath("end.sh").write_text(sent(EndLeftPods().call()))
    script = (
        f"{machine.enter}; export PATH; "
        f"(trap 'echo gave back >{machine.root}/said; exit' TERM; touch {machine.root}/a; "
        "while :; do sleep 0.1; done) & "
        f"one=$!; (trap '' TERM; touch {machine.root}/b; while :; do sleep 0.1; done) & other=$!; "
        f"until [ -e {machine.root}/a ] && [ -e {machine.root}/b ]; do sleep 0.1; done; "
        f"for p in $one $other; do mount --bind {machine.root}/cgroup /proc/$p/cgroup; done; "
        f"{' '.join(command(shell))} {machine.root}/end.sh & end=$!; wait $one $other; "
        f"umount /proc/$one/cgroup /proc/$other/cgroup; wait $end"
    )
    done = subprocess.run(machine.processes.enter(script), capture_output=True, text=True, timeout=120, check=False)
    assert (machine.root / "said").read_text() == "gave back\n", done.stderr
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "left", ["etc/kubernetes/kubelet.conf", "etc/kubernetes/manifests/etcd.yaml", "var/lib/etcd/member"]
)
def test_on_a_machine_that_is_anything_yet_nothing_is_ended(machine: Node, left: str) -> None:
    (machine.root / left).write_text("")
    done = end_left(machine, SHELLS[0])
    assert (done.stdout.split(), done.returncode) == (["pod", "other"], 3) and left in done.stderr


async def test_a_node_is_awaited_not_ready_or_gone(kube: Kube, api: ApiServer) -> None:  # noqa: F811
    until = asyncio.get_running_loop().time
    asked = AwaitNodeUnready("w1")
    assert (await await_node_unready(asked, kube, until() + 10)).ok, "it has no condition yet"
    ready = {"metadata": {"name": "w1"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    path = "/api/v1/nodes/w1/status"
    assert await api.ask("PUT", path, admin=True, body=ready) == 200
    refused = await await_node_unready(asked, kube, until() + 3)
    assert not refused.ok and "is Ready still" in refused.detail
    assert (await await_node_unready(AwaitNodeUnready("gone"), kube, until() + 10)).ok


async def test_every_machine_is_asked_and_what_is_lacking_is_told_at_once(
    start_sshd: Callable[..., Sshd], etcd: EtcdNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real machines, of which neither is a node, and a real etcd; no port of theirs is tried."""

    async def untried(*_: object) -> tuple[tuple[Probe, ...], str]:
        return (), ""

    monkeypatch.setattr("recoverd.observe.joining.reach", untried)
    first = start_sshd(address="127.0.0.1")
    start_sshd(address="127.0.0.2", like=first)
    pool = HostPool(first.settings, (HostSettings("cp1", "127.0.0.1"), HostSettings("cp3", "127.0.0.2")))
    member = EtcdClient(pool, "cp1", port=etcd.port, metrics_port=etcd.metrics_port, pki=str(etcd.pki))
    cluster = SimpleNamespace(settings=SimpleNamespace(bounds=Bounds()))
    reach: Any = SimpleNamespace(
        cluster=cluster, hosts=pool, etcd=lambda _: member, addresses={"cp1": "127.0.0.1", "cp3": "127.0.0.2"}
    )
    asked = CheckJoin("cp1", "cp3", "127.0.0.2", ("cp1",), ("audit-policy-file",))
    try:
        told = await HANDS[CheckJoin](asked, Carry("cp3", 0.0, False, False, reach))
        etcd.kill()
        mute = await HANDS[CheckJoin](asked, Carry("cp3", 0.0, False, False, reach))
    finally:
        await pool.close()
    assert not told.ok and told.untouched and told.detail.startswith("cp3 cannot join: name and address: ")
    for what in ("calls itself", "kubeadm-config", "--audit-policy-file", "ports cp1 -> cp3", "nothing was changed"):
        assert what in told.detail, told.detail
    assert not mute.ok and mute.untouched and "etcd on cp1 tells nothing" in mute.detail
