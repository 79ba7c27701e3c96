"""Rows of the matrix for faults of workers and of the pod network: see `Environment`."""

from __future__ import annotations

from dataclasses import replace

from tests.field.environment import BRIDGE, Environment, link
from tests.field.rows import FLANNEL, IPIP, NFTABLES

CONFLIST = '{"cniVersion": "0.3.1", "name": "cbr0", "plugins": [{"type": "bridge", "bridge": "cni0"}]}\n'

NODE_LOCAL_DNS = replace(
    BRIDGE,
    links=BRIDGE.links + link("nodelocaldns", "dummy"),
    addresses=BRIDGE.addresses
    + "6: nodelocaldns    inet 169.254.20.10/32 scope global nodelocaldns\\   valid_lft forever\n"
    + "6: nodelocaldns    inet 10.96.0.80/32 scope global nodelocaldns\\   valid_lft forever\n",
)

OF_NODES = {
    "NodeLocal DNSCache on a worker has the address of the cluster's DNS, and does not answer there": Environment(
        source="https://kubernetes.io/docs/tasks/administer-cluster/nodelocaldns/ (and kubernetes/dns #453)",
        planes=3,
        network=NODE_LOCAL_DNS,
        dns=True,
        fault="service_unreached",
        found=("cluster-dns-unreachable", "N"),
        says="is on the device nodelocaldns of w1 itself",
        refusal="no restart and no reboot changes",
    ),
    "a worker is not Ready for a reason that nothing there shows": Environment(
        source="https://kubernetes.io/docs/reference/node/node-status/#condition",
        fault="node_lost",
        lasts=100.0,
        found=("node-not-ready", "N"),
        plan="restart-node-agents",
    ),
    "a worker's kubelet runs on with a client certificate that is over": Environment(
        source="https://github.com/kubernetes/kubernetes/issues/65991",
        pki=True,
        fault="certificate_over_in_memory",
        lasts=100.0,
        found=("node-not-ready", "N"),
        plan="renew-worker-certificate",
    ),
    "a worker's configuration of the CNI is gone, which no agent keeps": Environment(
        source="https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/network-plugins/",
        files={"etc/cni/net.d/10-bridge.conflist": CONFLIST},
        fault="network_configuration_lost",
        found=("cni-config-missing", "N"),
        plan="restore-node-files",
    ),
    "Flannel, and a worker's configuration of the CNI is gone": Environment(
        source="https://github.com/flannel-io/flannel/blob/master/Documentation/kube-flannel.yml (install-cni)",
        network=FLANNEL,
        files={"etc/cni/net.d/10-flannel.conflist": CONFLIST},
        fault="network_configuration_lost",
        found=("cni-config-missing", "N"),
        plan="restore-node-files",
    ),
    "a worker's kube-proxy ends again and again": Environment(
        source="https://kubernetes.io/docs/tasks/debug/debug-application/debug-service/",
        fault="proxy_ends",
        found=("kube-proxy-down", "N"),
        plan="restart-node-agents",
    ),
    "kube-proxy follows an API server that was moved": Environment(
        source="https://github.com/kubernetes/kubeadm/issues/338",
        server="api.prod.example",
        fault="proxy_misled",
        found=("kube-proxy-cut-off", "N"),
        plan="repoint-kube-proxy",
    ),
    "systemd-networkd takes forwarding from a worker's uplink": Environment(
        source="https://www.freedesktop.org/software/systemd/man/latest/systemd.network.html#IPv4Forwarding=",
        fault="device_still",
        found=("ip-forwarding-off", "N"),
        says="for eth0 alone",
        plan="restore-node-network",
    ),
    "docker is installed on a worker, and FORWARD drops": Environment(
        source="https://docs.docker.com/engine/network/packet-filtering-firewalls/#docker-on-a-router",
        version="v1.33.2",
        network=NFTABLES,
        fault="forwards_dropped",
        found=("forwarding-filtered", "N"),
        plan="restore-node-network",
    ),
    "Flannel, and a rule of a worker's drops what VXLAN brings": Environment(
        source="https://github.com/flannel-io/flannel/blob/master/Documentation/troubleshooting.md#firewalls",
        version="v1.33.2",
        network=replace(FLANNEL, proxy="nftables"),
        fault="tunnel_dropped",
        found=("tunnel-filtered", "N"),
        refusal="w1 drops packets (tunnel-filtered)",
    ),
    "Calico with IPIP, and a rule of a worker's drops protocol 4": Environment(
        source="https://docs.tigera.io/calico/latest/getting-started/kubernetes/requirements (network requirements)",
        network=IPIP,
        fault="in_ip_dropped",
        found=("tunnel-filtered", "N"),
        refusal="`iptables -D INPUT -p ipencap -j DROP`",
    ),
    "a worker is a clone of a control plane, by its name": Environment(
        source="https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/install-kubeadm/"
        "#verify-mac-address",
        pki=True,
        fault="machine_cloned",
        found=("machines-share-node", "p1>w1"),
        refusal="no playbook for this",
    ),
    "all machines are of one image with its machine-id": Environment(
        source="https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/install-kubeadm/"
        "#verify-mac-address",
        fault="machines_alike",
        found=("machine-ids-shared", "P"),
        refusal="no playbook for this (machine-ids-shared)",
    ),
    "a node was given another's part of the pod network": Environment(
        source="https://kubernetes.io/docs/concepts/cluster-administration/networking/#kubernetes-ip-address-ranges",
        network=FLANNEL,
        fault="part_given_twice",
        found=("pod-subnets-overlap", "p1>w1"),
        refusal="has another node's part of the pod network (pod-subnets-overlap)",
    ),
    "Flannel, and a node was given no part of the pod network": Environment(
        source="https://github.com/flannel-io/flannel/issues/728",
        network=FLANNEL,
        fault="part_not_given",
        found=("cni-agent-down", "N"),
        says="its node has been given no part of the pod network",
        refusal="--allocate-node-cidrs=true and --cluster-cidr",
    ),
    "a CNI that takes spec.podCIDR, and a node was given none": Environment(
        source="https://docs.tigera.io/calico/latest/reference/configure-cni-plugins (usePodCidr)",
        fault="part_not_given_to_pods",
        found=("pods-do-not-start", "N"),
        says="--allocate-node-cidrs=true and --cluster-cidr",
        refusal="no playbook for this",
    ),
    "kube-proxy's configuration has another range of pods": Environment(
        source="https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/ (clusterCIDR)",
        fault="proxy_for_other_pods",
        found=("network-ranges-differ", "P"),
        says="kube-proxy on w1 takes another range for that of pods",
        refusal="no playbook for this (network-ranges-differ)",
    ),
    "a worker's clock is ten minutes behind": Environment(
        source="https://github.com/kubernetes/kubernetes/issues/105440",
        fault="clock_behind",
        found=("clock-skew", "W"),
        refusal="chronyc makestep",
    ),
    "a worker has no process left to give": Environment(
        source="https://kubernetes.io/docs/concepts/policy/pid-limiting/",
        fault="processes_full",
        found=("host-unseen", "W"),
        says="the machine has no process or thread left to give",
        refusal="no playbook for this",
    ),
    "nobody reaches a worker's pods": Environment(
        source="https://kubernetes.io/docs/concepts/services-networking/#the-kubernetes-network-model",
        planes=3,
        network=FLANNEL,
        fault="node_unreached",
        found=("pod-network-broken", "N"),
        plan="restart-node-agents",
    ),
    "a worker's own routes to its pods are gone": Environment(
        source="https://kubernetes.io/docs/concepts/services-networking/#the-kubernetes-network-model",
        planes=3,
        fault="pod_routes_lost_to_all",
        found=("pod-network-broken", "N"),
        plan="restore-node-network",
    ),
    "a service's address leads nowhere from a worker": Environment(
        source="https://kubernetes.io/docs/tasks/debug/debug-application/debug-service/",
        planes=3,
        fault="service_unreached",
        found=("service-unreachable", "N"),
        plan="restart-node-agents",
    ),
    "a service's address leads nowhere from a worker that has lost a route": Environment(
        source="https://kubernetes.io/docs/tasks/debug/debug-application/debug-service/",
        planes=3,
        fault="service_behind_route_unreached",
        found=("service-unreachable", "N"),
        plan="restore-node-network",
    ),
    "the address of the cluster's DNS leads nowhere from a worker": Environment(
        source="https://kubernetes.io/docs/tasks/administer-cluster/dns-debugging-resolution/",
        planes=3,
        dns=True,
        network=NFTABLES,
        fault="service_unreached",
        found=("cluster-dns-unreachable", "N"),
        plan="restart-node-agents",
    ),
    "the cloud provider's controller is away, and the only worker is new": Environment(
        source="https://kubernetes.io/docs/tasks/administer-cluster/running-cloud-controller/",
        fault="never_initialised",
        found=("nodes-take-no-pods", ""),
        says="cloud-controller-manager",
        refusal="no playbook for this (nodes-take-no-pods)",
    ),
    "a worker's addresses for pods are held for containers that are gone": Environment(
        source="https://github.com/containernetworking/plugins/issues/252",
        fault="addresses_used_up",
        found=("pods-do-not-start", "N"),
        plan="free-pod-addresses",
    ),
    "systemd-resolved is switched off on a worker": Environment(
        source="https://github.com/kubernetes/kubeadm/issues/2801",
        files={"etc/resolv.conf": "nameserver 10.0.0.53\n"},
        fault="resolv_conf_lost",
        found=("pods-do-not-start", "N"),
        plan="restore-node-files",
    ),
}
