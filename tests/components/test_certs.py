"""Certificates on a real machine: kubeadm's own files in a root of their own, looked at and acted upon over a real
sshd, with openssl and kubeadm.
"""

from __future__ import annotations

import asyncio
import base64
import re
import shlex
import shutil
import stat
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from recoverd.diagnose import diagnose
from recoverd.memory.pki import pki_of
from recoverd.model.catalogue import Code, path_in
from recoverd.model.facts import FileFacts
from recoverd.model.finding import Diagnosis, Severity
from recoverd.model.observation import EndpointHealth, HostView
from recoverd.model.pki_operations import KeepPki, PutBackKeys, PutBackPki, RenewLeaves, RepairKubeletClient
from recoverd.observe.hosts import look_at
from recoverd.observe.keys import KeyWatch
from tests.pki import leaves, load, reissue
from tests.unit.builders import Cluster

from .conftest import Sshd, end
from .test_act import Hands

KUBEADM = shutil.which("kubeadm") or "/var/cache/recoverd-lab/bin/kubeadm"
KEPT = "/var/lib/recoverd/pki"
CONFIG = """apiVersion: kubeadm.k8s.io/v1beta2
kind: InitConfiguration
localAPIEndpoint: {advertiseAddress: 10.99.0.1, bindPort: 6443}
nodeRegistration: {name: cp1, criSocket: /run/none.sock}
---
apiVersion: kubeadm.k8s.io/v1beta2
kind: ClusterConfiguration
kubernetesVersion: v1.20.2
"""


class Processes:
    """A namespace of processes: what ends a machine's static pods by their names must find none of
    the machine that runs the tests.
    """

    def __init__(self) -> None:
        command = ["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", "echo; exec sleep infinity"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout and self._process.stdout.readline() == b"\n"
        self._first = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().strip()

    def enter(self, script: str) -> list[str]:
        """A command that runs `script` among them, with mounts of its own."""
        return [
            "nsenter",
            "--target",
            self._first,
            "--pid",
            "unshare",
            "--mount",
            "sh",
            "-c",
            f"mount -t proc proc /proc && {script}",
        ]

    def close(self) -> None:
        end(self._process, kill=True)


class Node:
    """A root in which /etc and /var/lib are another machine's, with processes of its own; `sh` runs there, and
    so does what comes over `sshd`.
    """

    def __init__(self, root: Path, processes: Processes) -> None:
        self.root, self.processes = root, processes
        self.kubernetes, self.kubelet, self.kept = (
            root / "etc/kubernetes",
            root / "var/lib/kubelet/pki",
            root / "var/lib/recoverd/pki",
        )

    @property
    def enter(self) -> str:
        return (
            f"mount --bind {self.root}/etc /etc && mount --bind {self.root}/var/lib /var/lib && "
            f"PATH={self.root}/bin:$PATH"
        )

    def sh(self, script: str) -> str:
        return subprocess.run(
            self.processes.enter(f"{self.enter}\n{script}"), capture_output=True, text=True, check=True, timeout=300
        ).stdout

    def text(self, name: str) -> str:
        return (self.kubernetes / name).read_text()

    def everything(self) -> dict[str, bytes]:
        files = [p for p in (*self.kubernetes.rglob("pki/**/*"), *self.kubernetes.glob("*.conf")) if p.is_file()]
        return {str(p.relative_to(self.kubernetes)): p.read_bytes() for p in files}


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True).returncode:
        pytest.skip("the right to make namespaces of mounts and processes is needed")
    made = Processes()
    yield made
    made.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, processes: Processes) -> Node:
    """What `kubeadm init` leaves, and kubelet once its client certificate was rotated for the first
    time. /etc/other is another run's.
    """
    if not Path(KUBEADM).exists():
        pytest.skip("there is no kubeadm: `tests/lab/lab build` makes one")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is needed")
    node = Node(tmp_path_factory.mktemp("node"), processes)
    for folder in ("etc/kubernetes/manifests", "etc/ssl", "bin", "var/lib/kubelet/pki", "var/lib/etcd"):
        (node.root / folder).mkdir(parents=True)
    for file in ("passwd", "group", "ssl/openssl.cnf"):
        shutil.copy(f"/etc/{file}", node.root / "etc" / file)
    (node.root / "bin/kubeadm").symlink_to(KUBEADM)
    (node.root / "etc/config.yaml").write_text(CONFIG)
    make = (
        "kubeadm init phase certs all --config /etc/config.yaml && kubeadm init phase kubeconfig all "
        "--config /etc/config.yaml"
    )
    node.sh(f"{make} && mv /etc/kubernetes /etc/other && mkdir -p /etc/kubernetes/manifests && {make}")
    conf = node.text("kubelet.conf")
    pair = [
        base64.b64decode(re.search(rf"client-{kind}-data: (\S+)", conf)[1]).decode() for kind in ("certificate", "key")
    ]  # type: ignore[index]
    (node.kubelet / "kubelet-client-2026-01-01.pem").write_text("".join(pair))
    node.sh("ln -s /var/lib/kubelet/pki/kubelet-client-2026-01-01.pem /var/lib/kubelet/pki/kubelet-client-current.pem")
    current = "/var/lib/kubelet/pki/kubelet-client-current.pem"
    conf = re.sub(r"client-certificate-data: \S+", f"client-certificate: {current}", conf)
    (node.kubernetes / "kubelet.conf").write_text(re.sub(r"client-key-data: \S+", f"client-key: {current}", conf))
    return node


@pytest.fixture
def node(made: Node, tmp_path: Path) -> Node:
    shutil.copytree(made.root, tmp_path / "root", symlinks=True)
    return Node(tmp_path / "root", made.processes)


@pytest.fixture
async def hands(node: Node, start_sshd: Callable[..., Sshd], tmp_path: Path) -> AsyncIterator[Hands]:
    wrapper = tmp_path / "enter"
    command = shlex.join(node.processes.enter(f'{node.enter} && eval "$SSH_ORIGINAL_COMMAND"'))
    wrapper.write_text(f"#!/bin/sh\nexport SSH_ORIGINAL_COMMAND\nexec {command}\n")
    wrapper.chmod(0o755)
    made = Hands(start_sshd(ForceCommand=str(wrapper)), tmp_path / "state")
    yield made
    await made.pool.close()


async def seen(hands: Hands, watch: KeyWatch | None = None) -> HostView:
    view = await look_at(hands.pool, "cp1", 10.0, keys=watch or KeyWatch())
    assert isinstance(view, HostView), view
    assert not [p for p in view.problems if "certificate" in p]
    return view


def told(
    view: HostView, before: HostView | None = None, down: bool = False, health: EndpointHealth = EndpointHealth.REFUSED
) -> Diagnosis:
    """What is found of a cluster whose only control plane has these certificates, where `before`
    was there while it was healthy.
    """
    cluster = Cluster(control_planes=1, now=datetime.now(UTC))
    memory = cluster.memory()
    host = cluster.hosts["cp1"]
    assert isinstance(host, HostView)
    cluster.hosts["cp1"] = replace(host, certificates=view.certificates, pki=view.pki)
    known = pki_of(before, None, cluster.now) if before else None
    if down or health is EndpointHealth.TLS:
        cluster.api_down("cp1", health=health)
    if down:
        cluster.etcd_stopped("cp1")
    return diagnose(cluster.observation(), replace(memory, pki={"cp1": known} if known else {}), cluster.settings)


def found(diagnosis: Diagnosis, code: str) -> dict[str, Severity]:
    return {
        path_in(f.subject).removeprefix("/etc/kubernetes/"): f.severity for f in diagnosis.findings if f.code == code
    }


# --- looking ---


async def test_what_kubeadm_made_fits_together(hands: Hands, node: Node) -> None:
    view = await seen(hands)
    assert view.pki is not None
    paths = {c.path.removeprefix("/etc/kubernetes/") for c in view.certificates}
    assert {
        "pki/ca.crt",
        "pki/etcd/ca.crt",
        "pki/front-proxy-ca.crt",
        "pki/front-proxy-client.crt",
        "pki/apiserver.crt",
        "admin.conf",
    } <= paths
    assert {
        "pki/etcd/server.crt",
        "pki/etcd/peer.crt",
        "pki/etcd/healthcheck-client.crt",
        "pki/apiserver-etcd-client.crt",
        "scheduler.conf",
    } <= paths
    assert {
        "controller-manager.conf",
        "pki/apiserver-kubelet-client.crt",
        "/var/lib/kubelet/pki/kubelet-client-current.pem",
    } <= paths
    assert all(c.signed for c in view.certificates if not c.is_ca) and all(
        c.signed is None for c in view.certificates if c.is_ca
    )
    assert len(view.pki.keys) == len([*node.kubernetes.rglob("*.key")]) + 4 and "" not in view.pki.keys.values()
    assert set(view.pki.authorities["/etc/kubernetes/kubelet.conf"]) == set(
        view.pki.authorities["/etc/kubernetes/pki/ca.crt"]
    )
    assert "PRIVATE" not in repr(view)
    assert not told(view, view).findings


async def test_keys_are_asked_about_again_only_when_a_file_changed(hands: Hands, node: Node) -> None:
    watch = KeyWatch()
    first = await seen(hands, watch)
    shutil.move(node.root / "etc/ssl/openssl.cnf", node.root / "etc/ssl/gone")
    again = await seen(hands, watch)
    assert again.pki == first.pki
    shutil.copy(node.kubernetes / "pki/sa.key", node.kubernetes / "pki/apiserver.key")
    assert first.pki and (changed := (await seen(hands, watch)).pki)
    assert changed.keys["/etc/kubernetes/pki/apiserver.key"] == first.pki.keys["/etc/kubernetes/pki/sa.key"]


async def test_expiry_with_a_real_ca_and_real_dates(hands: Hands, node: Node) -> None:
    reissue(node.kubernetes, days=-1)
    over = found(told(await seen(hands), down=True), Code.CERTIFICATE_EXPIRED)
    assert over.pop("admin.conf") is Severity.NOTICE
    assert len(over) == len(leaves(node.kubernetes)) - 1 and set(over.values()) == {Severity.FAULT}
    reissue(node.kubernetes, days=10)
    diagnosis = told(await seen(hands))
    assert not diagnosis.faults and set(found(diagnosis, Code.CERTIFICATE_EXPIRES_SOON).values()) == {Severity.WARNING}


async def test_a_key_that_does_not_fit_and_a_leaf_of_another_ca(hands: Hands, node: Node) -> None:
    shutil.copy(node.kubernetes / "pki/sa.key", node.kubernetes / "pki/apiserver.key")
    (node.kubernetes / "pki/etcd/peer.key").write_text("")
    shutil.copy(node.kubernetes / "pki/etcd/server.crt", node.kubernetes / "pki/front-proxy-client.crt")
    diagnosis = told(await seen(hands))
    wrong = {
        path_in(f.subject).rsplit("/", 1)[-1]: f.facts.wrong
        for f in diagnosis.findings
        if isinstance(f.facts, FileFacts) and f.facts.wrong
    }
    assert wrong == {"apiserver.crt": {"key"}, "peer.crt": {"key"}, "front-proxy-client.crt": {"signature", "key"}}
    assert {f.severity for f in diagnosis.findings} == {Severity.WARNING}
    assert set(found(told(await seen(hands), down=True), Code.CERTIFICATE_MISMATCH).values()) == {Severity.FAULT}


async def test_what_the_incident_did_by_hand_is_recognised(hands: Hands, node: Node) -> None:
    """Leaves, kubeconfigs and the front-proxy CA moved away and made anew, the CA kept; then the CA as well."""
    before = await seen(hands)
    move = "mkdir /etc/old && cd /etc/kubernetes && mv pki/apiserver* pki/front-proxy* pki/etcd/[sph]* *.conf /etc/old"
    node.sh(f"{move}")
    gone = found(told(await seen(hands), before, down=True), Code.CERTIFICATE_MISSING)
    assert gone["pki/apiserver.crt"] is Severity.FAULT and "admin.conf" not in gone
    node.sh(
        "kubeadm init phase certs all --config /etc/config.yaml && kubeadm init phase kubeconfig all "
        "--config /etc/config.yaml"
    )
    diagnosis = told(await seen(hands), before)
    assert found(diagnosis, Code.PKI_REPLACED) == {"pki/front-proxy-ca.crt": Severity.WARNING}
    (finding,) = (f for f in diagnosis.findings if f.code == Code.PKI_REPLACED)
    assert any(re.search(r"cp1: \d+ of \d+ certificates are others than before", line) for line in finding.evidence)
    node.sh("mv /etc/kubernetes /etc/old/whole && cp -a /etc/other /etc/kubernetes")
    replaced = found(told(await seen(hands), before, health=EndpointHealth.TLS), Code.PKI_REPLACED)
    assert replaced == {
        "pki/ca.crt": Severity.FAULT,
        "pki/etcd/ca.crt": Severity.WARNING,  # its etcd still serves
        "pki/front-proxy-ca.crt": Severity.WARNING,
        "pki/sa.key": Severity.WARNING,
    }


async def test_a_kubeconfig_that_trusts_another_ca(hands: Hands, node: Node) -> None:
    other = base64.b64encode((node.kubernetes / "pki/etcd/ca.crt").read_bytes()).decode()
    conf = node.kubernetes / "scheduler.conf"
    conf.write_text(re.sub(r"(certificate-authority-data:) \S+", rf"\1 {other}", conf.read_text()))
    assert set(found(told(await seen(hands)), Code.CERTIFICATE_MISMATCH)) == {"scheduler.conf"}


# --- keeping, renewing, putting back ---


async def test_renewed_by_kubeadm_and_put_back(hands: Hands, node: Node) -> None:
    reissue(node.kubernetes, days=-1)
    before = node.everything()
    kept, renew = f"{KEPT}/before-prod-1", RenewLeaves(f"{KEPT}/before-prod-1")
    refused = await hands.do(renew)
    assert not refused.ok and "nothing was kept" in refused.detail and node.everything() == before
    assert (await hands.do(KeepPki(kept))).ok
    assert stat.S_IMODE(node.kept.stat().st_mode) == stat.S_IMODE((node.kept / "before-prod-1").stat().st_mode) == 0o700
    result = await hands.do(renew, timeout=60.0)
    assert result.ok, result.detail
    view = await seen(hands)
    assert not told(view).findings
    after = node.everything()
    cas = ("pki/ca.crt", "pki/ca.key", "pki/etcd/ca.crt", "pki/front-proxy-ca.crt", "pki/sa.key", "kubelet.conf")
    assert all(after[f] == before[f] for f in cas) and after["pki/apiserver.crt"] != before["pki/apiserver.crt"]
    again = await hands.do(renew, resume=True)
    assert again.ok and again.already_done and node.everything() == after
    back = PutBackPki(kept, restart=True, marks=(renew.mark,))
    worse = await hands.do(back)
    assert not worse.ok and "has expired meanwhile" in worse.detail and node.everything() == after, (
        "what is in place would serve"
    )
    (node.kubernetes / "pki/apiserver.crt").unlink()
    assert (await hands.do(back)).ok
    assert node.everything() == before
    taken_back = await hands.do(renew, resume=True, requires=(("certificate-expired", "cp1:x"),))
    assert taken_back.undone, taken_back.detail


@pytest.mark.parametrize("broken_off", ["nothing", "copy begun", "moved away", "moved in", "conf left"])
async def test_put_back_wherever_it_was_broken_off(hands: Hands, node: Node, broken_off: str) -> None:
    """SIGKILL at any point: the second run ends in the same place, and what the person had made is aside, whole."""
    good = node.everything()
    kept, aside = f"{KEPT}/0123456789abcdef", f"{KEPT}/before-prod-2"
    assert (await hands.do(KeepPki(kept, prune=True))).ok
    node.sh("rm -r /etc/kubernetes && cp -a /etc/other /etc/kubernetes")
    bad = node.everything()
    begun = f"cp -a /etc/kubernetes {aside}; : > {kept}/putting-back; cd /etc/kubernetes"
    node.sh(
        {
            "nothing": ":",
            "copy begun": f"mkdir -p {aside}.part/pki; echo half > {aside}.part/pki/ca.crt",
            "moved away": f"{begun}; mv pki .pki.recoverd-old",
            "moved in": f"{begun}; mv pki .pki.recoverd-old; cp -a {kept}/pki pki",
            "conf left": f"{begun}; rm -r pki; cp -a {kept}/pki pki; cp {kept}/admin.conf .conf.recoverd-new",
        }[broken_off]
    )
    operation = PutBackPki(kept, aside)
    assert (await hands.do(operation, resume=True)).undone, "after a restart it is asked about, and nothing is run"
    result = await hands.do(operation)
    assert result.ok, result.detail
    assert node.everything() == good
    copied = node.kept / "before-prod-2"
    assert {f: (copied / f).read_bytes() for f in bad} == bad
    assert not [*node.kubernetes.glob(".*")]
    undone = await hands.do(PutBackPki(aside, restart=True))
    assert undone.ok and node.everything() == bad


async def test_a_copy_that_has_expired_is_not_put_back_over_what_would_serve_not_even_to_take_a_step_back(
    hands: Hands, node: Node
) -> None:
    (node.kubernetes / "pki").chmod(0o751)
    reissue(node.kubernetes, days=-1)
    old = node.everything()
    assert (await hands.do(KeepPki(f"{KEPT}/0123456789abcdef"))).ok
    node.sh("rm -r /etc/kubernetes && cp -a /etc/other /etc/kubernetes")
    made = node.everything()
    result = await hands.do(PutBackPki(f"{KEPT}/0123456789abcdef", f"{KEPT}/before-prod-1"))
    assert (
        not result.ok
        and "apiserver.crt has expired meanwhile" in result.detail
        and "refused before changing" in result.detail
    )
    assert node.everything() == made
    back = PutBackPki(f"{KEPT}/0123456789abcdef", restart=True)
    undone = await hands.do(back)
    assert not undone.ok and "apiserver.crt has expired meanwhile" in undone.detail and node.everything() == made
    reissue(node.kubernetes, days=-1)
    assert (await hands.do(back)).ok, "what is in place is no better"
    assert node.everything() == old and stat.S_IMODE((node.kubernetes / "pki").stat().st_mode) == 0o751


async def test_a_renewal_that_is_still_at_work_is_waited_for(hands: Hands, node: Node, tmp_path: Path) -> None:
    """After a crash of the bastion the first one may still wait for an API server that is down; two at
    once mix keys and certificates.
    """
    kept, stand_in = f"{KEPT}/before-prod-1", tmp_path / "kubeadm"
    assert (await hands.do(KeepPki(kept))).ok
    before = node.everything()
    shutil.copy(shutil.which("tail") or "", stand_in)
    work = f"echo $$ > {tmp_path}/pid; exec {stand_in} -f /dev/null -- /dev/null 'certs renew' 2>/dev/null"
    first = await asyncio.create_subprocess_exec(*node.processes.enter(work), stdout=asyncio.subprocess.PIPE)
    assert first.stdout and await asyncio.wait_for(first.stdout.readline(), 30), (
        "tail has not said which file it follows"
    )
    async with asyncio.TaskGroup() as group:
        second = group.create_task(hands.do(RenewLeaves(kept), timeout=60.0))
        await asyncio.wait([second], timeout=4.0)
        unchanged = node.everything() == before and not second.done()
        node.sh(f"kill -s KILL $(cat {tmp_path}/pid)")
        await first.wait()
    assert unchanged and second.result().ok and node.everything() != before


async def test_only_the_newest_copies_of_the_healthy_time_stay(hands: Hands, node: Node) -> None:
    assert (await hands.do(KeepPki(f"{KEPT}/before-prod-1"))).ok
    for i in range(8):
        assert (await hands.do(KeepPki(f"{KEPT}/{i:016x}", prune=True))).ok
        node.sh(f"touch -d '2026-01-0{i + 1}' {KEPT}/{i:016x}")
    assert {p.name for p in node.kept.iterdir()} == {"before-prod-1", *(f"{i:016x}" for i in range(3, 8))}


async def test_kubelets_client_certificate_is_signed_anew(hands: Hands, node: Node) -> None:
    reissue(node.kubernetes, node.kubelet / "kubelet-client-2026-01-01.pem", days=-3)
    server = re.search(r"server: (\S+)", node.text("kubelet.conf"))
    view = await seen(hands)
    assert set(found(told(view), Code.CERTIFICATE_EXPIRED)) == {"/var/lib/kubelet/pki/kubelet-client-current.pem"}
    assert (await hands.do(KeepPki(f"{KEPT}/before-prod-1"))).ok
    result = await hands.do(RepairKubeletClient("cp1", f"{KEPT}/before-prod-1"))
    assert result.ok, result.detail
    view = await seen(hands)
    assert not told(view).findings
    certificate = load((node.kubelet / "kubelet-client-recoverd.pem").read_bytes())
    assert certificate.subject.rfc4514_string() == "CN=system:node:cp1,O=system:nodes"
    assert certificate.not_valid_after_utc > datetime.now(UTC) + timedelta(days=300)
    assert stat.S_IMODE((node.kubelet / "kubelet-client-recoverd.pem").stat().st_mode) == 0o600
    assert re.search(r"server: (\S+)", node.text("kubelet.conf")) and server and server[0] in node.text("kubelet.conf")
    purpose = (
        "openssl verify -purpose sslclient -CAfile /etc/kubernetes/pki/ca.crt "
        "/var/lib/kubelet/pki/kubelet-client-current.pem"
    )
    assert node.sh(purpose).endswith("OK\n")


async def test_after_a_reset_the_copy_and_a_new_client_certificate_are_all_that_kubelet_needs(
    hands: Hands, node: Node
) -> None:
    """`kubeadm reset` empties /etc/kubernetes/pki and /var/lib/kubelet, and leaves /var/lib/recoverd."""
    good, kept = node.everything(), f"{KEPT}/0123456789abcdef"
    assert (await hands.do(KeepPki(kept))).ok
    node.sh("rm -rf /etc/kubernetes/pki/* /etc/kubernetes/*.conf /etc/kubernetes/manifests/* /var/lib/kubelet/*")
    repair = RepairKubeletClient("cp1", kept)
    result = await hands.do(PutBackPki(kept, f"{KEPT}/before-prod-1", marks=(repair.mark,)))
    assert result.ok, result.detail
    assert node.everything() == good
    result = await hands.do(repair)
    assert result.ok, result.detail
    assert not told(await seen(hands)).findings
    current = "/var/lib/kubelet/pki/kubelet-client-current.pem"
    assert node.sh(f"openssl verify -purpose sslclient -CAfile /etc/kubernetes/pki/ca.crt {current}").endswith("OK\n")


async def test_before_it_joins_again_a_machine_gets_certificates_and_no_kubeconfig(hands: Hands, node: Node) -> None:
    good, kept, aside = node.everything(), f"{KEPT}/0123456789abcdef", f"{KEPT}/before-prod-1"
    again = PutBackKeys(kept, aside)
    assert (await hands.do(KeepPki(kept))).ok
    refused = await hands.do(again)
    assert not refused.ok and refused.untouched and "kubelet.conf is there" in refused.detail
    node.sh(
        "rm -rf /etc/kubernetes/pki/* /etc/kubernetes/*.conf /etc/kubernetes/manifests/*; echo x >/etc/kubernetes/pki/x"
    )
    for _ in range(2):
        result = await hands.do(again)
        assert result.ok, result.detail
        assert node.everything() == {name: data for name, data in good.items() if name.startswith("pki/")}
    assert node.sh(f"cat {aside}/pki/x") == "x\n"
    node.sh("rm -rf /etc/kubernetes/pki")
    assert (await hands.do(again)).ok and "pki/ca.key" in node.everything()


async def test_a_new_disk_has_no_copy_and_nothing_is_put_back(hands: Hands, node: Node) -> None:
    node.sh("rm -rf /etc/kubernetes/pki/* /etc/kubernetes/*.conf")
    result = await hands.do(PutBackKeys(f"{KEPT}/0123456789abcdef", f"{KEPT}/before-prod-1"))
    assert result.ok and "kubeadm brings what it needs" in result.detail and not node.everything()


async def test_a_copy_that_has_expired_is_not_put_back_for_a_join(hands: Hands, node: Node) -> None:
    kept = f"{KEPT}/0123456789abcdef"
    assert (await hands.do(KeepPki(kept))).ok
    node.sh("rm -rf /etc/kubernetes/pki/* /etc/kubernetes/*.conf")
    node.sh(
        f"cd {kept}/pki && openssl req -new -key apiserver.key -subj /CN=kube-apiserver -out ../r.csr && "
        "openssl x509 -req -in ../r.csr -CA ca.crt -CAkey ca.key -set_serial 7 -days -1 -out apiserver.crt"
    )
    result = await hands.do(PutBackKeys(kept, f"{KEPT}/before-prod-1"))
    assert not result.ok and result.untouched and "has expired" in result.detail and not node.everything()
