"""A cluster of one environment as its machines, its API server and its etcd show it, one control plane and one worker,
behind the real collectors; and the real machine that is told what they see.
"""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiohttp import web

from recoverd.config import ClusterConfig, Deadlines, SshSettings
from recoverd.machine import ClusterMachine
from recoverd.model.events import Observed
from recoverd.model.observation import Observation
from recoverd.model.places import authority
from recoverd.model.settings import ClusterSettings, HostSettings
from recoverd.model.witness import LeadView
from recoverd.observe import Collector
from recoverd.observe.turns import Turns
from recoverd.playbooks import registry
from tests.authority import Authority
from tests.components.clusters import a_loopback_address
from tests.components.conftest import free_port
from tests.components.test_api import NOT_READY, Server, as_json
from tests.field.answers import LEASES, Answers, listed, meta
from tests.field.environment import Environment, link
from tests.field.machines import Machine, Machines
from tests.field.manifests import CONTAINERS
from tests.field.proxies import NO_CHAINS, program

COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
ETCDUTL = """case "$*" in
  version) echo 'etcdutl version: {version}' ;;
  *) printf '  --%s\\n' initial-cluster bump-revision mark-compacted ;;
esac
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
class Field:
    """A row in life."""

    at: Environment
    root: Path
    sweeps: int = 0
    machines: dict[str, Machine] = field(default_factory=dict)

    async def begin(self) -> None:
        at = self.at
        address = "::1" if at.v6 else a_loopback_address()
        planes = (HostSettings("p1", address),)
        workers = (HostSettings("w1", "fd00:1::21" if at.v6 else a_loopback_address()),)
        self.addresses = {h.name: h.address for h in (*planes, *workers)}
        for number, host in enumerate(self.addresses):
            self.machines[host] = self._machine(host, number)
        self.answers = Answers(at, self.addresses, {h: m.boot_id for h, m in self.machines.items()})
        self.api = Server(self.root / "api", address, port=at.port)
        self.api.write_kubeconfig(server=f"https://{authority(address, 6443)}")
        self.api.answers |= self.answers.api()
        await self.api.start()
        self.fronted = Server(self.root / "balancer", address, port=6443) if at.port != 6443 else None
        if self.fronted:
            self.fronted.authority, self.fronted.answers = self.api.authority, self.api.answers
            await self.fronted.start()
        for uid, host, _, _ in self.answers.pods():
            (self.machines[host].root / at.pods_in.lstrip("/") / "pods" / uid).mkdir(parents=True)
        ssh = SshSettings("root", self.root / "key", self.root / "known_hosts", sudo=bool(at.sudo))
        settings = ClusterSettings("prod", planes, workers)
        slow = Deadlines(20.0, 20.0, 20.0)  # a machine that runs tests may be slow
        self.pool = Machines(ssh, (*planes, *workers), self.machines)
        self.etcd = await self._etcd() if at.etcd or at.external else None
        self.collector = Collector(ClusterConfig(settings, 5.0, self.api.kubeconfig, ssh, slow), self.pool)
        if at.scheduler:
            self._idle("kube-scheduler")
        self.collector._turns = Turns(30.0, small=0)  # a worker has turns, as where there are many
        self.machine = ClusterMachine(settings, registry(), now=datetime.now(UTC))

    async def end(self) -> None:
        await self.collector.close()
        await self.api.stop()
        if self.fronted:
            await self.fronted.stop()
        if self.etcd:
            await self.etcd.cleanup()

    async def sweep(self) -> Observation:
        """One sweep of the real collectors, given to the real machine."""
        self.sweeps += 1
        self.collector.rest(calm=self.machine.calm)
        seen = await self.collector.observe(self.sweeps, self.machine.state.memory)
        self.machine.handle(Observed(seen))
        return seen

    # --- faults ---

    async def api_manifest_lost(self) -> None:
        """Somebody removed it, and kubelet has ended the API server."""
        plane = self.machines["p1"]
        (plane.root / self.at.static.lstrip("/") / "kube-apiserver.yaml").unlink()
        plane.ends("kube-apiserver")
        await self.api.stop()
        if self.fronted:  # as haproxy with no server left
            self.fronted.answers = {"/readyz": web.Response(text="<html>503 Service Unavailable</html>", status=503)}

    async def api_ended(self) -> None:
        """Whatever started it there has ended it."""
        self.machines["p1"].ends("kube-apiserver")
        await self.api.stop()

    def etcd_manifest_lost(self) -> None:
        """Somebody removed it, and kubelet has ended etcd, without which no API server is ready."""
        plane = self.machines["p1"]
        (plane.root / self.at.static.lstrip("/") / "etcd.yaml").unlink()
        plane.ends("etcd")
        self._without_etcd()

    def etcd_directory_changed(self) -> None:
        """Somebody named another one in its manifest, and etcd has ended."""
        self._edited("etcd", f"{self.at.data}\n", f"{self.at.data}-new\n")
        self.machines["p1"].ends("etcd")
        self._without_etcd()

    async def api_mistyped(self) -> None:
        """Somebody edited a flag, with which the API server ends at once."""
        self._edited("kube-apiserver", "--secure-port", "--secure-prot")
        self.machines["p1"].falls("kube-apiserver", "Error: unknown flag: --secure-prot")
        await self.api.stop()

    async def api_cut_short(self) -> None:
        """A full disk left the beginning of its manifest, and kubelet has ended the API server."""
        self.machines["p1"].write("etc/kubernetes/manifests/kube-apiserver.yaml", "apiVersion: v1\nkind: Pod\n")
        await self.api_ended()

    def manager_idle(self) -> None:
        """For minutes, with a certificate in its memory that is over."""
        self._idle("kube-controller-manager")

    def kubelet_died(self) -> None:
        self.machines["p1"].unit("kubelet", "failed", "exit-code")

    def plane_runtime_died(self) -> None:
        self.machines["p1"].unit(self.at.runtime, "failed", "signal")

    def kubelet_deaf(self) -> None:
        """The worker's does not know the pod that was bound to it."""
        node = self.at.node.format(host="w1")
        own = [{"metadata": meta(u, n)} for u, h, n, _ in self.answers.pods() if h == "w1" and u != "web-uid"]
        self.api.answers[f"/api/v1/nodes/{node}/proxy/pods"] = listed("Pod", own)

    def node_deleted(self) -> None:
        """The worker's."""
        only = self.answers._node(self.at.node.format(host="p1"), "p1", ready=True)
        self.api.answers["/api/v1/nodes"] = listed("Node", [only])

    def bridge_lost(self) -> None:
        """The worker's, with the pods' cables."""
        links = self.machines["w1"].root / "net/links"
        links.write_text("".join(x for x in links.read_text().splitlines(True) if " cni0:" not in x))
        self._unreached()

    def bridge_unfiltered(self) -> None:
        self.machines["w1"].write("proc/sys/net/bridge/bridge-nf-call-iptables", "0\n")

    def forwarding_off(self) -> None:
        self.machines["w1"].write("proc/sys/net/ipv4/ip_forward", "0\n")
        self._unreached()

    def route_lost(self) -> None:
        """The control plane's to the worker's pods."""
        routes = self.machines["p1"].root / "net/routes"
        routes.write_text("".join(r for r in routes.read_text().splitlines(True) if not r.startswith("10.244.1.")))
        self._unreached()

    def pod_routes_lost(self) -> None:
        """The worker's own to its pods."""
        routes = self.machines["w1"].root / "net/routes"
        routes.write_text("".join(r for r in routes.read_text().splitlines(True) if not r.startswith("10.244.1.")))
        self._unreached()

    def connections_full(self) -> None:
        """On the worker, where a pod has opened a connection after the other."""
        self.machines["w1"].tables(connections=65536, dropped=0x2A)
        self._unreached()

    def neighbours_full(self) -> None:
        """On the control plane, which finds no room for the worker's pod."""
        self.machines["p1"].tables(neighbours=0x3FF, full=7)
        self._unreached()

    def reverse_path_filtered(self) -> None:
        """On the worker, where packets come in over a device that was added; rp_filter was strict there before."""
        self.machines["w1"].tables(astray=12)
        self._unreached()

    def uplink_lowered(self) -> None:
        """The worker's, after its virtual network was moved."""
        links = self.machines["w1"].root / "net/links"
        links.write_text(links.read_text().replace("mtu 1500", "mtu 1400"))

    def etcd_put_back(self) -> None:
        """All of its servers, from a snapshot; the API server was started again, and nothing else."""
        self.answers.revision = 700

    def image_gone(self) -> None:
        """The worker's kube-proxy has ended, kubelet has deleted its image, and no registry is reached; so for a
        minute.
        """
        self.machines["w1"].ends("kube-proxy")
        self.answers.unpulled = "kube-system/kube-proxy-w1"
        node = self.at.node.format(host="w1")
        self.collector._network._agents._bad_since[node, "kube-system/kube-proxy"] = time.monotonic() - 60

    def rules_flushed(self) -> None:
        self.machines["w1"].tool("iptables-save", NO_CHAINS)

    def runtime_died(self) -> None:
        self.machines["w1"].unit(self.at.runtime, "failed", "signal")
        self.api.answers |= self.answers.api(ready=False)

    def _unreached(self) -> None:
        """The worker's pods, by the control plane alone: to the worker itself they answer."""
        self.machines["p1"].write("silent", "")

    def _edited(self, name: str, before: str, after: str) -> None:
        """A manifest, long enough ago for kubelet to have read it."""
        path = f"{self.at.static.lstrip('/')}/{name}.yaml"
        text = (self.machines["p1"].root / path).read_text()
        self.machines["p1"].write(path, text.replace(before, after), age=90.0)

    def _without_etcd(self) -> None:
        self.api.answers["/readyz"] = web.Response(text=NOT_READY, status=500)

    def _idle(self, controller: str) -> None:
        """Its lease is renewed by nobody, and recoverd has seen so for long."""
        then = datetime(2020, 1, 1, tzinfo=UTC) if self.at.scheduler else datetime.now(UTC) - timedelta(minutes=5)
        spec = {"holderIdentity": "p1_1", "renewTime": then.isoformat()}
        self.api.answers[f"{LEASES}/{controller}"] = as_json({"spec": spec})
        view = LeadView("p1_1", then, then)
        self.collector._leads._since[controller] = view, time.monotonic() - 120

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
        if at.endpoint:
            machine.write("etc/default/kubelet", f'KUBELET_EXTRA_ARGS="--container-runtime-endpoint={at.endpoint}"\n')
        elif at.runtime in SOCKETS:
            told = f'KUBELET_KUBEADM_ARGS="--container-runtime-endpoint={SOCKETS[at.runtime]}"\n'
            machine.write("var/lib/kubelet/kubeadm-flags.env", told)
        machine.write("var/lib/kubelet/config.yaml", f"staticPodPath: {machine.root}{at.static}\n")
        server = f"https://{authority(self.addresses['p1'], 6443)}"
        machine.write("etc/kubernetes/kubelet.conf", f"clusters:\n- cluster:\n    server: {server}\n")
        machine.process(
            90,
            "kubelet",
            arguments=f"--config={machine.root}/var/lib/kubelet/config.yaml"
            + (f" --root-dir={machine.root}{at.pods_in}" if at.pods_in != "/var/lib/kubelet" else ""),
        )
        if at.sudo:
            machine.sudo(at.sudo)
        machine.tool("crictl", "echo RuntimeName: it\n", at.programs)
        machine.tool("etcdutl", ETCDUTL.format(version=at.etcd or "3.5.9"), at.programs)
        if at.network.proxy:
            machine.process(91, "kube-proxy")
        if at.network.process:
            machine.process(92, at.network.process)
        program(machine, at.network.proxy, v6=at.v6)
        peer = self.addresses["w1" if number == 0 else "p1"]
        for what in ("links", "addresses", "routes"):
            text = getattr(at.network, what).format(mine=number, other=1 - number, peer=peer)
            machine.write(f"net/{what}", OWN[what].format(peer=peer) + text)
        if number == 0:
            self._plane(machine)
        elif at.apart:
            machine.is_beside_the_node()
        for name in at.lacking:
            (machine.root / "usr/bin" / name).unlink(missing_ok=True)
        return machine

    def _plane(self, machine: Machine) -> None:
        at, address = self.at, self.addresses["p1"]
        local = "[::1]" if at.v6 else "127.0.0.1"
        me, shown = at.member.format(host="p1"), f"[{address}]" if at.v6 else address
        servers = f"https://{local}:2379" if at.etcd else ",".join(f"https://{s}:2379" for s in OUTSIDE)
        flags = {
            "etcd": (
                f"--advertise-client-urls=https://{shown}:2379",
                f"--data-dir={at.data}",
                *([f"--wal-dir={at.wal}"] if at.wal else []),
                f"--initial-cluster={me}=https://{shown}:2380",
                f"--listen-client-urls=https://{local}:2379,https://{shown}:2379",
                f"--listen-metrics-urls=http://{local}:2381",
                f"--name={me}",
            ),
            "kube-apiserver": (
                f"--advertise-address={address}",
                "--etcd-cafile=/etc/kubernetes/pki/etcd/ca.crt",
                "--etcd-certfile=/etc/kubernetes/pki/apiserver-etcd-client.crt",
                "--etcd-keyfile=/etc/kubernetes/pki/apiserver-etcd-client.key",
                f"--etcd-servers={servers}",
                *([f"--etcd-prefix={at.prefix}"] if at.prefix else []),
                f"--secure-port={at.port}",
                "--service-cluster-ip-range=10.96.0.0/16" + (",fd00:96::/112" if at.dual else ""),
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
        if at.etcd:
            machine.write(f"{at.data}/member/snap/db", "d" * 65536)
            machine.write(f"{at.wal or f'{at.data}/member/wal'}/0-0.wal", "")

    async def _etcd(self) -> web.AppRunner:
        """A member that answers as its version does, over TLS, and its metrics."""
        pki = Authority(self.root / "etcd-pki")
        mine = "healthcheck-client" if self.at.etcd else "apiserver-etcd-client"
        pki.issue("server", names=OUTSIDE)
        pki.issue(mine)
        folder = "etc/kubernetes/pki/etcd/" if self.at.etcd else "etc/kubernetes/pki/"
        self.machines["p1"].write("etc/kubernetes/pki/etcd/ca.crt", (pki.directory / "ca.crt").read_text())
        for name in (f"{mine}.crt", f"{mine}.key"):
            self.machines["p1"].write(folder + name, (pki.directory / name).read_text())
        application = web.Application()
        application.router.add_route("*", "/{any:.*}", self.answers.etcd)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(pki.directory / "server.crt", pki.directory / "server.key")
        loopback = "::1" if self.at.v6 else "127.0.0.1"
        if not self.at.etcd:
            for server in OUTSIDE:
                here = free_port()
                await web.TCPSite(runner, "127.0.0.1", here, ssl_context=tls).start()
                self.pool.behind["p1", server, 2379] = "", here
            return runner
        for port, context in ((2379, tls), (2381, None)):
            here = free_port()
            await web.TCPSite(runner, "127.0.0.1", here, ssl_context=context).start()
            self.pool.behind["p1", loopback, port] = "etcd", here
        return runner
