"""Two address families: nodes, pods and services have IPv6 beside IPv4.

Cluster N has fd00:99:N::/64 for its nodes, fd00:(200+N)::/48 for pods and fd00:96::/112 for services, with the numbers
that it has in IPv4. A machine gives itself its address at each boot, as it does its routes. On 1.20 all of it is behind
a feature gate, and kubelet is told by --node-ip of both addresses.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from .node import Node

SERVICES = "10.96.0.0/16,fd00:96::/112"
GATES = "featureGates: {IPv6DualStack: true}\n"
"""For kubeadm and with it the control plane, for kubelet and for kube-proxy."""
WEB = """---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
  ipFamilyPolicy: RequireDualStack
  ipFamilies: [IPv4, IPv6]
  clusterIP: 10.96.0.80
  clusterIPs: [10.96.0.80, "fd00:96::80"]
---
apiVersion: v1
kind: Service
metadata: {name: web6}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
  ipFamilyPolicy: SingleStack
  ipFamilies: [IPv6]
  clusterIP: "fd00:96::86"
  clusterIPs: ["fd00:96::86"]
"""
ADDRESSES = {"10.96.0.80": "web, IPv4", "fd00:96::80": "web, IPv6", "fd00:96::86": "web6, IPv6 alone"}
"""Of the services of the workload."""
UNIT = "etc/systemd/system/kubelet.service"
TOLD = (
    ("[Install]", "EnvironmentFile=-/etc/default/kubelet\n[Install]"),
    (
        "$KUBELET_KUBEADM_ARGS",
        "$KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS",
    ),
)
"""What kubeadm's own package has in kubelet's unit, and the lab's has not."""


def finish(root: Path) -> None:
    """Have kubelet take arguments of the machine's own."""
    unit = root / UNIT
    text = unit.read_text()
    for before, after in TOLD:
        text = text.replace(before, after)
    unit.write_text(text)


def address(node: Node) -> str:
    """The node's own of IPv6."""
    return f"fd00:99:{node.cluster}::{node.number}"


def pods(node: Node) -> str:
    """The network of the node's pods of IPv6."""
    return f"fd00:{200 + node.cluster}:0:{node.number}::/64"


def gateway(node: Node) -> str:
    """What the node's pod bridge has of IPv6, as `ip addr` prints it."""
    return f"fd00:{200 + node.cluster}:0:{node.number}::1/64"


def pod_networks(cluster: int) -> str:
    """Those of all pods of a cluster, of both families."""
    return f"10.{200 + cluster}.0.0/16,fd00:{200 + cluster}::/48"


def give(node: Node, peers: Sequence[Node]) -> None:
    """Give a machine that was booted for the first time its second family, now and for each later boot."""
    lines = [
        "sysctl -qw net.ipv6.conf.all.forwarding=1 net.bridge.bridge-nf-call-ip6tables=1",
        f"ip -6 addr replace {address(node)}/64 dev host0 nodad",
        # without a way to them services have no address either: the kernel looks for the way before kube-proxy's rules
        f"ip -6 route replace default via fd00:99:{node.cluster}::1 dev host0",
        *(f"ip -6 route replace {pods(p)} via {address(p)}" for p in peers),
    ]
    ranges = [[{"subnet": node.pods}], [{"subnet": pods(node)}]]
    ipam = {"type": "host-local", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}
    plugins = [
        {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True, "hairpinMode": True, "ipam": ipam},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    network = json.dumps({"cniVersion": "0.3.1", "name": "lab", "plugins": plugins})
    node.sh("cat >/etc/cni/net.d/10-lab.conflist", input=network, stdin=None)
    kubelet = f"KUBELET_EXTRA_ARGS=--node-ip={node.address},{address(node)}\n"
    node.sh("mkdir -p /etc/default; cat >/etc/default/kubelet", input=kubelet, stdin=None)
    node.sh("cat >>/etc/lab-routes; . /etc/lab-routes", input="\n".join([*lines, ""]), stdin=None)
