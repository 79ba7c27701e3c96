"""The bastion of a lab cluster: the real daemon as a process on this machine, its
configuration, and recoverctl against it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import yaml

from recoverd.control.client import ControlClient, Denied, NoDaemon
from recoverd.model.codec import load
from recoverd.model.memory import Memory
from recoverd.model.memory_parts import joined
from tests.lab.kubelab.cluster import Cluster
from tests.lab.kubelab.host import KEY, PATIENCE
from tests.ports import free_port

Shape = dict[str, Any]
RECOVERD = (sys.executable, "-m", "recoverd")
RECOVERCTL = (sys.executable, "-m", "recoverd.cli.ctl")
PATHS = {"status": "/v1/status", "plans": "/v1/plans", "incidents": "/v1/incidents"}


class Bastion:
    """recoverd watching one or more lab clusters. Everything it keeps is in `home`, which `remove` takes away."""

    alive: ClassVar[list[Bastion]] = []
    """Those that were made and not removed yet, for the evidence of a failure."""

    def __init__(
        self,
        *clusters: Cluster,
        workers: bool = True,
        bounds: Mapping[str, Any] | None = None,
        extra: list[Shape] | None = None,
        planes: Sequence[str] = (),
        points: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`planes`: the control planes in the configuration; all of them, spares too, where none are named.
        `points`: its `restore_points`.

        `environment`: what the daemon's has beside the test's own.
        """
        self.home = Path(tempfile.mkdtemp(prefix="recoverd-lab-"))  # short: a Unix socket's path may not be long
        self.socket = self.home / "control.sock"
        self.log = self.home / "log"
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.clusters = clusters
        self._planes, self._points = planes, dict(points or {})
        self._environment = {**os.environ, **(environment or {})}
        self._write(workers, bounds or {}, extra or [])
        self.alive.append(self)

    # --- the configuration ---

    def entry(self, cluster: Cluster, *, workers: bool = True, **changes: Any) -> Shape:
        """The configuration of one lab cluster; the files it names are written."""
        name = cluster.name
        _private(self.home / f"{name}.kubeconfig", cluster.kubeconfig())
        _private(self.home / f"{name}.known_hosts", cluster.known_hosts())
        hosts = [{"name": n.name, "address": n.address} for n in cluster.nodes]
        entry: Shape = {
            "name": name,
            "kubeconfig": str(self.home / f"{name}.kubeconfig"),
            "ssh": {
                "user": cluster.profile.user,
                "sudo": cluster.profile.user != "root",
                "key": str(KEY),
                "known_hosts": str(self.home / f"{name}.known_hosts"),
            },
            "control_planes": [
                h for h in hosts if h["name"].startswith("cp") and (not self._planes or h["name"] in self._planes)
            ],
        }
        if workers:
            entry["workers"] = [h for h in hosts if h["name"].startswith("w")]
        return entry | changes

    def _write(self, workers: bool, bounds: Mapping[str, Any], extra: list[Shape]) -> None:
        config = {
            "state_dir": str(self.home / "state"),
            "socket": str(self.socket),
            "listen": f"127.0.0.1:{self.port}",
            "defaults": {"interval": "2s", "bounds": dict(bounds), "restore_points": self._points},
            "clusters": [*(self.entry(c, workers=workers) for c in self.clusters), *extra],
        }
        self.config.write_text(yaml.safe_dump(config, sort_keys=False))

    @property
    def name(self) -> str:
        """The first cluster's, in the configuration."""
        return self.clusters[0].name

    @property
    def config(self) -> Path:
        return self.home / "recoverd.yaml"

    # --- the process ---

    @property
    def program(self) -> Sequence[str]:
        """What the daemon is, before its arguments."""
        return RECOVERD

    def launch(self, **options: Any) -> None:
        """Start the daemon, without waiting for it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.program, "run", "--config", str(self.config), "--log-format", "json"],
                **{"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "env": self._environment, **options},
            )

    def start(self) -> None:
        """Start the daemon and wait until it answers on its socket."""
        self.launch()
        self.wait("the daemon answers", lambda: self._asked(PATHS["status"], ()) is not None, 120)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process:
            self.process.kill()
            self.process.wait(10)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def let_go(self) -> None:
        """Take its lease off the machines once it has ended: the next bastion need not wait until it is over."""
        for node in (
            n
            for c in self.clusters
            if (c.dir / "nodes.json").exists()
            for n in c.nodes
            if n.name.startswith("cp") and n.running
        ):
            with suppress(subprocess.TimeoutExpired):
                node.sh("rm -rf /run/recoverd-lease", check=False, timeout=20, stderr=subprocess.DEVNULL)

    def remove(self) -> None:
        """End it for good, with all that it kept."""
        with suppress(ProcessLookupError):
            self.kill()
        self.let_go()
        if self in self.alive:
            self.alive.remove(self)
        shutil.rmtree(self.home, ignore_errors=True)

    # --- asking it ---

    def ctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60 * PATIENCE,
            env=self._environment,
        )

    def command(self, *arguments: str) -> list[str]:
        """The command line of recoverctl."""
        return [*RECOVERCTL, "--socket", str(self.socket), *arguments]

    def json(self, *arguments: str) -> Any:
        """What `recoverctl ... -o json` prints; what is asked again and again is asked without a process each time."""
        if (path := PATHS.get(arguments[0])) and (found := self._asked(path, arguments[1:])) is not None:
            return found
        answer = self.ctl(*arguments, "-o", "json")
        assert answer.returncode == 0, (arguments, answer.returncode, answer.stderr, self.tail())
        return json.loads(answer.stdout)

    def _asked(self, path: str, words: Sequence[str]) -> Any:
        """The daemon's own answer, which is what recoverctl prints; None where none
        came, so that recoverctl says why.
        """
        query = {"all": "1"} if "--all" in words else {"cluster": words[0]} if words else {}
        try:
            return asyncio.run(ControlClient(self.socket).get(path, **query))
        except (NoDaemon, Denied):
            return None

    def status(self, cluster: str | None = None) -> Shape:
        """Status of one cluster, the first by default."""
        answer: Shape = self.json("status", *([cluster] if cluster else []))["clusters"][0]
        return answer

    def memory(self) -> Shape:
        """What is remembered of the first cluster."""
        shown = self._asked(f"/v1/dump/{self.name}", ()) or json.loads(self.ctl("dump", self.name).stdout)
        answer: Shape = shown["memory"]
        return answer

    def plans(self, *, everything: bool = False) -> list[Shape]:
        answer: list[Shape] = self.json("plans", *(["--all"] if everything else []))["plans"]
        return answer

    def incidents(self) -> list[Shape]:
        answer: list[Shape] = self.json("incidents")["incidents"]
        return answer

    def codes(self) -> set[str]:
        """Codes of the faults of the newest sweep."""
        return {f["code"] for f in self.status()["findings"] if f["severity"] == "fault"}

    def lines(self, beginning: int = 0) -> Iterator[Shape]:
        """What the daemon has logged since the byte `beginning`."""
        with self.log.open("rb") as log:
            log.seek(beginning)
            for line in log:
                with suppress(ValueError):
                    yield json.loads(line)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-6000:]

    def journal(self, sql: str, *values: object) -> list[Any]:
        """Ask the journal's file itself."""
        db = sqlite3.connect(f"file:{self.home}/state/journal.sqlite3?mode=ro", uri=True)
        try:
            return db.execute(sql, values).fetchall()
        finally:
            db.close()

    def remembered(self, cluster: str) -> Memory:
        """What the journal says that is remembered of the cluster."""
        (rest,) = self.journal("SELECT memory FROM cluster WHERE name = ?", cluster)[0]
        parts = self.journal("SELECT part, text FROM memory_part WHERE cluster = ?", cluster)
        return joined(load(Memory, rest), dict(parts))[0] if rest else Memory()

    # --- waiting ---

    def wait(self, what: str, condition: Callable[[], Any], seconds: float, every: float = 0.3) -> Any:
        """Until the condition gives something true, which is returned; with `PATIENCE` times the seconds
        that a quiet machine may take.
        """
        deadline = time.monotonic() + seconds * PATIENCE
        while not (found := condition()):
            assert self.process and self.process.poll() is None, (
                f"the daemon has ended while waiting until {what}: {self.tail()}"
            )
            if time.monotonic() > deadline:
                seen = self.ctl("status").stdout
                raise AssertionError(f"not within {seconds * PATIENCE:g} s: {what}\n{seen}\n{self.tail()}")
            time.sleep(every)
        return found

    def wait_state(
        self, state: str, phase: str | None = None, seconds: float = 60, cluster: str | None = None
    ) -> Shape:
        """Until the cluster is in the state (and the phase, where one is named); the status then."""

        def there() -> Shape | None:
            status = self.status(cluster)
            return status if status["state"] == state and phase in (None, status["phase"]) else None

        found: Shape = self.wait(f"the state is {state}/{phase or '*'}", there, seconds)
        return found

    def wait_plan(self, playbook: str, seconds: float) -> Shape:
        """Until a plan of the playbook waits for approval."""
        what = f"a plan {playbook} waits"
        found: Shape = self.wait(
            what,
            lambda: next(
                (p for p in self.plans() if p["playbook"] == playbook and p["status"] == "awaiting-approval"), None
            ),
            seconds,
        )
        return found

    def approve(self, playbook: str, seconds: float = 90) -> Shape:
        """Approve the waiting plan of the playbook, and the one that has taken its place where the
        findings changed just then; the plan.
        """

        def approved() -> Shape | None:
            plan = self.wait_plan(playbook, seconds)
            answer = self.ctl("approve", plan["id"], "--yes", "--digest", plan["digest"], "--reason", "the lab test")
            # what has just changed is refused in these words, and asked again
            again = ("not open any more", "newest sweep", "cannot be seen at this moment")
            assert answer.returncode == 0 or any(w in answer.stderr for w in again), answer.stderr
            return plan if answer.returncode == 0 else None

        found: Shape = self.wait(f"{playbook} is approved", approved, seconds)
        return found

    def repaired(self, seconds: float) -> Shape:
        """The incident when it is closed."""
        self.wait("there is an incident", self.incidents, seconds)
        closed: Shape = self.wait(
            "the incident is closed", lambda: next((i for i in self.incidents() if i["closed_at"]), None), seconds
        )
        return closed

    def ended(self, plan: Shape, seconds: float) -> Shape:
        """The plan when it is open no more."""

        def look() -> Shape | None:
            found: Shape = next(p for p in self.plans(everything=True) if p["id"] == plan["id"])
            return found if found["status"] not in ("running", "awaiting-approval") else None

        ended: Shape = self.wait(f"plan {plan['id']} has ended", look, seconds)
        return ended

    def begun(self, plan: Shape) -> list[str]:
        """Descriptions of the steps begun so far."""
        rows = self.journal("SELECT step, undo FROM step WHERE plan=? ORDER BY n", plan["id"])
        return [f"{'undo ' if undo else ''}{plan['steps'][step]['description']}" for step, undo in rows]

    def wait_healthy(self, seconds: float = 60) -> Shape:
        """Until it is healthy and remembers it (known-good manifests are recorded in healthy sweeps)."""
        status = self.wait_state("healthy", seconds=seconds)
        self.wait("the healthy cluster is remembered", self._remembers, 30)
        return status

    def _remembers(self) -> bool:
        """That of the first control planes: under load etcd is seen to be well later than the API server is."""
        for cluster in self.clusters:
            stacked = cluster.node("cp1").answers("test -e /etc/kubernetes/manifests/etcd.yaml")
            wanted = {"kube-apiserver", "etcd"} if stacked else {"kube-apiserver"}
            if not wanted <= set(self.remembered(cluster.name).manifests.get("cp1", ())):
                return False
        return True

    def wait_network(self, cluster: Cluster) -> None:
        """Until each node's part of the pod network is remembered with its bridge, where it has one.

        Nothing is said of a node in its first 90 s, and a bridge that comes with the first pod after
        that is remembered a minute later.
        """
        bridged = {
            n.name for n in cluster.nodes if n.sh("ip link show cni0", capture_output=True, check=False).returncode == 0
        }

        def remembered() -> bool:
            memory = self.remembered(cluster.name)
            known = {n: of.devices for n, of in memory.networks.items()}
            return (
                {n.name for n in cluster.nodes} <= set(known)
                and all("cni0" in known[n] for n in bridged)
                and bool(memory.reached)
            )

        self.wait("the nodes' network is remembered", remembered, 240, every=1)

    def plan_ids(self) -> set[str]:
        return {p["id"] for p in self.plans(everything=True)}


def _private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
