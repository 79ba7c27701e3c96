"""More of what can go wrong on workers and their network: see `Faults`."""

from __future__ import annotations

import time

from recoverd.model.network import OWN_SERVICE
from tests.field.answers import listed
from tests.field.faults import Faults
from tests.field.machines import stamp
from tests.field.pki import CLIENT
from tests.field.proxies import DOCKER, HARDENED, IPTABLES

CONFIG_MAP = "var/lib/kubelet/pods/{}/volumes/kubernetes.io~configmap/kube-proxy/kubeconfig.conf"
SANDBOX = 'pod_workers.go:191] Error syncing pod new-uid ("new-1_d(new-uid)"), skipping: failed to "CreatePodSandbox"'
NOT_YET = (
    'Get "https://10.0.0.1:6443/api/v1/nodes": x509: certificate has expired or is not yet valid: current time '
    "2026-03-05T19:00:00Z is before 2026-03-05T19:05:00Z"
)


class NodeFaults(Faults):
    """Those of a `Field`."""

    def node_lost(self) -> None:
        """The worker's, for a reason that nothing there shows."""
        self._lost("KubeletNotReady", "[some new check of kubelet's says no]")

    def certificate_over_in_memory(self) -> None:
        """The worker's kubelet runs on with a certificate that is over."""
        self.machines["w1"].write(CLIENT, self.pki.kubelet(self.at.node.format(host="w1"), days=-2))
        self._lost("NodeStatusUnknown", "Kubelet stopped posting node status.")

    def network_configuration_lost(self) -> None:
        """Somebody emptied the worker's directory of the CNI's configuration."""
        for file in (self.machines["w1"].root / "etc/cni/net.d").iterdir():
            file.unlink()
        self._lost(
            "KubeletNotReady",
            "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
            "message:Network plugin returns error: cni plugin not initialized",
        )

    def proxy_ends(self) -> None:
        """The worker's kube-proxy ends again and again, for a minute."""
        self.machines["w1"].ends("kube-proxy")
        self._waits("kube-proxy", "CrashLoopBackOff")

    def _waits(self, daemonset: str, why: str) -> None:
        self.answers.waiting[f"kube-system/{daemonset}-w1"] = why
        node = self.at.node.format(host="w1")
        self.collector._network._agents._bad_since[node, f"kube-system/{daemonset}"] = time.monotonic() - 60

    def proxy_misled(self) -> None:
        """The control plane was moved; the ConfigMap names its old address still, and the worker's kube-proxy was
        started anew.
        """
        worker = self.machines["w1"]
        server = "server: https://api-before.prod.example:6443\n"
        worker.write(CONFIG_MAP.format("kube-proxy-w1-uid"), f"clusters:\n- cluster:\n    {server}")
        self.rules_flushed()

    def never_initialised(self) -> None:
        """The worker's node was made anew while its cloud provider's controller was away, and a pod is made."""
        self.answers.taints.append(
            {"key": "node.cloudprovider.kubernetes.io/uninitialized", "value": "true", "effect": "NoSchedule"}
        )
        self.answers.unbound = "d/new-1"
        self.answers.waiting["d/new-1"] = "Pending"
        self.api.answers |= self.answers.api()

    # --- of addresses ---

    def path_lost(self) -> None:
        """From the control plane to the worker's pods, for a reason that nothing there shows."""
        self._unreached()

    def announced_elsewhere(self) -> None:
        """A device was added to the worker, and its CNI's agent has chosen that."""
        self._announced("w1", "192.168.50.3")

    def announced_outside(self) -> None:
        """The worker's device for pods was renamed, and its CNI's agent has chosen that of the default route."""
        self._announced("w1", self.answers.inner("w1")[0])

    def _announced(self, host: str, address: str) -> None:
        for key, value in self.answers.notes[host].items():
            self.answers.notes[host][key] = address + ("/24" if "/" in value else "")
        self.api.answers |= self.answers.api()
        self._unreached()

    def api_left_behind(self) -> None:
        """The control plane had another address before, which an old lease keeps behind the service `kubernetes`."""
        self.answers.api_at += ("10.0.0.99",)
        self.api.answers |= self.answers.api()
        self._for_a_minute(silent="://10.0.0.99:")

    def api_given_out_unreached(self) -> None:
        """The address that the API server gives out, of a device that is gone."""
        self._for_a_minute(silent=f"://{self.answers.api_at[0]}:")

    def _for_a_minute(self, silent: str) -> None:
        """From no machine; what is behind the services has been the same for so long."""
        for machine in self.machines.values():
            machine.write("silent", f"{silent}6443/\n")
        rules, since = self.collector._network._rules, time.monotonic() - 90
        rules._sets[OWN_SERVICE] = frozenset(f"{a}:6443" for a in self.answers.api_at), since
        rules._followed = since

    def device_still(self) -> None:
        """systemd-networkd was restarted on the worker, whose uplink is told not to forward (IPv4Forwarding=no)."""
        self.machines["w1"].write("proc/sys/net/ipv4/conf/eth0/forwarding", "0\n")
        self._unreached()

    def forwards_dropped(self) -> None:
        """docker was installed on the worker, which gives the chain FORWARD the policy DROP."""
        self.machines["w1"].tool("nft", DOCKER)
        self._unreached()

    def tunnel_dropped(self) -> None:
        """Somebody has hardened the worker, against what VXLAN brings as well."""
        self.machines["w1"].tool("nft", HARDENED)
        self._unreached()

    def in_ip_dropped(self) -> None:
        """A rule of the worker's against IP in IP, by the older iptables."""
        self.machines["w1"].tool("iptables", IPTABLES)
        self._unreached()

    def machine_cloned(self) -> None:
        """The worker was made of a disk of the control plane's, and its kubelet has just told the API server so."""
        name = self.at.node.format(host="p1")
        self.machines["w1"].write(CLIENT, self.pki.kubelet(name))
        node = self.answers._node(name, "w1", ready=True)
        self.api.answers["/api/v1/nodes"] = listed("Node", [node])

    def machines_alike(self) -> None:
        """Both machines were made of one image, which had a machine-id."""
        self.answers.cloned = "4c4c4544-0000"
        self.api.answers |= self.answers.api()

    def part_given_twice(self) -> None:
        """Somebody gave the worker's node the control plane's part of the pod network."""
        self.answers.parts["w1"] = self.answers.part("p1")
        self.api.answers |= self.answers.api()
        self._unreached()

    def proxy_for_other_pods(self) -> None:
        """The ConfigMap of kube-proxy has another clusterCIDR than the controller-manager."""
        root = self.machines["w1"].root / "proc/91/root"
        root.unlink()
        self.machines["w1"].write(
            "proc/91/root/var/lib/kube-proxy/config.conf", "mode: ''\nclusterCIDR: 10.32.0.0/12\n"
        )

    def clock_behind(self) -> None:
        """The worker's, by ten minutes, as after it was put back to a snapshot."""
        self.machines["w1"].ahead = -600.0
        self._lost("NodeStatusUnknown", "Kubelet stopped posting node status.")
        self.machines["w1"].says("kubelet", f"E0305 19:00:00.0 90 reflector.go:1] {NOT_YET}")

    def processes_full(self) -> None:
        """The worker has no process left to give, and sshd cannot start a shell's programs."""
        shell = self.machines["w1"].root / "usr/bin/sh"
        shell.unlink()
        self.machines["w1"].tool("sh", "echo 'sh: 0: Cannot fork' >&2; exit 2\n")

    def node_unreached(self) -> None:
        """The worker's pods, by all control planes."""
        for host, machine in self.machines.items():
            if host != "w1":
                machine.write("silent", "")

    def pod_routes_lost_to_all(self) -> None:
        """The worker's to the others' pods, so that its own answer nobody."""
        self._routes_to_others_lost()
        self.node_unreached()

    def service_behind_route_unreached(self) -> None:
        """The same route, and what is lost is what goes to a service."""
        self._routes_to_others_lost()
        self.service_unreached()

    def _routes_to_others_lost(self) -> None:
        routes = self.machines["w1"].root / "net/routes"
        routes.write_text("".join(r for r in routes.read_text().splitlines(True) if not r.startswith("10.244.0.")))

    def service_unreached(self) -> None:
        """The only service's address, from the worker, though its pods are reached and its rules are right."""
        self.machines["w1"].write("silent", f"://10.96.0.80:{53 if self.at.dns else 80}/\n")
        rules = self.collector._network._rules
        rules._sets = {key: (ready, since - 60) for key, (ready, since) in rules._sets.items()}
        rules._followed = time.monotonic() - 60

    def addresses_used_up(self) -> None:
        """A pod waits on the worker, whose addresses are held for containers that are gone."""
        self._starts_not(
            "failed to allocate for range 0: no IP addresses available in range set: 10.244.1.1-10.244.1.254"
        )
        self.machines["w1"].process(95, "nginx", f"0::/kubepods/pod1/{'a' * 64}")
        for number in range(2, 255):
            self.machines["w1"].write(f"var/lib/cni/networks/cbr0/10.244.1.{number}", f"{number:064x}\neth0")

    def part_not_given(self) -> None:
        """The network has no part left for the worker's node, and its agent ends for it, for a minute."""
        self.answers.parts["w1"] = ""
        self.api.answers |= self.answers.api()
        self.agent_down()
        said = 'E0305 19:00:00.000000 1 main.go:359] Error registering network: node "w1" pod cidr not assigned'
        folder = f"var/log/pods/kube-system_{self.at.network.agent}-w1_1/kube-flannel"
        self.machines["w1"].write(f"{folder}/3.log", f"{stamp()} stderr F {said}\n", age=1.0)

    def part_not_given_to_pods(self) -> None:
        """The same, told by a CNI that has no agent."""
        self.answers.parts["w1"] = ""
        self._starts_not("no podCidr for node w1")

    def resolv_conf_lost(self) -> None:
        """systemd-resolved was switched off on the worker."""
        (self.machines["w1"].root / "etc/resolv.conf").unlink()
        self._starts_not("open /etc/resolv.conf: no such file or directory")

    def _starts_not(self, why: str) -> None:
        """A pod was bound to the worker, and kubelet says why it makes none of its containers."""
        worker = self.machines["w1"]
        self.answers.begun = "d/new-1"
        self.answers.waiting["d/new-1"] = "ContainerCreating"
        self.api.answers |= self.answers.api()
        (worker.root / self.at.pods_in.lstrip("/") / "pods/new-uid").mkdir()
        said = f'"Failed to create sandbox for pod \\"new-1_d(new-uid)\\": {why}"'
        worker.says("kubelet", f'E0305 19:00:00.0 90 {SANDBOX} for "new-1_d(new-uid)" with {said}')
