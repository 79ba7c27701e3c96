"""What can go wrong in an environment of the matrix: each method breaks one thing, as it looks from outside."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime, timedelta

from aiohttp import web

from recoverd.model.witness import LeadView
from recoverd.observe import Collector
from tests.components.test_api import NOT_READY, Server, as_json
from tests.field.answers import LEASES, Answers, listed, meta
from tests.field.environment import Environment
from tests.field.machines import Machine
from tests.field.pki import CLIENT, Pki
from tests.field.proxies import FIREWALLD, NO_CHAINS


class Faults:
    """Those of a `Field`."""

    at: Environment
    machines: dict[str, Machine]
    answers: Answers
    api: Server
    fronted: Server | None
    collector: Collector
    others: dict[str, Server]
    pki: Pki

    async def api_manifest_lost(self) -> None:
        """Somebody removed it, and kubelet has ended the API server."""
        plane = self.machines["p1"]
        (plane.root / self.at.static.lstrip("/") / "kube-apiserver.yaml").unlink()
        plane.ends("kube-apiserver")
        await self.api.stop()
        if self.fronted:  # as haproxy with no server left
            self.fronted.answers = {"/readyz": web.Response(text="<html>503 Service Unavailable</html>", status=503)}

    def vip_lost(self) -> None:
        """Somebody removed kube-vip's manifest from the first control plane, and kubelet has ended it; it stands on the
        others.
        """
        self._gone("kube-vip")

    async def balancer_lost(self) -> None:
        """Somebody removed haproxy's manifest, and nothing answers at the cluster's address."""
        self._gone("haproxy")
        if self.fronted:
            await self.fronted.stop()

    def _gone(self, name: str) -> None:
        plane = self.machines["p1"]
        (plane.root / self.at.static.lstrip("/") / f"{name}.yaml").unlink()
        plane.ends(name)

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
        self._cut_short("kube-apiserver")
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

    def forwarding6_off(self) -> None:
        self.machines["w1"].write("proc/sys/net/ipv6/conf/all/forwarding", "0\n")
        self.machines["p1"].write("silent6", "")

    def route6_lost(self) -> None:
        """The control plane's of IPv6 to the worker's pods."""
        routes = self.machines["p1"].root / "net/routes6"
        routes.write_text("".join(r for r in routes.read_text().splitlines(True) if not r.startswith("fd00:244:")))
        self.machines["p1"].write("silent6", "")

    def rules6_flushed(self) -> None:
        self.machines["w1"].tool("ip6tables-save", NO_CHAINS)

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
        self.answers.waiting["kube-system/kube-proxy-w1"] = "ImagePullBackOff"
        node = self.at.node.format(host="w1")
        self.collector._network._agents._bad_since[node, "kube-system/kube-proxy"] = time.monotonic() - 60

    def firewalld_started(self) -> None:
        """On the worker, by a package that wants it."""
        self.machines["w1"].tool("nft", FIREWALLD)
        self._unreached()

    def rules_flushed(self) -> None:
        self.machines["w1"].tool("iptables-save", NO_CHAINS)

    def runtime_died(self) -> None:
        self.machines["w1"].unit(self.at.runtime, "failed", "signal")
        self.api.answers |= self.answers.api(ready=False)

    def _unreached(self) -> None:
        """The worker's pods, by the control plane alone: to the worker itself they answer."""
        self.machines["p1"].write("silent", "")

    def _edited(self, name: str, before: str, after: str, host: str = "p1", age: float = 90.0) -> None:
        """A manifest, by default long enough ago for kubelet to have read it."""
        path = f"{self.at.static.lstrip('/')}/{name}.yaml"
        text = (self.machines[host].root / path).read_text()
        self.machines[host].write(path, text.replace(before, after), age=age)

    def _cut_short(self, name: str) -> None:
        self.machines["p1"].write(f"etc/kubernetes/manifests/{name}.yaml", "apiVersion: v1\nkind: Pod\n")

    def _without_etcd(self) -> None:
        self.api.answers["/readyz"] = web.Response(text=NOT_READY, status=500)

    def _idle(self, controller: str) -> None:
        """Its lease is renewed by nobody, and recoverd has seen so for long."""
        then = datetime(2020, 1, 1, tzinfo=UTC) if self.at.scheduler else datetime.now(UTC) - timedelta(minutes=5)
        spec = {"holderIdentity": "p1_1", "renewTime": then.isoformat()}
        self.api.answers[f"{LEASES}/{controller}"] = as_json({"spec": spec})
        view = LeadView("p1_1", then, then)
        self.collector._leads._since[controller] = view, time.monotonic() - 120

    # --- of etcd ---

    def join_hung(self) -> None:
        """A member was added whose machine never started it: of two voters there is one."""
        self.answers.added.append({"ID": "2", "peerURLs": ["https://127.9.9.9:2380"]})
        self.answers.leads = False
        self._without_etcd()

    def learner_stuck(self) -> None:
        """A learner was added, and its machine never started it."""
        self.answers.added.append({"ID": "2", "peerURLs": ["https://127.9.9.9:2380"], "isLearner": True})

    async def member_emptied(self) -> None:
        """The second control plane's disk with etcd's data was made anew."""
        plane = self.machines["p2"]
        shutil.rmtree(plane.root / self.at.data.lstrip("/") / "member")
        plane.falls("etcd", "discovery failed: member has already been bootstrapped")
        plane.ends("kube-apiserver")
        await self.others["p2"].stop()

    async def plane_reset(self) -> None:
        """The second control plane, with `kubeadm reset`, which took its member out of the list."""
        plane = self.machines["p2"]
        for path in ("etc/kubernetes/kubelet.conf", "var/lib/kubelet/config.yaml"):
            (plane.root / path).unlink()
        for path in (self.at.static, "/etc/kubernetes/pki", self.at.data):
            shutil.rmtree(plane.root / path.lstrip("/"), ignore_errors=True)
        (plane.root / self.at.static.lstrip("/")).mkdir()
        for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"):
            plane.ends(name)
        plane.unit("kubelet", "inactive")
        shutil.rmtree(plane.root / "var/log/pods")
        self.answers.removed = "p2"
        await self.others["p2"].stop()

    def etcd_flag_left(self) -> None:
        """After a recovery by hand."""
        self._edited("etcd", "    - etcd\n", '    - etcd\n    - "--force-new-cluster=true" # take out again\n')

    # --- of files ---

    async def certificates_over(self) -> None:
        """All that kubeadm has signed for the control plane, and its API server still serves with its own."""
        self.pki.over(self.machines["p1"], self.at.node.format(host="p1"))
        await self.api.stop()
        await self.api.start("over")

    async def encryption_lost(self) -> None:
        """Somebody deleted the file with the keys; then the machine booted. recoverd had copies kept there."""
        plane = self.machines["p1"]
        (plane.root / self.at.encryption.lstrip("/")).unlink()
        plane.falls(
            "kube-apiserver", f"Error: error opening encryption provider configuration file: {self.at.encryption}"
        )
        await self.api.stop()

    def runtime_misled(self) -> None:
        """Somebody added a file to its configuration on the control plane, and it ends."""
        self.machines["p1"].write("etc/containerd/conf.d/50-registry.toml", "version = 3\n[plugins\n", age=-1.0)
        self.plane_runtime_died()

    # --- of nodes ---

    def kubelet_hangs(self) -> None:
        """The worker's takes connections and answers nothing."""
        self.machines["w1"].write("kubelet-hangs", "")
        self._lost("NodeStatusUnknown", "Kubelet stopped posting node status.")

    def runtime_hangs(self) -> None:
        """The worker's, of which systemd says that it is active."""
        self.machines["w1"].write("runtime-hangs", "")
        self._lost("KubeletNotReady", "PLEG is not healthy: pleg was last seen active 5m0s ago; threshold is 3m0s")

    def name_lost(self) -> None:
        """The line of the API server in the worker's /etc/hosts."""
        hosts = self.machines["w1"].root / "etc/hosts"
        hosts.write_text("".join(x for x in hosts.read_text().splitlines(True) if self.at.server not in x))
        self._lost("NodeStatusUnknown", "Kubelet stopped posting node status.")

    def kubelet_edited(self) -> None:
        """Somebody gave the worker's a flag that it does not know."""
        self._flag_unknown("w1")
        self._lost("NodeStatusUnknown", "Kubelet stopped posting node status.")

    def _flag_unknown(self, host: str) -> None:
        for path in self.at.files:
            self.machines[host].write(path, self.at.files[path].replace("--", "--no-such-"), age=60.0)
        self.machines[host].unit("kubelet", "failed", "exit-code")

    def agent_down(self) -> None:
        """The worker's agent of the CNI ends again and again, for a minute."""
        self.machines["w1"].ends(self.at.network.process)
        name = f"kube-system/{self.at.network.agent}"
        self.answers.waiting[f"{name}-w1"] = "CrashLoopBackOff"
        node = self.at.node.format(host="w1")
        self.collector._network._agents._bad_since[node, name] = time.monotonic() - 60

    def tunnel_lost(self) -> None:
        """The worker's device to other nodes' pods, with the routes over it."""
        net = self.machines["w1"].root / "net"
        for what in ("links", "addresses", "routes"):
            lines = (net / what).read_text().splitlines(True)
            (net / what).write_text("".join(x for x in lines if "flannel.1" not in x))
        self._unreached()

    def client_over(self) -> None:
        """The worker was off for as long as its kubelet's certificate was good for."""
        self.machines["w1"].write(CLIENT, self.pki.kubelet(self.at.node.format(host="w1"), days=-2))
        self.machines["w1"].unit("kubelet", "failed", "exit-code")
        self._lost("NodeStatusUnknown", "Kubelet stopped posting node status.")

    def _lost(self, reason: str, message: str) -> None:
        """The worker's node is not Ready, and has not been for long."""
        self.answers.lost = {"reason": reason, "message": message}
        self.api.answers |= self.answers.api(ready=False)
