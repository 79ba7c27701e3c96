"""Clusters of nodes: brought up by kubeadm, taken down without a trace."""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import balanced, dual, external, overlay
from .again import awaited, misled
from .build import build
from .given import INIT, JOIN, KUBECTL_HOME, PODS, WORKLOAD
from .host import CLUSTERS, LabError, locked, say
from .images import VERSION
from .network import LoadBalancer, add_bridge, remove_bridge
from .node import Node
from .profiles import Profile, profile_of
from .states import MINE, Shape, State, copy_store, forget_old, states

INOTIFY = 2048
STORE = "ctr -n k8s.io images import -"
"""Takes an image's archive into containerd's store."""


@dataclass(frozen=True)
class Cluster:
    """One cluster, by its number (1 to 54); its machines are listed in a file, so that any process can find them."""

    number: int

    @property
    def name(self) -> str:
        return f"lab{self.number}"

    @property
    def dir(self) -> Path:
        return CLUSTERS / str(self.number)

    @property
    def nodes(self) -> list[Node]:
        """Control planes first; raises LabError when the cluster is not up."""
        return [m for m in self.machines if not m.name.startswith(external.NAME)]

    @property
    def machines(self) -> list[Node]:
        """The nodes, and what machines its etcd has of its own; raises LabError when the cluster is not up."""
        file = self.dir / "nodes.json"
        if not file.exists():
            raise LabError(f"cluster {self.number} is not up")
        return [Node(self.number, n["name"], n["number"]) for n in json.loads(file.read_text())]

    @property
    def profile(self) -> Profile:
        """Of its machines."""
        file = self.dir / "profile"
        return profile_of(file.read_text() if file.exists() else "")

    def node(self, name: str) -> Node:
        for node in self.machines:
            if node.name == name:
                return node
        raise LabError(f"no node {name} in cluster {self.number}")

    @property
    def whole(self) -> bool:
        """Whether it was brought up to the end and a machine of it runs."""
        return (
            (self.dir / "nodes.json").exists()
            and not (self.dir / "starting").exists()
            and any(n.running for n in self.nodes)
        )

    # --- up and down ---

    def up(
        self,
        control_planes: int = 1,
        spares: int = 0,
        workers: int = 2,
        *,
        workload: bool = False,
        fresh: bool = False,
        profile: str = "",
    ) -> None:
        """Boot all machines and join them, the spare control planes excepted, and give them the workload.

        The first time, kubeadm makes the cluster, and it is kept as a state. Later ones are booted from that, `fresh`
        ones excepted. What a broken-off run left is removed first.
        """
        build()
        shape = Shape(control_planes, spares, workers, workload, profile)
        kind = f"{'-web' if workload else ''}{f'-{profile}' if profile else ''}"
        with self._starting():
            made = made_by(profile_of(profile))
            state = State(f"{MINE}{self.number}-{control_planes}-{spares}-{workers}{kind}-{made[:8]}")
            forget_old(state)
            if fresh or state not in states():
                self._make(shape)
                if fresh:
                    return
                say("keeping it, to boot from next time")
                self._give_up_leases()
                state.keep(self.number, self.machines, shape)
                self._remove()
            self._boot_from(state)

    def up_from(self, name: str) -> None:
        """Boot the cluster in a state that was kept of it, whatever is well or broken in it."""
        build()
        with self._starting():
            State(name).check(self.number)
            self._boot_from(State(name), broken=not name.startswith(MINE))

    def save(self, name: str) -> None:
        """Keep the state of the cluster under a name: its machines are switched off for it, and
        booted again from what is kept.
        """
        nodes = self.nodes
        kept = State(name)
        with locked(f"cluster-{self.number}"):
            if kept in states():
                raise LabError(f"there is a state {name} already; `lab forget {name}` first")
            planes, workers = (sum(n.name.startswith(kind) for n in nodes) for kind in ("cp", "w"))
            shape = Shape(planes, 0, workers, profile=self.profile.name)
            kept.keep(self.number, self.machines, shape)
            self._remove()
            self._boot_from(kept, broken=True)

    @contextmanager
    def _starting(self) -> Iterator[None]:
        """Hold the cluster's lock, with nothing left of an earlier one."""
        with locked(f"cluster-{self.number}"):
            if self.whole:
                raise LabError(f"cluster {self.number} is up already; `lab down --cluster {self.number}` first")
            self._remove()
            yield
            say(f"cluster {self.number} is up")

    def _make(self, shape: Shape) -> None:
        """Make the cluster by kubeadm."""
        planes = shape.control_planes + shape.spares
        nodes = [Node(self.number, f"cp{i}", 10 + i) for i in range(1, planes + 1)]
        nodes += [Node(self.number, f"w{i}", 20 + i) for i in range(1, shape.workers + 1)]
        apart = external.machines(self.number, profile_of(shape.profile).etcd_apart)
        self._list([*nodes, *apart], shape.profile)
        self._boot(nodes, apart)
        if apart:
            external.start(apart, nodes[:planes])
        self._balance(nodes[:planes])
        if self.profile.balances_itself:
            balanced.prepare(nodes[:planes])
        self._init(nodes[0])
        if self.profile.overlaid:
            overlay.give(nodes[0], f"10.{200 + self.number}.0.0/16")
        self._join(nodes[0], nodes[1 : shape.control_planes], nodes[planes:])
        nodes[0].sh("kubectl wait --for=condition=Ready nodes --all --timeout=120s >/dev/null")
        if self.profile.overlaid:
            nodes[0].sh(overlay.SETTLED)
        if shape.workload:
            self.workload()
        (self.dir / "starting").unlink()

    def _boot_from(self, state: State, *, broken: bool = False) -> None:
        """Boot the machines from a state; unless it may be `broken`, wait until all of them do again what they did."""
        nodes = [Node(self.number, str(n["name"]), int(n["number"])) for n in state.about["nodes"]]  # type: ignore[attr-defined]
        about: Any = state.about
        self._list(nodes, about["shape"].get("profile", ""))
        say(f"booting {', '.join(n.name for n in nodes)} from {state.name}")
        allow_inotify()
        add_bridge(self.number)
        began, planes = datetime.now(UTC).replace(microsecond=0), [n for n in nodes if n.name.startswith("cp")]
        workers = [n for n in nodes if n.name.startswith("w")]
        state.boot([n for n in nodes if n not in workers])
        self._balance(planes)
        if not broken:
            # kubelets that find no API server wait longer and longer before they ask again; one needs longer to
            # its first question (observed on
            # 1.20.2: 5 s of them for docker) than an API server that has been started
            planes[0].sh(
                "for i in $(seq 300); do pgrep -x kube-apiserver >/dev/null && exit 0; sleep 0.4; done", check=False
            )
        state.boot(workers)
        if not broken:
            boots = {n.name: n.boot_id() for n in nodes}
            planes[0].wait_for(
                lambda: not (awaited(planes[0], boots, began) or misled(planes[0], nodes)),
                "'s cluster does not do again what it did",
                240,
            )
        (self.dir / "starting").unlink()

    def _balance(self, planes: Sequence[Node]) -> None:
        """Begin to balance over the API servers, where the machines do not do it themselves."""
        if not self.profile.balances_itself:
            LoadBalancer(self.number).start(planes)

    def _give_up_leases(self) -> None:
        """Have the controllers give up theirs: those of the next boot would wait 15 s and more until they are over."""
        planes = [
            n for n in self.nodes if n.name.startswith("cp") and n.answers("test -e /etc/kubernetes/kubelet.conf")
        ]
        for node in planes:
            node.sh(
                "systemctl stop kubelet; pkill -x 'kube-(scheduler|controller)'"
            )  # of the machine's own process namespace
        planes[0].sh("kubectl -n kube-system delete lease kube-scheduler kube-controller-manager >/dev/null")

    def _list(self, nodes: Sequence[Node], profile: str) -> None:
        self.dir.mkdir(parents=True)
        (self.dir / "profile").write_text(profile)
        (self.dir / "starting").touch()
        (self.dir / "nodes.json").write_text(json.dumps([{"name": n.name, "number": n.number} for n in nodes]))

    def down(self) -> None:
        """Stop and remove everything of the cluster, whole or not."""
        with locked(f"cluster-{self.number}"):
            self._remove()

    def _remove(self) -> None:
        listed = self.machines if (self.dir / "nodes.json").exists() else []
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(Node.destroy, listed))
        LoadBalancer(self.number).stop()
        remove_bridge(self.number)
        shutil.rmtree(self.dir, ignore_errors=True)

    def _boot(self, nodes: Sequence[Node], apart: Sequence[Node] = ()) -> None:
        """Boot the nodes, and machines `apart` that only know of them."""
        say(f"booting {', '.join(n.name for n in (*nodes, *apart))}")
        allow_inotify()
        add_bridge(self.number)
        profile = self.profile
        layers = profile.layers

        def boot(node: Node) -> None:
            store = node.dir / "containerd"
            store.mkdir(parents=True)
            if not profile.load:
                copy_store(store)
            node.boot(store, [p for p in nodes if p is not node], layers=layers)
            for archive in profile.archives:
                with archive.open("rb") as file:
                    node.sh(f"{profile.load or STORE} >/dev/null", stdin=file)
            if profile.before:
                node.sh(profile.before)
            if profile.dual:
                dual.give(node, [p for p in nodes if p is not node])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(boot, (*nodes, *apart)))

    def _init(self, first: Node) -> None:
        say("kubeadm init")
        both = self.profile.dual
        config = INIT.format(
            address=first.address,
            cluster=self.number,
            version=VERSION,
            pods=dual.pod_networks(self.number) if both else f"10.{200 + self.number}.0.0/16",
            services=dual.SERVICES if both else "10.96.0.0/16",
            gates=dual.GATES if both else "",
            port=self.profile.api_port,
            socket=self.profile.socket,
            etcd=self._etcd(),
        )
        first.sh(
            f"cat > /root/init.yaml <<'E'\n{config}E\n"
            "kubeadm init --config /root/init.yaml --skip-phases=preflight,addon/coredns > /root/init.log 2>&1 || "
            f"{{ tail -20 /root/init.log >&2; exit 1; }}; {KUBECTL_HOME}"
        )

    def _etcd(self) -> str:
        """What kubeadm is told of it, where that is not to be as kubeadm has it."""
        if self.profile.etcd_apart:
            return external.section(self.number, self.profile.etcd_apart)
        return f"etcd: {{local: {{imageTag: {tag}}}}}\n" if (tag := self.profile.etcd_tag) else ""

    def _join(self, first: Node, control_planes: Sequence[Node], workers: Sequence[Node]) -> None:
        """Workers join side by side; control planes one after another, since each is a change of etcd's membership."""
        join = f"{join_command(first)} {JOIN} --cri-socket={self.profile.socket}"
        say(f"joining {', '.join(n.name for n in (*control_planes, *workers))}")

        def worker(node: Node) -> None:
            node.sh(f"{join} >/root/join.log 2>&1 || {{ tail -20 /root/join.log >&2; exit 1; }}")

        with ThreadPoolExecutor(4) as pool:
            joining = [pool.submit(worker, n) for n in workers]
            for node in control_planes:
                join_control_plane(first, node)
                node.sh(KUBECTL_HOME)
            for future in joining:
                future.result()

    # --- what is asked of a cluster ---

    def kubeconfig(self) -> str:
        """An administrator's kubeconfig for the load balancer's address, read from the
        first control plane that answers.
        """
        for node in self.nodes:
            if node.name.startswith("cp") and node.running:
                found = node.sh("cat /root/.kube/config", capture_output=True, check=False)
                if found.returncode == 0:
                    return found.stdout.replace("https://k8s-api:6443", f"https://10.99.{self.number}.10:6443")
        raise LabError(f"no control plane of cluster {self.number} answers")

    def known_hosts(self) -> str:
        return "".join(node.known_hosts() for node in self.nodes)

    def workload(self) -> None:
        """Four web pods behind a service with a fixed address, 10.96.0.80:80; with both families also with fd00:96::80,
        and behind one that has IPv6 alone.
        """
        given = PODS + dual.WEB if self.profile.dual else WORKLOAD
        self.node("cp1").sh(f"kubectl apply -f - <<'E'\n{given}E\nkubectl rollout status deploy/web --timeout=90s")


def made_by(profile: Profile) -> str:
    """The digest of what kubeadm is told here and what a machine is made of: a kept state of
    another one is not this cluster.
    """
    makers = (Node.boot, Node.power_on, Node._mount, Node._write_settings, Cluster._init, Cluster._etcd, Cluster._join)
    parts = [INIT, WORKLOAD, JOIN, KUBECTL_HOME, *map(inspect.getsource, makers)]
    parts += [profile.digest, profile.etcd_tag] if profile.name else []
    parts += [inspect.getsource(external)] if profile.etcd_apart else []
    parts += [inspect.getsource(balanced)] if profile.balances_itself else []
    parts += [inspect.getsource(dual)] if profile.dual else []
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def allow_inotify() -> None:
    """Kubelets, systemds and journals of all nodes share the kernel's limit of inotify instances: with 128,
    the fifth node's kubelet fails.
    """
    limit = Path("/proc/sys/fs/inotify/max_user_instances")
    if int(limit.read_text()) < INOTIFY:
        limit.write_text(f"{INOTIFY}\n")


def join_command(first: Node) -> str:
    return first.sh("kubeadm token create --print-join-command 2>/dev/null", capture_output=True).stdout.strip()


def join_control_plane(first: Node, node: Node, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Join `node` as a control plane. The certificates' key lives two hours, so they are uploaded anew each time."""
    profile = Cluster(first.cluster).profile
    # without its configuration kubeadm uploads the certificates of an etcd of its own (seen with 1.20.2)
    config = " --config /root/init.yaml" if profile.etcd_apart else ""
    key = first.sh(
        f"kubeadm init phase upload-certs --upload-certs{config} 2>/dev/null | tail -1", capture_output=True
    ).stdout.strip()
    words = f"{join_command(first)} --control-plane --certificate-key {key} {JOIN} --cri-socket={profile.socket}"
    words += f" --apiserver-bind-port={profile.api_port}"
    return node.sh(words, check=check)


def all_clusters() -> list[Cluster]:
    """Every cluster that has left something here, whole or not."""
    return [Cluster(int(d.name)) for d in sorted(CLUSTERS.glob("*")) if d.name.isdigit() and d.name != "0"]
