"""The script that restarts a static pod, with a kubelet that holds its container back: real
processes, and a systemctl of our own.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from recoverd.model.call import Call
from recoverd.model.unit_operations import RestartStaticPod
from tests.shells import SHELLS, command, sent


class Machine:
    """The component is a `sleep`, and what is called systemctl starts it anew."""

    def __init__(self, home: Path) -> None:
        self.pid, self.home = home / "pid", home
        self.start = f"sleep 600 >/dev/null 2>&1 & echo $! > {self.pid}"
        (home / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> {home}/asked\n{self.start}\n')
        (home / "systemctl").chmod(0o755)
        subprocess.run(["sh", "-c", self.start], check=True)

    def run(self, operation: RestartStaticPod) -> subprocess.CompletedProcess[str]:
        script = sent(operation.call(), f"pids() {{ ls -d /proc/$(cat {self.pid}) 2>/dev/null || true; }}")
        path = {"PATH": f"{self.home}:{os.environ['PATH']}"}
        return subprocess.run(["sh", "-c", script], env=os.environ | path, capture_output=True, text=True, timeout=60)

    @property
    def asked(self) -> str:
        return (self.home / "asked").read_text().strip() if (self.home / "asked").exists() else ""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    subprocess.run(["kill", made.pid.read_text().strip()], stderr=subprocess.DEVNULL, check=False)


def test_one_that_kubelet_holds_back_is_started_by_restarting_kubelet_once(machine: Machine) -> None:
    before = machine.pid.read_text()
    done = machine.run(RestartStaticPod("kube-apiserver", 40, start=True))
    assert (done.returncode, machine.asked) == (0, "restart kubelet"), done.stderr
    assert machine.pid.read_text() != before


def test_where_kubelet_must_not_be_restarted_it_is_told(machine: Machine) -> None:
    done = machine.run(RestartStaticPod("kube-scheduler", 2))
    assert (done.returncode, machine.asked) == (4, "") and "has started no new kube-scheduler within 2 s" in done.stderr


ID = "0123456789abcdef" * 4
STATIC = f"/kubepods/burstable/pod{ID[:32]}/{ID}"
OF_OTHERS = {
    "docker with systemd": f"/system.slice/docker-{ID}.scope",
    "docker with cgroupfs": f"/docker/{ID}",
    "podman": f"/machine.slice/libpod-{ID}.scope",
    "rootful podman with cgroupfs": f"/libpod_parent/libpod-{ID}",
    "nerdctl": f"/system.slice/nerdctl-{ID}.scope",
    "ctr run": f"/default/{ID}",
}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("lines", ["0::{}\n", "12:pids:{0}\n1:name=systemd:{0}\n0::/\n"], ids=["v2", "v1"])
@pytest.mark.parametrize("group", OF_OTHERS.values(), ids=OF_OTHERS.keys())
def test_an_etcd_in_somebodys_own_container_is_not_the_static_pod(
    group: str, lines: str, shell: str, tmp_path: Path
) -> None:
    """Else it would count as running while the cluster's is down, and be killed for it."""

    def placed(pid: int, group: str) -> str:
        process = tmp_path / "proc" / str(pid)
        process.mkdir(parents=True)
        (process / "comm").write_text("etcd\n")
        (process / "cgroup").write_text(lines.format(group))
        return str(process)

    def pids() -> str:
        text = sent(Call.of("pids", "etcd")).replace("/proc/[", f"{tmp_path}/proc/[").replace("/var/lib", f"{tmp_path}")
        return subprocess.run(command(shell), input=text, capture_output=True, text=True, timeout=60).stdout.strip()

    other = placed(7, group)
    assert pids() == ""
    (tmp_path / "kubelet").mkdir()
    (tmp_path / "kubelet/config.yaml").write_text("cgroupsPerQOS: false\n")
    assert pids() == other, "kubelet gives pods no cgroups of their own: the name has to do"
    (tmp_path / "kubelet/config.yaml").unlink()
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/10-site.conf").write_text("cgroupsPerQOS: false\n")
    assert pids() == "", "nobody has told kubelet of that directory"
    (tmp_path / "kubelet/kubeadm-flags.env").write_text(f'KUBELET_KUBEADM_ARGS="--config-dir={tmp_path}/parts"\n')
    assert pids() == other
    assert pids() != (own := placed(8, STATIC)) and pids() == own


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("component", "second"),
    [
        ("etcd", "etcd-events"),
        ("etcd", "events"),
        ("kube-scheduler", "kube-scheduler-batch"),
    ],
)
def test_a_second_static_pod_with_the_same_program_is_not_the_control_planes(
    component: str, second: str, shell: str, tmp_path: Path
) -> None:
    """Else it would count as running while the cluster's is down, and be killed with it: an etcd for events alone
    (`--etcd-servers-overrides`), another scheduler.
    """
    uids = {component: "a" * 32, second: "b" * 32, "kube-apiserver": "c" * 32}

    def placed(pid: int, pod: str) -> str:
        process = tmp_path / "proc" / str(pid)
        process.mkdir(parents=True)
        (process / "comm").write_text(f"{component[:15]}\n")
        (process / "cgroup").write_text(f"0::/kubepods.slice/kubepods-burstable-pod{uids[pod]}.slice/crio-{ID}.scope\n")
        return str(process)

    def log(pod: str) -> None:
        (tmp_path / "log" / f"kube-system_{pod}-cp1_{uids[pod]}").mkdir(parents=True)

    def pids() -> str:
        text = sent(Call.of("pids", component)).replace("/proc/[", f"{tmp_path}/proc/[")
        text = text.replace("/var/log/pods", f"{tmp_path}/log")
        return subprocess.run(command(shell), input=text, capture_output=True, text=True, timeout=60).stdout.strip()

    other = placed(7, second)
    assert pids() == other, "nothing tells it from the other"
    log(second)
    log("kube-apiserver")
    assert pids() == ""
    own = placed(8, component)
    assert pids() == own, "whose log is not there yet"
    log(component)
    assert pids() == own


@pytest.mark.parametrize("shell", SHELLS)
def test_where_the_cgroup_is_another_namespaces_the_name_has_to_do(shell: str, tmp_path: Path) -> None:
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/comm").write_text("etcd\n")
    (tmp_path / "proc/7/cgroup").write_text("0::/\n")
    text = sent(Call.of("pids", "etcd")).replace("/proc/[", f"{tmp_path}/proc/[")
    done = subprocess.run(command(shell), input=text, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == f"{tmp_path}/proc/7"
