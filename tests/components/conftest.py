"""Real programs for the component tests: sshd and etcd, each started on free ports of loopback and ended with the test.

`start_sshd(**sshd_options)` gives an `Sshd`: commands sent to it run on this very machine, as the user who runs
the tests. `start_etcd(count)` gives `EtcdNode`s with the certificates that kubeadm would make, in a directory laid
out as /etc/kubernetes/pki/etcd.
"""

from __future__ import annotations

import base64
import getpass
import http.client
import json
import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest
from tenacity import Retrying, stop_after_delay, wait_fixed

from recoverd.clients.hosts import HostPool
from recoverd.config import SshSettings
from recoverd.model.settings import HostSettings
from tests.authority import Authority
from tests.ports import free_port

from .forkserver import Forked

if TYPE_CHECKING:
    from .apiserver import ApiServer

Process = subprocess.Popen[bytes] | Forked


def wait_for_port(
    port: int, process: subprocess.Popen[bytes], log: Path, seconds: float = 10.0, address: str = "127.0.0.1"
) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text(errors="replace")
        with socket.socket() as sock:
            if sock.connect_ex((address, port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"nothing listens on {port} after {seconds} s: {log.read_text(errors='replace')}")


def end(process: Process, *, kill: bool = False) -> None:
    if process.poll() is None:
        process.kill() if kill else process.terminate()
        process.wait(60)


# --- sshd ---


@dataclass
class Sshd:
    """One running sshd. `settings` reach it with a key it accepts and a known_hosts that holds its host key."""

    port: int
    settings: SshSettings
    host_key: Path
    log: Path
    process: subprocess.Popen[bytes]

    def hosts(self, *names: str) -> tuple[HostSettings, ...]:
        return tuple(HostSettings(name, "127.0.0.1") for name in names or ("cp1",))

    def pool(self, *names: str, **changes: Any) -> HostPool:
        """A pool in which every name is this sshd. Close it."""
        return HostPool(replace(self.settings, **changes), self.hosts(*names))

    def trust(self, jump: Sshd) -> None:
        """Make `self.settings` good for `jump` too, as a machine to go through."""
        known = self.settings.known_hosts
        known.write_text(known.read_text() + jump.settings.known_hosts.read_text())
        Path(f"{jump.settings.key}.pub").write_text(Path(f"{self.settings.key}.pub").read_text())

    def login(self) -> Any:
        """A connection of somebody else's, which ends with its context: a person's, who may open a terminal."""
        s = self.settings
        return asyncssh.connect(
            "127.0.0.1",
            self.port,
            username=s.user,
            client_keys=[str(s.key)],
            known_hosts=str(s.known_hosts),
            config=None,
        )

    def stop(self) -> None:
        """End the listener and every connection it has, as when the machine is switched off."""
        listener = self.process.pid
        children = (
            Path(f"/proc/{listener}/task/{listener}/children").read_text().split()
            if self.process.poll() is None
            else []
        )
        # by descriptor: a session may have ended by the time the listener has, and its id may be another
        # process's by then, or a thread's
        sessions: list[int] = []
        for child in children:
            with suppress(ProcessLookupError):
                sessions.append(os.pidfd_open(int(child)))
        end(self.process)
        for session in sessions:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(session, signal.SIGKILL)
            # one that has only just been forked holds the listening socket until it has ended
            select.select([session], [], [], 30)
            os.close(session)


@pytest.fixture
def start_sshd(tmp_path: Path) -> Iterator[Callable[..., Sshd]]:
    """`start_sshd(ForceCommand="sleep 1000", ...)`: options go into sshd_config; `port=` starts it again on a
    known port with the same keys.

    `address=` is another one of loopback, `like=` an sshd whose port and user key it shares, as
    the machines of one cluster do.
    """
    program = shutil.which("sshd", path="/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("sshd is not installed (Debian package openssh-server)")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    started: list[Sshd] = []

    def start(port: int = 0, address: str = "127.0.0.1", like: Sshd | None = None, **options: str) -> Sshd:
        port = port or (like.port if like else free_port())
        home = tmp_path / f"sshd-{address}-{port}"
        home.mkdir(exist_ok=True)
        host_key, user_key, known_hosts = home / "host_key", home / "user_key", home / "known_hosts"
        if not host_key.exists():
            for path in (host_key, user_key):
                key = asyncssh.generate_private_key("ssh-ed25519")
                key.write_private_key(str(path))
                path.chmod(0o600)
                key.write_public_key(f"{path}.pub")
            known_hosts.write_text(f"[{address}]:{port} {Path(f'{host_key}.pub').read_text()}")
            if like:
                for part in ("", ".pub"):
                    shutil.copy(f"{like.settings.key}{part}", f"{user_key}{part}")
                known_hosts.write_text(known_hosts.read_text() + like.settings.known_hosts.read_text())
                like.settings.known_hosts.write_text(known_hosts.read_text())
        config = {
            "ListenAddress": address,
            "Port": str(port),
            "HostKey": str(host_key),
            "AuthorizedKeysFile": f"{user_key}.pub",
            "PidFile": "none",
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
        } | options
        # the tests' user may have a .bashrc, which bash reads for every command over SSH: it costs
        # time, and may well change PATH
        config["SetEnv"] = f"HOME={home} {options.get('SetEnv', '')}".rstrip()
        (home / "config").write_text("".join(f"{k} {v}\n" for k, v in config.items()))
        log = home / "log"
        process = subprocess.Popen(
            [program, "-D", "-e", "-f", str(home / "config")], stderr=log.open("ab"), stdin=subprocess.DEVNULL
        )
        wait_for_port(port, process, log, address=address)
        settings = SshSettings(user=getpass.getuser(), key=user_key, known_hosts=known_hosts, port=port)
        started.append(Sshd(port, settings, host_key, log, process))
        return started[-1]

    yield start
    for sshd in started:
        sshd.stop()


@pytest.fixture
def sshd(start_sshd: Callable[..., Sshd]) -> Sshd:
    """One ordinary sshd."""
    return start_sshd()


# --- etcd ---


@dataclass
class EtcdNode:
    """One etcd member, which may be running or not."""

    name: str
    port: int
    peer_port: int
    metrics_port: int
    pki: Path
    """Laid out as /etc/kubernetes/pki/etcd: ca, server, peer and healthcheck-client."""
    data: Path
    log: Path
    arguments: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    def start(self, *extra: str) -> None:
        self.process = subprocess.Popen(
            ["etcd", *self.arguments, *extra], stderr=self.log.open("ab"), stdout=self.log.open("ab")
        )
        wait_for_port(self.port if self.alone else self.metrics_port, self.process, self.log)

    @property
    def alone(self) -> bool:
        return not any(a.startswith("--initial-cluster=") and "," in a for a in self.arguments)

    def kill(self) -> None:
        if self.process:
            end(self.process, kill=True)

    def ctl(self, *arguments: str) -> str:
        """Run etcdctl against this member and give its output."""
        return subprocess.run(
            self.ctl_command(*arguments), capture_output=True, text=True, check=True, timeout=20
        ).stdout

    def ctl_command(self, *arguments: str) -> list[str]:
        tls = [
            f"--cacert={self.pki}/ca.crt",
            f"--cert={self.pki}/healthcheck-client.crt",
            f"--key={self.pki}/healthcheck-client.key",
        ]
        return ["env", "ETCDCTL_API=3", "etcdctl", f"--endpoints=https://127.0.0.1:{self.port}", *tls, *arguments]

    def put(self, values: Mapping[str, str]) -> None:
        """Write each of them, in a revision of its own, as etcdctl does in as many processes."""
        tls = ssl.create_default_context(cafile=self.pki / "ca.crt")
        tls.load_cert_chain(self.pki / "healthcheck-client.crt", self.pki / "healthcheck-client.key")
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=tls, timeout=20)
        for key, value in values.items():
            body = {"key": base64.b64encode(key.encode()).decode(), "value": base64.b64encode(value.encode()).decode()}
            connection.request("POST", "/v3/kv/put", json.dumps(body))
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            answer.read()
        connection.close()

    def fill(self) -> None:
        """Write until etcd refuses: a quota is held against what was committed, which happens ten
        times a second and not at each put.
        """
        with pytest.raises(Exception, match="returned non-zero"):
            while True:
                self.ctl("put", "big", "x" * 60000)


def etcd_nodes(home: Path, names: Sequence[str] = ("cp1",), *, metrics: bool = True) -> list[EtcdNode]:
    """Members of one cluster, ready to be started; everything of theirs is in `home`."""
    if shutil.which("etcd") is None or shutil.which("etcdctl") is None:
        pytest.skip("etcd is not installed (Debian packages etcd-server, etcd-client)")
    authority = Authority(home / "pki" / "etcd")
    for name in ("server", "peer", "healthcheck-client"):
        authority.issue(name)
    pki = authority.directory
    ports = {name: (free_port(), free_port(), free_port()) for name in names}
    cluster = ",".join(f"{name}=https://127.0.0.1:{p[1]}" for name, p in ports.items())
    made: list[EtcdNode] = []
    for name, (client, peer, metric) in ports.items():
        arguments = [
            f"--name={name}",
            f"--data-dir={home / name}",
            f"--listen-client-urls=https://127.0.0.1:{client}",
            f"--advertise-client-urls=https://127.0.0.1:{client}",
            f"--listen-peer-urls=https://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=https://127.0.0.1:{peer}",
            f"--initial-cluster={cluster}",
            "--client-cert-auth=true",
            "--peer-client-cert-auth=true",
            f"--trusted-ca-file={pki}/ca.crt",
            f"--cert-file={pki}/server.crt",
            f"--key-file={pki}/server.key",
            f"--peer-trusted-ca-file={pki}/ca.crt",
            f"--peer-cert-file={pki}/peer.crt",
            f"--peer-key-file={pki}/peer.key",
        ]
        if metrics:
            arguments.append(f"--listen-metrics-urls=http://127.0.0.1:{metric}")
        made.append(EtcdNode(name, client, peer, metric, pki, home / name, home / f"{name}.log", arguments))
    return made


@pytest.fixture
def make_etcd(tmp_path: Path) -> Iterator[Callable[..., list[EtcdNode]]]:
    """`make_etcd(names, metrics=True)`: members of one cluster, ready to be started; killed at the end."""
    made: list[EtcdNode] = []

    def make(names: Sequence[str] = ("cp1",), *, metrics: bool = True) -> list[EtcdNode]:
        made.extend(etcd_nodes(tmp_path, names, metrics=metrics))
        return made[-len(names) :]

    yield make
    for node in made:
        node.kill()


@pytest.fixture
def start_etcd(make_etcd: Callable[..., list[EtcdNode]]) -> Callable[..., list[EtcdNode]]:
    """`start_etcd(("cp1", "cp2"))`: a running cluster that has elected a leader."""

    def start(names: Sequence[str] = ("cp1",), *, metrics: bool = True) -> list[EtcdNode]:
        nodes = make_etcd(names, metrics=metrics)
        for node in nodes:
            node.start()
        # what is proposed during the first election may be lost
        put = Retrying(stop=stop_after_delay(45), wait=wait_fixed(0.5), reraise=True)
        put(nodes[0].ctl, "put", "/registry/minions/n1", "node", "--command-timeout=15s")
        return nodes

    return start


@pytest.fixture
def etcd(start_etcd: Callable[..., list[EtcdNode]]) -> EtcdNode:
    """One running member, a cluster of its own."""
    return start_etcd()[0]


# --- Kubernetes ---


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test that asks for an API server waits for its start, which takes minutes on a busy machine. They come
    first, so that they are one process's: each process of pytest-xdist begins with a run of its own of the list, and
    what another takes over from it is at the end of that.
    """
    asking = {i for i in items if isinstance(i, pytest.Function) and "kubernetes" in i.fixturenames}
    for item in asking:
        item.add_marker(pytest.mark.timeout(300))
    items.sort(key=lambda item: item not in asking)


@pytest.fixture(scope="session")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A real API server over an etcd of its own, for all tests of this process: its start costs
    more than what they ask of it.
    """
    from .apiserver import api_server

    home = tmp_path_factory.mktemp("kubernetes")
    (etcd,) = etcd_nodes(home)
    try:
        etcd.start()
        with api_server(home, etcd) as made:
            yield made
    finally:
        etcd.kill()


@pytest.fixture
async def api(kubernetes: ApiServer) -> AsyncIterator[ApiServer]:
    """A real API server in which there is nothing but what it has made itself."""
    kubernetes.assert_alive()
    yield kubernetes
    kubernetes.assert_alive()
    await kubernetes.clean()
