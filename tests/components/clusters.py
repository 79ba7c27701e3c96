"""Clusters for the daemon's tests: one machine behind a real sshd, whose directories, processes and units are made
up, and an API server's stand-in.

Nothing of the machine that runs the tests is changed: sshd hands every script to a shell only after its
paths were moved below `root`.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from click.testing import CliRunner

from recoverd.cli.ctl import main as recoverctl
from recoverd.control.client import ControlClient

from . import forkserver
from .conftest import Process, Sshd, end, free_port
from .test_api import Server, as_json, node, table

COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
SYSTEMCTL = """#!/bin/sh
# enough of systemctl for kubelet and containerd; what a unit is, is in a file of its name
cd {units} || exit 1
for last; do :; done
unit=${{last%.service}}
case $1 in
show) for u in kubelet containerd; do
    printf 'Id=%s.service\\nLoadState=loaded\\nActiveState=%s\\nSubState=%s\\n' $u $(cat $u) $(cat $u)
    printf 'Result=success\\nStateChangeTimestampMonotonic=1\\nNRestarts=0\\n\\n'
  done ;;
start|restart) echo "$@" >> ../asked; echo active > $unit ;;
is-active) [ "$(cat $unit)" = active ] ;;
esac
"""


def a_loopback_address() -> str:
    """One that no other test uses: all of 127.0.0.0/8 is loopback."""
    return ".".join(("127", *(str(random.randint(1, 250)) for _ in range(3))))


class Node:
    """A control plane's directories, processes and units below `root`."""

    def __init__(self, root: Path, name: str) -> None:
        self.root, self.name = root, name
        self.units = root / "units"
        self.manifests = root / "etc/kubernetes/manifests"
        for folder in (
            self.units,
            self.manifests,
            root / "var/lib/etcd/member/snap",
            root / "var/lib/etcd/member/wal",
            root / "var/log/pods",
            root / "bin",
            root / "proc",
            root / "dev/pts",
        ):
            folder.mkdir(parents=True)
        (root / "var/lib/etcd/member/snap/db").write_bytes(bytes(1 << 16))
        (root / "var/lib/etcd/member/wal/0.wal").touch()
        (root / "etc/kubernetes/kubelet.conf").touch()
        for number, component in enumerate(COMPONENTS, 1):
            image = f"  - {{name: {component}, image: 'r/{component}:1'}}"
            (self.manifests / f"{component}.yaml").write_text(
                f"kind: Pod\nmetadata: {{name: {component}}}\nspec:\n  containers:\n{image}\n"
            )
            since = time.time() - 3600.0  # what has been in place for a minute counts as good at first sight
            os.utime(self.manifests / f"{component}.yaml", (since, since))
            process = root / "proc" / str(number)
            process.mkdir()
            (process / "comm").write_text(component[:15] + "\n")
            (process / "stat").write_text(f"{number} ({component[:15]}) S {'0 ' * 18}100 0\n")
            (process / "cgroup").write_text(f"0::/kubepods/pod{number:032x}/c\n")
        for unit in ("kubelet", "containerd"):
            self.unit(unit, "active")
        (root / "bin/systemctl").write_text(SYSTEMCTL.format(units=self.units))
        (root / "bin/systemctl").chmod(0o755)
        # what this machine forwards and filters, and who is on it, is not that one's: a Debian that was just installed
        # forwards nothing, and one with docker drops what is not its own
        for switch in ("ipv4/ip_forward", "bridge/bridge-nf-call-iptables"):
            file = root / "proc/sys/net" / switch
            file.parent.mkdir(parents=True)
            file.write_text("1\n")
        for asked, answer in (("who", 0), ("loginctl", 0), ("nft", 1), ("iptables-save", 1), ("iptables-nft-save", 1)):
            (root / "bin" / asked).write_text(f"#!/bin/sh\nexit {answer}\n")
            (root / "bin" / asked).chmod(0o755)

    def unit(self, name: str, state: str | None = None) -> str:
        """What the unit is; with `state`, make it so."""
        if state:
            (self.units / name).write_text(f"{state}\n")
        return (self.units / name).read_text().strip()

    @property
    def asked(self) -> list[str]:
        """What systemctl was asked to do, in order."""
        file = self.root / "asked"
        return file.read_text().splitlines() if file.exists() else []

    def forced(self) -> str:
        """A ForceCommand that runs the script with its paths moved."""
        folders = (
            "/etc/kubernetes",
            "/var/lib/etcd",
            "/var/lib/kubelet",
            "/var/lib/recoverd",
            "/var/log/pods",
            "/run/recoverd",
            # a terminal of this machine, as other tests open some, is nobody's who is at work on that one
            "/dev/pts",
        )
        # what an earlier script told has been moved already
        moved = [f"s,{self.root}/,/,g", *(f"s,{folder},{self.root}{folder},g" for folder in folders)]
        moved.append(f"s,/proc/.0-9.[*]/comm,{self.root}/proc/[0-9]*/comm,g")
        moved.append(f"s,/proc/sys/net/,{self.root}/proc/sys/net/,g")
        return f"/bin/sed {' '.join(f'-e {m!r}' for m in moved)} | PATH={self.root}/bin:/usr/bin:/bin timeout 20 sh -s"


@dataclass
class Cluster:
    """What the daemon is given of one cluster, and what stands behind it."""

    name: str
    node: Node
    sshd: Sshd
    api: Server
    config: dict[str, Any] = field(default_factory=dict)


async def make_cluster(
    directory: Path, start_sshd: Callable[..., Sshd], name: str = "prod", **ssh_options: str
) -> Cluster:
    """A healthy cluster of one control plane, NAME-cp1. Stop its `api` at the end."""
    home = directory / name
    address = a_loopback_address()
    node_of = Node(home / "root", f"{name}-cp1")
    sshd = start_sshd(address=address, **({"ForceCommand": node_of.forced()} | ssh_options))
    api = Server(home, address, port=6443)
    api.answers["/api/v1/nodes"] = as_json({"kind": "NodeList", "items": [node(node_of.name, address=address)]})
    api.answers["/api/v1/pods"] = as_json(table(("a", node_of.name)))
    await api.start()
    config = {
        "name": name,
        "kubeconfig": str(api.kubeconfig),
        "ssh": {
            "user": sshd.settings.user,
            "key": str(sshd.settings.key),
            "known_hosts": str(sshd.settings.known_hosts),
            "port": sshd.port,
        },
        "control_planes": [{"name": node_of.name, "address": address}],
        "interval": "1s",
        "deadlines": {"api": "8s", "etcd": "8s", "hosts": "8s"},  # a machine that runs tests may be slow
    }
    return Cluster(name, node_of, sshd, api, config)


class Daemon:
    """`recoverd run` as a process, and recoverctl against it."""

    exec = False
    """Whether it is started as systemd would, and not forked from what has loaded it already:
    for tests of the start itself.
    """

    def __init__(
        self,
        directory: Path,
        *clusters: Cluster | dict[str, Any],
        state: Path | None = None,
        socket: Path | None = None,
    ) -> None:
        self.state = state or directory / "state"
        self.socket = socket or directory / "control.sock"
        self.port = free_port()
        self.file = directory / "recoverd.yaml"
        self.log = directory / "daemon.log"
        listed = [c.config if isinstance(c, Cluster) else c for c in clusters]
        text = {
            "state_dir": str(self.state),
            "socket": str(self.socket),
            "listen": f"127.0.0.1:{self.port}",
            "clusters": listed,
        }
        self.file.write_text(yaml.safe_dump(text))
        self.process: Process | None = None

    def start(self, **environment: str) -> Process:
        arguments = ["run", "--config", str(self.file)]
        given = {k: v for k, v in os.environ.items() if k not in ("NOTIFY_SOCKET", "JOURNAL_STREAM")} | environment
        with self.log.open("ab") as log:
            if self.exec:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "recoverd", *arguments], env=given, stderr=log, stdout=log
                )
            else:
                self.process = forkserver.server().start(arguments, given, log)
        return self.process

    async def ready(self, seconds: float = 60.0) -> None:
        await self.until(lambda: self.get("/-/ready"), lambda answer: answer[0] == 200, seconds)

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Send the signal, and give the exit status."""
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(60)

    def close(self) -> None:
        if self.process:
            end(self.process)

    async def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page of the metrics port; 0 where nobody answers."""
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{self.port}{path}") as response,
            ):
                return response.status, await response.text()
        except aiohttp.ClientError as error:
            return 0, str(error)

    async def metric(self, line: str) -> float:
        """The value of one sample; 0 where there is none."""
        _, text = await self.get("/metrics")
        return next((float(each.rsplit(" ", 1)[1]) for each in text.splitlines() if each.startswith(line + " ")), 0.0)

    async def ctl(self, *arguments: str) -> tuple[int, str]:
        """Exit code and output of recoverctl."""
        result = await asyncio.to_thread(CliRunner().invoke, recoverctl, ["--socket", str(self.socket), *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.output

    async def json(self, *arguments: str) -> Any:
        code, output = await self.ctl(*arguments, "-o", "json")
        assert code == 0, output
        return json.loads(output)

    async def notices(self) -> list[str]:
        """What `recoverctl status` says above all clusters, but for how busy this machine is."""
        return [n for n in (await self.json("status"))["notices"] if not n.startswith("this bastion is overloaded")]

    async def status(self, cluster: str = "prod") -> dict[str, Any]:
        return dict((await ControlClient(self.socket).get("/v1/status", cluster=cluster))["clusters"][0])

    async def closed(self) -> dict[str, Any]:
        """The one incident, once it is closed."""
        answer = await self.until(
            lambda: self.json("incidents"),
            lambda i: bool(i["incidents"]) and i["incidents"][0]["closed_at"] is not None,
        )
        (incident,) = answer["incidents"]
        return dict(incident)

    async def in_phase(
        self, state: str, phase: str | None = None, cluster: str = "prod", seconds: float = 60.0
    ) -> dict[str, Any]:
        """The status once the cluster is in this state and phase."""
        return await self.until(
            lambda: self.status(cluster), lambda s: (s["state"], s["phase"]) == (state, phase), seconds
        )

    async def until(self, ask: Callable[[], Any], wanted: Callable[[Any], bool], seconds: float = 60.0) -> Any:
        answer = None
        try:
            async with asyncio.timeout(seconds):
                while not wanted(answer := await ask()):
                    assert self.process is None or self.process.poll() is None, self.log.read_text()
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise AssertionError(f"not within {seconds} s; last: {answer}\n{self.log.read_text()[-3000:]}") from None
        return answer


class Notified:
    """The socket that systemd would listen on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def close(self) -> None:
        self._socket.close()

    async def next(self, seconds: float) -> str | None:
        """The next datagram, or None when none comes in time."""
        try:
            async with asyncio.timeout(seconds):
                return (await asyncio.get_running_loop().sock_recv(self._socket, 4096)).decode()
        except TimeoutError:
            return None

    async def awaited(self, start: str, seconds: float = 60.0) -> str:
        end_at = time.monotonic() + seconds
        while (text := await self.next(max(0.0, end_at - time.monotonic()))) is not None:
            if text.startswith(start):
                return text
        raise AssertionError(f"no {start} within {seconds} s")
