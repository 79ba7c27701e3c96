"""What the bastion sees of the model in one sweep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache

from recoverd.model.etcd import EtcdView
from recoverd.model.node_look import AddressPool, FileView, Heard, NodeLook, PodLog
from recoverd.model.observation import (
    ApiView,
    ContainerView,
    CreatedView,
    DiskView,
    EtcdDataView,
    EtcdToolView,
    HostView,
    ManifestView,
    ObjectsView,
    Observation,
    UnitView,
    Unseen,
    UnseenKind,
)
from recoverd.model.operations import sha256
from recoverd.model.witness import HOOKS, LED, TRIED, AggregatedView, LeadView, TryView, WebhookView
from recoverd.simulate import people, pod_files
from recoverd.simulate.api import VIP
from recoverd.simulate.clock import moment
from recoverd.simulate.cluster import ModelCluster
from recoverd.simulate.hosts import (
    AGAIN,
    ALIVE,
    CNI_FILE,
    HOSTS_LINE,
    KUBELET_CONFIG,
    RESOLV,
    RUNTIME_CONFIG,
    UP_SINCE,
    Machine,
    SystemdUnit,
)
from recoverd.simulate.netlook import network, pod_of
from recoverd.simulate.pending import untried
from recoverd.simulate.pki import ETCD_CLIENTS, KUBECONFIG, etcd_trouble, views
from recoverd.simulate.texts import COMPONENTS, ETCD_DIR, command_of, path_of

RENEWED = 5.0
"""Seconds between two looks, in which a Lease that is renewed has been."""
NO_ADDRESS = (
    'createPodSandbox for pod "{pod}_default({pod})" failed: rpc error: code = Unknown desc = failed to setup network '
    "for sandbox: failed to allocate for range 0: no IP addresses available in range set: 10.244.{number}.2-"
    "10.244.{number}.254"
)


RENAMED = (
    'Unable to register node "{called}" with API server: nodes "{called}" is forbidden: node "{name}" is not allowed '
    'to modify node "{called}"'
)
UNPULLED = (
    'Error syncing pod ("{component}-{machine}_kube-system"), skipping: failed to "StartContainer" for "{component}" '
    'with ImagePullBackOff: "Back-off pulling image \\"{image}\\""'
)
"""kubelet's words, 1.20.2."""
NOT_REACHED = (
    'Error syncing pod ("{pod}_kube-system"), skipping: failed to "StartContainer" for "{agent}" with ErrImagePull: '
    '"rpc error: code = Unknown desc = failed to pull and unpack image \\"{image}\\": failed to do request: dial tcp: '
    'lookup k8s.gcr.io: no such host"'
)
"""The same of an agent's, where no registry is reached."""


def observe(
    cluster: ModelCluster, name: str, sequence: int, started: datetime, at: datetime, failing: dict[str, datetime]
) -> Observation:
    """The cluster as it stands at this moment. `failing` are pairs of nodes that have not reached each other
    since, kept from sweep to sweep.
    """
    machines = cluster.machines.values()
    hosts = {m.name: host(cluster, m) for m in machines}
    members = {m.name: _member(cluster, m.name, hosts) for m in machines if m.control_plane}
    endpoints = {m.name: cluster.api.endpoint(m.name) for m in machines if m.control_plane}
    leads = {name: _lead(cluster, name) for name in LED}
    api = ApiView(
        cluster.api.address(),
        endpoints,
        _objects(cluster),
        leads,
        _tries(cluster),
        _webhooks(cluster),
        _aggregated(cluster),
        untried(cluster),
    )
    took = dict.fromkeys(("api", "etcd", "hosts", "network"), (at - started).total_seconds())
    return Observation(
        name, sequence, started, at, api, members, hosts, took, network(cluster, sequence, api.objects, hosts, failing)
    )


def _lead(cluster: ModelCluster, name: str) -> LeadView | Unseen:
    """Its Lease, as one sees it who has looked at it since the API server serves."""
    nodes = cluster.nodes
    if cluster.api.lists() is None or nodes.followed is None:
        return Unseen(UnseenKind.NOT_TRIED, "no API server is ready to show who leads")
    if name not in nodes.leases:
        return Unseen(UnseenKind.UNREACHABLE, f"the API server answered HTTP 404 when asked for the lease {name}")
    holder, renewed = nodes.leases[name]
    still = cluster.now - max(renewed, nodes.followed)
    return LeadView(f"{holder}_1", moment(renewed), moment(cluster.now), still if still > RENEWED else 0.0)


def _tries(cluster: ModelCluster) -> Mapping[str, TryView | Unseen]:
    if cluster.api.lists() is None:
        return dict.fromkeys(TRIED, Unseen(UnseenKind.NOT_TRIED, "no API server is ready to try a write"))
    return cluster.api.webhooks.tries(cluster.now)


def _webhooks(cluster: ModelCluster) -> tuple[WebhookView, ...] | None:
    hooks = [h for h in cluster.api.webhooks.all.values() if h.blocks] if cluster.api.lists() else []
    return (
        tuple(
            WebhookView(HOOKS[0], h.configuration, h.name, str(h.version), h.policy, h.service, h.serves) for h in hooks
        )
        or None
    )


def _aggregated(cluster: ModelCluster) -> tuple[AggregatedView, ...] | Unseen:
    if cluster.api.lists() is None:
        return Unseen(UnseenKind.NOT_TRIED, "no API server is ready to list its API services")
    service, why = (
        "kube-system/metrics-server",
        ("MissingEndpoints", "endpoints for service/metrics-server have no addresses"),
    )
    return tuple(AggregatedView(name, service, *why, moment(at)) for name, at in cluster.api.away.items())


def _objects(cluster: ModelCluster) -> ObjectsView | Unseen:
    objects, store = cluster.api.objects(), cluster.api.store
    if isinstance(objects, Unseen) or store is None:
        return objects
    bound = cluster.nodes.bound
    return replace(objects, newest=_newest(tuple((bound.get(uid, UP_SINCE), uid) for uid in store.pods), moment(0)))


@lru_cache(maxsize=256)  # pods change rarely, and every sweep lists them
def _newest(bound: tuple[tuple[float, str], ...], epoch: datetime) -> tuple[CreatedView, ...]:
    """`epoch`: the clock by which their times are told."""
    return tuple(
        CreatedView("pod", f"default/{uid}", epoch + timedelta(seconds=at))
        for at, uid in sorted(bound, reverse=True)[:100]
    )


def unreachable(cluster: ModelCluster, machine: Machine) -> Unseen | None:
    """Why nothing can be run there over SSH; None when it can."""
    if not cluster.network.bastion_reaches(machine.name) or not machine.up(cluster.now):
        return Unseen(
            UnseenKind.UNREACHABLE,
            f"{machine.name} ({machine.address}:22) did not answer the connection attempt within 3 s",
        )
    if machine.hung:
        return Unseen(
            UnseenKind.TIMEOUT,
            f"{machine.name} ({machine.address}:22) accepted the connection but did not complete the SSH login "
            "within 3 s",
        )
    return None


def host(cluster: ModelCluster, machine: Machine) -> HostView | Unseen:
    if (unseen := unreachable(cluster, machine)) is not None:
        return unseen
    certificates, pki = views(machine.papers, machine.name, kubeconfig=KUBECONFIG in machine.files)
    return HostView(
        boot_id=machine.boot_id,
        clock_offset=machine.clock,
        uptime=cluster.now - machine.up_at,
        joined=machine.joined,
        runtime="containerd",
        units={u.name: _unit(u, cluster.now) for u in machine.units.values()},
        journals=_journals(cluster, machine),
        manifests={c: _manifest(machine, c, text) for c, text in machine.manifests().items()} | _copies(machine),
        containers={
            c: view for c in {*COMPONENTS, *machine.manifests()} if (view := _container(machine, c)) is not None
        },
        certificates=certificates,
        pki=pki,
        disks=(_disk(machine),),
        peers=_peers(cluster, machine),
        etcd_data=_data(machine, stacked=not cluster.apart) if machine.control_plane else None,
        etcd_before=_before(machine) if machine.control_plane else None,
        people=people.seen(machine, cluster.now),
        node=_node(cluster, machine),
        pod_files=pod_files.views(machine) if machine.control_plane else None,
        etcd_tool=EtcdToolView("/usr/bin/etcdctl", "3.4.27" if machine.bumps else "3.4.23", machine.bumps)
        if machine.control_plane
        else None,
    )


def _peers(cluster: ModelCluster, machine: Machine) -> Mapping[str, bool] | None:
    if "etcd" not in machine.manifests():
        return None
    process, running = cluster.etcd.processes.get(machine.name), cluster.etcd.processes
    others = [m for m in cluster.machines.values() if m.control_plane and m is not machine] if process else []
    reach = {m.name: m.up(cluster.now) and cluster.network.peers(machine.name, m.name) for m in others}
    # whose machine refuses the connection is in no list of the kernel's
    return {m.address: reach[m.name] for m in others if not reach[m.name] or m.name in running}


def _node(cluster: ModelCluster, machine: Machine) -> NodeLook | None:
    """The closer look, which `SimulatedWorld` takes out of a sweep that the live collector would make without it."""
    if not machine.joined:
        return None
    files = tuple(
        (p, machine.files[p], machine.first.get(p) == machine.files[p])
        for p in (CNI_FILE, KUBELET_CONFIG, RUNTIME_CONFIG, RESOLV)
        if p in machine.files
    )
    hears = tuple(_hears(machine, unit) for unit in ("kubelet", "containerd"))
    proxy = machine.agents.get("kube-proxy")
    misled = proxy is not None and proxy.misled
    serves = cluster.api.serving() is not None
    look = _node_of(machine.resolves, serves, misled, hears, files, machine.clock)
    pool = AddressPool("/var/lib/cni/networks/cbr0", machine.leaked + len(machine.pods), machine.leaked)
    look = replace(look, pools=(pool,)) if machine.leaked else look
    said = {f"kube-system/{pod_of(machine, n)}": PodLog(n, (line,)) for n, line in machine.ends.items()}
    return replace(look, logs=said) if said else look


GONE = "10.99.1.9:6443"
"""Where no API server is any more, and kube-proxy looks for one when it is misled."""


def _hears(machine: Machine, unit: str) -> Heard:
    if not machine.units[unit].active:
        return Heard.REFUSED
    return Heard.SILENT if unit in machine.hangs else Heard.ANSWERS


@lru_cache(maxsize=256)
def _node_of(
    resolves: bool,
    serves: bool,
    misled: bool,
    hears: tuple[Heard, ...],
    files: tuple[tuple[str, str, bool], ...],
    clock: float,
) -> NodeLook:
    """`clock`: by how much the machine's own is ahead, by which it tells when files were written."""
    address = HOSTS_LINE.split()[0]
    return NodeLook(
        server=VIP,
        addresses=(address,) if resolves else (),
        held=(),  # the balancer is a machine of its own
        reaches=resolves and serves,
        said="" if resolves else "k8s-api: Name or service not known",
        hosts=(HOSTS_LINE,) if resolves else (),
        proxy=GONE if misled else VIP,
        proxy_reaches=not misled and resolves and serves,
        proxy_said="connect: No route to host" if misled else "",
        kubelet=hears[0],
        kubelet_said="HTTP/1.0 200 OK" if hears[0] is Heard.ANSWERS else "",
        runtime=hears[1],
        runtime_said="DeadlineExceeded" if hears[1] is Heard.SILENT else "",
        cni=tuple(path.rpartition("/")[2] for path, _, _ in files if path == CNI_FILE),
        resolv=RESOLV,
        files={
            p: FileView(sha256(text), text, moment(UP_SINCE - 60 + clock) if first else None)
            for p, text, first in files
        },
    )


def member(cluster: ModelCluster, name: str) -> EtcdView | Unseen:
    """etcd on one machine, asked through an SSH tunnel."""
    if (unseen := unreachable(cluster, cluster.machines[name])) is not None:
        return Unseen(unseen.kind, f"etcd on {name} cannot be asked: {unseen.reason}")
    return _view(cluster, name)


def _member(cluster: ModelCluster, name: str, hosts: Mapping[str, HostView | Unseen]) -> EtcdView | Unseen:
    view = hosts[name]
    if isinstance(view, Unseen):
        return Unseen(view.kind, f"etcd on {name} cannot be asked: {view.reason}")
    if cluster.apart:
        return Unseen(UnseenKind.NOT_TRIED, f"etcd on {name} cannot be asked: {unreadable(name, ETCD_CLIENTS[0])}")
    return _view(cluster, name)


def unreadable(name: str, path: str) -> str:
    """What is said of a certificate with which etcd is asked, and which is not on the machine."""
    return f"the client certificate for etcd cannot be read on {name}: cat: {path}: No such file or directory"


def _view(cluster: ModelCluster, name: str) -> EtcdView | Unseen:
    if why := etcd_trouble(cluster.machines[name].papers, cluster.now):
        return Unseen(UnseenKind.UNTRUSTED, f"etcd on {name} has a certificate that does not verify: {why}")
    return cluster.etcd.view(name)


def _unit(unit: SystemdUnit, now: float) -> UnitView:
    """One that ends itself is seen in the moment in which it is up as well."""
    if unit.falls_since is None:
        how = ("active", "running", "success") if unit.active else ("inactive", "dead", "success")
        return UnitView(unit.name, "loaded", *how, since=moment(unit.since))
    times, into = divmod(now - unit.falls_since, AGAIN)
    how = ("active", "running", "success") if into < ALIVE else ("activating", "auto-restart", "exit-code")
    return UnitView(
        unit.name, "loaded", *how, since=moment(now - (into if into < ALIVE else into - ALIVE)), restarts=int(times)
    )


def _journals(cluster: ModelCluster, machine: Machine) -> dict[str, tuple[str, ...]]:
    """Of units that end themselves, and of a kubelet whose static pods do not all run or whose pods get no address."""
    said: dict[str, tuple[str, ...]] = {
        u.name: (u.refuses,) for u in machine.units.values() if u.falls_since is not None
    }
    if machine.called and machine.units["kubelet"].active:
        said["kubelet"] = (RENAMED.format(name=machine.name, called=machine.called),)
    elif (
        machine.no_sandbox
        and machine.units["kubelet"].active
        and any(machine.container(c) is None for c in machine.manifests())
    ):
        said["kubelet"] = (machine.no_sandbox,)
    elif machine.units["kubelet"].active and (images := machine.lacking):
        said["kubelet"] = tuple(
            UNPULLED.format(component=c, machine=machine.name, image=image) for c, image in images.items()
        )
    elif machine.units["kubelet"].active and (waiting := cluster.nodes.waiting(machine.name)):
        said["kubelet"] = tuple(NO_ADDRESS.format(pod=uid, number=machine.number) for uid in waiting)
    if machine.units["kubelet"].active and (
        lacking := [a for a in machine.agents.values() if a.waits_since is not None and a.image in machine.unpulled]
    ):
        words = (NOT_REACHED.format(pod=pod_of(machine, a.name), agent=a.name, image=a.image) for a in lacking)
        said["kubelet"] = (*said.get("kubelet", ()), *words)
    return said


def _container(machine: Machine, component: str) -> ContainerView | None:
    """As the look over SSH puts it: known while there is a manifest or a log of it; its exit code is not known, and
    when it began by the first line of its log where it has ended.
    """
    container = machine.containers.get(component)
    if container is None:
        return ContainerView(component, False) if component in machine.manifests() else None
    said = tuple(machine.logs.get(component, ()))
    started = moment(container.started_at) if container.running or said else None
    return ContainerView(component, container.running, started, None, container.restarts, said)


def _copies(machine: Machine) -> dict[str, ManifestView]:
    """Other files in that directory, by their names; of two that define one pod the model's kubelet runs kubeadm's."""
    return {p.rpartition("/")[2]: _manifest_of(p, machine.files[p], None) for p in machine.copies}


def _manifest(machine: Machine, component: str, text: str) -> ManifestView:
    path, at = path_of(component), machine.manifest_written.get(component)
    if at is None and machine.first.get(path) == text:
        at = UP_SINCE
    return _manifest_of(path, text, None if at is None else moment(at))


@lru_cache(maxsize=1024)
def _manifest_of(path: str, text: str, changed: datetime | None) -> ManifestView:
    return ManifestView(path, sha256(text), text, command_of(text).problem, changed)


def _disk(machine: Machine) -> DiskView:
    free = 0 if "no space" in machine.disk else 64 << 20 if machine.crowded else 50 << 30
    return DiskView("/var/lib/etcd", 100 << 30, free, "read-only" in machine.disk)


def _data(machine: Machine, *, stacked: bool) -> EtcdDataView:
    found = _data_in(machine, _directory(machine))
    return found if stacked else replace(found, exists=False)


def _before(machine: Machine) -> EtcdDataView | None:
    return _data_in(machine, ETCD_DIR) if _directory(machine) != ETCD_DIR else None


def _directory(machine: Machine) -> str:
    text = machine.manifests().get("etcd", "")
    return command_of(text).flags.get("--data-dir", ETCD_DIR) if text else ETCD_DIR


def _data_in(machine: Machine, path: str) -> EtcdDataView:
    there = any(p.startswith(f"{path}/") for p in machine.data)
    return EtcdDataView(path, there or machine.joined, f"{path}/member" not in machine.data)
