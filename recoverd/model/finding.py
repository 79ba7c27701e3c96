"""Findings: facts that were proven, with their evidence; and what they add up to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class State(StrEnum):
    """State of one cluster. `unobservable` means that the bastion cannot tell; nothing is ever done in it."""

    HEALTHY = "healthy"
    APISERVER_DOWN = "apiserver-down"
    ETCD_STUCK = "etcd-stuck"
    WORKER_NETWORK_BROKEN = "worker-network-broken"
    UNOBSERVABLE = "unobservable"
    MAINTENANCE = "maintenance"
    """A plan that was offered while the cluster was healthy, and that a person approved, is at work on it."""


FAULT_STATES = (State.APISERVER_DOWN, State.ETCD_STUCK, State.WORKER_NETWORK_BROKEN)
PHASED_STATES = (*FAULT_STATES, State.MAINTENANCE)
"""Those that nest phases."""


class Phase(StrEnum):
    """Where recoverd stands within a fault state, or with its maintenance."""

    SUSPECTED = "suspected"
    CONFIRMED = "confirmed"
    AWAITING_APPROVAL = "awaiting-approval"
    REMEDIATING = "remediating"
    VERIFYING = "verifying"
    ESCALATED = "escalated"
    PAUSED = "paused"


class Severity(StrEnum):
    FAULT = "fault"
    """Argues for a fault state."""
    WARNING = "warning"
    """The cluster is healthy and will not stay so: a plan may be offered for it, and never runs unasked."""
    NOTICE = "notice"
    """Shown, never acted upon."""


FindingKey = tuple[str, str]
"""(code, subject): what makes two findings of two sweeps the same one."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One proven fact. `message` is a sentence for the operator, `evidence` the lines that prove it."""

    code: str
    subject: str
    """The host, member or certificate it is about; "" for the cluster as a whole."""
    message: str
    evidence: tuple[str, ...]
    severity: Severity = Severity.FAULT
    state: State | None = None
    """The state that a FAULT argues for."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What a playbook needs of it, in words or digits (member id, component, path)."""

    @property
    def key(self) -> FindingKey:
        return (self.code, self.subject)


@dataclass(frozen=True, slots=True)
class Roll:
    """Who belongs to the cluster, by what one sweep saw of it."""

    parts: frozenset[str]
    """Control planes that are working parts of it."""
    listed: frozenset[str] | None
    """Members by their label, as one under a leader lists them; None where no such member was seen."""
    serving: frozenset[str]
    """Those of them that were seen to serve."""
    hosts: Mapping[str, str] = field(default_factory=dict)
    """Names in the configuration, by the name of the Node that the API server lists for the machine."""
    holding: frozenset[str] = frozenset()
    """Control planes whose etcd follows a leader and was seen to hold this cluster's data."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What one observation adds up to. Findings come most fundamental first: the first FAULT is the cause."""

    state: State
    findings: tuple[Finding, ...]
    summary: str
    """One line for the operator: the cause, or why the cluster cannot be judged."""
    partial: bool = False
    """`unobservable` only because something was not seen that `healthy` rests on: what was seen is well."""
    roll: Roll | None = None
    """None: nothing is known of who belongs to the cluster."""

    @property
    def faults(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity is Severity.FAULT)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity is Severity.WARNING)

    @property
    def keys(self) -> frozenset[FindingKey]:
        """What a plan can be made on: faults, and warnings."""
        return frozenset(f.key for f in (*self.faults, *self.warnings))

    def find(self, code: str, subject: str | None = None) -> Finding | None:
        return next((f for f in self.findings if f.code == code and subject in (None, f.subject)), None)


class Code:
    """The finding codes; a name, once released, keeps its meaning (alerts and scripts match on them)."""

    # API server, subject: the control plane
    MANIFEST_MISSING = "apiserver-manifest-missing"
    MANIFEST_INVALID = "apiserver-manifest-invalid"
    MANIFEST_CHANGED = "apiserver-manifest-changed"
    """Not the known-good one, and its API server does not come up."""
    CRASH_LOOPING = "apiserver-crash-looping"
    API_NOT_ANSWERING = "apiserver-not-answering"
    """Down with no cause proven yet; never acted upon."""
    CERTIFICATE_EXPIRED = "certificate-expired"
    """Subject: host:path."""
    CERTIFICATE_EXPIRES_SOON = "certificate-expires-soon"
    CERTIFICATE_MISMATCH = "certificate-mismatch"
    """Not signed by the CA in place, not of its private key, or a kubeconfig that trusts another CA. Subject: host:path."""
    CERTIFICATE_MISSING = "certificate-missing"
    """It was there while the cluster was healthy. Subject: host:path."""
    PKI_REPLACED = "pki-replaced"
    """A CA or the service account key is not the one that the cluster was healthy with. Subject: host:path."""
    KUBELET_DOWN = "kubelet-down"
    RUNTIME_DOWN = "container-runtime-down"
    VIP_WRONG = "api-address-wrong"
    """A control plane answers, the address in the kubeconfig does not. Subject: ""."""
    # etcd; subject: the member's host name, or its peer address where no host is known, or "" for the cluster
    ETCD_NEVER_STARTED = "etcd-member-never-started"
    ETCD_QUORUM_LOST = "etcd-quorum-lost"
    ETCD_LEARNER_STUCK = "etcd-learner-not-promoted"
    ETCD_NO_LEADER = "etcd-no-leader"
    ETCD_MEMBER_DOWN = "etcd-member-down"
    ETCD_NOSPACE = "etcd-nospace"
    ETCD_CORRUPT = "etcd-corrupt-alarm"
    ETCD_FOREIGN_CLUSTER = "etcd-cluster-id-differs"
    ETCD_MANIFEST_MISSING = "etcd-manifest-missing"
    ETCD_MANIFEST_INVALID = "etcd-manifest-invalid"
    ETCD_MANIFEST_CHANGED = "etcd-manifest-changed"
    ETCD_FORCE_FLAG_LEFT = "etcd-force-new-cluster-flag-left"
    ETCD_DATA_EMPTY = "etcd-data-directory-empty"
    ETCD_DATA_DIRECTORY_CHANGED = "etcd-data-directory-changed"
    """Its manifest names a directory without the cluster's data, and the data are whole where they were."""
    ETCD_DATA_LOST = "etcd-data-lost"
    """On every member: gone, begun anew or corrupt. Subject: ""."""
    ETCD_MEMBER_CORRUPT = "etcd-member-corrupt"
    """By its own words in its log; the alarm is ETCD_CORRUPT."""
    ETCD_SPLIT_BRAIN = "etcd-split-brain"
    """Empty data and `--initial-cluster-state=new` while peers hold data."""
    ETCD_REVISION_WENT_BACK = "etcd-revision-went-back"
    # worker network; subject: the node, unless said. Facts hold `node` (name of the Node) and `host` (name in the configuration)
    PODS_NOT_ON_NODE = "pods-not-on-node"
    """The API binds pods (by uid) to the node that its kubelet does not run, beyond start-up time."""
    SERVICE_RULES_STALE = "service-rules-stale"
    """Endpoints programmed on the node are not those of the EndpointSlices, or the rules are gone altogether."""
    POD_NETWORK_BROKEN = "pod-network-broken"
    """Probes from this node fail to pods of several nodes, or from several nodes to this node's pods."""
    POD_PATH_BROKEN = "pod-path-broken"
    """One direction between two nodes only. Subject: FROM>TO; facts `from`, `to`."""
    SERVICE_UNREACHABLE = "service-unreachable"
    """Service addresses cannot be reached from the node though its path to their endpoints is good."""
    DNS_UNREACHABLE = "cluster-dns-unreachable"
    KUBE_PROXY_DOWN = "kube-proxy-down"
    """The DaemonSet wants a pod there and none runs."""
    CNI_AGENT_DOWN = "cni-agent-down"
    IP_FORWARDING_OFF = "ip-forwarding-off"
    POD_DEVICE_MISSING = "pod-device-missing"
    """The bridge or tunnel device that pods of this node need is gone or down."""
    WORKER_KUBELET_DOWN = "worker-kubelet-down"
    """kubelet or the runtime of a worker does not run and its node is not Ready."""
    CONTROLLER_DOWN = "controller-down"
    """A warning: kube-controller-manager or kube-scheduler runs on no control plane while an API server is ready."""
    # notices
    NOT_JOINED = "control-plane-not-joined"
    """A configured control plane that has never been seen as a working part of the cluster."""
    HOST_UNSEEN = "host-unseen"
    SOURCE_UNSEEN = "source-unseen"
    CLOCK_SKEW = "clock-skew"
    DISK_LOW = "disk-low"
    ETCD_DB_LARGE = "etcd-database-near-quota"
    NODE_NOT_READY = "node-not-ready"
    NODE_LEFT_CORDONED = "node-left-cordoned"
    """A warning: a plan of recoverd has cordoned a worker and has ended, and the worker is cordoned still."""
    CLUSTER_DARK = "cluster-dark"
    """Everything of one cluster went dark together; the state is `unobservable`."""
