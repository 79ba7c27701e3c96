"""Observations of a healthy cluster, and small changes to them, for readable tests of the pure core.

`Cluster(control_planes=3, workers=2)` is healthy; its methods change it in the field's words and return it,
`observation()` makes the sweep, `memory()` what recoverd remembers of the time when it was healthy. Everything is built
of `dataclasses.replace`, nothing is mocked.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from recoverd.model.etcd import EtcdView, MemberEntry
from recoverd.model.memory import KnownManifest, Memory, Watermark
from recoverd.model.network import NetworkView
from recoverd.model.observation import (
    ApiView,
    CertificateView,
    ContainerView,
    DiskView,
    EndpointHealth,
    EndpointView,
    EtcdDataView,
    HostView,
    ManifestView,
    NodeView,
    ObjectsView,
    Observation,
    UnitView,
    Unseen,
    UnseenKind,
)
from recoverd.model.settings import ClusterSettings, HostSettings

NOW = datetime(2026, 3, 5, 19, 10, 0, tzinfo=UTC)
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
CLUSTER_ID = "cdf818194e3a8c32"
VIP = "k8s-api:6443"


def manifest(component: str, *flags: str) -> ManifestView:
    lines = "".join(f"    - {flag}\n" for flag in (component, *(flags or ("--secure-port=6443", "--profiling=false"))))
    content = (
        f"apiVersion: v1\nkind: Pod\nmetadata:\n  name: {component}\n  namespace: kube-system\nspec:\n  containers:\n"
        f"  - command:\n{lines}    image: k8s.gcr.io/{component}:v1.20.2\n    name: {component}\n  "
        f"hostNetwork: true\nstatus: {{}}\n"
    )
    return manifest_of(component, content)


def manifest_of(component: str, content: str, problem: str = "") -> ManifestView:
    return ManifestView(
        f"/etc/kubernetes/manifests/{component}.yaml", hashlib.sha256(content.encode()).hexdigest(), content, problem
    )


def certificate(path: str, expires: datetime = NOW + timedelta(days=300), *, is_ca: bool = False) -> CertificateView:
    return CertificateView(path, "CN=test", "CN=kubernetes", NOW - timedelta(days=65), expires, is_ca)


def member_id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def unseen(kind: UnseenKind = UnseenKind.UNREACHABLE) -> Unseen:
    return Unseen(kind, f"{kind} in this test")


class Cluster:
    """A kubeadm cluster as it is seen; healthy until changed."""

    def __init__(self, control_planes: int = 1, workers: int = 2, *, spares: int = 0, now: datetime = NOW) -> None:
        self.now = now
        self.joined = [f"cp{i + 1}" for i in range(control_planes)]
        self.spares = [f"cp{i + 1}" for i in range(control_planes, control_planes + spares)]
        self.workers = [f"w{i + 1}" for i in range(workers)]
        self.settings = ClusterSettings(
            "prod",
            tuple(HostSettings(n, self.address(n)) for n in (*self.joined, *self.spares)),
            tuple(HostSettings(n, self.address(n)) for n in self.workers),
        )
        self.members: list[MemberEntry] = [self.entry(n) for n in self.joined]
        self.hosts: dict[str, HostView | Unseen] = {n: self.host_view() for n in self.joined}
        self.hosts |= {n: self.bare_host() for n in self.spares} | {n: self.worker_host() for n in self.workers}
        self.etcd: dict[str, EtcdView | Unseen] = {n: self.etcd_view(n) for n in self.joined}
        self.etcd |= {n: unseen(UnseenKind.REFUSED) for n in self.spares}
        self.endpoints = {n: EndpointView(f"{self.address(n)}:6443", EndpointHealth.READY) for n in self.joined}
        self.endpoints |= {n: EndpointView(f"{self.address(n)}:6443", EndpointHealth.REFUSED) for n in self.spares}
        self.vip = EndpointView(VIP, EndpointHealth.READY)
        nodes = tuple(
            NodeView(n, True, control_plane=n in self.joined, address=self.address(n))
            for n in (*self.joined, *self.workers)
        )
        self.objects: ObjectsView | Unseen = ObjectsView(nodes, {n.name: 5 for n in nodes}, "v1.20.2")
        self.network: NetworkView | None = None
        self._healthy = self.observation()

    @staticmethod
    def address(name: str) -> str:
        return f"10.99.1.{10 + int(name[2:])}" if name.startswith("cp") else f"10.99.1.{20 + int(name[1:])}"

    # --- the parts of a healthy cluster ---

    def entry(self, name: str, *, started: bool = True, learner: bool = False) -> MemberEntry:
        peer = (f"https://{self.address(name)}:2380",)
        client = (f"https://{self.address(name)}:2379",) if started else ()
        return MemberEntry(member_id(name), name if started else "", peer, client, learner)

    def etcd_view(self, name: str) -> EtcdView:
        leader = member_id(self.joined[0])
        return EtcdView(
            member_id(name),
            CLUSTER_ID,
            "3.4.23",
            1234,
            3,
            leader,
            False,
            True,
            "",
            tuple(self.members),
            20 << 20,
            10 << 20,
            2 << 30,
            (),
            3,
            15,
        )

    def host_view(self) -> HostView:
        start = self.now - timedelta(days=3)
        return HostView(
            boot_id="boot-1",
            clock_offset=0.0,
            uptime=3 * 86400.0,
            joined=True,
            runtime="containerd",
            units={u: UnitView(u, "loaded", "active", "running", "success", start) for u in ("kubelet", "containerd")},
            manifests={c: replace(manifest(c), modified_at=start) for c in COMPONENTS},
            containers={c: ContainerView(c, True, start) for c in COMPONENTS},
            certificates=(
                # of the cluster's own day: some tests are of today
                certificate("/etc/kubernetes/pki/apiserver.crt", self.now + timedelta(days=300)),
                certificate("/etc/kubernetes/pki/etcd/server.crt", self.now + timedelta(days=300)),
            ),
            disks=(DiskView("/var/lib/etcd", 100 << 30, 50 << 30),),
            etcd_data=EtcdDataView("/var/lib/etcd", True, False),
        )

    def bare_host(self) -> HostView:
        """A machine that kubeadm has not touched."""
        empty = EtcdDataView("/var/lib/etcd", False, True)
        return replace(self.host_view(), joined=False, manifests={}, containers={}, certificates=(), etcd_data=empty)

    def worker_host(self) -> HostView:
        return replace(self.host_view(), manifests={}, containers={}, certificates=(), etcd_data=None)

    # --- what is made of it ---

    def observation(self) -> Observation:
        return Observation(
            "prod",
            1,
            self.now - timedelta(seconds=1),
            self.now,
            ApiView(self.vip, dict(self.endpoints), self.objects),
            dict(self.etcd),
            dict(self.hosts),
            network=self.network,
        )

    def memory(self) -> Memory:
        """What recoverd remembers of the cluster as it was built."""
        before = self.now - timedelta(hours=1)
        healthy = self._healthy
        manifests = {
            name: {c: KnownManifest(m.path, m.sha256, m.content, before) for c, m in view.manifests.items()}
            for name, view in healthy.hosts.items()
            if isinstance(view, HostView) and name in self.joined
        }
        watermark = Watermark(CLUSTER_ID, 1234, before, {member_id(n): n for n in self.joined})
        return Memory(manifests, watermark, (), len(self.joined) + len(self.workers), 15, before)

    # --- changes ---

    def host(self, name: str, **changes: Any) -> Cluster:
        """Replace fields of the host's view."""
        view = self.hosts[name]
        assert isinstance(view, HostView), f"{name} is not seen"
        self.hosts[name] = replace(view, **changes)
        return self

    def _seen(self, name: str) -> HostView:
        view = self.hosts[name]
        assert isinstance(view, HostView), f"{name} is not seen"
        return view

    def unit(self, name: str, unit: str, **changes: Any) -> Cluster:
        units = self._seen(name).units
        return self.host(name, units={**units, unit: replace(units[unit], **changes)})

    def stopped(self, name: str, *units: str) -> Cluster:
        for unit in units:
            self.unit(name, unit, active="inactive", sub="dead", since=self.now - timedelta(seconds=20))
        return self

    def container(self, name: str, component: str, **changes: Any) -> Cluster:
        containers = self._seen(name).containers
        return self.host(
            name,
            containers={
                **containers,
                component: replace(containers.get(component, ContainerView(component, True)), **changes),
            },
        )

    def manifest(self, name: str, component: str, view: ManifestView | None) -> Cluster:
        """Put a manifest in place, or take it away."""
        rest = {c: m for c, m in self._seen(name).manifests.items() if c != component}
        return self.host(name, manifests=rest if view is None else {**rest, component: view})

    def endpoint(self, name: str, health: EndpointHealth, detail: str = "", **changes: Any) -> Cluster:
        self.endpoints[name] = replace(self.endpoints[name], health=health, detail=detail, **changes)
        return self

    def address_answers(self, health: EndpointHealth, detail: str = "") -> Cluster:
        """What the address in the kubeconfig answers."""
        self.vip = replace(self.vip, health=health, detail=detail)
        if health is not EndpointHealth.READY:
            self.objects = unseen(UnseenKind.NOT_TRIED)
        return self

    def api_down(self, *names: str, health: EndpointHealth = EndpointHealth.REFUSED) -> Cluster:
        """The API server of these (default: all) and, if none is left, the cluster's address."""
        for name in names or self.joined:
            self.endpoint(name, health)
        if all(e.health is not EndpointHealth.READY for e in self.endpoints.values()):
            self.address_answers(health)
        return self

    def ssh_fails(self, *names: str, kind: UnseenKind = UnseenKind.UNREACHABLE) -> Cluster:
        """Only SSH: the machine's API server is still what it was. etcd is seen through SSH."""
        for name in names:
            self.hosts[name] = unseen(kind)
            if name in self.etcd:
                self.etcd[name] = unseen(UnseenKind.NOT_TRIED)
        return self

    def powered_off(self, *names: str, node_ready: bool = False) -> Cluster:
        for name in names:
            self.ssh_fails(name)
            if name in self.endpoints:
                self.endpoint(name, EndpointHealth.UNREACHABLE)
            self.node(name, ready=node_ready)
        if all(e.health is not EndpointHealth.READY for e in self.endpoints.values()):
            self.address_answers(EndpointHealth.UNREACHABLE)
        return self

    def node(self, name: str, **changes: Any) -> Cluster:
        if isinstance(self.objects, ObjectsView):
            self.objects = replace(
                self.objects, nodes=tuple(replace(n, **changes) if n.name == name else n for n in self.objects.nodes)
            )
        return self

    def etcd_changed(self, *names: str, **changes: Any) -> Cluster:
        """Replace fields of the etcd views of these members (default: all that are seen)."""
        for name in names or tuple(self.etcd):
            view = self.etcd[name]
            if isinstance(view, EtcdView):
                self.etcd[name] = replace(view, **changes)
        return self

    def member_list(self, *entries: MemberEntry) -> Cluster:
        """Every seen member lists these."""
        self.members = list(entries)
        return self.etcd_changed(members=tuple(entries))

    def no_leader(self, *names: str) -> Cluster:
        return self.etcd_changed(*names, leader="", healthy=False, health_reason="etcdserver: no leader")

    def etcd_stopped(self, name: str, **changes: Any) -> Cluster:
        self.etcd[name] = unseen(UnseenKind.REFUSED)
        return self.container(name, "etcd", running=False, exit_code=1, **changes)

    def join_stuck(self, name: str = "cp2") -> Cluster:
        """The incident: a second control plane was added as a voter, and its etcd never started."""
        self.member_list(*self.members, self.entry(name, started=False))
        self.host(name, joined=True, manifests={"etcd": manifest("etcd"), "kube-apiserver": manifest("kube-apiserver")})
        self.no_leader()
        return self.api_down()

    def everything_dark(self) -> Cluster:
        return self.powered_off(*self.joined, *self.spares, *self.workers)
