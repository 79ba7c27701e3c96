"""Three bastions of lab clusters, with an etcd of their own: each has a network namespace, an address on the clusters'
bridges, a host name and control groups, in which the real daemon and a member of that etcd run.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.authority import Authority
from tests.lab.bastion import PATHS, Bastion, Shape
from tests.lab.kubelab.cluster import Cluster
from tests.lab.kubelab.host import CGROUPS, PATIENCE, attempt, run
from tests.lab.kubelab.network import add_namespace, bridge, plug, remove_namespace
from tests.lab.kubelab.node import Node, enter_cgroups

NAMES = ("b1", "b2", "b3")
FIRST = 31
"""The host part of the first one's addresses."""
PORT = 9770
CLIENTS, PEERS = 2379, 2380
TTL = 8
"""Seconds of a bastion's lease, the default."""
PROMISED = 15.0
"""Seconds within which another bastion watches, on a machine that has a core for who waits for one."""
DEFAULTS = {
    "bounds": {"cooldown": 0, "attempts": 100, "min_ready": 0},
    "drain": {"local_storage": "leave", "unmanaged": "leave", "timeout": "120s"},
    "approval": {"restart-node-agents": "never"},
}
CUT = (
    "add table inet cut; add chain inet cut in { type filter hook input priority 0; }; "
    "add chain inet cut out { type filter hook output priority 0; }; "
    f"add rule inet cut in iifname != lo tcp dport {{ {CLIENTS}, {PEERS} }} drop; "
    f"add rule inet cut in iifname != lo tcp sport {{ {CLIENTS}, {PEERS} }} drop; "
    f"add rule inet cut out oifname != lo tcp dport {{ {CLIENTS}, {PEERS} }} drop; "
    f"add rule inet cut out oifname != lo tcp sport {{ {CLIENTS}, {PEERS} }} drop"
)


class Line(NamedTuple):
    """One line of a bastion's log."""

    at: float
    by: str
    event: str
    text: str
    cluster: str


def addresses(cluster: Cluster) -> list[str]:
    return [f"10.99.{cluster.number}.{FIRST + place}" for place in range(len(NAMES))]


class OneOfThree(Bastion):
    """One bastion: the daemon and its member of the etcd. recoverd finds nodes sick where the test says so."""

    def __init__(
        self, place: int, pki: Path, pace: Path, *clusters: Cluster, told: Mapping[str, Any] | None = None
    ) -> None:
        """`told`: an entry of `notifications`."""
        self.label, self._pki = NAMES[place], pki
        self._all = addresses(clusters[0])
        self.address = self._all[place]
        self.namespace = f"rd{clusters[0].number}-{self.label}"
        self.etcd: subprocess.Popen[bytes] | None = None
        self.asked = True
        """Whether it is to be asked: one that stands still answers nobody."""
        self._told: list[Line] = []
        self._read = 0
        super().__init__(*clusters, environment={"LAB_PACE": str(pace)})
        self.sick = self.home / "sick.json"
        self.sick.write_text("{}")
        self._wire(place)
        config = yaml.safe_load(self.config.read_text())
        config["listen"] = f"{self.address}:{PORT}"
        config["defaults"] |= DEFAULTS
        config["notifications"] = [dict(told)] if told else []
        config["store"] = {
            "etcd": {
                "endpoints": [f"https://{address}:{CLIENTS}" for address in self._all],
                "ca": str(pki / "ca.crt"),
                "cert": str(pki / "bastion.crt"),
                "key": str(pki / "bastion.key"),
                "ttl": TTL,
            }
        }
        self.config.write_text(yaml.safe_dump(config, sort_keys=False))

    def _wire(self, place: int) -> None:
        """Its namespace, with an interface on the bridge of each cluster."""
        first, *others = self.clusters
        add_namespace(first.number, self.namespace, self.address)
        for other in others:
            link, near = f"v{other.number}-{self.namespace}"[:15], f"host{other.number}"
            run(f"""ip link add {link} type veth peer name {near} netns {self.namespace}
                ip link set {link} master {bridge(other.number)} up
                ip -n {self.namespace} addr add {addresses(other)[place]}/24 dev {near}
                ip -n {self.namespace} link set {near} up""")

    # --- its processes ---

    def inside(self, *words: str) -> list[str]:
        """The command on this machine, whose host name is its own."""
        named = 'hostname "$0"; exec "$@"'
        return ["ip", "netns", "exec", self.namespace, "unshare", "--uts", "sh", "-c", named, self.label, *words]

    @property
    def program(self) -> Sequence[str]:
        return self.inside(sys.executable, "-m", "tests.lab.sick", str(self.sick))

    def start_etcd(self) -> None:
        peers = zip(NAMES, self._all, strict=True)
        own = f"https://{self.address}"
        papers = [f"--trusted-ca-file={self._pki}/ca.crt", f"--cert-file={self._pki}/server.crt"]
        papers += [f"--key-file={self._pki}/server.key", "--client-cert-auth", "--peer-client-cert-auth"]
        papers += [f"--peer-trusted-ca-file={self._pki}/ca.crt", f"--peer-cert-file={self._pki}/server.crt"]
        command = [
            "etcd",
            f"--name={self.label}",
            f"--data-dir={self.home}/etcd",
            f"--listen-peer-urls={own}:{PEERS}",
            f"--initial-advertise-peer-urls={own}:{PEERS}",
            f"--listen-client-urls={own}:{CLIENTS},https://127.0.0.1:{CLIENTS}",
            f"--advertise-client-urls={own}:{CLIENTS}",
            "--initial-cluster=" + ",".join(f"{name}=https://{address}:{PEERS}" for name, address in peers),
            "--initial-cluster-token=bastions",
            *papers,
            f"--peer-key-file={self._pki}/server.key",
        ]
        with (self.home / "etcd.log").open("ab") as log:
            self.etcd = subprocess.Popen(
                self.inside(*command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=enter_cgroups(self.namespace),
            )

    def launch(self, **options: Any) -> None:
        """Start the daemon, in control groups of its machine's own: it has its share of this one, as the others."""
        super().launch(preexec_fn=enter_cgroups(self.namespace), **options)

    def kill_etcd(self) -> None:
        if self.etcd:
            self.etcd.kill()
            self.etcd.wait(10)

    @property
    def lives(self) -> bool:
        """Whether it answers: one that was just started does not yet."""
        runs = self.asked and self.process is not None and self.process.poll() is None
        return runs and self._asked(PATHS["status"], ()) is not None

    # --- what becomes of it ---

    def power_off(self) -> None:
        """The machine is gone at once: both are killed, and nothing answers at its address."""
        plug(self.namespace, False)
        self.kill()
        self.kill_etcd()

    def power_on(self) -> None:
        plug(self.namespace, True)
        self.start_etcd()
        self.launch()

    def cut_off(self) -> None:
        """Nothing goes to the other bastions' etcd nor comes from there; all else of the network is as before."""
        run(self.inside("nft", CUT), stdin=subprocess.DEVNULL)

    def reconnect(self) -> None:
        run(self.inside("nft", "delete table inet cut"), stdin=subprocess.DEVNULL)

    def stand_still(self) -> None:
        assert self.process
        self.asked = False
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGCONT)
        self.asked = True

    def remove(self) -> None:
        with suppress(ProcessLookupError):
            self.kill_etcd()
        super().remove()
        for other in self.clusters[1:]:
            attempt(f"ip link del {f'v{other.number}-{self.namespace}'[:15]}")
        remove_namespace(self.namespace)
        for group in CGROUPS.glob(f"*/{self.namespace}"):
            attempt(f"find {group} -depth -type d -exec rmdir {{}} \\;")

    # --- what it says ---

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://{self.address}:{PORT}/metrics", timeout=20) as answer:
            lines = answer.read().decode().splitlines()
        return float(next(line.rpartition(" ")[2] for line in lines if line.startswith(name)))

    def owns(self, cluster: str) -> bool:
        """Whether it watches the cluster and may act on it, as it says itself."""
        status = self.status(cluster)
        return status["watched_by"] is None and not status["withheld"]

    def told(self) -> list[Line]:
        """Its log so far, with the events of what it has done."""
        with self.log.open("rb") as log:
            log.seek(self._read)
            for text in log:
                if not text.endswith(b"\n"):  # it is being written
                    break
                self._read += len(text)
                with suppress(ValueError):
                    line = json.loads(text)
                    if line.get("event_name"):
                        at = datetime.fromisoformat(line["timestamp"]).timestamp()
                        words = str(line["event_name"]), str(line["event"]), str(line.get("cluster", ""))
                        self._told.append(Line(at, self.label, *words))
        return self._told


class Three:
    """All of them. `start` them, and `remove` them in the end."""

    def __init__(self, home: Path, *clusters: Cluster, told: Mapping[str, Any] | None = None) -> None:
        authority = Authority(home / "pki")
        for name in ("server", "bastion"):
            authority.issue(name, addresses=("127.0.0.1", *addresses(clusters[0])))
        self.clusters = clusters
        self._pace = home / "pace"
        self.pace()
        places = range(len(NAMES))
        self.all = [OneOfThree(place, authority.directory, self._pace, *clusters, told=told) for place in places]

    def __iter__(self) -> Iterator[OneOfThree]:
        return iter(self.all)

    def pace(self, until: int = 1000, *, killed: int = -1, when: str = "before") -> None:
        """How far plans may go, and in which step whoever carries it out is killed (`tests.lab.sick`)."""
        new = self._pace.with_suffix(".new")
        new.write_text(f"{until} {killed} {when}")
        new.replace(self._pace)

    def begin_anew(self) -> None:
        """Plans are held before their first step, and each step may kill once more."""
        self.pace(0)
        for used in self._pace.parent.glob(f"{self._pace.name}.[0-9]*"):
            used.unlink()

    def start(self) -> None:
        for each in self.all:
            each.start_etcd()
            each.launch()
        for cluster in self.clusters:
            self.wait(f"{cluster.name} is watched and healthy", lambda c=cluster: self._healthy(c.name), 120)

    def _healthy(self, cluster: str) -> bool:
        owner = self.owner(cluster)
        return bool(
            owner
            and owner.status(cluster)["state"] == "healthy"
            and owner.journal("SELECT 1 FROM memory_part WHERE cluster = ? AND text LIKE '%kube-apiserver%'", cluster)
        )

    def remove(self) -> None:
        for each in self.all:
            with suppress(ProcessLookupError):
                each.kill()
        for each in self.all:
            each.remove()

    def owner(self, cluster: str) -> OneOfThree | None:
        """The one that watches the cluster and may act."""
        return next((each for each in self.all if each.lives and each.owns(cluster)), None)

    def another(self, than: OneOfThree | None) -> OneOfThree:
        """One that answers."""
        found: OneOfThree = self.wait(
            "a bastion answers", lambda: next((b for b in self.all if b is not than and b.lives), None), 60
        )
        return found

    def told(self, since: float = 0.0) -> list[Line]:
        """What all of them have logged since then, in the order in which it happened."""
        return sorted(line for each in self.all for line in each.told() if line.at >= since)

    def wait(self, what: str, condition: Callable[[], Any], seconds: float, every: float = 0.2) -> Any:
        """Until the condition gives something true, which is returned; with `PATIENCE` times the seconds."""
        deadline = time.monotonic() + seconds * PATIENCE
        while not (found := condition()):
            if time.monotonic() > deadline:
                tails = "\n".join(f"--- {each.label} ---\n{each.tail()}" for each in self.all)
                raise AssertionError(f"not within {seconds * PATIENCE:g} s: {what}\n{tails}")
            time.sleep(every)
        return found

    def taken(self, cluster: str, since: float) -> Line:
        """Another bastion has taken the cluster over since then."""
        found: Line = self.wait(
            f"{cluster} is taken over",
            lambda: next((w for w in self.told(since) if w.event == "taken" and w.cluster == cluster), None),
            60,
        )
        return found

    def plan(self, playbook: str, cluster: str, seconds: float) -> Shape:
        """The plan of the playbook that waits, as its owner shows it."""

        def waits() -> Shape | None:
            owner = self.owner(cluster)
            plans = owner.plans() if owner else []
            return next((p for p in plans if p["playbook"] == playbook and p["status"] == "awaiting-approval"), None)

        found: Shape = self.wait(f"a plan {playbook} waits", waits, seconds)
        return found

    def approve(self, playbook: str, cluster: str, seconds: float = 120) -> Shape:
        """Approve the plan that waits, at a bastion that is not the owner; the plan."""

        def approved() -> Shape | None:
            plan = self.plan(playbook, cluster, seconds)
            said = self.another(self.owner(cluster)).ctl(
                "approve", plan["id"], "--yes", "--digest", plan["digest"], "--reason", "the lab test"
            )
            again = ("not open any more", "newest sweep", "cannot be seen at this moment", "no plan", "ask again")
            assert said.returncode == 0 or any(w in said.stderr for w in again), said.stderr
            return plan if said.returncode == 0 else None

        found: Shape = self.wait(f"{playbook} is approved", approved, seconds)
        return found

    def shown(self, incident: str) -> Shape:
        """The incident as a bastion that lives shows it."""
        found: Shape = self.another(None).json("show", incident)
        return found


def busy() -> float:
    """By how much longer things take on this machine at this moment than on one that is quiet."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def boots_of(node: Node) -> int:
    """How often the machine has been booted, by its own journal."""
    return len(node.sh("journalctl --list-boots --no-pager -q", capture_output=True).stdout.splitlines())
