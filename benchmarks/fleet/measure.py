"""One run: the made-up clusters brought up, the daemon started over them, watched, and taken down."""

from __future__ import annotations

import asyncio
import itertools
import json
import multiprocessing
import os
import random
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import asyncssh
import yaml

from benchmarks.fleet.floor import Cost, floor
from benchmarks.fleet.layout import Layout
from benchmarks.fleet.servers import COUNTED, Counts, Plan, serve
from recoverd.control.client import ControlClient, Denied, NoDaemon

ROOT = Path(__file__).parents[2]
CONTEXT = multiprocessing.get_context("spawn")
HEALTHY_WITHIN = 400.0
"""Seconds, and one for every ten machines: making certificates and lists, the first logins, three sweeps."""
LOST_WITHIN = 200.0


@dataclass(frozen=True, slots=True)
class Size:
    """What is watched, and how."""

    clusters: int
    workers: int
    planes: int = 1
    interval: float = 5.0
    deadline: float = 0.0
    """Seconds for each source; 0: recoverd's own defaults."""
    processes: int = 2
    """That serve the clusters."""


@dataclass(slots=True)
class Result:
    """What was seen in the time that counts."""

    size: Size
    seconds: float
    sweeps: int
    cpu_sweep: float
    """CPU seconds of the daemon for one sweep of one cluster."""
    cpu_node: float
    """The same for one machine, in milliseconds."""
    cores: float
    """CPU seconds of the daemon a second."""
    fakes: float
    """The same of what serves the clusters."""
    rss: float
    """MiB."""
    sweep: tuple[float, float]
    """Seconds that a sweep took: p50 and p99."""
    interval: tuple[float, float]
    """Seconds from the end of one sweep of a cluster to that of the next: p50 and p99."""
    states: dict[str, int]
    """In how many sweeps which state."""
    unseen: int
    sources: int
    why: dict[str, int]
    """Of what was unseen: the commonest reasons, by how often."""
    behind: float
    """Seconds by which recoverd was late in the latest of its sweeps."""
    asked: dict[str, float]
    """What came in at the clusters for each sweep."""
    written: float
    """Kilobytes that the daemon wrote to its disk for each sweep."""
    lost: float | None = None
    """Seconds from the loss of quorum to `awaiting-approval`."""
    floor: float | None = None
    """CPU seconds for the same commands and requests by asyncssh and aiohttp alone."""
    ratio: float | None = None
    unknown: list[str] = field(default_factory=list)
    """What the made-up machines were asked and could not answer."""

    def json(self) -> str:
        return json.dumps(asdict(self))


class Fleet:
    """The clusters, being served."""

    def __init__(self, directory: Path, size: Size) -> None:
        self.directory, self.size = directory, size
        network = random.randint(1, 200)
        self.plans = tuple(
            Plan(
                tuple(range(k, size.clusters, size.processes)),
                size.planes,
                size.workers,
                network,
                _free_port(),
                str(directory),
            )
            for k in range(min(size.processes, size.clusters))
        )
        self._counts: list[Counts] = [CONTEXT.Array("Q", len(COUNTED), lock=False) for _ in self.plans]
        self.processes: list[SpawnProcess] = []

    def start(self) -> None:
        key = asyncssh.generate_private_key("ssh-ed25519")
        for name in ("host_key", "id"):
            key.write_private_key(str(self.directory / name))
            (self.directory / name).chmod(0o600)
        public = key.export_public_key().decode().strip()
        (self.directory / "authorized_keys").write_text(public + "\n")
        machines = [(plan.ssh_port, m) for plan in self.plans for c in plan.layouts() for m in c.machines]
        lines = (f"[{m.address}]:{port} {public}\n" for port, m in machines)
        (self.directory / "known_hosts").write_text("".join(lines))
        os.environ["FLEET_UNKNOWN"] = str(self.directory / "unknown")
        for plan, counts in zip(self.plans, self._counts, strict=True):
            process = CONTEXT.Process(target=serve, args=(plan, counts), daemon=True)
            process.start()
            self.processes.append(process)
        until = time.monotonic() + HEALTHY_WITHIN + len(machines) / 10
        while not all((self.directory / f"ready.{plan.ssh_port}").exists() for plan in self.plans):
            if time.monotonic() > until or not all(p.is_alive() for p in self.processes):
                raise RuntimeError("the made-up clusters did not come up")
            time.sleep(0.05)

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
            process.join()

    def lose_quorum(self) -> str:
        """The name of the cluster that loses it."""
        pid = self.processes[0].pid
        assert pid
        os.kill(pid, signal.SIGUSR1)
        return self.plans[0].layouts()[0].name

    def counts(self) -> Counter[str]:
        return Counter({name: sum(c[i] for c in self._counts) for i, name in enumerate(COUNTED)})

    def cpu(self) -> float:
        return sum(cpu_of(p.pid) for p in self.processes if p.pid)

    def configuration(self) -> dict[str, Any]:
        given = f"{self.size.deadline:g}s"
        long = {
            "deadlines": dict.fromkeys(("api", "etcd", "hosts", "network"), given),
            "ssh": {"connect_timeout": given},
        }
        return {
            "state_dir": str(self.directory / "state"),
            "socket": str(self.directory / "socket"),
            "listen": f"127.0.0.1:{_free_port()}",
            "defaults": {
                "interval": f"{self.size.interval:g}s",
                "restore_points": {"interval": "0s", "before_plans": False},
                **(long if self.size.deadline else {}),
            },
            "clusters": [self._cluster(plan, layout) for plan in self.plans for layout in plan.layouts()],
        }

    def _cluster(self, plan: Plan, layout: Layout) -> dict[str, Any]:
        ssh = {"user": "root", "key": "id", "known_hosts": "known_hosts", "port": plan.ssh_port, "sudo": False}
        return {
            "name": layout.name,
            "kubeconfig": f"{layout.name}.kubeconfig",
            "ssh": ssh,
            "control_planes": [{"name": m.name, "address": m.address} for m in layout.planes],
            "workers": [{"name": m.name, "address": m.address} for m in layout.workers],
        }


class Watcher:
    """The daemon as a process."""

    def __init__(self, fleet: Fleet, code: Path = ROOT) -> None:
        directory = fleet.directory
        self._file, self._log, self._sweeps = directory / "recoverd.yaml", directory / "log", directory / "sweeps"
        for old in (self._log, self._sweeps):
            old.unlink(missing_ok=True)
        self._file.write_text(yaml.safe_dump(fleet.configuration()))
        script = Path(__file__).with_name("watched.py")
        environment = {k: v for k, v in os.environ.items() if k not in ("NOTIFY_SOCKET", "JOURNAL_STREAM")}
        # without PYTHONSAFEPATH the script's own directory comes first
        environment |= _of_unit(code)
        environment |= {"PYTHONPATH": str(code), "PYTHONSAFEPATH": "1", "FLEET_SWEEPS": str(self._sweeps)}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(script), "run", "--config", str(self._file)],
                env=environment,
                stdout=log,
                stderr=log,
            )
        self.client = ControlClient(directory / "socket")

    @property
    def sweeps(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._sweeps.read_text().splitlines()] if self._sweeps.exists() else []

    async def status(self) -> dict[str, dict[str, Any]]:
        """By cluster; empty while it does not answer."""
        with suppress(NoDaemon, Denied, TimeoutError):
            return {c["name"]: c for c in (await self.client.get("/v1/status"))["clusters"]}
        if self.process.poll() is not None:
            raise RuntimeError(f"the daemon has ended: {self.log()}")
        return {}

    def log(self) -> str:
        return self._log.read_text()[-3000:]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _of_unit(code: Path) -> dict[str, str]:
    """What the unit of that tree sets in the daemon's environment."""
    lines = (code / "systemd" / "recoverd.service").read_text().splitlines()
    set_there = (line.removeprefix("Environment=") for line in lines if line.startswith("Environment="))
    return dict(words.split("=", 1) for words in set_there)


@contextmanager
def fleet(size: Size) -> Iterator[Fleet]:
    """The clusters, served for as long as the context lasts."""
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory(prefix="fleet-") as directory:
        made = Fleet(Path(directory), size)
        try:
            made.start()
            yield made
        finally:
            made.stop()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))


async def watch(
    of: Fleet, seconds: float, *, code: Path = ROOT, floor_too: bool = False, lose_quorum: bool = False
) -> Result:
    """Start the daemon of the tree `code` over the clusters, and measure it for so many seconds once each of them was
    swept three times. With `floor_too` the libraries alone are measured afterwards, with `lose_quorum` the time until
    the loss is told and a plan waits.
    """
    watcher = Watcher(of, code)
    try:
        await _healthy(of, watcher)
        result = await _measured(of, watcher, seconds)
        if floor_too:
            cost = await asyncio.to_thread(_floor, of)
            result.floor, result.ratio = cost.cpu, result.cpu_sweep / cost.cpu
        if lose_quorum:
            result.lost = await _lost(of, watcher)
        return result
    finally:
        watcher.stop()


def _floor(of: Fleet, rounds: int = 3) -> Cost:
    """What the same costs by the libraries alone."""
    here, there = CONTEXT.Pipe()
    process = CONTEXT.Process(target=floor, args=(of.plans, rounds, there), daemon=True)
    process.start()
    there.close()
    cost: Cost = here.recv()
    process.join()
    return cost


async def _healthy(of: Fleet, watcher: Watcher) -> None:
    """Wait until every cluster has been swept three times. What is not healthy then is told in the result."""
    until = time.monotonic() + HEALTHY_WITHIN + of.size.clusters * (of.size.workers + of.size.planes) / 10
    while True:
        swept = Counter(s["cluster"] for s in watcher.sweeps)
        if len(swept) == of.size.clusters and min(swept.values()) >= 3:
            return
        if time.monotonic() > until or watcher.process.poll() is not None:
            raise RuntimeError(f"not every cluster was swept three times: {dict(swept)}\n{watcher.log()}")
        await asyncio.sleep(0.2)


async def _measured(of: Fleet, watcher: Watcher, seconds: float) -> Result:
    before, fakes, pid, began = of.counts(), of.cpu(), watcher.process.pid, time.monotonic()
    written = _written(pid)
    states: Counter[str] = Counter()
    skipped = len(watcher.sweeps)
    # where sweeps are longer than that, it takes until one has ended
    while (took := time.monotonic() - began) < seconds or (took < HEALTHY_WITHIN and len(watcher.sweeps) == skipped):
        await asyncio.sleep(min(1.0, seconds))
        states.update(c["state"] for c in (await watcher.status()).values() if c["state"] != "healthy")
    took = time.monotonic() - began
    # the last one before the time that counts, which begins with its end
    sweeps = watcher.sweeps[skipped - 1 :]
    counted = sweeps[1:]
    if not counted:
        raise RuntimeError(f"no sweep ended in {took:.0f} s\n{watcher.log()}")
    cpu, lasted = sweeps[-1]["cpu"] - sweeps[0]["cpu"], sweeps[-1]["at"] - sweeps[0]["at"]
    reasons = Counter(_plain(why) for s in counted for why in s["unseen"].values())
    machines = of.size.workers + of.size.planes
    unknown = of.directory / "unknown"
    return Result(
        size=of.size,
        seconds=took,
        sweeps=len(counted),
        cpu_sweep=cpu / len(counted),
        cpu_node=1000 * cpu / len(counted) / machines,
        cores=cpu / lasted if lasted else 0.0,
        fakes=(of.cpu() - fakes) / took,
        rss=_memory(pid),
        sweep=_quantiles([s["took"] for s in counted]),
        interval=_quantiles(_intervals(sweeps)),
        states=dict(Counter(s["state"] for s in counted) + states - Counter(healthy=0)),
        unseen=sum(len(s["unseen"]) for s in counted),
        sources=sum(s["sources"] for s in counted),
        why=dict(reasons.most_common(3)),
        behind=max(s["behind"] for s in counted),
        asked={name: round((now - before[name]) / len(counted), 1) for name, now in of.counts().items()},
        written=(_written(pid) - written) / 1024 / len(counted),
        unknown=unknown.read_text().splitlines()[:20] if unknown.exists() else [],
    )


async def _lost(of: Fleet, watcher: Watcher) -> float | None:
    name, began = of.lose_quorum(), time.monotonic()
    while time.monotonic() - began < LOST_WITHIN:
        if (await watcher.status()).get(name, {}).get("phase") == "awaiting-approval":
            return time.monotonic() - began
        await asyncio.sleep(0.1)
    return None


def _plain(why: str) -> str:
    """The reason without what tells one machine from another."""
    words = ("#" if any(c.isdigit() for c in word) else word for word in why.split())
    return " ".join(words)[:160]


def _intervals(sweeps: Sequence[dict[str, Any]]) -> list[float]:
    ends: dict[str, list[float]] = {}
    for sweep in sweeps:
        ends.setdefault(sweep["cluster"], []).append(sweep["at"])
    return [b - a for of in ends.values() for a, b in itertools.pairwise(of)]


def _quantiles(values: Sequence[float]) -> tuple[float, float]:
    """p50 and p99, the largest where there are too few for that."""
    found = sorted(values)
    return (statistics.median(found), found[min(len(found) - 1, int(len(found) * 0.99))]) if found else (0.0, 0.0)


def cpu_of(pid: int) -> float:
    """CPU seconds of a process so far: fields 14 and 15 of /proc/PID/stat, proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def _written(pid: int) -> int:
    """Bytes handed to write(2) by the process: sockets are not among them, since they are sent to (send(2))."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


__all__ = ["Fleet", "Layout", "Result", "Size", "fleet", "watch"]
