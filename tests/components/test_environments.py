"""Machines and clusters that are not the lab's: programs in other directories, older and newer ones, static pods of
others. The real shell functions under each shell, with a PATH of what stands in for the programs.
"""

from __future__ import annotations

import gc
import os
import re
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recoverd.act.kube import Kube
from recoverd.act.point_node import absent
from recoverd.clients import hosts
from recoverd.clients.hosts import HostPool
from recoverd.config import SshSettings
from recoverd.model.call import Call
from recoverd.observe.api import api_client
from recoverd.observe.joining import LOOK, _offset
from recoverd.observe.kubeconfig import read_access
from recoverd.observe.lists import Answered, Lists
from recoverd.observe.services import PortBook
from tests.shells import BRIEFLY, SHELLS, command, sent

from .conftest import Sshd
from .test_api import Server, as_json


class Machine:
    """A machine's directories below `root`, and its programs."""

    def __init__(self, root: Path, shell: str) -> None:
        self.root, self.shell, self.tools = root, shell, root / "bin"
        for folder in ("bin", "etc/kubernetes/manifests", "etc/cni/net.d", "var/lib/recoverd", "run"):
            (root / folder).mkdir(parents=True)

    def tool(self, name: str, text: str) -> None:
        (self.tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.tools / name).chmod(0o755)

    def write(self, path: str, text: str = "x\n") -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        here = re.sub(r"/(etc|var|run)/", rf"{self.root}/\1/", script)
        env = {"PATH": f"{self.tools}:/usr/sbin:/usr/bin:/sbin:/bin"}
        return subprocess.run(
            [*command(self.shell), "-c", here], env=env, capture_output=True, text=True, timeout=60, check=False
        )


@pytest.fixture(params=SHELLS)
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine", request.param)


# --- where programs are ---


@pytest.mark.skipif(os.getuid() != 0, reason="as on real machines, root is asked")
async def test_programs_are_found_where_sudo_does_not_look(
    start_sshd: Callable[..., Sshd], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RHEL's `secure_path` is /sbin:/bin:/usr/sbin:/usr/bin, and Flatcar has kubeadm and crictl in /opt/bin."""
    assert {"/usr/local/bin", "/usr/local/sbin", "/opt/bin"} == set(hosts.PROGRAMS.split(":"))
    for folder in ("sudo", "own"):
        (tmp_path / folder).mkdir()
    sudo = tmp_path / "sudo/sudo"
    sudo.write_text('#!/bin/sh\nPATH=/sbin:/bin:/usr/sbin:/usr/bin; export PATH; shift; exec "$@"\n')
    for name in ("kubeadm-of-test", "sh"):
        (tmp_path / "own" / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "own" / name).chmod(0o755)
    sudo.chmod(0o755)
    monkeypatch.setattr(hosts, "PROGRAMS", f"{tmp_path}/own")
    sshd = start_sshd(SetEnv=f"PATH={tmp_path}/sudo:/usr/bin:/bin")
    for how in (True, False):
        pool = sshd.pool(sudo=how, connect_timeout=20.0)
        try:
            result = await pool.run("cp1", "command -v kubeadm-of-test; command -v sh", timeout=20)
        finally:
            await pool.close()
        found = result.stdout.split()
        assert found[0] == f"{tmp_path}/own/kubeadm-of-test", result
        assert not found[1].startswith(str(tmp_path))  # what is in PATH is not put aside for it


@pytest.mark.skipif(os.getuid() != 0, reason="as on real machines, root is asked")
async def test_only_what_a_script_prints_itself_counts(start_sshd: Callable[..., Sshd]) -> None:
    """A login shell that greets had every machine rebooted before it went down: its boot id seemed to be another one,
    and "already on its way" was read where nothing was said.
    """
    boot, asked = "abc-1", Call.of("boot_id").line
    pool = start_sshd(ForceCommand='printf "Welcome\\nto prod. "; eval "$SSH_ORIGINAL_COMMAND"').pool("cp1")
    try:
        result = await pool.run("cp1", f"boot_id() {{ echo {boot}; }}\n{asked}; echo $LC_ALL; true >&2", timeout=20)
        nothing = await pool.run("cp1", "true", timeout=20)
    finally:
        await pool.close()
    assert (result.stdout, nothing.stdout) == (f"{boot}\nC\n", "")


def test_a_script_in_a_command_is_one_word_to_every_login_shell() -> None:
    """csh ends a word in quotes at the end of a line, and fish reads a backslash between single quotes."""
    pool = HostPool(SshSettings("root", Path("key"), Path("hosts")), ())
    given = "printf '%s\\\\n' \"it's\" |\n  cat\n"
    command = pool._shell(5.0, given)
    assert not {"\n", "\\", "!"} & set(command) and command.count("'") == 2, command
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    assert (
        hosts.own(done.stdout) == subprocess.run(["sh", "-c", given], capture_output=True, text=True, check=True).stdout
    )


# --- kube-proxy's metrics, by version ---


@pytest.mark.parametrize(
    "told",
    [
        "kubeproxy_sync_proxy_rules_last_timestamp_seconds 1.7e+09",
        'kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"} 1.7e+09\n'
        'kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv6"} 0',
    ],
)
def test_rules_are_seen_to_be_written_by_a_kube_proxy_of_any_version(machine: Machine, told: str) -> None:
    """From 1.33 on its timestamp has a label for the address family (kubernetes/kubernetes#129173)."""
    machine.tool("curl", f"cat <<'EOF'\n# TYPE kubeproxy_sync_proxy_rules_last_timestamp_seconds gauge\n{told}\nEOF")
    machine.tool("conntrack", "exit 0")
    assert machine.run(sent(Call.of("rules_written"))).stdout == "written\n"


@pytest.mark.parametrize("told", ["_seconds 0", '_seconds{ip_family="IPv4"} 0'])
def test_rules_that_are_not_written_yet_are_not_seen_to_be(machine: Machine, told: str) -> None:
    machine.tool("curl", f"echo 'kubeproxy_sync_proxy_rules_last_timestamp{told}'")
    machine.tool("conntrack", "exit 0")
    assert machine.run(sent(Call.of("rules_written"), BRIEFLY)).stdout == ""


# --- static pods of others, as kube-vip's ---


def leftovers(machine: Machine) -> list[str]:
    lines = machine.run(f"NAMES=''\n{LOOK}").stdout.splitlines()
    return [x.removeprefix(f"left {machine.root}") for x in lines if x.startswith(f"left {machine.root}")]


def test_the_manifest_that_has_to_be_there_before_a_join_is_no_left_over(machine: Machine) -> None:
    """kubeadm's guide to highly available clusters puts kube-vip's there before the join."""
    machine.write("etc/kubernetes/manifests/kube-vip.yaml")
    assert leftovers(machine) == []
    machine.write("etc/kubernetes/manifests/kube-scheduler.yaml")
    assert leftovers(machine) == ["/etc/kubernetes/manifests/kube-scheduler.yaml"]


def test_a_join_begins_beside_it_and_its_taking_back_leaves_it(machine: Machine) -> None:
    ours, theirs = (f"etc/kubernetes/manifests/{name}.yaml" for name in ("etcd", "kube-vip"))
    machine.write(theirs, "vip\n")
    machine.tool("kubeadm", f"[ $1 != reset ] || rm -f {machine.root}/etc/kubernetes/manifests/*")
    for program in ("systemctl", "umount"):
        machine.tool(program, "exit 0")
    begun = machine.run(
        sent(Call.of("join_start", "label", 5, True, "cp2", "10.0.0.2", 6443, "vip:6443", "t", "h", "k"))
    )
    assert "kubeadm config print join-defaults says nothing" in begun.stderr, begun  # it got as far as that
    machine.write(ours)
    machine.write("var/lib/recoverd/joining", "label\n")
    instead = ("join_end_pods() { :; }", "join_end_containers() { :; }", "join_socket() { :; }")
    for _ in range(2):
        done = machine.run(sent(Call.of("join_clean", "label"), *instead))
        assert done.returncode == 0, done
    assert (machine.root / theirs).read_text() == "vip\n" and not (machine.root / ours).exists()
    assert not (machine.root / "var/lib/recoverd/joining-others").exists()


# --- what a restore point takes, by version ---


def test_kubelets_configmap_is_asked_for_by_its_name_of_before_1_24_too(machine: Machine) -> None:
    machine.write("etc/kubernetes/admin.conf")
    machine.tool("kubelet", "echo Kubernetes v1.20.2")
    machine.tool("kubectl", f'echo "$*" >>{machine.root}/asked')
    done = machine.run(sent(Call.of("take_point", "==", f"{machine.root}/aside", "id", False)))
    assert done.returncode == 0, done
    asked = (machine.root / "asked").read_text()
    assert " kubeadm-config kubelet-config kubelet-config-1.20 " in asked


def test_drop_ins_of_kubelets_configuration_are_taken(machine: Machine) -> None:
    parts = f"{machine.root}/etc/kubernetes/kubelet.conf.d"
    machine.write("etc/kubernetes/kubelet.conf.d/10-site.conf", "maxPods: 64\n")
    machine.write("var/lib/kubelet/kubeadm-flags.env", f'KUBELET_KUBEADM_ARGS="--config-dir={parts}"\n')
    done = machine.run(sent(Call.of("point_files", "==")))
    assert done.returncode == 0 and f"== file {parts}/10-site.conf\n" in done.stdout, done


def test_a_configmap_that_kubectl_did_not_give_is_named() -> None:
    both = b"items:\n- metadata:\n    name: kubeadm-config\n- metadata:\n    name: kubelet-config-1.20\n"
    assert absent(both) == []
    assert absent(both.replace(b"-1.20", b"")) == []
    assert absent(both.partition(b"kubelet")[0]) == ["kubelet-config"]
    assert absent(both.replace(b"-1.20", b"-of-others")) == ["kubelet-config"]


# --- busybox ---


def test_a_clock_without_fractions_is_read() -> None:
    for said in ("1700000000.%N\n", "1700000000.N\n", "1700000000.000000000\n", "1700000000\n"):
        assert _offset(said, 1700000000.0, 0.0) == 0.0, said


# --- endpoints in 1.17 ---


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    made = Server(tmp_path)
    await made.start()
    yield made
    await made.stop()


async def test_endpoint_slices_that_nobody_makes_are_not_believed(server: Server) -> None:
    """In 1.17 discovery.k8s.io/v1beta1 is served, and the gate EndpointSlice, which makes them, is off by default."""
    endpoints = [{"metadata": {"namespace": "default", "name": "kubernetes"}, "subsets": []}]
    server.answers |= {
        "/apis/discovery.k8s.io/v1/endpointslices": as_json({"kind": "Status", "code": 404}, 404),
        "/apis/discovery.k8s.io/v1beta1/endpointslices": as_json({"kind": "EndpointSliceList", "items": []}),
        "/api/v1/endpoints": as_json({"kind": "EndpointsList", "items": endpoints}),
    }
    client = api_client(await read_access(server.kubeconfig), f"https://127.0.0.1:{server.port}")
    kube, lists = Kube(server.kubeconfig, list), Lists(5.0)
    try:
        for read in (await lists.endpoints(client), await lists.endpoints_of(client, ["kubernetes"])):
            assert isinstance(read, Answered) and [i["subsets"] for i in read.body["items"]] == [[]], read
        assert (await kube._endpoints())["kind"] == "EndpointsList"
        made = {"kind": "EndpointSliceList", "items": [{"metadata": {"name": "kubernetes"}}]}
        server.answers["/apis/discovery.k8s.io/v1beta1/endpointslices"] = as_json(made)
        read = await Lists(5.0).endpoints(client)
        assert isinstance(read, Answered) and read.body["items"] == made["items"]  # where somebody does, they are
        assert await kube._endpoints() == made
    finally:
        await client.close()  # type: ignore[no-untyped-call]
        await kube.close()


async def test_a_list_is_held_only_where_it_is_given_again(server: Server) -> None:
    """A large one is not read in every sweep; of one that is, nothing has to stay in memory until the next."""
    client = api_client(await read_access(server.kubeconfig), f"https://127.0.0.1:{server.port}")
    lists, path = Lists(5.0), "/api/v1/services"
    try:
        for size, again in ((10, False), (2 << 20, True)):
            items = [{"metadata": {"name": "x" * size}, "spec": None}]
            server.answers[path] = as_json({"kind": "ServiceList", "items": items})
            assert isinstance(await lists.services(client), Answered)
            gc.collect()
            assert any(isinstance(held, Answered) for held in gc.get_objects()) is again
            server.answers[path] = as_json({"kind": "ServiceList", "items": []})
            read = await lists.services(client)
            assert isinstance(read, Answered) and bool(read.body["items"]) is again
            del read
    finally:
        await client.close()  # type: ignore[no-untyped-call]


async def test_a_large_list_with_the_same_items_is_what_was_made_of_it_before(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recoverd.observe.lists.LARGE", 200)
    client = api_client(await read_access(server.kubeconfig), f"https://127.0.0.1:{server.port}")
    lists, book, made = Lists(5.0), PortBook(), []
    service: dict[str, Any] = {"metadata": {"name": "web"}, "spec": {"clusterIP": "10.96.0.9", "ports": [{"port": 80}]}}
    slices = "/apis/discovery.k8s.io/v1/endpointslices"

    def answered(version: int, address: str) -> None:
        ready = {"addresses": [address], "conditions": {"ready": True}}
        meta = {"name": "web-x", "labels": {"kubernetes.io/service-name": "web"}, "uid": "u" * 200}
        items = [{"metadata": meta, "addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": [ready]}]
        listed = {"metadata": {"resourceVersion": str(version)}}
        server.answers[slices] = as_json({"kind": "EndpointSliceList", **listed, "items": items})
        server.answers["/api/v1/services"] = as_json({"kind": "ServiceList", **listed, "items": [service] * 9})

    try:
        for version, address in ((1, "10.1.0.1"), (2, "10.1.0.1"), (3, "10.1.0.2")):
            answered(version, address)
            services, endpoints = await lists.services(client), await lists.endpoints(client)
            assert isinstance(services, Answered) and isinstance(endpoints, Answered)
            made.append((services.body, endpoints.body, book.ports(services, endpoints, ipv6=False)))
        (a, b, first), (c, d, second), (e, f, third) = made
        assert a is c is e and b is d and first is second, "the version of the whole list is none of its items'"
        assert f is not b and third["/web:80"].ready[0].address == "10.1.0.2:8080" != first["/web:80"].ready[0].address
        small = [replace(read, digest=b"") for read in (services, endpoints)]
        assert book.ports(*small, ipv6=False) is not book.ports(*small, ipv6=False), "nothing tells that they are"
    finally:
        await client.close()  # type: ignore[no-untyped-call]
