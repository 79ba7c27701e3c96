"""A cluster of one environment as its machines, its API server and its etcd show it, one control plane and one worker,
behind the real collectors; and the real machine that is told what they see.
"""

from __future__ import annotations

import shutil
import ssl
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from aiohttp import web

from recoverd.config import ClusterConfig, Deadlines, SshSettings
from recoverd.machine import ClusterMachine
from recoverd.model.events import ChoreEnded, Observed, PerformChore
from recoverd.model.file_operations import KeepPodFiles
from recoverd.model.observation import Observation
from recoverd.model.pki_operations import KeepPki
from recoverd.model.places import authority
from recoverd.model.plan import StepResult
from recoverd.model.point_operations import TakeRestorePoint
from recoverd.model.points import PointSettings, RestorePoint
from recoverd.model.settings import Approval, Bounds, ClusterSettings, HostSettings
from recoverd.observe import Collector
from recoverd.observe.turns import Turns
from recoverd.playbooks import registry
from tests.authority import Authority
from tests.components.clusters import a_loopback_address
from tests.components.conftest import free_port
from tests.components.test_api import Server
from tests.field.answers import Answers
from tests.field.environment import Environment, link
from tests.field.machines import Machine, Machines
from tests.field.manifests import CONTAINERS
from tests.field.node_faults import NodeFaults
from tests.field.pki import Pki
from tests.field.plane_faults import PlaneFaults
from tests.field.proxies import program

COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
ETCDUTL = """case "$*" in
  version) echo 'etcdutl version: {version}' ;;
  *) printf '  --%s\\n' initial-cluster bump-revision mark-compacted ;;
esac
"""
ENCRYPTION = """kind: EncryptionConfiguration
apiVersion: apiserver.config.k8s.io/v1
resources: [{resources: [secrets], providers: [{aescbc: {keys: [{name: k, secret: a2V5}]}}, {identity: {}}]}]
"""
CRICTL = """[ -e {root}/runtime-hangs ] || { echo RuntimeName: it; exit 0; }
echo 'FATA[0002] getting the runtime version: rpc error: code = DeadlineExceeded desc = context deadline exceeded'
exit 1
"""
DOCKER = "[ ! -e {root}/runtime-hangs ] || exit 124  # as timeout's, which ends it\n"
GETENT = """while read -r address name; do
  [ "$name" != "$2" ] || { echo "$address STREAM $name"; exit 0; }
done <{root}/etc/hosts
exit 2
"""
OUTSIDE = ("etcd1.example", "etcd2.example")
"""An external etcd's servers."""
OWN = {
    "links": link("eth0", "virtio", 1500),
    "addresses": "2: eth0    inet 10.0.0.1/24 brd 10.0.0.255 scope global eth0\\   valid_lft forever\n",
    "routes": "default via {peer} dev eth0\n",
}
SOCKETS = {"containerd": "unix:///run/containerd/containerd.sock", "crio": "unix:///var/run/crio/crio.sock"}


@dataclass
class Field(PlaneFaults, NodeFaults):
    """A row in life."""

    at: Environment
    root: Path
    sweeps: int = 0
    ahead: timedelta = timedelta()
    """By how much later than now the sweeps are."""
    machines: dict[str, Machine] = field(default_factory=dict)

    async def begin(self) -> None:
        at = self.at
        address = "::1" if at.v6 else a_loopback_address()
        names = tuple(f"p{n + 1}" for n in range(at.planes))
        planes = tuple(HostSettings(n, a_loopback_address() if n != "p1" else address) for n in names)
        workers = (HostSettings("w1", "fd00:1::21" if at.v6 else a_loopback_address()),)
        self.addresses = {h.name: h.address for h in (*planes, *workers)}
        for number, host in enumerate(("p1", "w1", *names[1:])):
            self.machines[host] = self._machine(host, number)
        self.answers = Answers(at, self.addresses, {h: m.boot_id for h, m in self.machines.items()})
        self.api = Server(self.root / "api", *(h.address for h in planes), port=at.port)
        self.api.write_kubeconfig(server=f"https://{authority(address, 6443)}")
        self.api.answers |= self.answers.api()
        await self.api.start()
        self.fronted = Server(self.root / "balancer", address, port=6443) if at.port != 6443 else None
        if self.fronted:
            self.fronted.authority, self.fronted.answers = self.api.authority, self.api.answers
            await self.fronted.start()
        self.others = {h.name: Server(self.root / h.name / "api", h.address, port=at.port) for h in planes[1:]}
        for other in self.others.values():
            other.authority, other.answers = self.api.authority, self.api.answers
            await other.start()
        for uid, host, _, _ in self.answers.pods():
            (self.machines[host].root / at.pods_in.lstrip("/") / "pods" / uid).mkdir(parents=True)
        ssh = SshSettings("root", self.root / "key", self.root / "known_hosts", sudo=bool(at.sudo))
        asked = dict.fromkeys(at.declined, Approval.REQUIRED)
        points = PointSettings(interval=3600.0 if at.point else 0.0)
        settings = ClusterSettings("prod", planes, workers, Bounds(member_down_after=0.0), asked, points=points)
        slow = Deadlines(20.0, 20.0, 20.0)  # a machine that runs tests may be slow
        self.pool = Machines(ssh, (*planes, *workers), self.machines)
        self.pki = Pki(self.root, self.api.authority)
        if at.pki:
            for host, machine in self.machines.items():
                self.pki.put(machine, at.node.format(host=host), plane=host != "w1")
                (machine.root / "usr/bin/openssl").symlink_to(str(shutil.which("openssl")))
        self.etcd = await self._etcd() if at.etcd or at.external else ()
        self.collector = Collector(ClusterConfig(settings, 5.0, self.api.kubeconfig, ssh, slow), self.pool)
        if at.scheduler:
            self._idle("kube-scheduler")
        self.collector._turns = Turns(30.0, small=0)  # a worker has turns, as where there are many
        self.machine = ClusterMachine(settings, registry(), now=datetime.now(UTC))

    async def end(self) -> None:
        await self.collector.close()
        for server in (self.api, *self.others.values(), *filter(None, (self.fronted,))):
            await server.stop()
        for runner in self.etcd:
            await runner.cleanup()

    async def sweep(self) -> Observation:
        """One sweep of the real collectors, given to the real machine."""
        self.sweeps += 1
        self.collector.rest(calm=self.machine.calm, quiet=self.machine.quiet)
        seen = await self.collector.observe(self.sweeps, self.machine.state.memory)
        seen = replace(seen, started_at=seen.started_at + self.ahead, at=seen.at + self.ahead)
        for instruction in self.machine.handle(Observed(seen)):
            if isinstance(instruction, PerformChore) and (done := self._done(instruction.step.operation)):
                self.machine.handle(ChoreEnded(instruction.step, done, datetime.now(UTC)))
        return seen

    def _done(self, chore: object) -> StepResult | None:
        """What comes of a chore at once; None where it goes on."""
        if isinstance(chore, TakeRestorePoint) and self.at.point:
            taken = (datetime.now(UTC) - timedelta(minutes=5)).timestamp()
            id, kept, digest = "prod-20260305T190000Z", "/var/lib/recoverd/points/prod", "5d" * 32
            made = (id, taken, "schedule", "p1", f"{kept}/snapshot.db", digest, 20480000)
            point = RestorePoint(*made, "cdf818194e3a8c32", 1200, 900, taken, "restored into a scratch etcd", kept)
            return StepResult(ok=True, detail="", points=(point,))
        return StepResult(ok=True, detail="") if isinstance(chore, KeepPodFiles | KeepPki) else None

    # --- what the environment is made of ---

    def _machine(self, host: str, number: int) -> Machine:
        at = self.at
        machine = Machine(
            self.root / host, proxy_mode=at.network.proxy, userland=at.userland, ip=at.ip, systemd=at.systemd
        )
        for unit in at.stopped:
            machine.unit(unit, "inactive")
        machine.greeting = at.greeting
        machine.unit("kubelet")
        machine.unit(at.runtime)
        flag = f"--container-runtime-endpoint={at.endpoint or SOCKETS.get(at.runtime, '')}"
        if at.endpoint:
            machine.write("etc/default/kubelet", f'KUBELET_EXTRA_ARGS="{flag}"\n')
        elif at.runtime in SOCKETS:
            machine.write("var/lib/kubelet/kubeadm-flags.env", f'KUBELET_KUBEADM_ARGS="{flag}"\n')
        machine.write("var/lib/kubelet/config.yaml", f"staticPodPath: {machine.root}{at.static}\n")
        server = f"https://{authority(at.server or self.addresses['p1'], 6443)}"
        machine.write("etc/kubernetes/kubelet.conf", f"clusters:\n- cluster:\n    server: {server}\n")
        machine.process(
            90,
            "kubelet",
            arguments=f"--config={machine.root}/var/lib/kubelet/config.yaml"
            + (f" --root-dir={machine.root}{at.pods_in}" if at.pods_in != "/var/lib/kubelet" else ""),
        )
        if at.sudo:
            machine.sudo(at.sudo)
        self._programs(machine)
        if at.network.proxy:
            machine.process(91, "kube-proxy")
        if at.network.process:
            machine.process(92, at.network.process)
        program(machine, at.network.proxy, v6=at.v6, dual=at.dual)
        if at.dual:
            self._second_family(machine, number, int(host != "w1"))
        peer = self.addresses["p1" if host == "w1" else "w1"]
        for what in ("links", "addresses", "routes"):
            text = getattr(at.network, what).format(mine=number, other=int(host != "w1"), peer=peer)
            machine.write(f"net/{what}", OWN[what].format(peer=peer) + text)
        if host != "w1":
            self._plane(host, machine)
        elif at.apart:
            machine.is_beside_the_node()
        for name in at.lacking:
            (machine.root / "usr/bin" / name).unlink(missing_ok=True)
        return machine

    def _programs(self, machine: Machine) -> None:
        """Those that come with Kubernetes, and what else is there."""
        at = self.at
        machine.tool("crictl", CRICTL, at.programs)
        if at.runtime == "docker" and not at.endpoint:
            machine.socket("run/docker.sock")
            machine.tool("docker", DOCKER)
        machine.tool("etcdutl", ETCDUTL.format(version=at.etcd or "3.5.9"), at.programs)
        if at.server:
            machine.write("etc/hosts", f"127.0.0.1 localhost\n{self.addresses['p1']} {at.server}\n")
            machine.tool("getent", GETENT)
        for path, text in at.files.items():
            machine.write(path, text, age=1e9)

    @staticmethod
    def _second_family(machine: Machine, mine: int, other: int) -> None:
        """What the machine has of IPv6 beside IPv4, on the bridge of its pods."""
        machine.write("proc/sys/net/ipv6/conf/all/forwarding", "1\n")
        machine.write("proc/sys/net/bridge/bridge-nf-call-ip6tables", "1\n")
        machine.write("net/addresses6", f"5: cni0    inet6 fd00:244:{mine}::1/64 scope global \\   valid_lft forever\n")
        machine.write(
            "net/routes6",
            f"fd00:244:{other}::/64 via fd00:1::{other} dev eth0 metric 1024 pref medium\n"
            "fe80::/64 dev eth0 proto kernel metric 256 pref medium\n"
            "default via fd00:1::fe dev eth0 metric 1024 pref medium\n",
        )

    def _plane(self, host: str, machine: Machine) -> None:
        at, address = self.at, self.addresses[host]
        local = "[::1]" if at.v6 else "127.0.0.1"
        me, shown = at.member.format(host=host), f"[{address}]" if at.v6 else address
        before = [h for h in self.addresses if h < host]
        cluster = [f"{at.member.format(host=h)}=https://{self.addresses[h]}:2380" for h in before]
        servers = f"https://{local}:2379" if at.etcd else ",".join(f"https://{s}:2379" for s in OUTSIDE)
        services = "10.96.0.0/16" + (",fd00:96::/112" if at.dual else "")
        flags = {
            "etcd": (
                f"--advertise-client-urls=https://{shown}:2379",
                f"--data-dir={at.data}",
                *([f"--wal-dir={at.wal}"] if at.wal else []),
                f"--initial-cluster={','.join((*cluster, f'{me}=https://{shown}:2380'))}",
                *(["--initial-cluster-state=existing"] if before else []),
                f"--listen-client-urls=https://{local}:2379,https://{shown}:2379",
                f"--listen-metrics-urls=http://{local}:2381",
                f"--name={me}",
            ),
            "kube-apiserver": (
                f"--advertise-address={at.gives_out.format_map(self.addresses) or address}",
                "--etcd-cafile=/etc/kubernetes/pki/etcd/ca.crt",
                "--etcd-certfile=/etc/kubernetes/pki/apiserver-etcd-client.crt",
                "--etcd-keyfile=/etc/kubernetes/pki/apiserver-etcd-client.key",
                f"--etcd-servers={servers}",
                *([f"--etcd-prefix={at.prefix}"] if at.prefix else []),
                *([f"--encryption-provider-config={at.encryption}"] if at.encryption else []),
                f"--secure-port={at.port}",
                f"--service-cluster-ip-range={services}",
            ),
            "kube-controller-manager": (
                "--allocate-node-cidrs=true",
                "--cluster-cidr=10.244.0.0/16",
                f"--service-cluster-ip-range={services}",
            ),
            "kube-scheduler": (f"--config={at.scheduler}",) if at.scheduler else (),
        }
        for number, name in enumerate((*COMPONENTS, *at.others), 1):
            if name == "etcd" and not at.etcd:
                continue
            version = f"{at.etcd}-0" if name == "etcd" else at.version
            if at.maker == "hand":
                machine.process(number, name)
                continue
            file, namespace = (name, "kube-system") if at.maker == "kubeadm" else (f"{name}-pod", f"openshift-{name}")
            machine.write(
                f"{at.static.lstrip('/')}/{file}.yaml",
                f"apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: {namespace}\nspec:\n"
                "  containers:\n"
                + CONTAINERS[at.written](name, flags.get(name, ()), f"registry.k8s.io/{name}:{version}"),
            )
            machine.static_pod(number, name, at.cgroups or at.runtime, namespace)
        (machine.root / "etc/kubernetes/manifests").mkdir(exist_ok=True)
        if at.encryption:
            machine.write(at.encryption, ENCRYPTION, age=1e9)
        if at.etcd:
            machine.write(f"{at.data}/member/snap/db", "d" * 65536)
            machine.write(f"{at.wal or f'{at.data}/member/wal'}/0-0.wal", "")

    async def _etcd(self) -> tuple[web.AppRunner, ...]:
        """Members that answer as their version does, over TLS, and their metrics."""
        pki = Authority(self.root / "etcd-pki")
        mine = "healthcheck-client" if self.at.etcd else "apiserver-etcd-client"
        pki.issue("server", names=OUTSIDE)
        pki.issue(mine)
        folder = "etc/kubernetes/pki/etcd/" if self.at.etcd else "etc/kubernetes/pki/"
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(pki.directory / "server.crt", pki.directory / "server.key")
        return tuple([await self._member(host, pki, tls, folder, mine) for host in self.answers.planes])

    async def _member(self, host: str, pki: Authority, tls: ssl.SSLContext, folder: str, mine: str) -> web.AppRunner:
        """The one on a control plane, or the servers outside."""
        self.machines[host].write("etc/kubernetes/pki/etcd/ca.crt", (pki.directory / "ca.crt").read_text())
        for name in (f"{mine}.crt", f"{mine}.key"):
            self.machines[host].write(folder + name, (pki.directory / name).read_text())
        application = web.Application()
        application.router.add_route("*", "/{any:.*}", partial(self.answers.etcd, host))
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        loopback = "::1" if self.at.v6 else "127.0.0.1"
        if not self.at.etcd:
            for server in OUTSIDE:
                here = free_port()
                await web.TCPSite(runner, "127.0.0.1", here, ssl_context=tls).start()
                self.pool.behind[host, server, 2379] = "", here
            return runner
        for port, context in ((2379, tls), (2381, None)):
            here = free_port()
            await web.TCPSite(runner, "127.0.0.1", here, ssl_context=context).start()
            self.pool.behind[host, loopback, port] = "etcd", here
        return runner
