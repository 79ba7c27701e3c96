"""The closer look at a node's machine, by each shell: what its daemons answer over real sockets, where its names
lead, and which files it brings.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from recoverd.model.file_operations import HostsLine, PutResolvConf
from recoverd.model.node_look import HOSTS, Heard, NodeLook
from recoverd.observe import pod_logs
from recoverd.observe.hosts import NODE
from recoverd.observe.look import sections
from recoverd.observe.node import node_look
from recoverd.shell import functions, script
from tests.shells import sent

SHELLS = [s for s in ("bash", "dash", "busybox") if shutil.which(s)]
FOLDERS = (
    "/etc/kubernetes",
    "/etc/containerd",
    "/etc/crio",
    "/etc/docker",
    "/etc/cni",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/systemd",
    "/var/lib/kubelet",
    "/var/log/pods",
    "/run/containerd",
    "/run/docker.sock",
    "/proc/net/tcp",
)


class Machine:
    def __init__(self, root: Path, shell: str) -> None:
        self.root, self.shell, self.tools = (
            root,
            [str(shutil.which(shell)), *(["sh"] if shell == "busybox" else [])],
            root / "tools",
        )
        self.tools.mkdir(parents=True)
        self.write("/etc/hosts", "127.0.0.1 localhost\n")
        self.healthz = self.write("/var/lib/kubelet/config.yaml", "healthzPort: 1\n")

    def path(self, name: str) -> Path:
        return self.root / name.lstrip("/")

    def write(self, name: str, text: str) -> Path:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def tool(self, name: str, text: str) -> None:
        file = self.tools / name
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)

    def here(self, script: str) -> str:
        for folder in FOLDERS:
            script = script.replace(folder, f"{self.root}{folder}")
        return script

    def run(self, script: str, path: str = "") -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{self.tools}:{path or '/usr/bin:/bin'}"}
        return subprocess.run(
            [*self.shell, "-c", self.here(script)], env=environment, capture_output=True, text=True, timeout=30
        )

    def look(self, path: str = "") -> NodeLook:
        head = "limit='timeout 2'; command -v timeout >/dev/null || limit=\ns() { printf '\\n%s\\n' \"@@ $*\"; }\n"
        asks = functions("kubelet_flags", "kubelet_says", "kubelet_runtime")
        done = self.run(f"{head}{asks}\n{NODE}\nnode_look\ns end", path)
        found = sections(done.stdout, "@@")
        assert [s.name for s in found][0::999] == ["node"] and found[-1].name == "end", (done.stdout, done.stderr)
        texts = {s.word.removeprefix(str(self.root)): s.text for s in found if s.name == "node-file"}
        logs = pod_logs.read(((s.name, s.word, s.lines) for s in found), datetime.now(UTC))
        return node_look(next(s.lines for s in found if s.name == "node"), texts, logs)

    def served_at(self, name: str, port: int) -> None:
        self.write("/etc/kubernetes/kubelet.conf", f"clusters:\n- cluster:\n    server: https://{name}:{port}\n")


@pytest.fixture(params=SHELLS)
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine", request.param)


@contextmanager
def listening(answer: bytes = b"", accept: bool = True) -> Iterator[int]:
    """A port that says this to whoever connects and asks; with nothing to say it takes the connection and is silent."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            held = []
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                held.append(connection)
                if answer:
                    connection.recv(4096)
                    connection.sendall(answer)
                    connection.close()

        if accept:
            threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


SOCKET = "   {}: {} {} 00000000:00000000 00:00000000 00000000     0        0 20159 1 ffff8881 100 0 0 10 0\n"
LISTENS = SOCKET.format(0, "00000000:00B3", "00000000:0000 0A")


def test_with_whom_there_are_sessions_of_bgp(machine: Machine) -> None:
    assert machine.look().bgp is None, "/proc/net/tcp is not there"
    other = SOCKET.format(1, "0B00000A:1F90", "0C00000A:00B3 01")
    machine.write("/proc/net/tcp", "  sl  local_address rem_address   st\n" + other)
    assert machine.look().bgp is None, "nobody listens for it"
    machine.write("/proc/net/tcp", LISTENS)
    assert machine.look().bgp == {}
    called, calls, up = (
        SOCKET.format(1, "0B00000A:00B3", "0C00000A:9C40 01"),
        SOCKET.format(2, "0B00000A:9C41", "0D00000A:00B3 02"),
        SOCKET.format(3, "0B00000A:0016", "0E00000A:D431 01"),
    )
    machine.write("/proc/net/tcp", LISTENS + calls + up)
    assert machine.look().bgp == {"10.0.0.13": False}
    machine.write("/proc/net/tcp6", SOCKET.format(0, f"{'0' * 32}:00B3", f"{'0' * 32}:0000 0A") + called)
    assert machine.look().bgp == {"10.0.0.12": True, "10.0.0.13": False}


def test_a_kubelet_that_answers_one_that_hangs_and_none(machine: Machine) -> None:
    with listening(b"HTTP/1.0 200 OK\r\n\r\nok") as port:
        machine.healthz.write_text(f"healthzPort: {port}\n")
        answered = machine.look()
    assert (answered.kubelet, "200" in answered.kubelet_said) == (Heard.ANSWERS, True)
    with listening(accept=False) as port:  # as one that was stopped: the kernel takes the connection
        machine.healthz.write_text(f"healthzPort: {port}\n")
        assert machine.look().kubelet is Heard.SILENT
    assert machine.look().kubelet is Heard.REFUSED
    machine.healthz.write_text("healthzPort: 0\n")
    assert machine.look().kubelet is Heard.UNKNOWN


def logged(machine: Machine, path: str, *said: str, ago: float = 5.0) -> None:
    """As containerd writes it, when that was."""
    at = datetime.now(UTC) - timedelta(seconds=ago)
    lines = [f"{at:%Y-%m-%dT%H:%M:%S}.5Z stderr F {line}\n" for line in said]
    stamp = at.timestamp()
    os.utime(machine.write(f"/var/log/pods/{path}", "".join(lines)), (stamp, stamp))


def test_what_agents_say_is_read_of_the_newest_log_and_the_one_before(machine: Machine) -> None:
    proxy = "kube-system_kube-proxy-x2b4k_0ab-1/kube-proxy"
    logged(machine, f"{proxy}/1.log", "E0101 10:00:00.1 1 a.go:1] of long before", ago=300)
    logged(machine, f"{proxy}/3.log", 'I0101 10:00:00.1 1 a.go:1] "Using iptables proxy"')
    why = "F0101 10:00:00.1 1 server.go:495] open /proc/sys/net/netfilter/nf_conntrack_max: permission denied"
    trace = ("goroutine 1 [running]:", "k8s.io/klog.stacks(0xc00012, 0xc00034)", "\t/go/klog.go:996 +0xb8")
    logged(machine, f"{proxy}/2.log", 'I0101 10:00:00.1 1 a.go:1] "Setting"', why, *trace, ago=9)
    dns = "kube-system_coredns-74ff-z_0ab-2/coredns"
    logged(machine, f"{dns}/0.log", "[INFO] plugin/reload", "[FATAL] plugin/loop: Loop")
    logged(machine, "default_web-1_0ab-3/web/0.log", "E0101 a secret of somebody's")
    logs = machine.look().logs
    assert set(logs) == {"kube-system/kube-proxy-x2b4k", "kube-system/coredns-74ff-z"}
    assert logs["kube-system/kube-proxy-x2b4k"].lines == (why,)
    assert logs["kube-system/coredns-74ff-z"].container == "coredns"
    assert logs["kube-system/coredns-74ff-z"].now == ("[FATAL] plugin/loop: Loop",)


@pytest.mark.parametrize("words", ["Couldn't connect to server", "Could not connect to server"], ids=["7.88", "8.14"])
def test_curls_words_for_a_port_that_nobody_listens_on(words: str) -> None:
    said = node_look([f"kubelet curl: (7) Failed to connect to 127.0.0.1 port 10248 after 0 ms: {words}"], {})
    assert said.kubelet is Heard.REFUSED


def test_without_bash_curl_asks(machine: Machine, tmp_path: Path) -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    only = tmp_path / "only"
    only.mkdir()
    for tool in (
        "sh",
        "sed",
        "head",
        "tr",
        "grep",
        "sort",
        "cut",
        "ls",
        "stat",
        "wc",
        "base64",
        "timeout",
        "curl",
        "getent",
        "cat",
    ):
        if found := shutil.which(tool):
            (only / tool).symlink_to(found)
    with listening(b"HTTP/1.0 200 OK\r\n\r\nok") as port:
        machine.healthz.write_text(f"healthzPort: {port}\n")
        machine.served_at("127.0.0.1", port)
        look = machine.look(str(only))
    assert (look.kubelet, look.reaches) == (Heard.ANSWERS, True)
    assert (machine.look(str(only)).kubelet, machine.look(str(only)).reaches) == (Heard.REFUSED, False)
    with listening(accept=False) as port:
        machine.healthz.write_text(f"healthzPort: {port}\n")
        assert machine.look(str(only)).kubelet is Heard.SILENT


def test_where_the_api_server_is(machine: Machine) -> None:
    with listening() as port:
        machine.served_at("localhost", port)
        look = machine.look()
        assert (look.server, look.reaches) == (f"localhost:{port}", True)
        assert look.addresses is not None and "127.0.0.1" in look.addresses and look.hosts == ("127.0.0.1 localhost",)
        machine.served_at("127.0.0.1", port)
        assert machine.look().addresses == ("127.0.0.1",)
    look = machine.look()
    assert look.reaches is False and look.said
    machine.served_at("no-such-name.invalid", 6443)
    look = machine.look()
    assert (look.addresses, look.reaches, look.hosts) == ((), False, ())


def test_where_it_is_by_an_address_of_ipv6(machine: Machine) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        port = server.getsockname()[1]
        machine.served_at("[0::1]", port)
        look = machine.look()
        assert (look.server, look.addresses, look.reaches) == (f"[::1]:{port}", ("::1",), True)
        machine.write("/etc/kubernetes/kubelet.conf", "clusters:\n- cluster:\n    server: https://[::1]\n")
        assert machine.look().server == "[::1]:443"
    machine.tool("getent", '[ "$1" != ahostsv6 ] || echo "fd00::9 STREAM api.example"')
    machine.served_at("api.example", 1)
    assert machine.look().addresses == ("fd00::9",), "a name that has only such ones is found"


IP = """case "$*" in
  "-o link show") ;;
  "-o addr show to 10.0.0.10") echo "2: eth0    inet 10.0.0.10/32 scope global eth0" ;;
  "-o addr show to 10.0.0.11") echo "5: dummy0    inet 10.0.0.11/32 scope global dummy0" ;;
  "-o link show dev eth0") echo "2: eth0@if9: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500" ;;
  "-o link show dev dummy0") echo "5: dummy0: <BROADCAST,NOARP,UP,LOWER_UP> mtu 1500" ;;
esac"""


def test_whether_the_machine_has_the_address_itself_where_it_answers_for_it(machine: Machine) -> None:
    if "sh" in machine.shell:
        pytest.skip("busybox runs an ip of its own, which prints the same")
    machine.tool("ip", IP)
    for address, held in (("10.0.0.10", ("10.0.0.10",)), ("10.0.0.11", ()), ("10.0.0.12", ())):
        machine.served_at(address, 1)
        assert machine.look().held == held, address
    machine.tool("ip", "exit 1")
    assert machine.look().held is None


def test_its_own_loopback_is_nobodys_address(machine: Machine) -> None:
    """By the real program."""
    machine.served_at("127.0.0.1", 1)
    assert machine.look("/usr/sbin:/sbin:/usr/bin:/bin").held == ()


def test_the_api_server_that_kube_proxy_follows_is_that_of_its_newest_pod(machine: Machine) -> None:
    assert (machine.look().proxy, machine.look().proxy_reaches) == ("", None), "it has no such file"
    at = "/var/lib/kubelet/pods/{}/volumes/kubernetes.io~configmap/kube-proxy/kubeconfig.conf"
    old = machine.write(at.format("old"), "clusters:\n- cluster:\n    server: https://10.0.0.9:6443\n")
    os.utime(old, (1.0, 1.0))
    with listening() as port, listening() as other:
        machine.served_at("127.0.0.1", port)
        ours = machine.write(at.format("new"), f"clusters:\n- cluster:\n    server: https://localhost:{other}\n")
        look = machine.look()
        assert (look.proxy, look.proxy_reaches, look.proxy_said) == (f"localhost:{other}", True, "")
        ours.write_text("clusters:\n- cluster:\n    server: https://127.0.0.1\n")
        assert machine.look().proxy == "127.0.0.1:443"
        ours.write_text(f"clusters:\n- cluster:\n    server: https://127.0.0.1:{port}\n")
        assert (machine.look().proxy, machine.look().proxy_reaches) == (f"127.0.0.1:{port}", True)
    ours.write_text(f"clusters:\n- cluster:\n    server: https://localhost:{port}\n")
    look = machine.look()
    assert (look.proxy, look.proxy_reaches) == (f"localhost:{port}", False) and "refused" in look.proxy_said


@pytest.mark.parametrize(
    ("does", "heard"),
    [
        ("echo 'RuntimeName:  containerd'", Heard.ANSWERS),
        ("exec sleep 20", Heard.SILENT),
        ("echo 'rpc error: code = DeadlineExceeded desc = context deadline exceeded'; exit 1", Heard.SILENT),
        ("echo 'dial unix /run/containerd/containerd.sock: connect: connection refused'; exit 1", Heard.REFUSED),
        ("echo 'unknown service runtime.v1alpha2.RuntimeService'; exit 1", Heard.UNKNOWN),
    ],
)
def test_what_a_runtime_says(machine: Machine, does: str, heard: Heard) -> None:
    machine.tool("crictl", does)
    machine.write(
        "/var/lib/kubelet/kubeadm-flags.env",
        'KUBELET_KUBEADM_ARGS="--container-runtime-endpoint=unix:///run/x.sock --a=1"\n',
    )
    look = machine.look()
    assert look.runtime is heard
    assert heard is not Heard.UNKNOWN or "unknown service" in look.runtime_said


@pytest.mark.parametrize(
    ("does", "heard"),
    [
        ("echo 'Client: 20.10.24'", Heard.ANSWERS),
        ("exec sleep 20", Heard.SILENT),
        (
            "echo 'Client: 20.10.24'; echo 'Cannot connect to the Docker daemon at unix:///run/docker.sock. Is the "
            "docker daemon running?' >&2; exit 1",
            Heard.REFUSED,
        ),
    ],
)
def test_where_kubelet_is_told_of_no_runtime_docker_is_asked_and_not_the_containerd_that_it_brings(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, does: str, heard: Heard
) -> None:
    """kubelet before 1.24, whose dockershim is not told of a socket."""
    for name in ("/run/docker.sock", "/run/containerd/containerd.sock"):
        machine.path(name).parent.mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(machine.path(name).parent)  # a socket's path has 107 characters at most
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(machine.path(name).name)
    machine.tool("ctr", "exit 0" if heard is not Heard.ANSWERS else "exec sleep 20")
    machine.tool("docker", does)
    assert machine.look().runtime is heard
    flags = 'KUBELET_KUBEADM_ARGS="--container-runtime-endpoint=unix:///run/containerd/containerd.sock"\n'
    machine.write("/var/lib/kubelet/kubeadm-flags.env", flags)
    machine.tool("crictl", "exit 0")
    assert machine.look().runtime is Heard.ANSWERS, "docker beside the runtime that kubelet is told of"


def test_files_come_whole_and_none_in_which_a_secret_may_stand(machine: Machine) -> None:
    flags = 'KUBELET_KUBEADM_ARGS="--x=1"\n'
    machine.write("/var/lib/kubelet/kubeadm-flags.env", flags)
    machine.write(
        "/etc/containerd/config.toml", '[registry.configs."r".auth]\n  username = "u"\n  password = "hunter2"\n'
    )
    machine.write("/etc/cni/net.d/10-lab.conflist", '{"cniVersion": "0.3.1"}')
    machine.write("/etc/cni/net.d/calico-kubeconfig", "token: abc\n")
    machine.write("/etc/systemd/system/kubelet.service.d/20-x.conf", "[Service]\nEnvironment=A=b\n")
    proxied = "[Service]\nEnvironment=HTTPS_PROXY=http://{}proxy.corp:3128\n"
    machine.write("/etc/systemd/system/crio.service.d/http-proxy.conf", proxied.format("me:hunter2@"))
    machine.write("/etc/systemd/system/containerd.service.d/http-proxy.conf", proxied.format(""))
    machine.write("/etc/containerd/conf.d/50-registry.toml", "version = 3\n")
    look = machine.look()
    assert look.cni == ("10-lab.conflist",)
    assert {p: f.content for p, f in look.files.items() if "config.yaml" not in p} == {
        "/var/lib/kubelet/kubeadm-flags.env": flags,
        "/etc/cni/net.d/10-lab.conflist": '{"cniVersion": "0.3.1"}',
        "/etc/systemd/system/kubelet.service.d/20-x.conf": "[Service]\nEnvironment=A=b\n",
        "/etc/systemd/system/containerd.service.d/http-proxy.conf": proxied.format(""),
        "/etc/containerd/conf.d/50-registry.toml": "version = 3\n",
    }
    assert all(f.modified_at for f in look.files.values())


def test_drop_ins_of_kubelets_configuration_come_and_count(machine: Machine) -> None:
    """What only a drop-in said was neither asked nor remembered: kubelet's health on a port where nothing listens,
    a runtime's socket that is not there, a resolv.conf that no pod gets.
    """
    parts = "/etc/kubernetes/kubelet.conf.d"
    machine.write("/etc/resolv.conf", "nameserver 127.0.0.53\n")
    machine.write("/etc/kubernetes/resolv.conf", "nameserver 10.0.0.2\n")
    flags = machine.here(f'KUBELET_KUBEADM_ARGS="--config-dir={parts}"\n')
    machine.write("/var/lib/kubelet/kubeadm-flags.env", flags)
    with listening(b"HTTP/1.1 200 OK\r\n\r\nok") as port:
        text = machine.here(
            f"kind: KubeletConfiguration\nresolvConf: /etc/kubernetes/resolv.conf\nhealthzPort: {port}\n"
        )
        machine.write(f"{parts}/10-site.conf", text)
        machine.write(f"{parts}/10-site.conf.rpmsave", "healthzPort: 2\n")
        machine.write(f"{parts}/09-site/limits.conf", "maxPods: 64\n")
        look = machine.look()
    assert (look.kubelet, look.resolv) == (Heard.ANSWERS, str(machine.path("/etc/kubernetes/resolv.conf")))
    assert look.parts == str(machine.path(parts)) and look.files[f"{parts}/10-site.conf"].content == text
    assert not [p for p in look.files if p.endswith("rpmsave")]
    assert look.files[f"{parts}/09-site/limits.conf"].content == "maxPods: 64\n"


def test_a_runtime_of_containerds_own_defaults_is_no_secret(machine: Machine) -> None:
    """As `containerd config default` prints it (1.6), and kubeadm's configuration of kubelet (1.20)."""
    defaults = (
        '[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = ""\n  '
        '[plugins."io.containerd.grpc.v1.cri".registry.auths]\n'
    )
    machine.write("/etc/containerd/config.toml", defaults)
    machine.healthz.write_text(
        "authentication:\n  webhook:\n    cacheTTL: 0s\nauthorization:\n  mode: Webhook\nhealthzPort: 1\n"
    )
    assert {"/etc/containerd/config.toml", "/var/lib/kubelet/config.yaml"} <= set(machine.look().files)


def test_without_a_directory_there_is_no_configuration(machine: Machine) -> None:
    assert machine.look().cni == ()


@pytest.mark.parametrize(
    ("config", "flags", "resolv"),
    [
        ("", "", "/etc/resolv.conf"),
        ("resolvConf: /x\n", "--resolv-conf=/etc/kubernetes/resolv.conf", "/etc/kubernetes/resolv.conf"),
        ('resolvConf: "/etc/kubernetes/resolv.conf"\n', "", "/etc/kubernetes/resolv.conf"),
        ("", "--a=1 --resolv-conf=/etc/kubernetes/resolv.conf --b", "/etc/kubernetes/resolv.conf"),
        ("resolvConf: /etc/$(reboot)\n", "", ""),
    ],
)
def test_the_file_that_kubelet_gives_to_pods_is_told_and_comes_whole(
    machine: Machine, config: str, flags: str, resolv: str
) -> None:
    machine.healthz.write_text(f"healthzPort: 1\n{machine.here(config)}")
    machine.write("/var/lib/kubelet/kubeadm-flags.env", machine.here(f'KUBELET_KUBEADM_ARGS="{flags}"\n'))
    if resolv:
        machine.write(resolv, "nameserver 10.0.0.2\n")
    look = machine.look()
    assert look.resolv.removeprefix(str(machine.root)) == resolv
    assert [f.content for p, f in look.files.items() if p.endswith("resolv.conf")] == ["nameserver 10.0.0.2\n"] * bool(
        resolv
    )
    if resolv:
        machine.path(resolv).unlink()
        gone = machine.look()
        assert gone.resolv == look.resolv and not [p for p in gone.files if p.endswith("resolv.conf")]


# --- resolv.conf ---

NAMES = "nameserver 10.0.0.2\nsearch example\n"
NO_ETCD = "not_anew() { :; }"


def resolv(machine: Machine, path: str = "/etc/resolv.conf") -> subprocess.CompletedProcess[str]:
    operation = PutResolvConf(str(machine.path(path)), NAMES, hashlib.sha256(NAMES.encode()).hexdigest())
    done = subprocess.run(
        [*machine.shell, "-c", f"umask 077\n{sent(operation.call(), NO_ETCD)}"],
        env={"PATH": f"{machine.tools}:/usr/bin:/bin"}, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    asked = subprocess.run([*machine.shell, "-c", sent(operation.check())], capture_output=True, timeout=30)
    assert (asked.returncode == 0) is (done.returncode == 0)
    return done


def test_a_file_that_is_gone_is_written_for_everybody_to_read_and_once(machine: Machine) -> None:
    for _ in range(2):
        done = resolv(machine, "/run/systemd/resolve/resolv.conf")
        assert done.returncode == 0, done.stderr
    path = machine.path("/run/systemd/resolve/resolv.conf")
    assert path.read_text() == NAMES and path.stat().st_mode & 0o777 == 0o644
    assert path.parent.stat().st_mode & 0o777 == 0o755 and list(path.parent.iterdir()) == [path]


def test_behind_a_link_that_leads_nowhere_it_is_written_where_that_leads(machine: Machine) -> None:
    link, target = machine.path("/etc/resolv.conf"), machine.path("/run/systemd/resolve/stub-resolv.conf")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to("../run/systemd/resolve/stub-resolv.conf")
    assert resolv(machine).returncode == 0
    assert link.is_symlink() and target.read_text() == NAMES


@pytest.mark.parametrize("there", ["another", "loop"])
def test_what_is_there_by_now_is_left_alone(machine: Machine, there: str) -> None:
    path = machine.path("/etc/resolv.conf")
    path.parent.mkdir(parents=True, exist_ok=True)
    if there == "loop":
        path.symlink_to("resolv.conf")
    else:
        path.write_text("nameserver 10.0.0.9\n")
    done = resolv(machine)
    assert done.returncode == 3 and ("link to a link" if there == "loop" else "exists") in done.stderr
    assert path.is_symlink() or path.read_text() == "nameserver 10.0.0.9\n"


# --- the line in /etc/hosts ---

LINE = HostsLine("10.99.1.10 k8s-api api.example")


def put(machine: Machine) -> subprocess.CompletedProcess[str]:
    return machine.run(script(LINE.call()))


def test_a_line_is_added_once_and_after_a_line_without_an_end(machine: Machine) -> None:
    file = machine.write(HOSTS, "127.0.0.1 localhost")
    assert put(machine).returncode == 0, put(machine).stderr
    assert put(machine).returncode == 0
    assert file.read_text() == f"127.0.0.1 localhost\n{LINE.line}\n"


@pytest.mark.parametrize("there", ["10.0.0.9 k8s-api\n", "10.0.0.9\tother api.example # mine\n"])
def test_somebody_elses_line_of_the_same_host_is_left_alone(machine: Machine, there: str) -> None:
    file = machine.write(HOSTS, there)
    done = put(machine)
    assert done.returncode == 3 and "otherwise by now" in done.stderr
    assert file.read_text() == there


@pytest.mark.parametrize(
    "there", ["# 10.0.0.9 k8s-api\n", "10.0.0.9 k8s-api-old my-k8s-api\n", "10.0.0.9 apixexample\n"]
)
def test_a_comment_or_another_name_is_no_line_of_it(machine: Machine, there: str) -> None:
    file = machine.write(HOSTS, there)
    assert put(machine).returncode == 0
    assert file.read_text() == f"{there}{LINE.line}\n"
