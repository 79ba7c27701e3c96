"""Rows of the matrix for addresses of nodes and API servers that are others than those by which recoverd reaches them:
see `Environment`.
"""

from __future__ import annotations

from typing import Any

from tests.field.environment import Environment
from tests.field.rows import AGENTS, CALICO_BGP, CALICO_EBPF, FLANNEL

FLANNELS = "flannel.alpha.coreos.com/public-ip"
CALICOS = "projectcalico.org/IPv4Address"
DETECTION = "https://docs.tigera.io/calico/latest/networking/ipam/ip-autodetection"
ADVERTISES = "https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/ (--advertise-address)"
PATH: dict[str, Any] = {"fault": "path_lost", **AGENTS}
ELSEWHERE: dict[str, Any] = {
    "fault": "announced_elsewhere",
    "found": ("cni-address-elsewhere", "N"),
    "refusal": "IP_AUTODETECTION_METHOD",
}

OF_ADDRESSES = {
    "Flannel with --public-ip on a worker behind NAT, and a path is broken": Environment(
        source="https://github.com/flannel-io/flannel/blob/master/Documentation/configuration.md (--public-ip)",
        network=FLANNEL,
        notes={"p1": {FLANNELS: "{p1}"}, "w1": {FLANNELS: "203.0.113.7"}},
        **PATH,
    ),
    "the same, by the address that its node has outside": Environment(
        source="https://github.com/flannel-io/flannel/blob/master/Documentation/configuration.md (--public-ip)",
        network=FLANNEL,
        outer={"w1": "203.0.113.7"},
        notes={"p1": {FLANNELS: "{p1}"}, "w1": {FLANNELS: "203.0.113.7"}},
        **PATH,
    ),
    "Calico by the second of a worker's InternalIPs, and a path is broken": Environment(
        source=DETECTION,
        network=CALICO_BGP,
        inner={"w1": ("{w1}", "10.8.0.21")},
        notes={"p1": {CALICOS: "{p1}/24"}, "w1": {CALICOS: "10.8.0.21/24"}},
        **PATH,
    ),
    "dual-stack, IPv6 first, Flannel by IPv4, and a path is broken": Environment(
        source="https://github.com/flannel-io/flannel/blob/master/Documentation/configuration.md#dual-stack",
        network=FLANNEL,
        inner={"p1": ("fd00:1::11", "{p1}"), "w1": ("fd00:1::21", "{w1}")},
        notes={"p1": {FLANNELS: "{p1}"}, "w1": {FLANNELS: "{w1}"}},
        **PATH,
    ),
    "Calico, and a device is added to a worker, which its agent chooses": Environment(
        source=DETECTION,
        network=CALICO_BGP,
        notes={"p1": {CALICOS: "{p1}/24"}, "w1": {CALICOS: "{w1}/24"}},
        **ELSEWHERE,
        says="which is not its address",
    ),
    "Flannel over a network for pods alone, and the agent of a worker chooses another": Environment(
        source="https://github.com/flannel-io/flannel/blob/master/Documentation/configuration.md (--iface)",
        network=FLANNEL,
        notes={"p1": {FLANNELS: "10.8.0.11"}, "w1": {FLANNELS: "10.8.0.21"}},
        **ELSEWHERE,
        says="it was 10.8.0.21 while they were reached",
    ),
    "the same, and it chooses that of the default route": Environment(
        source="https://github.com/flannel-io/flannel/blob/master/Documentation/configuration.md (--iface)",
        network=FLANNEL,
        notes={"p1": {FLANNELS: "10.8.0.11"}, "w1": {FLANNELS: "10.8.0.21"}},
        **ELSEWHERE | {"fault": "announced_outside"},
        says="it was 10.8.0.21 while they were reached",
    ),
    "Calico takes kube-vip's address for a control plane's own": Environment(
        # and the address has gone on to another one: the agent that is started anew chooses another
        source="https://github.com/projectcalico/calico/issues/6711",
        network=CALICO_BGP,
        planes=3,
        others=("kube-vip",),
        inner={"p1": ("10.1.0.11",)},
        notes={
            "p1": {CALICOS: "{p1}/32"},
            "p2": {CALICOS: "{p2}/24"},
            "p3": {CALICOS: "{p3}/24"},
            "w1": {CALICOS: "{w1}/24"},
        },
        fault="path_lost",
        found=("cni-address-elsewhere", "P"),
        says="the cluster's own address, which moves",
        plan="restart-node-agents",
    ),
    "--advertise-address of another device, and an address was left behind the service kubernetes": Environment(
        source=ADVERTISES,
        network=CALICO_EBPF,
        inner={"p1": ("10.1.0.11",)},
        gives_out="10.8.0.11",
        fault="api_left_behind",
        found=("api-endpoint-dead", "10.0.0.99:6443"),
        says="masterleases",
        refusal="no playbook for this (api-endpoint-dead)",
    ),
    "--advertise-address of another device, which the nodes do not reach": Environment(
        source=ADVERTISES,
        network=CALICO_EBPF,
        gives_out="10.8.0.11",
        fault="api_given_out_unreached",
        found=("api-endpoint-dead", "10.8.0.11:6443"),
        says="the API server on p1 is told to give out",
        refusal="no playbook for this (api-endpoint-dead)",
    ),
    "the API server gives out the balancer's address, and an address was left behind": Environment(
        source="https://github.com/kubernetes/kubernetes/issues/16139",
        network=CALICO_EBPF,
        inner={"p1": ("10.1.0.11",)},
        gives_out="{p1}",
        fault="api_left_behind",
        found=("api-endpoint-dead", "10.0.0.99:6443"),
        refusal="no playbook for this (api-endpoint-dead)",
    ),
    "two InternalIPs of a control plane, whose API server gives out the second": Environment(
        source=ADVERTISES,
        network=CALICO_EBPF,
        inner={"p1": ("{p1}", "10.8.0.11")},
        gives_out="10.8.0.11",
        fault="api_left_behind",
        found=("api-endpoint-dead", "10.0.0.99:6443"),
        refusal="no playbook for this (api-endpoint-dead)",
    ),
}
