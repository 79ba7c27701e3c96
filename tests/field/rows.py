"""The rows of the matrix, the most common first: see `Environment`."""

from __future__ import annotations

from typing import Any

from recoverd.model.kernel import KernelView, TableView
from recoverd.model.network import NetworkView, NodeNetworkView, RulesView
from recoverd.model.observation import HostView, Observation
from tests.field.environment import Environment, Network, link

AGENTS: dict[str, Any] = {"found": ("pod-path-broken", "p1>w1"), "plan": "restart-node-agents"}
DUAL_STACK = "https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/dual-stack-support/"
API_LOST: dict[str, Any] = {
    "fault": "api_manifest_lost",
    "found": ("apiserver-manifest-missing", "P"),
    "plan": "restore-manifest",
}
FORWARDING: dict[str, Any] = {
    "fault": "forwarding_off",
    "found": ("ip-forwarding-off", "N"),
    "plan": "restore-node-network",
}
ROUTE: dict[str, Any] = {
    "fault": "route_lost",
    "found": ("pod-path-broken", "p1>w1"),
    "plan": "restore-node-network",
}
RUNTIME: dict[str, Any] = {
    "fault": "runtime_died",
    "found": ("worker-kubelet-down", "N"),
    "plan": "start-node-services",
}

FLANNEL = Network(
    agent="kube-flannel-ds",
    process="flanneld",
    links=link("flannel.1", "vxlan id 1 local 10.0.0.1 dev eth0 srcport 0 0 dstport 8472 nolearning")
    + link("cni0", "bridge forward_delay 1500"),
    addresses="4: flannel.1    inet 10.244.{mine}.0/32 scope global flannel.1\\   valid_lft forever\n"
    "5: cni0    inet 10.244.{mine}.1/24 brd 10.244.{mine}.255 scope global cni0\\   valid_lft forever\n",
    routes="10.244.{mine}.0/24 dev cni0 proto kernel scope link src 10.244.{mine}.1\n"
    "10.244.{other}.0/24 via 10.244.{other}.0 dev flannel.1 onlink\n",
)
CALICO_BGP = Network(
    agent="calico-node",
    process="calico-node",
    routes="blackhole 10.244.{mine}.0/26 proto bird\n10.244.{other}.0/26 via {peer} dev eth0 proto bird\n"
    "10.244.{mine}.5 dev cali0123456789a scope link\n",
)
CALICO_EBPF = Network(agent="calico-node", process="calico-node", routes=CALICO_BGP.routes, proxy="")
CILIUM_LINKS = link("cilium_net@cilium_host", "veth") + link("cilium_host@cilium_net", "veth")
CILIUM_ROUTES = (
    "10.244.{mine}.0/24 via 10.244.{mine}.9 dev cilium_host proto kernel src 10.244.{mine}.9\n"
    "10.244.{mine}.9 dev cilium_host proto kernel scope link\n"
    "10.244.{other}.0/24 via 10.244.{mine}.9 dev cilium_host proto kernel src 10.244.{mine}.9 mtu 1450\n"
)
CILIUM = Network(agent="cilium", process="cilium-agent", links=CILIUM_LINKS, routes=CILIUM_ROUTES)
CILIUM_ALONE = Network(agent="cilium", process="cilium-agent", links=CILIUM_LINKS, routes=CILIUM_ROUTES, proxy="")
AWS = Network(
    agent="aws-node",
    routes="10.244.{mine}.5 dev eni0a1b2c3d4e5 scope link\n10.244.{mine}.6 dev eni1a1b2c3d4e5 scope link\n",
)
IPIP = Network(
    agent="calico-node",
    process="calico-node",
    links=link("tunl0@NONE", "ipip any remote any local any ttl inherit nopmtudisc"),
    addresses="6: tunl0    inet 10.244.{mine}.64/32 scope global tunl0\\   valid_lft forever\n",
    routes="blackhole 10.244.{mine}.0/26 proto bird\n10.244.{other}.0/26 via {peer} dev tunl0 proto bird onlink\n",
)
IPVS = Network(
    links=link("cni0", "bridge forward_delay 1500") + link("kube-ipvs0", "dummy"),
    addresses="5: cni0    inet 10.244.{mine}.1/24 brd 10.244.{mine}.255 scope global cni0\\   valid_lft forever\n"
    "7: kube-ipvs0    inet 10.96.0.80/32 scope global kube-ipvs0\\   valid_lft forever\n",
    routes="10.244.{other}.0/24 via {peer} dev eth0\n",
    proxy="ipvs",
)
NFTABLES = Network(routes="10.244.{other}.0/24 via {peer} dev eth0\n", proxy="nftables")
ANTREA = Network(
    agent="antrea-agent",
    process="antrea-agent",
    links=link("antrea-gw0", "openvswitch") + link("ovs-system", "openvswitch"),
    addresses="5: antrea-gw0    inet 10.244.{mine}.1/24 brd 10.244.{mine}.255 scope global antrea-gw0\\  valid_lft 1\n",
    routes="10.244.{mine}.0/24 dev antrea-gw0 proto kernel scope link src 10.244.{mine}.1\n"
    "10.244.{other}.0/24 via 10.244.{other}.1 dev antrea-gw0 onlink\n",
)
KUBE_ROUTER = Network(  # which does kube-proxy's work with IPVS and a device of its own
    agent="kube-router",
    process="kube-router",
    links=link("kube-bridge", "bridge forward_delay 1500") + link("kube-dummy-if", "dummy"),
    addresses="5: kube-bridge    inet 10.244.{mine}.1/24 scope global kube-bridge\\  valid_lft 1\n"
    "6: kube-dummy-if    inet 10.96.0.80/32 scope link kube-dummy-if\\   valid_lft forever\n",
    routes="10.244.{mine}.0/24 dev kube-bridge proto kernel scope link src 10.244.{mine}.1\n"
    "10.244.{other}.0/24 via {peer} dev eth0 proto 17\n",
    proxy="",
)
OVN = Network(
    agent="ovnkube-node",
    links=link("ovs-system", "openvswitch") + link("br-int", "openvswitch") + link("ovn-k8s-mp0", "openvswitch"),
    addresses="7: ovn-k8s-mp0    inet 10.244.{mine}.2/24 scope global ovn-k8s-mp0\\  valid_lft 1\n",
    routes="10.244.0.0/16 via 10.244.{mine}.1 dev ovn-k8s-mp0\n"
    "10.244.{mine}.0/24 dev ovn-k8s-mp0 proto kernel scope link src 10.244.{mine}.2\n",
    proxy="",
)


def etcd_tool(path: str) -> Any:
    """Where the control plane's program that restores snapshots is found."""

    def holds(seen: Observation) -> bool:
        plane = seen.hosts["p1"]
        return isinstance(plane, HostView) and plane.etcd_tool is not None and plane.etcd_tool.path == path

    return holds


def etcd_data_in(path: str) -> Any:
    """Where the control plane's etcd is seen to have its data."""

    def holds(seen: Observation) -> bool:
        plane = seen.hosts["p1"]
        return isinstance(plane, HostView) and plane.etcd_data is not None and plane.etcd_data.path == path

    return holds


def rules_in(mode: str) -> Any:
    """In which mode the service's rules are read on every machine."""

    def holds(seen: Observation) -> bool:
        hosts = seen.network.hosts.values() if isinstance(seen.network, NetworkView) else ()
        found = [h.rules for h in hosts if isinstance(h, NodeNetworkView) and isinstance(h.rules, RulesView)]
        return len(found) == len(seen.hosts) and all(r.mode == mode and r.checked and not r.gaps for r in found)

    return holds


def kernel_told(seen: Observation) -> bool:
    """Every machine's kernel was asked, and has told that all is well."""
    hosts = seen.network.hosts.values() if isinstance(seen.network, NetworkView) else ()
    told = KernelView(TableView(700, 65536, 0), TableView(40, 1024, 0), ("all",), 0)
    return [h.kernel for h in hosts if isinstance(h, NodeNetworkView)] == [told] * len(seen.hosts)


ROWS = {
    "1.17 with docker": Environment(
        # the gate EndpointSlice, which makes them, is off, and docker's logs are JSON with no time in their name
        source="https://v1-17.docs.kubernetes.io/docs/setup/production-environment/container-runtimes/",
        version="v1.17.17",
        etcd="3.4.3",
        runtime="docker",
        slices="none",
        **API_LOST,
    ),
    "1.20 with containerd, cgroups v1": Environment(
        source="https://v1-20.docs.kubernetes.io/docs/setup/production-environment/container-runtimes/",
        version="v1.20.15",
        etcd="3.4.13",
        cgroups="containerd, cgroups v1",
        slices="v1beta1",
        **API_LOST,
    ),
    "1.28 with containerd": Environment(
        source="https://v1-28.docs.kubernetes.io/docs/setup/production-environment/tools/kubeadm/",
        **ROUTE,
    ),
    "1.36 with containerd 2, kube-proxy with nftables, etcd 3.6": Environment(
        source="https://kubernetes.io/docs/reference/networking/virtual-ips/#proxy-mode-nftables",
        version="v1.36.0",
        etcd="3.6.6",
        network=NFTABLES,
        **RUNTIME,
    ),
    "kube-proxy's image is gone from a node": Environment(
        source="https://kubernetes.io/docs/concepts/containers/images/#imagepullbackoff",
        node="{host}.prod.example",
        fault="image_gone",
        found=("kube-proxy-down", "N"),
        refusal="does not have registry.k8s.io/kube-proxy:v1.28.5, which no restart and no reboot brings",
    ),
    "CRI-O": Environment(
        source="https://kubernetes.io/docs/setup/production-environment/container-runtimes/#cri-o",
        version="v1.30.2",
        etcd="3.5.12",
        runtime="crio",
        **RUNTIME,
    ),
    "Calico with BGP": Environment(
        source="https://docs.tigera.io/calico/latest/networking/configuring/bgp",
        network=CALICO_BGP,
        **FORWARDING,
    ),
    "Calico with BGP, and a route of BIRD's is gone": Environment(
        # they are BIRD's to withdraw: nothing of them is put back
        source="https://docs.tigera.io/calico/latest/networking/configuring/bgp",
        network=CALICO_BGP,
        fault="route_lost",
        **AGENTS,
    ),
    "Calico with IPIP": Environment(
        source="https://docs.tigera.io/calico/latest/networking/configuring/vxlan-ipip",
        network=IPIP,
        **FORWARDING,
    ),
    "kube-proxy with IPVS": Environment(
        source="https://kubernetes.io/docs/reference/networking/virtual-ips/#proxy-mode-ipvs",
        network=IPVS,
        holds=rules_in("ipvs"),
        **FORWARDING,
    ),
    "Calico with eBPF": Environment(
        source="https://docs.tigera.io/calico/latest/operations/ebpf/enabling-ebpf",
        network=CALICO_EBPF,
        **FORWARDING,
    ),
    "Cilium beside kube-proxy": Environment(
        source="https://docs.cilium.io/en/stable/network/concepts/routing/",
        network=CILIUM,
        **FORWARDING,
    ),
    "Cilium without kube-proxy": Environment(
        source="https://docs.cilium.io/en/stable/network/kubernetes/kubeproxy-free/",
        network=CILIUM_ALONE,
        **FORWARDING,
    ),
    "Flannel": Environment(
        source="https://github.com/flannel-io/flannel/blob/master/Documentation/backends.md",
        network=FLANNEL,
        **ROUTE,
    ),
    "AWS VPC CNI": Environment(
        source="https://github.com/aws/amazon-vpc-cni-k8s/blob/master/docs/cni-proposal.md",
        network=AWS,
        **FORWARDING,
    ),
    "AWS VPC CNI, and the routes to its pods are gone": Environment(
        source="https://github.com/aws/amazon-vpc-cni-k8s/blob/master/docs/cni-proposal.md",
        network=AWS,
        fault="pod_routes_lost",
        **AGENTS,
    ),
    "Flannel, and a worker's table of connections is full": Environment(
        source="https://github.com/kubernetes/kubernetes/issues/71261",
        network=FLANNEL,
        fault="connections_full",
        found=("conntrack-table-full", "N"),
        refusal="w1 drops packets (conntrack-table-full)",
        holds=kernel_told,
    ),
    "busybox, and a control plane's table of neighbours is full": Environment(
        source="https://github.com/kubernetes/kops/issues/4533",
        userland="busybox",
        fault="neighbours_full",
        found=("neighbour-table-full", "P"),
        refusal="p1 drops packets (neighbour-table-full)",
        holds=kernel_told,
    ),
    "Calico with BGP, and its packets come in over a device that was added": Environment(
        source="https://docs.tigera.io/calico/latest/reference/felix/configuration (IgnoreLooseRPF)",
        network=CALICO_BGP,
        fault="reverse_path_filtered",
        found=("reverse-path-filtered", "N"),
        refusal="w1 drops packets (reverse-path-filtered)",
        holds=kernel_told,
    ),
    "Flannel, and the MTU of a worker's uplink is lowered": Environment(
        source="https://github.com/flannel-io/flannel/blob/master/Documentation/backends.md#vxlan (MTU)",
        network=FLANNEL,
        fault="uplink_lowered",
        found=("overlay-mtu-wrong", "N"),
        refusal="no playbook for this (overlay-mtu-wrong)",
    ),
    "kube-vip as a static pod": Environment(
        source="https://kube-vip.io/docs/installation/static/",
        planes=3,
        others=("kube-vip",),
        fault="vip_lost",
        found=("static-pod-manifest-missing", "P/kube-vip"),
        plan="restore-manifest",
    ),
    "haproxy as a static pod, whose manifest is gone": Environment(
        source="https://github.com/kubernetes/kubeadm/blob/main/docs/ha-considerations.md#options-for-software-load-balancing",
        runtime="crio",
        port=8443,
        others=("haproxy", "keepalived"),
        fault="balancer_lost",
        found=("static-pod-manifest-missing", "P/haproxy"),
        plan="restore-manifest",
    ),
    "haproxy and keepalived as static pods, API servers on 8443": Environment(
        source="https://github.com/kubernetes/kubeadm/blob/main/docs/ha-considerations.md#options-for-software-load-balancing",
        port=8443,
        others=("haproxy", "keepalived"),
        **API_LOST,
    ),
    "external etcd, which may be asked, and was put back to older data": Environment(
        source="https://etcd.io/docs/v3.5/op-guide/recovery/",
        etcd="",
        external="3.5.12",
        notices=("etcd",),
        holds=lambda seen: all(getattr(v, "revision", 0) == 1234 for v in seen.outside.values()) and bool(seen.outside),
        fault="etcd_put_back",
        found=("etcd-revision-went-back", ""),
        plan="restart-node-agents",
    ),
    "external etcd": Environment(
        source="https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/high-availability/#external-etcd-nodes",
        etcd="",
        notices=("etcd",),
        **API_LOST,
    ),
    "IPv6 alone, 1.20": Environment(
        # kube-proxy of before 1.21, which made dual-stack the default, writes rules in ip6tables alone
        source="https://github.com/kubernetes/kubernetes/blob/master/cmd/kubeadm/app/phases/etcd/local.go",
        version="v1.20.15",
        etcd="3.4.13",
        slices="v1beta1",
        v6=True,
        network=Network(),
        **API_LOST,
    ),
    "dual-stack": Environment(
        source=DUAL_STACK,
        dual=True,
        **ROUTE,
    ),
    "dual-stack, and a route of IPv6 is gone": Environment(
        source=DUAL_STACK, dual=True, **ROUTE | {"fault": "route6_lost"}
    ),
    "dual-stack, and forwarding of IPv6 is off": Environment(
        source=DUAL_STACK, dual=True, **FORWARDING | {"fault": "forwarding6_off"}
    ),
    "dual-stack, and the service rules of IPv6 are flushed": Environment(
        source=DUAL_STACK,
        dual=True,
        fault="rules6_flushed",
        found=("service-rules-stale", "N"),
        plan="restart-node-agents",
    ),
    "RHEL with sudo's secure_path": Environment(
        source="https://www.sudo.ws/docs/man/sudoers.man/#secure_path",
        sudo="/sbin:/bin:/usr/sbin:/usr/bin",
        programs="/usr/local/bin",
        holds=etcd_tool("/usr/local/bin/etcdutl"),
        **API_LOST,
    ),
    "Flatcar, programs in /opt/bin": Environment(
        source="https://www.flatcar.org/docs/latest/container-runtimes/getting-started-with-kubernetes/",
        sudo="/sbin:/bin:/usr/sbin:/usr/bin",
        programs="/opt/bin",
        holds=etcd_tool("/opt/bin/etcdutl"),
        **API_LOST,
    ),
    "node names unlike host names": Environment(
        source="https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/ (nodeRegistration.name)",
        node="ip-10-0-0-{host}.ec2.internal",
        **RUNTIME,
    ),
    "members of etcd with FQDN": Environment(
        source="https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/ (nodeRegistration.name)",
        node="{host}.prod.example",
        member="{host}.prod.example",
        **API_LOST,
    ),
    "staticPodPath elsewhere": Environment(
        source="https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/",
        static="/srv/static",
        notices=("p1",),
        fault="api_manifest_lost",
        found=("apiserver-not-answering", "P"),
        refusal="recoverd has no playbook for this",
    ),
    "kubelet's --root-dir elsewhere, and the old one left behind": Environment(
        source="https://kubernetes.io/docs/reference/command-line-tools-reference/kubelet/",
        pods_in="/data/kubelet",
        **RUNTIME,
    ),
    "containerd named in /etc/default/kubelet, docker stopped on purpose": Environment(
        source="https://kubernetes.io/docs/tasks/administer-cluster/migrating-from-dockershim/change-runtime-containerd/",
        version="v1.23.17",
        etcd="3.5.6",
        endpoint="unix:///run/containerd/containerd.sock",
        stopped=("docker",),
        **RUNTIME,
    ),
    "cri-dockerd": Environment(
        source="https://kubernetes.io/docs/setup/production-environment/container-runtimes/#docker",
        version="v1.30.2",
        etcd="3.5.12",
        runtime="docker",
        endpoint="unix:///var/run/cri-dockerd.sock",
        stopped=("containerd",),
        **RUNTIME,
    ),
    "etcd's data and log on disks of their own, objects under another prefix": Environment(
        source="https://etcd.io/docs/v3.5/op-guide/configuration/ (--wal-dir); kube-apiserver's --etcd-prefix",
        data="/srv/etcd/data",
        wal="/srv/etcd-wal",
        prefix="/k8s.example",
        holds=lambda seen: getattr(seen.etcd["p1"], "nodes", 0) == 2,
        **API_LOST,
    ),
    "API servers on 443": Environment(
        source="https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/ (localAPIEndpoint.bindPort)",
        port=443,
        **API_LOST,
    ),
    "systemd 219, as CentOS 7 and Amazon Linux 2 have": Environment(
        source="https://github.com/systemd/systemd/blob/v219/src/core/dbus-unit.c",
        version="v1.20.15",
        etcd="3.4.13",
        slices="v1beta1",
        systemd=219,
        holds=lambda seen: all(h.units["kubelet"].since for h in seen.hosts.values() if isinstance(h, HostView)),
        **RUNTIME,
    ),
    "Antrea": Environment(
        source="https://github.com/antrea-io/antrea/blob/main/docs/design/architecture.md",
        network=ANTREA,
        **FORWARDING,
    ),
    "kube-router in the place of kube-proxy": Environment(
        source="https://www.kube-router.io/docs/ipvs/",
        network=KUBE_ROUTER,
        **FORWARDING,
    ),
    "OVN-Kubernetes": Environment(
        source="https://ovn-kubernetes.io/design/topology/",
        network=OVN,
        **FORWARDING,
    ),
    "Alpine: busybox for every tool and the shell": Environment(
        source="https://busybox.net/downloads/BusyBox.html",
        userland="busybox",
        **API_LOST,
    ),
    "busybox's ip, which has no details": Environment(
        source="https://git.busybox.net/busybox/tree/networking/ip.c",
        ip="busybox",
        **ROUTE,
    ),
    "RHEL 9 with nftables alone, kube-proxy with iptables": Environment(
        source="https://access.redhat.com/solutions/6739041 (iptables is deprecated)",
        lacking=("iptables-save",),
        **FORWARDING,
    ),
    "kube-proxy's metrics elsewhere, and no curl": Environment(
        source="https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/ (metricsBindAddress)",
        lacking=("curl",),
        holds=rules_in("iptables"),
        **RUNTIME,
    ),
    "kubelet with the cgroupfs driver on cgroups v2": Environment(
        source="https://kubernetes.io/docs/setup/production-environment/container-runtimes/#cgroupfs-cgroup-driver",
        cgroups="containerd, cgroupfs",
        **API_LOST,
    ),
    "a node that runs Windows": Environment(
        source="https://kubernetes.io/docs/concepts/windows/user-guide/",
        foreign=True,
        holds=lambda seen: set(seen.hosts) == {"p1", "w1"},
        **RUNTIME,
    ),
    "stacked etcd, whose manifest is lost": Environment(
        source="https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/ha-topology/#stacked-etcd-topology",
        fault="etcd_manifest_lost",
        found=("etcd-manifest-missing", "P"),
        plan="restore-manifest",
    ),
    "stacked etcd, whose data directory somebody has changed": Environment(
        source="https://etcd.io/docs/v3.5/op-guide/recovery/#restoring-a-cluster",
        fault="etcd_directory_changed",
        found=("etcd-data-directory-changed", "P"),
        plan="restore-manifest",
    ),
    "an API server's flag is mistyped": Environment(
        source="https://github.com/kubernetes/kubernetes/issues/53867",
        fault="api_mistyped",
        found=("apiserver-manifest-changed", "P"),
        plan="restore-manifest",
    ),
    "an API server's manifest is cut short": Environment(
        source="https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/",
        fault="api_cut_short",
        found=("apiserver-manifest-invalid", "P"),
        plan="restore-manifest",
    ),
    "kube-controller-manager with a certificate in its memory that is over": Environment(
        source="https://github.com/kubernetes/kubernetes/issues/20381",
        fault="manager_idle",
        found=("controller-not-leading", "kube-controller-manager"),
        plan="restart-controller",
    ),
    "kubelet of a control plane has died": Environment(
        source="https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/kubelet-integration/",
        fault="kubelet_died",
        found=("kubelet-down", "P"),
        plan="start-node-services",
    ),
    "the runtime of a control plane has died": Environment(
        source="https://kubernetes.io/docs/setup/production-environment/container-runtimes/#containerd",
        fault="plane_runtime_died",
        found=("container-runtime-down", "P"),
        plan="start-node-services",
    ),
    "kube-proxy with iptables, and its rules are flushed": Environment(
        source="https://kubernetes.io/docs/reference/networking/virtual-ips/#proxy-mode-iptables",
        fault="rules_flushed",
        found=("service-rules-stale", "N"),
        plan="restart-node-agents",
    ),
    "kube-proxy with nftables, and firewalld is started on a worker": Environment(
        source="https://github.com/flannel-io/flannel/issues/2055",
        version="v1.33.2",
        network=NFTABLES,
        fault="firewalld_started",
        found=("forwarding-filtered", "N"),
        refusal="whose rules these are",
    ),
    "a worker's kubelet is deaf": Environment(
        source="https://github.com/kubernetes/kubernetes/issues/91073",
        fault="kubelet_deaf",
        found=("pods-not-on-node", "N"),
        plan="restart-node-agents",
    ),
    "a worker's node is deleted": Environment(
        source="https://kubernetes.io/docs/concepts/architecture/nodes/#manual-node-administration",
        fault="node_deleted",
        found=("node-deleted", "W"),
        plan="restart-node-agents",
    ),
    "a pod bridge is lost": Environment(
        source="https://www.cni.dev/plugins/current/main/bridge/",
        fault="bridge_lost",
        found=("pod-device-missing", "N"),
        plan="restore-node-network",
    ),
    "a pod bridge's packets pass iptables no more": Environment(
        source="https://v1-28.docs.kubernetes.io/docs/setup/production-environment/container-runtimes/",
        fault="bridge_unfiltered",
        found=("bridge-netfilter-off", "N"),
        plan="restore-node-network",
    ),
    "manifests edited by people, with a container beside, API servers on 8443": Environment(
        source="https://kubernetes.io/docs/tasks/administer-cluster/kms-provider/ (a plugin beside the API server)",
        port=8443,
        data="/srv/etcd",
        written="edited",
        holds=etcd_data_in("/srv/etcd"),
        **API_LOST,
    ),
    "manifests whose flags are words of one line": Environment(
        source="https://kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container/",
        port=8443,
        data="/srv/etcd",
        written="args",
        holds=etcd_data_in("/srv/etcd"),
        **API_LOST,
    ),
    "kube-scheduler with a configuration of its own, which elects no leader": Environment(
        source="https://kubernetes.io/docs/reference/config-api/kube-scheduler-config.v1/ (leaderElection)",
        scheduler="/etc/kubernetes/scheduler.yaml",
        **RUNTIME,
    ),
    "a login shell that greets": Environment(
        source="https://www.gnu.org/software/bash/manual/html_node/Bash-Startup-Files.html (remote shell daemon)",
        greeting="Welcome to prod.\n*** 3 updates can be applied ***\n",
        **API_LOST,
    ),
    "OpenShift, whose static pods are not kubeadm's": Environment(
        source="https://docs.openshift.com/container-platform/4.15/architecture/control-plane.html",
        runtime="crio",
        etcd="",
        maker="openshift",
        notices=("p1",),
        fault="api_ended",
        found=("apiserver-not-answering", "P"),
        refusal="recoverd has no playbook for this",
    ),
    "a control plane made by hand, of units of systemd": Environment(
        source="https://github.com/kelseyhightower/kubernetes-the-hard-way",
        etcd="",
        maker="hand",
        notices=("p1",),
        fault="api_ended",
        found=("apiserver-not-answering", "P"),
        refusal="recoverd has no playbook for this",
    ),
    "Bottlerocket, whose SSH leads into a container": Environment(
        source="https://bottlerocket.dev/en/os/latest/#/concepts/restricted-filesystem/ (admin container)",
        apart=True,
        notices=("w1",),
        fault="runtime_died",
        found=("node-not-ready", "N"),
        refusal="no unit of systemd was seen on w1",
    ),
}
