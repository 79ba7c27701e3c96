"""`recoverd init` as an operator runs it: against an API server's answers over TLS, and real sshds whose host keys it
fetches; and what it makes in a cluster, against a real API server.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest
import yaml
from click.testing import CliRunner

from recoverd.cli.daemon import main
from recoverd.clients.hosts import HostPool
from recoverd.config import load
from recoverd.observe.kubeconfig import read_access
from recoverd.playbooks import registry
from recoverd.setup.certificate import make_kubeconfig
from recoverd.setup.learn import Learnt, learn
from recoverd.setup.nodes import bastion_script
from recoverd.setup.rbac import ApplyError, apply
from recoverd.setup.shipped import shipped

from .apiserver import ApiServer, lab_program
from .conftest import Sshd, end
from .test_api import Server, as_json, node

StartSshd = Callable[..., Sshd]
ROOT = Path(__file__).parents[2]
CONFIGURATION: dict[str, Any] = {"kind": "ClusterConfiguration", "etcd": {"local": {}}}


class Site:
    """A cluster of two machines, each a real sshd, with the API server on the first one; and a bastion's folder."""

    def __init__(self, server: Server, sshds: tuple[Sshd, Sshd], folder: Path) -> None:
        self.server, self.sshds, self.folder = server, sshds, folder
        self.says(CONFIGURATION)
        worker = node("w1", address="127.0.0.2")
        worker["metadata"]["labels"] = {}
        self.has(node("cp1"), worker)
        server.answers["/version"] = as_json({"gitVersion": "v1.28.3"})
        self.runs()

    def has(self, *nodes: dict[str, Any]) -> None:
        self.server.answers["/api/v1/nodes"] = as_json({"kind": "NodeList", "items": list(nodes)})

    def says(self, configuration: dict[str, Any]) -> None:
        """What kubeadm keeps in the cluster."""
        data = {"data": {"ClusterConfiguration": yaml.safe_dump(configuration)}}
        self.server.answers["/api/v1/namespaces/kube-system/configmaps/kubeadm-config"] = as_json(data)

    def runs(self, port: int = 6443, etcd: str = "https://127.0.0.1:2379", elsewhere: str = "") -> None:
        """The static pods of cp1, with these flags."""
        servers = f"--etcd-servers={elsewhere or 'https://127.0.0.1:2379'}"
        commands = {"kube-apiserver": ["kube-apiserver", f"--secure-port={port}", servers]}
        commands |= {} if elsewhere else {"etcd": ["etcd", f"--listen-client-urls={etcd}"]}
        pods = [
            {
                "metadata": {"name": f"{component}-cp1", "labels": {"component": component, "tier": "control-plane"}},
                "spec": {"nodeName": "cp1", "containers": [{"command": command}]},
            }
            for component, command in commands.items()
        ]
        self.server.answers["/api/v1/namespaces/kube-system/pods"] = as_json({"kind": "PodList", "items": pods})

    def arguments(self, *options: str, key: bool = True) -> list[str]:
        first = self.sshds[0]
        given = ["--kubeconfig", str(self.server.kubeconfig), "--name", "prod", "--directory", str(self.folder)]
        given += ["--ssh-user", getpass.getuser(), "--ssh-port", str(first.port)]
        return ["init", *given, *(["--ssh-key", str(first.settings.key)] if key else []), *options]

    async def init(self, *options: str, code: int = 0, key: bool = True) -> str:
        """What it prints; it has to end with that exit code."""
        done = await asyncio.to_thread(CliRunner().invoke, main, self.arguments(*options, key=key))
        assert done.exit_code == code, (done.output, done.exception)
        return done.output

    def checked(self) -> str:
        """What check-config says of what was written; it has to be accepted."""
        done = CliRunner().invoke(main, ["check-config", str(self.folder / "recoverd.yaml")])
        assert done.exit_code == 0, done.output
        return done.output

    def fingerprints(self, *others: Sshd) -> list[str]:
        """What the consoles say."""
        found = []
        for sshd in (*self.sshds, *others):
            command = ["ssh-keygen", "-lf", f"{sshd.host_key}.pub"]
            found.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
        return found

    def text(self, name: str = "recoverd.yaml") -> str:
        return (self.folder / name).read_text()


@pytest.fixture
async def site(start_sshd: StartSshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    first = start_sshd()
    second = start_sshd(address="127.0.0.2", like=first)
    server = Server(tmp_path)
    await server.start()
    yield Site(server, (first, second), tmp_path / "etc")
    await server.stop()


# --- host keys ---


async def test_keys_that_nobody_compared_are_shown_and_not_trusted(site: Site) -> None:
    told = await site.init()
    for line in site.fingerprints():
        assert f"{line.split()[1]}  NOT COMPARED YET" in told
        assert line.split()[1] in site.text("known_hosts.prod.unverified")
    assert "ssh-" not in site.text("known_hosts")
    assert "--accept-host-keys fingerprints" in told
    assert "holds no key of cp1" in site.checked()


async def test_with_what_the_consoles_say_the_machines_can_be_logged_in_to(site: Site, tmp_path: Path) -> None:
    (tmp_path / "seen").write_text("\n".join(site.fingerprints()))
    told = await site.init("--accept-host-keys", str(tmp_path / "seen"))
    assert told.count("  accepted (it is in the file") == 2 and "NOT COMPARED" not in told
    assert not (site.folder / "known_hosts.prod.unverified").exists()
    assert "holds no key" not in site.checked()
    (cluster,) = load(site.folder / "recoverd.yaml", [p.name for p in registry()]).clusters
    pool = HostPool(cluster.ssh, cluster.settings.control_planes)
    try:
        assert (await pool.run("cp1", "echo in", timeout=30)).stdout == "in\n"
    finally:
        await pool.close()
    again = await site.init()
    assert again.count("known already") == 2 and "KEPT" not in again and "replaced" not in again


async def test_a_key_is_accepted_for_the_machine_that_its_line_names_and_for_no_other(
    site: Site, tmp_path: Path
) -> None:
    of_cp1, of_w1 = site.fingerprints()
    (tmp_path / "seen").write_text(f"# from the consoles\nw1 {of_cp1}\nw1 {of_w1}\n")
    told = await site.init("--accept-host-keys", str(tmp_path / "seen"))
    assert "NOT COMPARED YET (it is not in the file" in told and told.count("  accepted (") == 1
    assert "127.0.0.2" in site.text("known_hosts") and "127.0.0.1" not in site.text("known_hosts")


async def test_public_keys_and_lines_of_a_known_hosts_file_count_as_well(site: Site, tmp_path: Path) -> None:
    first, second = site.sshds
    line = f"[127.0.0.1]:{first.port} {first.host_key.with_suffix('.pub').read_text()}"
    (tmp_path / "seen").write_text(line + second.host_key.with_suffix(".pub").read_text())
    assert (await site.init("--accept-host-keys", str(tmp_path / "seen"))).count("  accepted (") == 2


async def test_a_file_with_something_else_in_it_is_refused_with_its_line(site: Site, tmp_path: Path) -> None:
    (tmp_path / "seen").write_text(f"{site.fingerprints()[0]}\nhello world\n")
    assert "line 2 is no fingerprint" in await site.init("--accept-host-keys", str(tmp_path / "seen"), code=2)
    assert not site.folder.exists()


async def test_another_key_than_the_known_one_is_never_accepted(site: Site, tmp_path: Path) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    site.folder.mkdir()
    (site.folder / "known_hosts").write_text(f"[127.0.0.1]:{site.sshds[0].port} {other}")
    (tmp_path / "seen").write_text("\n".join(site.fingerprints()))
    told = await site.init("--accept-host-keys", str(tmp_path / "seen"), code=1)
    assert "ANOTHER KEY THAN THE KNOWN ONE" in told and "somebody else answers there" in told
    assert [line for line in site.text("known_hosts").splitlines() if "127.0.0.1" in line] == [
        f"[127.0.0.1]:{site.sshds[0].port} {other.strip()}"
    ]


async def test_a_machine_that_does_not_answer_is_told_and_the_rest_is_done(site: Site) -> None:
    site.sshds[1].stop()
    told = await site.init()
    assert "w1   127.0.0.2  NOT FETCHED (127.0.0.2: " in told and told.count("NOT COMPARED YET") == 1
    assert "name: cp1, address: 127.0.0.1" in site.text()


async def test_of_several_addresses_the_one_that_lets_in_is_written_and_the_others_are_shown(site: Site) -> None:
    worker = node("w1", address="127.0.0.3")  # nobody listens there
    worker["metadata"]["labels"] = {}
    worker["status"]["addresses"].append({"type": "InternalIP", "address": "127.0.0.2"})
    site.has(node("cp1"), worker)
    await site.init()
    raw = yaml.safe_load(site.text())
    assert raw["clusters"][0]["workers"] == [{"name": "w1", "address": "127.0.0.2"}], "it would be learnt as 127.0.0.3"
    assert "# also 127.0.0.3" in site.text()


@pytest.mark.parametrize(("answer", "trusted"), [("yes", True), ("y", False), ("", False)])
async def test_at_a_terminal_a_person_is_shown_the_keys_and_asked(site: Site, answer: str, trusted: bool) -> None:
    main_end, other = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k != "CREDENTIALS_DIRECTORY"} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "recoverd", *site.arguments()]
    process = await asyncio.create_subprocess_exec(*command, stdin=other, stdout=other, stderr=other, env=environment)
    os.close(other)
    told = ""
    while "Type yes" not in told:
        told += (await asyncio.to_thread(os.read, main_end, 65536)).decode()
    for line in site.fingerprints():
        assert line.split()[1] in told
    os.write(main_end, f"{answer}\n".encode())
    try:
        while part := await asyncio.to_thread(os.read, main_end, 65536):
            told += part.decode()
    except OSError:  # the other end was closed: it has ended
        pass
    assert await process.wait() == 0, told
    os.close(main_end)
    assert ("ssh-ed25519" in site.text("known_hosts")) is trusted


async def test_behind_a_jump_host_nothing_is_asked_before_its_own_key_is_believed(
    site: Site, start_sshd: StartSshd, tmp_path: Path
) -> None:
    jump = start_sshd(address="127.0.0.4", AuthorizedKeysFile=f"{site.sshds[0].settings.key}.pub")
    option = ("--jump", f"127.0.0.4:{jump.port}")
    told = await site.init(*option)
    assert "the jump host  127.0.0.4" in told and told.count("NOT FETCHED (the jump host's key is not believed") == 2
    (tmp_path / "seen").write_text("\n".join(site.fingerprints(jump)))
    told = await site.init(*option, "--accept-host-keys", str(tmp_path / "seen"))
    assert told.count("  accepted (") == 3
    assert "holds no key" not in site.checked()


# --- what is learnt and written ---


async def test_a_key_of_its_own_is_made_once_and_kept_for_itself(site: Site) -> None:
    await site.init(key=False)
    key = site.folder / "credentials" / "ssh-key"
    made = key.read_text()
    assert key.stat().st_mode & 0o777 == 0o600 and key.parent.stat().st_mode & 0o777 == 0o700
    assert "key: $CREDENTIALS_DIRECTORY/ssh-key" in site.text()
    assert "is good" in site.checked(), "without the variable as well"
    assert key.with_name("ssh-key.pub").read_text().split()[1] in site.text("prod/node.sh")
    await site.init("--force", key=False)
    assert key.read_text() == made


async def test_what_somebody_has_changed_is_left_alone_unless_forced(site: Site) -> None:
    await site.init()
    made = site.text()
    (site.folder / "recoverd.yaml").write_text(made + "# mine\n")
    assert "KEPT" in await site.init(code=1)
    assert site.text().endswith("# mine\n") and site.text("prod/recoverd.yaml") == made
    await site.init("--force")
    assert site.text() == made


async def test_the_ports_that_the_static_pods_name_are_those_that_may_be_reached(site: Site) -> None:
    site.runs(port=8443, etcd="https://[::1]:12379,https://[fd00::1]:12379")
    await site.init()
    permitted = 'permitopen="[::1]:12379",permitopen="127.0.0.1:2381",permitopen="127.0.0.1:8443"'
    assert permitted in site.text("prod/node.sh") and '2379"' not in site.text("prod/node.sh").replace("12379", "")
    (inventory,) = yaml.safe_load(site.text("prod/ansible/inventory.yaml")).values()
    assert permitted in inventory["vars"]["recoverd_line"]


async def test_an_etcd_that_is_elsewhere_is_said_and_may_be_asked_from_a_control_plane(site: Site) -> None:
    site.runs(elsewhere="https://10.0.0.5:2379")
    told = await site.init()
    assert "etcd is elsewhere (https://10.0.0.5:2379)" in told and "etcd is elsewhere" in site.text()
    assert 'permitopen="10.0.0.5:2379"' in site.text("prod/node.sh")
    assert "127.0.0.1:2379" not in site.text("prod/node.sh")


async def test_a_kubeconfig_that_leads_to_one_of_several_control_planes_is_said_to(site: Site) -> None:
    site.has(node("cp1"), node("cp2", address="127.0.0.2"))
    site.says(CONFIGURATION | {"controlPlaneEndpoint": "k8s-api.example:6443"})
    told = await site.init()
    assert "is cp1 alone and no VIP; kubeadm knows https://k8s-api.example:6443 as the address of all" in told
    assert "cp1 alone and no VIP" in site.text()
    site.says(CONFIGURATION | {"controlPlaneEndpoint": f"127.0.0.1:{site.server.port}"})
    site.has(node("cp2", address="127.0.0.2"))
    assert "the address that everybody uses (the VIP or its name)" in await site.init("--force")


async def test_what_may_not_be_asked_is_said_with_what_is_taken_instead(site: Site) -> None:
    for path in ("configmaps/kubeadm-config", "pods"):
        site.server.answers[f"/api/v1/namespaces/kube-system/{path}"] = as_json({"message": "no"}, 403)
    told = await site.init()
    assert "kubeadm-config was not given (HTTP 403)" in told and "6443, 2379 and 2381" in told
    assert 'permitopen="127.0.0.1:2379"' in site.text("prod/node.sh")


async def test_an_api_server_that_is_not_there_ends_it_before_anything_is_written(site: Site) -> None:
    await site.server.stop()
    assert "connection refused" in await site.init(code=2)
    assert not site.folder.exists()


async def test_who_may_not_list_nodes_learns_so(site: Site) -> None:
    site.server.answers["/api/v1/nodes"] = as_json({"message": "forbidden"}, 403)
    assert "did not tell its nodes" in await site.init(code=2)


# --- the script for the nodes ---

NODE = """set -e
mount --make-rprivate /
mkdir -p "$1/etc"; cp -a /etc/. "$1/etc/"
mount --bind "$1/etc" /etc
mount -t tmpfs none /home
mkdir -p /etc/sudoers.d /etc/ssh
ssh-keygen -q -t ed25519 -N '' -f "$1/host_key"
cp "$1/host_key.pub" /etc/ssh/ssh_host_ed25519_key.pub
export PATH="$2:$PATH"
{shell} "$3"
echo "ssh-ed25519 SOMEBODYS me" >>/home/recoverd/.ssh/authorized_keys
{shell} "$3" >/dev/null
stat -c '%a %U %n' /home/recoverd/.ssh /home/recoverd/.ssh/authorized_keys /etc/sudoers.d/recoverd
cat /home/recoverd/.ssh/authorized_keys /etc/sudoers.d/recoverd
"""


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox sh"])
async def test_the_script_makes_a_node_ready_and_may_be_run_again(site: Site, tmp_path: Path, shell: str) -> None:
    await site.init("--ssh-user", "recoverd")
    programs = tmp_path / "programs"
    programs.mkdir()
    # sudo is not installed everywhere where tests run; where it is, the real one checks
    if shutil.which("visudo", path=f"/usr/sbin:{os.environ['PATH']}") is None:
        (programs / "visudo").write_text('#!/bin/sh\ngrep -q NOPASSWD "$2"\n')
        (programs / "visudo").chmod(0o755)
    script = str(site.folder / "prod" / "node.sh")
    told = await asyncio.to_thread(apart, NODE.replace("{shell}", shell), str(tmp_path), str(programs), script)
    assert "SHA256:" in told, "the fingerprint of its host key"
    assert (
        "700 recoverd /home/recoverd/.ssh\n600 recoverd /home/recoverd/.ssh/authorized_keys\n440 root /etc/sudo" in told
    )
    assert told.count("restrict,port-forwarding") == 1 and told.count("SOMEBODYS") == 1
    assert "recoverd ALL=(root) NOPASSWD: /bin/sh, /usr/bin/sh" in told


def apart(script: str, *arguments: str) -> str:
    """What the script prints, with mounts of its own, so that nothing of this machine is changed."""
    if os.geteuid() or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("this needs root and a mount namespace of its own")
    command = ["unshare", "-m", "sh", "-c", script, "sh", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


BASTION = """set -e
mount --make-rprivate /
mkdir -p "$1/etc" "$1/sysusers.d"; cp -a /etc/. "$1/etc/"
mount --bind "$1/etc" /etc
mount --bind "$1/sysusers.d" /usr/lib/sysusers.d
mount -t tmpfs none /usr/local/bin
mkdir -p /etc/recoverd /etc/systemd/system; echo secret >/etc/recoverd/prod.kubeconfig
export PATH="$2:/usr/sbin:/usr/bin:/sbin:/bin"
sh "$3"; sh "$3"
stat -c '%a %U %n' /etc/recoverd/prod.kubeconfig; readlink /usr/local/bin/*; cat /etc/systemd/system/recoverd.service
"""


async def test_the_script_makes_the_bastion_ready_and_may_be_run_again(tmp_path: Path) -> None:
    programs, script = tmp_path / "programs", tmp_path / "bastion.sh"
    programs.mkdir()
    (programs / "systemctl").write_text('#!/bin/sh\n[ "$1" != cat ]\n')  # there is no systemd where tests run
    (programs / "recoverd").write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m recoverd "$@"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    script.write_text(bastion_script(programs / "recoverd", Path("/etc/recoverd"), "/etc/recoverd/prod.kubeconfig"))
    told = await asyncio.to_thread(apart, BASTION, str(tmp_path), str(programs), str(script))
    assert "400 recoverd /etc/recoverd/prod.kubeconfig\n" in told and f"\n{programs}/recoverctl\n" in told
    assert f"ExecStart={programs}/recoverd run --config /etc/recoverd/recoverd.yaml" in told


# --- in the cluster, only when asked to ---


async def test_nothing_is_written_into_the_cluster_unasked(site: Site) -> None:
    told = await site.init()
    assert "apply -f" in told and "kubeadm kubeconfig user" in told
    assert {request.method for request in site.server.asked} == {"GET"}


async def test_permissions_are_applied_and_may_be_applied_again(api: ApiServer, tmp_path: Path) -> None:
    administrator = tmp_path / "admin.kubeconfig"
    administrator.write_text(api.admin_kubeconfig())
    for _ in range(2):
        done = await apply(administrator, shipped("rbac.yaml"))
        assert done == ["ClusterRole recoverd", "ClusterRoleBinding recoverd", "ServiceAccount recoverd"]
    assert await api.ask("GET", "/api/v1/nodes", admin=False) == 200
    with pytest.raises(ApplyError, match="HTTP 403"):
        await apply(api.kubeconfig(tmp_path / "kubeconfig"), shipped("rbac.yaml"))


async def test_a_kubeconfig_of_its_own_is_signed_by_the_cluster(api: ApiServer, tmp_path: Path) -> None:
    administrator = tmp_path / "admin.kubeconfig"
    administrator.write_text(api.admin_kubeconfig())
    await apply(administrator, shipped("rbac.yaml"))
    with signer(api, administrator, tmp_path / "controllers.log"):
        text, server = await make_kubeconfig(administrator, Learnt(api.base, "v1.20.2", ()), "prod")
    made = tmp_path / "prod.kubeconfig"
    made.write_text(text)
    access = await read_access(made)
    assert server == access.server == api.base and access.expires is not None
    with pytest.raises(Exception, match="none of the 0 nodes"):  # it lists them; this cluster has none
        await learn(made)


@contextmanager
def signer(api: ApiServer, kubeconfig: Path, log: Path) -> Iterator[None]:
    """A real kube-controller-manager that signs certificates, and does nothing else."""
    command = [lab_program("kube-controller-manager"), f"--kubeconfig={kubeconfig}", "--controllers=csrsigning"]
    command += [f"--cluster-signing-cert-file={api.pki}/ca.crt", f"--cluster-signing-key-file={api.pki}/ca.key"]
    command += ["--leader-elect=false", "--port=0", "--secure-port=0"]
    with log.open("ab") as to:
        process = subprocess.Popen(command, stdout=to, stderr=to, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        end(process)
