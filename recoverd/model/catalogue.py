"""The catalogue of findings: one row for each, most fundamental first. Pure.

A row says everything that is known of a finding by its code alone: how its subject is written, what must have been seen
before its absence from a sweep means anything (`recoverd.diagnose.absence` has the witnesses), what it means, and which
sets it belongs to. Its place is its rank: what stands earlier can cause what stands later. `docs/findings.md` is made
of it. A code, once released, keeps its meaning: alerts and scripts match on it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Flag, StrEnum, auto


class About(StrEnum):
    """How the subject of a finding is written."""

    CLUSTER = ""
    HOST = "HOST"
    """A machine, by its name in the configuration."""
    COMPONENT = "HOST[/COMPONENT]"
    """Alone for the API server, else with the controller's name."""
    FILE = "HOST:PATH"
    MEMBER = "MEMBER"
    """The member's HOST, or its peer address where no host is known; `any` where etcd itself cannot tell which."""
    NODE = "NODE"
    """A Node, as the API server calls it."""
    PATH = "FROM>TO"
    """One direction between two nodes."""
    PAIR = "ONE>OTHER"
    """Two nodes, or two machines."""
    WEBHOOK = "WEBHOOK"
    """An admission webhook, by the name in its configuration."""
    API = "APISERVICE"
    """An API that others serve, by the name of its APIService."""
    QUOTA = "NAMESPACE/QUOTA"
    SERVICE = "NAMESPACE/SERVICE"
    CONTROLLER = "CONTROLLER"
    """kube-controller-manager or kube-scheduler."""
    SERVER = "HOST:PORT"
    """A server of etcd, as `--etcd-servers` names it, or one behind the service `kubernetes`."""
    ADDRESS = "ADDRESS"
    """An IP address."""
    SOURCE = "SOURCE"
    """What was asked."""


class ShownBy(StrEnum):
    """What has to be seen in a sweep before it means anything that the finding is not in it."""

    MANIFESTS = "the static pod manifests of the machine"
    FILE = "the file, or the listing of its directory"
    POD_FILE = "the file, or no manifest that names it"
    UNITS = "what systemd on the machine says of its units"
    MACHINE = "the machine"
    ITSELF = "the machine, which is no part of the cluster just now, or its node deleted"
    DISKS = "the machine's disks"
    STATIC_PODS = "the static pods running, or no manifests of them"
    STRANGER = "its etcd stopped or with a leader in common with another, or every other control plane's stopped"
    DATA = "etcd's data directory, or its etcd serving"
    LEADER = "an etcd member with a leader"
    HOLDING = "an etcd member that holds this cluster's data"
    EXTERNAL = "a server of that etcd with a leader, and no alarm of it"
    SERVER = "the server following a leader, or others named in its place"
    MEMBER = "the member serving, or a list of those that do without it"
    VOTE = "a list of members in which it has its vote or is not"
    SERVES = "the API server of that control plane answering"
    ADDRESS = "the address in the kubeconfig answering as an API server"
    HOLDERS = "which control planes have that address on an interface"
    LISTS = "nodes and pods as the API server lists them"
    READY = "the node Ready, or cordoned by a person, or none any more, as the API server lists it"
    LISTED = "a node of the machine in those lists, or no kubelet that runs on it"
    NODE = "those lists, the node's machine and its network"
    RUNNING_NODE = "the same, of a machine that has been up for a while"
    FOLLOWED = "its services and pods as the API server has them, where that or kube-proxy has only just begun"
    STEADY = "no service unanswered whose endpoints have only just changed"
    STARTS = "no pod waiting on the node for its containers to be made"
    NAMES = "the cluster's services and their endpoints, and one that is ready"
    ENDPOINTS = "the addresses behind the service `kubernetes`, each tried from a node"
    BOTH = "both machines"
    BRIDGES = "whether packets over its bridges pass iptables"
    FORWARDS = "which of its chains drop what it forwards"
    INPUTS = "which rules drop what comes to it"
    DEVICES = "its network devices"
    TABLES = "how full its kernel's tables are, and what that has counted"
    AGENTS = "every machine whose node is Ready"
    CONTROLLERS = "it running, or every control plane"
    LEAD = "its lease being renewed"
    UNTRIED = "the pods that have no node"
    AGGREGATED = "the API services as the API server lists them"
    WRITES = "a pod and a lease being accepted, each tried by dry run"


class Of(Flag):
    """Sets that findings belong to."""

    NOTHING = 0
    MANIFEST = auto()
    """`restore-manifest` puts the known-good one back."""
    NODE = auto()
    """One node's pods or network: the ladder of restarts and reboots is for these."""
    PATHS = auto()
    """Seen from elsewhere: what cannot be reached may be another node that is broken."""
    RULES = auto()
    """kube-proxy's rules, seen or used."""
    DOUBT = auto()
    """No snapshot is taken from, and no member made from, one of which this is found."""
    HISTORIES = auto()
    """etcd has two histories: nothing is restarted or moved before a person has said which is right."""
    WAY_OUT = auto()
    """A plan that is made for it is itself the way out of two histories."""
    APART = auto()
    """Of one node's kubelet or machine alone, or of what works through the API server: beside it
    etcd and the API server are well, and restore points are taken on.
    """
    ELSEWHERE = auto()
    """It is mended on machines that recoverd does not log in to; its words say where and how."""
    STOPS_ETCD = auto()
    """It says by itself why the etcd of its machine does not run."""


class Code(StrEnum):
    """The findings."""

    about: About
    shown_by: tuple[ShownBy, ...]
    meaning: str
    of: Of

    def __new__(cls, code: str, about: About, shown_by: tuple[ShownBy, ...], meaning: str, of: Of = Of.NOTHING) -> Code:
        row = str.__new__(cls, code)
        row._value_ = code
        row.about, row.shown_by, row.meaning, row.of = about, shown_by, meaning, of
        return row

    # etcd, and what stops a control plane altogether
    CONTROL_PLANE_RESET = (
        "control-plane-reset",
        About.HOST,
        (ShownBy.LEADER, ShownBy.ITSELF, ShownBy.MANIFESTS, ShownBy.DATA, ShownBy.LISTS),
        "What made a machine a control plane is gone from it (`kubeadm reset`, a new disk); nobody is replacing it.",
        Of.WAY_OUT,
    )
    ETCD_DATA_LOST = (
        "etcd-data-lost",
        About.CLUSTER,
        (ShownBy.LEADER, ShownBy.HOLDING),
        "etcd's data is gone, begun anew or corrupt on every member.",
        Of.DOUBT | Of.WAY_OUT,
    )
    ETCD_SPLIT_BRAIN = (
        "etcd-split-brain",
        About.MEMBER,
        (ShownBy.LEADER, ShownBy.STRANGER, ShownBy.DATA),
        "A member has no data and a manifest that says `--initial-cluster-state=new` while its peers hold data: it is "
        "or becomes a second cluster.",
        Of.DOUBT | Of.HISTORIES | Of.WAY_OUT,
    )
    ETCD_DATA_DIRECTORY_CHANGED = (
        "etcd-data-directory-changed",
        About.HOST,
        (ShownBy.MANIFESTS, ShownBy.DATA),
        "etcd's manifest names a directory without the cluster's data, and the data are whole where they were.",
        Of.DOUBT | Of.WAY_OUT | Of.MANIFEST | Of.STOPS_ETCD,
    )
    DISK_FULL = (
        "disk-full",
        About.FILE,
        (ShownBy.DISKS,),
        "The disk that holds etcd's data is full, and etcd there does not run.",
        Of.STOPS_ETCD,
    )
    FILE_SYSTEM_READ_ONLY = (
        "file-system-read-only",
        About.FILE,
        (ShownBy.DISKS,),
        "The file system that holds etcd's data is mounted read-only, and etcd there does not run.",
        Of.STOPS_ETCD,
    )
    CLOCK_SKEW = (
        "clock-skew",
        About.HOST,
        (ShownBy.MACHINE,),
        "The machine's clock is not the bastion's: a notice of seconds, a warning of minutes, a fault where it "
        "explains "
        "what does not work beside it.",
    )
    RUNTIME_DOWN = (
        "container-runtime-down",
        About.HOST,
        (ShownBy.UNITS,),
        "The container runtime of a control plane does not run: no container can be started.",
        Of.STOPS_ETCD,
    )
    KUBELET_DOWN = (
        "kubelet-down",
        About.HOST,
        (ShownBy.UNITS,),
        "kubelet of a control plane does not run: static pods that stop are not started again.",
        Of.STOPS_ETCD,
    )
    STATIC_PODS_STUCK = (
        "static-pods-do-not-start",
        About.HOST,
        (ShownBy.STATIC_PODS,),
        "kubelet of a control plane runs and does not start its static pods, for a reason that it names.",
        Of.STOPS_ETCD,
    )
    ETCD_DATA_EMPTY = (
        "etcd-data-directory-empty",
        About.HOST,
        (ShownBy.DATA,),
        "The data directory of a member is empty or gone: its copy is lost, and etcd must not be started on it.",
        Of.DOUBT,
    )
    ETCD_MEMBER_CORRUPT = (
        "etcd-member-corrupt",
        About.HOST,
        (ShownBy.LEADER, ShownBy.DATA),
        "A member's data is corrupt by its own words in its log.",
        Of.DOUBT,
    )
    ETCD_MANIFEST_MISSING = (
        "etcd-manifest-missing",
        About.HOST,
        (ShownBy.MANIFESTS,),
        "The static pod manifest of etcd is not there: kubelet stops etcd and does not start it again.",
        Of.MANIFEST | Of.STOPS_ETCD,
    )
    ETCD_MANIFEST_INVALID = (
        "etcd-manifest-invalid",
        About.HOST,
        (ShownBy.MANIFESTS,),
        "The static pod manifest of etcd is none that kubelet can run.",
        Of.MANIFEST | Of.STOPS_ETCD,
    )
    ETCD_MANIFEST_CHANGED = (
        "etcd-manifest-changed",
        About.HOST,
        (ShownBy.MANIFESTS,),
        "The static pod manifest of etcd is not the known-good one, and its etcd does not come up.",
        Of.MANIFEST | Of.STOPS_ETCD,
    )
    MANIFEST_COPY = (
        "static-pod-defined-twice",
        About.FILE,
        (ShownBy.MANIFESTS,),
        "A file beside kubeadm's manifest, or in its place, defines the same static pod: kubelet takes every file "
        "there, and which of two it runs is not defined.",
    )
    POD_FILE_MISSING = (
        "pod-file-missing",
        About.FILE,
        (ShownBy.POD_FILE,),
        "A file that a static pod's manifest names, by a flag or a mount, was there while the cluster was healthy and "
        "is gone: a fault where the pod does not run, else a warning of its next start.",
    )
    POD_FILE_CHANGED = (
        "pod-file-changed",
        About.FILE,
        (ShownBy.POD_FILE,),
        "Such a file is another than the one with which the pod worked, and the pod does not run.",
    )
    ETCD_FOREIGN_CLUSTER = (
        "etcd-cluster-id-differs",
        About.MEMBER,
        (ShownBy.LEADER, ShownBy.STRANGER),
        "A control plane's etcd belongs to another cluster than its peers.",
        Of.DOUBT | Of.HISTORIES | Of.WAY_OUT,
    )
    ETCD_CORRUPT = (
        "etcd-corrupt-alarm",
        About.MEMBER,
        (ShownBy.LEADER,),
        "etcd has raised the CORRUPT alarm.",
        Of.DOUBT,
    )
    ETCD_NEVER_STARTED = (
        "etcd-member-never-started",
        About.MEMBER,
        (ShownBy.LEADER,),
        "A member was added and has never started, as when a join hangs; it counts as a voter.",
    )
    # certificates
    CERTIFICATE_MISSING = (
        "certificate-missing",
        About.FILE,
        (ShownBy.FILE,),
        "A certificate or kubeconfig that was there while the cluster was healthy is gone.",
    )
    PKI_REPLACED = (
        "pki-replaced",
        About.FILE,
        (ShownBy.FILE,),
        "A CA or the service account key is not the one that the cluster was healthy with.",
    )
    PKI_DIFFERS = (
        "pki-differs",
        About.FILE,
        (ShownBy.FILE,),
        "A CA or the service account key of a control plane is another than the others': each works by itself, and "
        "they "
        "do not accept each other.",
    )
    POD_FILE_DIFFERS = (
        "pod-file-differs",
        About.FILE,
        (ShownBy.POD_FILE,),
        "A file that all API servers are to have in common, as the configuration of encryption at rest, is another on "
        "one control plane, or its API server is not given it.",
    )
    API_FLAGS_DIFFER = (
        "apiserver-flags-differ",
        About.HOST,
        (ShownBy.MANIFESTS,),
        "An API server works, and is given another value than most for a flag that all must have in common, as the "
        "range of services: what comes of a request depends on which of them is asked.",
    )
    CERTIFICATE_MISMATCH = (
        "certificate-mismatch",
        About.FILE,
        (ShownBy.FILE,),
        "A certificate is not signed by the CA in place or not of its private key, or a kubeconfig trusts another CA.",
    )
    CERTIFICATE_EXPIRED = (
        "certificate-expired",
        About.FILE,
        (ShownBy.FILE,),
        "A certificate is over.",
    )
    # etcd, as its members tell it
    ETCD_QUORUM_LOST = (
        "etcd-quorum-lost",
        About.CLUSTER,
        (ShownBy.LEADER,),
        "Fewer voters are alive than quorum needs: nothing can be written.",
    )
    ETCD_NO_LEADER = (
        "etcd-no-leader",
        About.CLUSTER,
        (ShownBy.LEADER,),
        "Enough members answer, and none has a leader.",
    )
    ETCD_NOSPACE = (
        "etcd-nospace",
        About.MEMBER,
        (ShownBy.LEADER,),
        "etcd has raised the NOSPACE alarm: it takes no writes.",
    )
    ETCD_MEMBER_DOWN = (
        "etcd-member-down",
        About.MEMBER,
        (ShownBy.MEMBER,),
        "A member does not serve, and quorum holds without it.",
    )
    ETCD_MEMBER_ISOLATED = (
        "etcd-member-isolated",
        About.MEMBER,
        (ShownBy.MEMBER,),
        "A member runs and follows no leader, while the others have one: it is cut off from them.",
    )
    ETCD_MEMBER_HANGS = (
        "etcd-member-hangs",
        About.MEMBER,
        (ShownBy.MEMBER,),
        "A member runs, is connected to the others, and answers nothing.",
    )
    ETCD_LEARNER_STUCK = (
        "etcd-learner-not-promoted",
        About.MEMBER,
        (ShownBy.LEADER, ShownBy.VOTE),
        "A learner was added and has not become a voter.",
    )
    ETCD_FORCE_FLAG_LEFT = (
        "etcd-force-new-cluster-flag-left",
        About.HOST,
        (ShownBy.MANIFESTS,),
        "etcd's manifest still has `--force-new-cluster`: its next start throws every other member out again.",
    )
    EXTERNAL_ETCD_FAILS = (
        "external-etcd-fails",
        About.CLUSTER,
        (ShownBy.EXTERNAL,),
        "The API servers' etcd, which is none of the static pods, does not serve them, by its servers' own words as "
        "asked from a control plane.",
        Of.ELSEWHERE,
    )
    EXTERNAL_ETCD_ALARM = (
        "external-etcd-alarm",
        About.CLUSTER,
        (ShownBy.EXTERNAL,),
        "Such an etcd has raised an alarm: it takes no writes (NOSPACE), or its members' data differ (CORRUPT).",
        Of.ELSEWHERE,
    )
    # the API server
    MANIFEST_MISSING = (
        "apiserver-manifest-missing",
        About.COMPONENT,
        (ShownBy.MANIFESTS,),
        "The static pod manifest of the API server or of a controller is not there.",
        Of.MANIFEST,
    )
    MANIFEST_INVALID = (
        "apiserver-manifest-invalid",
        About.COMPONENT,
        (ShownBy.MANIFESTS,),
        "That manifest is none that kubelet can run.",
        Of.MANIFEST,
    )
    MANIFEST_CHANGED = (
        "apiserver-manifest-changed",
        About.COMPONENT,
        (ShownBy.MANIFESTS,),
        "That manifest is not the known-good one, and what it starts does not come up.",
        Of.MANIFEST,
    )
    OTHER_MANIFEST_MISSING = (
        "static-pod-manifest-missing",
        About.COMPONENT,
        (ShownBy.MANIFESTS,),
        "The manifest of another static pod (kube-vip, haproxy, keepalived) is gone or empty: a fault where the API "
        "server's address does not answer or the same pod stands on another control plane, else a warning until it "
        "counts as meant, after ten minutes.",
        Of.MANIFEST,
    )
    OTHER_MANIFEST_INVALID = (
        "static-pod-manifest-invalid",
        About.COMPONENT,
        (ShownBy.MANIFESTS,),
        "The manifest of another static pod, which worked, is none that kubelet can run any more.",
        Of.MANIFEST,
    )
    VIP_WRONG = (
        "api-address-wrong",
        About.CLUSTER,
        (ShownBy.ADDRESS,),
        "A control plane answers, and the address in the kubeconfig does not.",
    )
    ADDRESS_ON_SEVERAL = (
        "api-address-on-several",
        About.ADDRESS,
        (ShownBy.HOLDERS,),
        "The cluster's address is on several control planes at once.",
    )
    CRASH_LOOPING = (
        "apiserver-crash-looping",
        About.HOST,
        (ShownBy.SERVES,),
        "The API server of a control plane ends again and again.",
    )
    API_NOT_ANSWERING = (
        "apiserver-not-answering",
        About.HOST,
        (ShownBy.SERVES,),
        "The API server of a control plane is down with no cause proven yet; nothing is done about it.",
    )
    ADMISSION_WEBHOOK_FAILS = (
        "admission-webhook-fails",
        About.WEBHOOK,
        (ShownBy.WRITES,),
        "The API server cannot ask an admission webhook that fails closed, and refuses pods or leases for it.",
        Of.APART,
    )
    LOOPBACK_EXPIRED = (
        "apiserver-loopback-expired",
        About.CLUSTER,
        (ShownBy.WRITES,),
        "An API server that has run for more than a year (14 months from 1.33 on) cannot ask itself any more, by the "
        "certificate that it made at its start, and refuses new pods while it is ready.",
        Of.APART,
    )
    CONTROLLER_NOT_LEADING = (
        "controller-not-leading",
        About.CONTROLLER,
        (ShownBy.LEAD,),
        "It runs, and for a minute none of its replicas has renewed the lease without which it does nothing.",
        Of.APART,
    )
    SCHEDULER_IDLE = (
        "scheduler-idle",
        About.CONTROLLER,
        (ShownBy.UNTRIED,),
        "kube-scheduler leads and renews its lease, and does not look at pods for minutes: they are Pending, and no "
        "event says why.",
        Of.APART,
    )
    ETCD_REVISION_WENT_BACK = (
        "etcd-revision-went-back",
        About.CLUSTER,
        (ShownBy.AGENTS,),
        "etcd's data went back in time: what watched the API before is deaf until it is restarted.",
    )
    # nodes and their network
    WORKER_KUBELET_DOWN = (
        "worker-kubelet-down",
        About.NODE,
        (ShownBy.NODE,),
        "kubelet or the runtime of a worker does not run, and its node is not Ready.",
        Of.NODE | Of.APART,
    )
    RUNTIME_HANGS = (
        "container-runtime-hangs",
        About.NODE,
        (ShownBy.READY,),
        "A node is not Ready, and its container runtime, which systemd calls active, answers nothing.",
        Of.NODE | Of.APART,
    )
    KUBELET_HANGS = (
        "kubelet-hangs",
        About.NODE,
        (ShownBy.READY,),
        "A node is not Ready, and its kubelet, which systemd calls active, answers nothing, or answers and "
        "tells the API server nothing.",
        Of.NODE | Of.APART,
    )
    NODE_CUT_OFF = (
        "node-cut-off",
        About.NODE,
        (ShownBy.READY,),
        "A node is not Ready, and its machine does not resolve or does not reach the API server's address, "
        "where the API server is ready.",
        Of.APART,
    )
    CNI_CONFIG_MISSING = (
        "cni-config-missing",
        About.NODE,
        (ShownBy.READY,),
        "A node is not Ready, and there is no configuration of the pod network on it.",
        Of.APART,
    )
    MACHINES_SHARE_NODE = (
        "machines-share-node",
        About.PAIR,
        (ShownBy.BOTH,),
        "The kubelets of two machines are one node by their certificates, as where one was cloned: each takes the node "
        "from the other.",
        Of.APART,
    )
    NODE_DELETED = (
        "node-deleted",
        About.NODE,
        (ShownBy.LISTED,),
        "The Node of a machine that was well was deleted, and its kubelet runs.",
        Of.APART,
    )
    NODE_NOT_READY = (
        "node-not-ready",
        About.NODE,
        (ShownBy.READY,),
        "A node is not Ready; for a minute and more, with no cause that has a row of its own, it is a fault.",
        Of.APART,
    )
    IP_FORWARDING_OFF = (
        "ip-forwarding-off",
        About.NODE,
        (ShownBy.RUNNING_NODE,),
        "The node does not forward packets, or one of its devices does not beside a broken path: no pod on it is "
        "reached.",
        Of.NODE,
    )
    BRIDGE_NETFILTER_OFF = (
        "bridge-netfilter-off",
        About.NODE,
        (ShownBy.RUNNING_NODE, ShownBy.BRIDGES),
        "Packets over the pod bridge pass no rules of services: a pod does not reach services on its own node.",
        Of.APART,
    )
    FORWARDING_FILTERED = (
        "forwarding-filtered",
        About.NODE,
        (ShownBy.RUNNING_NODE, ShownBy.FORWARDS),
        "A chain drops forwarded packets that did not while the cluster was healthy.",
        Of.APART,
    )
    CONNTRACK_FULL = (
        "conntrack-table-full",
        About.NODE,
        (ShownBy.RUNNING_NODE, ShownBy.TABLES),
        "The node's table of connections is nearly full: a fault where the kernel drops packets for it, or paths or "
        "services of the node fail beside it.",
        Of.APART,
    )
    NEIGHBOURS_FULL = (
        "neighbour-table-full",
        About.NODE,
        (ShownBy.RUNNING_NODE, ShownBy.TABLES),
        "The node's table of neighbours (ARP, or NDP of IPv6) is nearly full: a fault as above.",
        Of.APART,
    )
    REVERSE_PATH_FILTERED = (
        "reverse-path-filtered",
        About.NODE,
        (ShownBy.RUNNING_NODE, ShownBy.TABLES),
        "A path from or to the node is broken, and its kernel drops packets that come in over another device than the "
        "one over which it would answer (rp_filter 1).",
        Of.APART,
    )
    POD_SUBNETS_OVERLAP = (
        "pod-subnets-overlap",
        About.PAIR,
        (ShownBy.LISTS,),
        "Two nodes were given the same part of the pod network, or parts that overlap: a fault where paths of one of "
        "them are broken, else a warning.",
        Of.APART,
    )
    CNI_ADDRESS = (
        "cni-address-elsewhere",
        About.NODE,
        (ShownBy.LISTS,),
        "A path from or to the node is broken, and its CNI (Flannel, Calico) tells other nodes to reach it at another "
        "address than its own, or than while its pods were reached, as after a device was added to it.",
        Of.APART,
    )
    TUNNEL_FILTERED = (
        "tunnel-filtered",
        About.NODE,
        (ShownBy.RUNNING_NODE, ShownBy.INPUTS),
        "A path from or to the node is broken, and a rule of its firewall is against the packets in which those of "
        "other nodes' pods come (VXLAN, Geneve, WireGuard, IP in IP).",
        Of.APART,
    )
    POD_DEVICE_MISSING = (
        "pod-device-missing",
        About.NODE,
        (ShownBy.RUNNING_NODE,),
        "The bridge or tunnel device that the node's pods need is gone or down.",
        Of.NODE,
    )
    KUBE_PROXY_DOWN = (
        "kube-proxy-down",
        About.NODE,
        (ShownBy.RUNNING_NODE,),
        "The DaemonSet wants a kube-proxy there, and none runs; where its image does not come, it says why.",
        Of.NODE,
    )
    CNI_AGENT_DOWN = (
        "cni-agent-down",
        About.NODE,
        (ShownBy.RUNNING_NODE,),
        "The DaemonSet wants the CNI's agent there, and none runs; where its image does not come, it says why.",
        Of.NODE,
    )
    PODS_NOT_ON_NODE = (
        "pods-not-on-node",
        About.NODE,
        (ShownBy.RUNNING_NODE, ShownBy.FOLLOWED),
        "The API binds pods, by uid, to the node that its kubelet does not run, beyond the time that a start takes.",
        Of.NODE,
    )
    PODS_DO_NOT_START = (
        "pods-do-not-start",
        About.NODE,
        (ShownBy.RUNNING_NODE, ShownBy.STARTS),
        "Pods bound to the node wait for their sandbox or its network, and its kubelet says why it cannot make it: in "
        "words that recoverd does not know, of pods of one owner, a warning.",
    )
    KUBE_PROXY_CUT_OFF = (
        "kube-proxy-cut-off",
        About.NODE,
        (ShownBy.RUNNING_NODE, ShownBy.FOLLOWED),
        "kube-proxy follows an API server that is not reached from the node, while kubelet reaches its own, and "
        "its service rules are not those of the endpoints.",
    )
    SERVICE_RULES_STALE = (
        "service-rules-stale",
        About.NODE,
        (ShownBy.RUNNING_NODE, ShownBy.FOLLOWED),
        "The endpoints programmed on the node are not those of the EndpointSlices, or the rules are gone.",
        Of.NODE | Of.RULES,
    )
    POD_PATH_BROKEN = (
        "pod-path-broken",
        About.PATH,
        (ShownBy.RUNNING_NODE,),
        "Pods of one node cannot be reached from another, though others reach them.",
        Of.NODE | Of.PATHS,
    )
    POD_NETWORK_BROKEN = (
        "pod-network-broken",
        About.NODE,
        (ShownBy.RUNNING_NODE,),
        "Probes from the node fail to pods of several nodes, or from several nodes to its pods.",
        Of.NODE | Of.PATHS,
    )
    SERVICE_UNREACHABLE = (
        "service-unreachable",
        About.NODE,
        (ShownBy.RUNNING_NODE, ShownBy.FOLLOWED, ShownBy.STEADY),
        "Service addresses cannot be reached from the node though its path to their endpoints is good.",
        Of.NODE | Of.PATHS | Of.RULES,
    )
    DNS_UNREACHABLE = (
        "cluster-dns-unreachable",
        About.NODE,
        (ShownBy.RUNNING_NODE, ShownBy.FOLLOWED, ShownBy.STEADY),
        "The cluster's DNS cannot be reached from the node.",
        Of.NODE | Of.PATHS | Of.RULES,
    )
    DNS_DOWN = (
        "cluster-dns-down",
        About.SERVICE,
        (ShownBy.LISTS, ShownBy.NAMES),
        "The cluster's DNS has pods, and none of them is ready, or no service leads to them: no name is resolved in "
        "any pod. A warning where it has none any more.",
    )
    OWN_SERVICE_ENDPOINT = (
        "api-endpoint-dead",
        About.SERVER,
        (ShownBy.LISTS, ShownBy.ENDPOINTS),
        "The service `kubernetes`, by which pods call the API server, leads to an address that is that of no control "
        "plane's node, and no node reaches an API server there: a fault where it leads nowhere else, else a warning.",
    )
    # warnings and notices, by name
    AGGREGATED_API_AWAY = (
        "aggregated-api-away",
        About.API,
        (ShownBy.AGGREGATED,),
        "An API that a service behind the API server is to serve, as metrics, is not available: namespaces stay "
        "Terminating, and discovery is slow.",
    )
    LOOPBACK_EXPIRES = (
        "apiserver-loopback-expires-soon",
        About.HOST,
        (ShownBy.MACHINE,),
        "An API server has run for so long that the certificate by which it asks itself is over within a month; a "
        "restart makes it anew.",
    )
    CERTIFICATE_EXPIRES_SOON = (
        "certificate-expires-soon",
        About.FILE,
        (ShownBy.FILE,),
        "A certificate is over soon.",
    )
    CLOCK_UNSYNCHRONISED = (
        "clock-unsynchronised",
        About.HOST,
        (ShownBy.MACHINE,),
        "The machine's kernel does not call its clock synchronised.",
    )
    CLUSTER_DARK = (
        "cluster-dark",
        About.CLUSTER,
        (),
        "Everything of the cluster went dark together: the bastion may be blind itself.",
    )
    NOT_JOINED = (
        "control-plane-not-joined",
        About.HOST,
        (ShownBy.LEADER,),
        "A configured control plane was never seen as a working part of the cluster.",
    )
    CONTROLLER_DOWN = (
        "controller-down",
        About.CONTROLLER,
        (ShownBy.CONTROLLERS,),
        "It runs on no control plane while an API server is ready.",
    )
    DISK_LOW = (
        "disk-low",
        About.HOST,
        (ShownBy.MACHINE,),
        "A filesystem of the machine is nearly full.",
    )
    ETCD_SLOW_DISK = (
        "etcd-slow-disk",
        About.HOST,
        (ShownBy.DISKS,),
        "The member's disk takes ten times as long to write through as etcd's documentation allows.",
    )
    ETCD_DB_LARGE = (
        "etcd-database-near-quota",
        About.MEMBER,
        (ShownBy.DATA,),
        "etcd's database is near its quota.",
    )
    ENCRYPTION_KEY_NOT_KEPT = (
        "encryption-key-in-no-restore-point",
        About.FILE,
        (ShownBy.POD_FILE,),
        "Encryption at rest is on, and no restore point off the machine holds its key.",
    )
    EXTERNAL_ETCD_SERVER_DOWN = (
        "external-etcd-server-down",
        About.SERVER,
        (ShownBy.SERVER,),
        "A server of an etcd that is none of the static pods does not serve the API servers, and the others do.",
        Of.ELSEWHERE,
    )
    HOST_UNSEEN = (
        "host-unseen",
        About.HOST,
        (),
        "A machine could not be looked at.",
    )
    MACHINE_IDS_SHARED = (
        "machine-ids-shared",
        About.NODE,
        (ShownBy.LISTS,),
        "The node has the machine-id of others, as machines that were cloned; a notice where it is their product_uuid.",
    )
    NETWORK_RANGES_DIFFER = (
        "network-ranges-differ",
        About.HOST,
        (ShownBy.MANIFESTS, ShownBy.LISTS),
        "The range of services or of pods is another for the controller-manager, kube-proxy or the nodes than for the "
        "API server or the controller-manager, as where one manifest was edited alone.",
    )
    NODE_PRESSURE = (
        "node-under-pressure",
        About.NODE,
        (ShownBy.LISTS,),
        "A node lacks disk, memory or processes by its kubelet's word, which ends pods there and lets no others in: a "
        "fault where all nodes for pods do.",
    )
    NODE_LEFT_CORDONED = (
        "node-left-cordoned",
        About.NODE,
        (ShownBy.LISTS,),
        "A plan of recoverd cordoned a worker and has ended, and the worker is cordoned still.",
    )
    NODE_UNINITIALISED = (
        "node-not-initialised",
        About.NODE,
        (ShownBy.LISTS,),
        "A node has been Ready for minutes and has a taint still that a controller takes off once the node can be used "
        "(its cloud provider's, its network's, of a node that was not Ready): no new pod gets there.",
    )
    NODES_TAKE_NO_PODS = (
        "nodes-take-no-pods",
        About.CLUSTER,
        (ShownBy.LISTS,),
        "Every node for pods has a taint or is cordoned, and pods are Pending: a warning where somebody has set one of "
        "them, and a fault where all are of controllers that do not take them off.",
    )
    NODES_CORDONED = (
        "nodes-cordoned",
        About.CLUSTER,
        (ShownBy.LISTS,),
        "All nodes for pods are cordoned, or all but one of three or more: what ends is not made anew.",
    )
    OVERLAY_MTU = (
        "overlay-mtu-wrong",
        About.NODE,
        (ShownBy.RUNNING_NODE, ShownBy.DEVICES),
        "A device by which pods reach other nodes takes larger packets than the one below it leaves room for, or "
        "others than the same device elsewhere: small packets pass, and large ones do not. A notice where the uplinks "
        "themselves differ.",
    )
    SERVICE_ADDRESS_UNCERTIFIED = (
        "service-address-uncertified",
        About.FILE,
        (ShownBy.FILE, ShownBy.LISTS),
        "The API server's certificate is not for the address of the service `kubernetes`, by which pods call it.",
    )
    QUOTA_USED_UP = (
        "quota-used-up",
        About.QUOTA,
        (ShownBy.WRITES,),
        "A quota leaves no room for a pod or a lease in the namespace where these are tried.",
    )
    SOURCE_UNSEEN = (
        "source-unseen",
        About.SOURCE,
        (),
        "Something could not be asked.",
    )


def codes(of: Of) -> frozenset[Code]:
    """Those that belong to the set."""
    return frozenset(code for code in Code if of in code.of)


RANK: Mapping[str, int] = {code: place for place, code in enumerate(Code)}
SHOWN_BY: Mapping[str, tuple[ShownBy, ...]] = {code: code.shown_by for code in Code}


def host_in(subject: str) -> str:
    """The machine, node or member that a subject names, the first of a path FROM>TO; "" for the whole cluster."""
    return re.split("[>/:]", subject)[0]


def path_in(subject: str) -> str:
    """The path of HOST:PATH; "" where the subject has none."""
    return subject.partition(":")[2]


def ends_of(subject: str) -> tuple[str, ...]:
    """The node, or both of a path."""
    return tuple(re.split("[/:]", end)[0] for end in subject.split(">"))
