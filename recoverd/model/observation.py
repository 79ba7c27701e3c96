"""What one sweep of one cluster saw: immutable, timestamped, with everything that could not be seen named as such.

Every source yields either its view or an `Unseen` with the reason. Nothing here does I/O and nothing here
judges: a view holds facts, `recoverd.diagnose` makes findings of them. Times are timezone-aware UTC;
sizes are bytes; durations seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from recoverd.model.etcd import EtcdView
from recoverd.model.lease import HostLease, Lease
from recoverd.model.network import NetworkView
from recoverd.model.node_look import NodeLook
from recoverd.model.objects import CreatedView as CreatedView
from recoverd.model.objects import NodeView as NodeView
from recoverd.model.objects import ObjectsView as ObjectsView
from recoverd.model.people import PeopleView
from recoverd.model.pod_files import PodFileView
from recoverd.model.unseen import Unseen as Unseen
from recoverd.model.unseen import UnseenKind as UnseenKind
from recoverd.model.witness import AggregatedView, LeadView, TryView, UntriedPods, WebhookView


class EndpointHealth(StrEnum):
    """What an API server's address answered."""

    READY = "ready"
    NOT_READY = "not-ready"
    """It answers, and /readyz names checks that fail."""
    REFUSED = "refused"
    """The connection was refused: the machine answers, no API server listens."""
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    UNRESOLVED = "unresolved"
    """The name has no address."""
    TLS = "tls"
    """The TLS handshake failed: an expired or foreign certificate."""
    ERROR = "error"
    """Something answered that is not a ready API server: an HTTP error of a proxy (502), or no HTTP at all."""
    NOT_TRIED = "not-tried"
    """recoverd did not ask, or could not for a reason of its own (`UnseenKind.OWN`), which `detail` says:
    neither an answer nor silence.
    """


@dataclass(frozen=True, slots=True)
class EndpointView:
    """One address of the API server, as dialled from the bastion."""

    address: str
    health: EndpointHealth
    detail: str = ""
    failing_checks: tuple[str, ...] = ()
    """Names of the /readyz?verbose checks that failed, for example `etcd`."""
    certificate_expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class ApiView:
    """The API server through the address in the kubeconfig (the VIP) and through each control plane's own address."""

    vip: EndpointView
    members: Mapping[str, EndpointView]
    """By control-plane name."""
    objects: ObjectsView | Unseen
    leads: Mapping[str, LeadView | Unseen] = field(default_factory=dict)
    """By controller; empty in what was recorded before these were looked at."""
    tries: Mapping[str, TryView | Unseen] = field(default_factory=dict)
    """By what is tried; empty too where the configuration switches that off."""
    webhooks: tuple[WebhookView, ...] | Unseen | None = None
    """Those that the tries name; None where they name none."""
    aggregated: tuple[AggregatedView, ...] | Unseen | None = None
    """Those that are away; None in what was recorded before these were looked at."""
    untried: UntriedPods | Unseen | None = None
    """Pods that no scheduler has looked at; None in what was recorded before these were looked at."""
    credentials_expire: datetime | None = None
    """When the client certificate does with which recoverd itself asks; None where it has none, or none was read."""


@dataclass(frozen=True, slots=True)
class ManifestView:
    """One static pod manifest in /etc/kubernetes/manifests."""

    path: str
    sha256: str
    content: str
    problem: str = ""
    """Why kubelet cannot run it: not YAML, not a Pod, cut short. "" when it parses."""
    modified_at: datetime | None = None
    """None where it could not be told."""


@dataclass(frozen=True, slots=True)
class UnitView:
    """A systemd unit; the fields are systemd's own (`systemctl show`)."""

    name: str
    load: str
    active: str
    sub: str
    result: str = ""
    since: datetime | None = None
    restarts: int = 0

    @property
    def running(self) -> bool:
        return self.active == "active"


@dataclass(frozen=True, slots=True)
class ContainerView:
    """The newest container of one static pod, by whatever tool the host has."""

    component: str
    running: bool
    started_at: datetime | None = None
    """Of one that does not run: when its log begins."""
    exit_code: int | None = None
    restarts: int = 0
    log_tail: tuple[str, ...] = ()
    """Last lines of its log, decoded with replacement, each at most 500 characters."""


@dataclass(frozen=True, slots=True)
class CertificateView:
    """One certificate file, or one inside a kubeconfig."""

    path: str
    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime
    is_ca: bool = False
    sha256: str = ""
    """Of its DER, as `openssl x509 -fingerprint -sha256` has it."""
    key: str = ""
    """SHA-256 of its public key's DER."""
    authority: str = ""
    """The file of the CA in place that must have signed it; "" for a CA, and where there is none."""
    signed: bool | None = None
    """Whether that CA has signed it; None where it cannot be told."""
    names: tuple[str, ...] = ()
    """The names and addresses that it is for."""


@dataclass(frozen=True, slots=True)
class PkiView:
    """What certificates are judged by. Digests are SHA-256 of a public key's DER."""

    authorities: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By file: the keys of the CAs in it. CA files, and kubeconfigs with the CAs that they trust."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """By file that holds a private key: the public key that belongs to it, "" where openssl could read
    none. Only what could be asked.
    """
    listed: tuple[str, ...] | None = None
    """Certificate files and kubeconfigs that there are; None where that could not be told."""


@dataclass(frozen=True, slots=True)
class DiskView:
    path: str
    total: int
    free: int
    read_only: bool = False
    """It is mounted so that nothing can be written, as after an error of the disk."""
    inodes: int | None = None
    """Files that can still be made on it; None where that was not seen, or has no limit."""


@dataclass(frozen=True, slots=True)
class EtcdDataView:
    """The etcd data directory of a control plane, looked at without starting anything."""

    path: str
    exists: bool
    empty: bool
    """True when there is no member/snap/db, or none but what an etcd leaves that was refused at its first start: no
    write-ahead log, and a database with nothing in it. An etcd started on it would be a new, empty member (etcd's
    server goes by the log: `wal.Exist`).
    """

    identity: str = ""
    """Which database file it is (device and inode of member/snap/db): the same for as long as nobody puts another in
    its place. "" where it could not be told.
    """
    blank: bool = False
    """There is a log, and nothing in the database: an etcd that its peers took in has never got anything of them."""

    @property
    def holds(self) -> bool:
        """Whether there is data that an etcd would start from."""
        return self.exists and not self.empty


@dataclass(frozen=True, slots=True)
class EtcdToolView:
    """The program on a control plane that restores snapshots (etcdutl or etcdctl), of the minor
    version of the etcd that runs there.
    """

    path: str
    version: str
    bump: bool
    """It knows --bump-revision and --mark-compacted."""


@dataclass(frozen=True, slots=True)
class HostView:
    """One machine as seen over SSH. Times of its units, static pods and manifests are by the bastion's clock; those of
    other files, and of logins, by its own.
    """

    boot_id: str
    clock_offset: float
    """Host clock minus bastion clock in seconds, as much of it as the round trip cannot explain."""
    uptime: float
    joined: bool
    """kubeadm has made this machine a node: /etc/kubernetes/kubelet.conf exists or, where that alone is gone, both
    pki/ca.crt beside it and kubelet's config.yaml. `kubeadm reset` takes all three.
    """
    runtime: str
    """Unit name of the container runtime: `containerd`, `docker`, `crio` or ""."""
    units: Mapping[str, UnitView]
    """By unit name: `kubelet` and the runtime."""
    manifests: Mapping[str, ManifestView] = field(default_factory=dict)
    """By component, as `etcd` or `kube-apiserver`; files of other static pods by their names without .yaml."""
    containers: Mapping[str, ContainerView] = field(default_factory=dict)
    certificates: tuple[CertificateView, ...] = ()
    pki: PkiView | None = None
    disks: tuple[DiskView, ...] = ()
    peers: Mapping[str, bool] | None = None
    """Whom its etcd calls on the port of its peers, by IP address, and whether they answered, by what the kernel knows
    of its connections. None where there is no manifest of etcd, and where the kernel tells it to nobody.
    """
    etcd_data: EtcdDataView | None = None
    etcd_before: EtcdDataView | None = None
    """Where etcd's data was while all was well, when its manifest names another directory now."""
    etcd_tool: EtcdToolView | None = None
    """Looked for only while no etcd runs on a control plane; None too where there is none."""
    people: PeopleView | None = None
    """None where it could not be told."""
    node: NodeLook | None = None
    """Looked for only where something is wrong with the node, and now and then."""
    synchronised: bool | None = None
    """The kernel calls its clock synchronised (`timedatectl`); asked for now and then, None where that could
    not be told, and in a container.
    """
    problems: tuple[str, ...] = ()
    """Parts of the look that failed on the host, in words (a tool that is missing, output that was cut)."""
    journals: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By unit: what it said in the last minutes that sounds like trouble, newest last, each line at most 600
    characters, without control characters. Read of units that fail, and of kubelet where something on the machine looks
    wrong; a unit whose journal was not read is not in it.
    """
    largest: tuple[str, ...] = ()
    """The largest files below /var/log and etcd's data, as `SIZE PATH`: looked for now
    and then while a disk is full.
    """
    lease: HostLease | None = None
    """Who may act on the cluster, as this control plane has it; None for a worker, and where nobody asked."""
    unmounted: tuple[str, ...] = ()
    """Where /etc/fstab has a file system on which Kubernetes keeps something, or one was while all was well, and none
    is mounted.
    """
    pod_files: Mapping[str, PodFileView] | None = None
    """By path: files that its static pods name; None where they were not asked about."""

    @property
    def runtime_unit(self) -> UnitView | None:
        """The unit of the container runtime; None where there is none."""
        return self.units.get(self.runtime)

    @property
    def manifests_unread(self) -> str:
        """What kept the look from its manifests, of which nothing is proven then by one that is not in it; "" where
        they were read.
        """
        return next((p for p in self.problems if "manifest" in p.lower()), "")

    def runs(self, component: str) -> bool:
        """Whether the newest container of a static pod was seen to run."""
        container = self.containers.get(component)
        return container is not None and container.running

    def running_since(self, component: str) -> datetime | None:
        """Since when it runs; None where it does not, or since when is not known."""
        container = self.containers.get(component)
        return container.started_at if container is not None and container.running else None


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything seen of one cluster in one sweep."""

    cluster: str
    sequence: int
    started_at: datetime
    at: datetime
    """When the sweep ended."""
    api: ApiView
    etcd: Mapping[str, EtcdView | Unseen]
    """By control-plane name."""
    hosts: Mapping[str, HostView | Unseen]
    """By host name, control planes and workers."""
    durations: Mapping[str, float] = field(default_factory=dict)
    """Seconds each source took (`api`, `etcd`, `hosts`, `network`), for the metrics."""
    network: NetworkView | Unseen | None = None
    """The pod network as its witnesses see it; None in what was recorded before there was any."""
    lease: Lease | None = None
    """Which bastion may act on the cluster; None where no lease is asked for."""
    own: tuple[str, ...] = ()
    """What recoverd itself lacked in this sweep, or has to tell of what it looks with,
    each with what to do about it.
    """
    behind: float = 0.0
    """Seconds by which recoverd itself was late in this sweep."""
    carried: Mapping[str, datetime] = field(default_factory=dict)
    """Workers that had no turn in this sweep, and when they were looked at last: their views are of then, in `hosts`
    and in `network`. Such a sweep says at most that all is well.
    """
    late: bool = False
    """That was too much to tell what is silent from what it came too late for: such views are unseen, as `OWN`."""
    stretched: float = 0.0
    """Seconds from the beginning of the sweep before to that of this one, where that was longer than the interval since
    recoverd does not manage its sweeps; 0.0 where it does.
    """
    outside: Mapping[str, EtcdView | Unseen] = field(default_factory=dict)
    """Servers of an etcd that is none of the cluster's static pods, by HOST:PORT."""
    outside_by: str = ""
    """The control plane from which they were asked."""
