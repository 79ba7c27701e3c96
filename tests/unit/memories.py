"""What is remembered of a cluster of any size, with all that there is to remember. Each node has a route to every other
one, as flannel's host-gw makes them.
"""

from __future__ import annotations

from dataclasses import replace

from recoverd.model.memory import (
    Guest,
    KnownFile,
    KnownManifest,
    KnownNode,
    KnownPki,
    KnownPodFile,
    Memory,
    NodeNetwork,
    Watermark,
    Worker,
)
from recoverd.model.observation import CreatedView
from recoverd.model.operations import sha256
from recoverd.model.points import RestorePoint
from tests.unit.builders import NOW

TEXTS = {sha256(text): text for text in ("kind: KubeletConfiguration\n" * 30, "[plugins]\n" * 300)}


def address(node: int) -> str:
    return f"10.{node // 65536}.{node // 256 % 256}.{node % 256}"


def route(node: int) -> str:
    """What every other node has to this one's pods."""
    return f"10.{100 + node // 256}.{node % 256}.0/24 via {address(node)} dev eth0"


def network(node: int, nodes: int, *more: str) -> NodeNetwork:
    routes = (*(route(n) for n in range(nodes) if n != node), *more)
    return NodeNetwork(
        True, {"cni0": "bridge"}, {"cni0": (f"10.100.{node % 256}.1/24",)}, routes, True, "iptables", NOW
    )


def names(nodes: int) -> list[str]:
    return [f"cp{n + 1}" if n < 3 else f"w{n - 2}" for n in range(nodes)]


def full(nodes: int) -> Memory:
    """Of a healthy cluster of so many nodes, three of them control planes."""
    hosts = names(nodes)
    planes = hosts[:3]
    manifest = {c: KnownManifest(f"/m/{c}.yaml", "0" * 64, "a: b\n" * 80, NOW) for c in ("etcd", "kube-apiserver")}
    file = {f"/etc/{n}": KnownFile(digest, NOW) for n, digest in enumerate(TEXTS)}
    mark = Watermark("cdf818194e3a8c32", 4711, NOW, {"8e9e05c52164694d": "cp1"}, "uid")
    pki = KnownPki({"/etc/kubernetes/pki/ca.crt": "ab" * 32}, {"/etc/kubernetes/pki/ca.crt": ("cd" * 32,)}, "", NOW)
    point = RestorePoint(
        id="prod-20260101T000000Z",
        taken_at=1.0,
        why="schedule",
        host="cp1",
        path="/p/etcd.db",
        sha256="ee" * 32,
        size=1,
        cluster_id=mark.cluster_id,
        revision=4000,
        keys=12,
        verified_at=2.0,
        how_verified="restored",
        directory="/p",
    )
    return Memory(
        manifests=dict.fromkeys(planes, manifest),
        watermark=mark,
        workers=tuple(Worker(name, address(n)) for n, name in enumerate(hosts) if n > 2),
        node_count=nodes,
        pod_count=10 * nodes,
        healthy_at=NOW,
        networks={name: network(n, nodes) for n, name in enumerate(hosts)},
        reached=tuple(f"default/service-{n}:80" for n in range(nodes)),
        points=(point,),
        pki=dict.fromkeys(planes, pki),
        newest=tuple(CreatedView("pod", f"default/web-{n}", NOW) for n in range(100)),
        guest=Guest("w9", "10.0.0.9"),
        files=dict.fromkeys(hosts, file),
        texts=TEXTS,
        pod_files={name: {"/etc/kubernetes/enc.yaml": KnownPodFile("ff" * 32, "600", "0:0", NOW)} for name in planes},
        worked=tuple(planes),
        outside=replace(mark, revision=3),
        nodes={name: KnownNode(f"id of {name}", (f"10.100.{n % 256}.0/24",)) for n, name in enumerate(hosts)},
    )
