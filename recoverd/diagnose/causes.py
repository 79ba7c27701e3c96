"""Why a program ends or a pod does not start, by its own words: one table of what is said, what that means, and
what a person does about it. Pure.

What is classified is untrusted text, cut and without control characters when it comes here; nothing of it is ever run.
A row is added with the line that it was made for, in `tests/unit/test_causes.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

KUBELET, ETCD, API = "kubelet", "etcd", "kube-apiserver"
RUNTIMES = ("containerd", "docker", "crio")
SANDBOX, IMAGE = "sandbox", "image"
"""What kubelet says of static pods that it cannot start: of all on the machine, or of the
one whose name is in the line.
"""
PROGRAMS = (KUBELET, *RUNTIMES, ETCD, API)
MACHINE = (*PROGRAMS, SANDBOX)
"""Whoever meets it says so."""
OF_DISKS = ("disk-full", "read-only")
QUOTED = 120
"""Characters of what a line names, in a sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Cause:
    name: str
    of: tuple[str, ...]
    """Whose words these are."""
    says: re.Pattern[str]
    why: str
    """What is wrong, with what the line names as {0}, {1}."""
    cure: str
    restart: bool = False
    """A restart of the program, or of its machine, may be all that is needed. Without it
    neither helps, and none is offered.
    """
    weak: bool = False
    """It is often said beside the real cause, and often is only its consequence: taken where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One cause as a program has named it."""

    cause: Cause
    line: str
    """In which words."""
    why: str
    cure: str


def reason(lines: Sequence[str], program: str) -> Reason | None:
    """The newest of these lines in which the program names a cause; where none is, the
    newest that may be its consequence.
    """
    for weak in (False, True):
        for line in reversed(lines):
            if found := _of_line(line, program, weak):
                return found
    return None


def reason_of_pod(kubelet: Sequence[str], component: str) -> Reason | None:
    """By kubelet's words: why it does not start this static pod."""
    return reason(kubelet, SANDBOX) or reason([line for line in kubelet if component in line], IMAGE)


def _of_line(line: str, program: str, weak: bool) -> Reason | None:
    for cause in CAUSES:
        if program in cause.of and cause.weak is weak and (said := cause.says.search(line)):
            named = [(group or "?")[:QUOTED] for group in said.groups()]
            return Reason(cause, line, cause.why.format(*named), cause.cure.format(*named))
    return None


def _row(
    name: str, of: Iterable[str], says: str, why: str, cure: str, *, restart: bool = False, weak: bool = False
) -> Cause:
    return Cause(name, tuple(of), re.compile(says), why, cure, restart, weak)


BY_ITSELF = "; it comes up by itself then"
_MACHINE = (
    _row(
        "disk-full",
        MACHINE,
        r"no space left on device",
        "a disk is full",
        "free space (`df -h`, and `df -i` for files; rotated logs first; nothing below etcd's member/)" + BY_ITSELF,
    ),
    _row(
        "read-only",
        MACHINE,
        r"[Rr]ead-only file ?system",
        "a file system is mounted read-only, as after an error of its disk",
        "see `dmesg` for the disk's errors, check the file system, `mount -o remount,rw` it" + BY_ITSELF,
    ),
    _row(
        "out-of-memory",
        PROGRAMS,
        r"Failed with result 'oom-kill'|killed by the OOM killer|fatal error: runtime: out of "
        r"memory|cannot allocate memory",
        "the kernel killed it for want of memory",
        "see with `dmesg` and `free -m` what takes the memory",
        restart=True,
    ),
    _row(
        "not-executable",
        (KUBELET, *RUNTIMES),
        r"Failed (?:at step EXEC spawning|to execute(?: command)?:?) ?([^:]*): |status=203/EXEC",
        "its program {0} is not there or cannot be run",
        "install the package again, or put the unit's ExecStart right",
    ),
)
_FLAGS = (
    _row(
        "unknown-flag",
        (KUBELET,),
        r"unknown (?:shorthand )?flag: '?(-{0,2}[\w.-]+)",
        "it is given the flag {0}, which this version does not know, as after an upgrade that removed it",
        "take {0} out of /var/lib/kubelet/kubeadm-flags.env, /etc/default/kubelet or the unit's "
        "drop-ins, and restart kubelet",
    ),
    _row(
        "unknown-flag",
        (ETCD, API),
        r"(?:unknown (?:shorthand )?flag: '?|flag provided but not defined: )(-{0,2}[\w.-]+)",
        "it is given the flag {0}, which this version does not know",
        "take {0} out of its manifest in /etc/kubernetes/manifests",
    ),
    _row(
        "wrong-flag",
        (KUBELET, ETCD, API),
        r"invalid argument \\?\"?([^\"\\\s]*)\\?\"? for \\?\"(?:-\w, )?(--[\w.-]+)",
        "its flag {1} has the value {0}, which it does not take",
        "put the value right where the flag is given",
    ),
    _row(
        "wrong-flags",
        (ETCD,),
        r"error verifying flags, (.+?)(?:\. See|$)",
        "its flags do not go together: {0}",
        "put its manifest in /etc/kubernetes/manifests right",
    ),
    _row(
        "required-flag",
        (API,),
        r"([\w-]+) is a required flag",
        "this version requires the flag --{0}, and its manifest does not give it",
        "add --{0} to its manifest (`kubeadm init phase control-plane apiserver` writes one that has it)",
    ),
)
_KUBELET = (
    _row(
        "swap",
        (KUBELET,),
        r"running with swap on is not supported",
        "swap is on",
        "`swapoff -a`, and take its line out of /etc/fstab" + BY_ITSELF,
    ),
    _row(
        "no-configuration",
        (KUBELET,),
        r"[Ff]ailed to load [Kk]ubelet config file.*open (\S+?): no such file",
        "its configuration {0} is not there",
        "write it anew: `kubeadm upgrade node phase kubelet-config`, or copy it from another node",
    ),
    _row(
        "broken-configuration",
        (KUBELET,),
        r"[Ff]ailed to load [Kk]ubelet config file|strict decoding error|error unmarshaling "
        r"JSON|yaml: (?:line|unmarshal)"
        r"|failed to validate kubelet configuration",
        "its configuration cannot be read",
        "put /var/lib/kubelet/config.yaml right (`kubeadm upgrade node phase kubelet-config` writes it anew)"
        + BY_ITSELF,
    ),
    _row(
        "cgroup-driver",
        (KUBELET, SANDBOX),
        r"cgroup driver: \\?\"(\w+)\\?\" is different from (?:docker |runtime )?cgroup driver|expected "
        r"cgroupsPath to be of format",
        "kubelet and the container runtime do not have the same cgroup driver",
        "make `cgroupDriver` in /var/lib/kubelet/config.yaml what the runtime has (containerd: SystemdCgroup; docker: "
        "native.cgroupdriver), and "
        "restart both",
    ),
    _row(
        "no-cri",
        (KUBELET,),
        r"unknown service runtime\.v1(?:alpha2)?\.\w+Service|CRI v1 \w+ API is not implemented",
        "containerd runs without its CRI plugin, or is too old for this kubelet",
        "take cri out of `disabled_plugins` in /etc/containerd/config.toml, and restart containerd",
    ),
    _row(
        "no-runtime",
        (KUBELET,),
        r"dial unix (\S+?): connect: (?:no such file or directory|connection refused)|Is the docker daemon running",
        "it does not reach the container runtime's socket",
        "see that the runtime runs, and that kubelet is told its socket (--container-runtime-endpoint)" + BY_ITSELF,
    ),
    _row(
        "client-certificate-over",
        (KUBELET,),
        r"part of the existing bootstrap client certificate(?: in \S+)? is expired: (\d{4}-\d\d-\d\d)?",
        "its client certificate is over (since {0}), and it has no bootstrap kubeconfig to ask for another",
        "on a control plane: `kubeadm kubeconfig user --org system:nodes --client-name system:node:NODE`; that as its "
        "/etc/kubernetes/kubelet.conf, "
        "/var/lib/kubelet/pki/kubelet-client-* moved away, and restart kubelet",
    ),
    _row(
        "no-client-certificate",
        (KUBELET,),
        r"unable to load bootstrap kubeconfig: stat (\S+?): no such file",
        "it has no client certificate that is valid, and no bootstrap kubeconfig to ask for one",
        "see /var/lib/kubelet/pki/kubelet-client-current.pem (emptied? over?) and "
        "/etc/kubernetes/kubelet.conf; on a control plane "
        "`kubeadm kubeconfig user --org system:nodes --client-name system:node:NODE` makes a new kubelet.conf",
        weak=True,
    ),
    _row(
        "manager-state",
        (KUBELET,),
        r"could not restore state from checkpoint|differs from state checkpoint policy|start "
        r"(?:cpu|memory) manager error"
        r"|could not initialize checkpoint manager",
        "the state that its CPU or memory manager left does not fit, as after a crash or another policy",
        "`rm /var/lib/kubelet/cpu_manager_state /var/lib/kubelet/memory_manager_state`" + BY_ITSELF,
    ),
    _row(
        "kernel-settings",
        (KUBELET,),
        r"invalid kernel flag: (\S+), expected value: (\S+),",
        "the kernel setting {0} is not {1}, which it insists on (protectKernelDefaults)",
        "set it with `sysctl`, and below /etc/sysctl.d for the next boot",
    ),
    _row(
        "cgroups",
        (KUBELET,),
        r"[Ff]ailed to start ContainerManager|Cgroup subsystem not mounted",
        "the kernel's control groups are not as it needs them",
        "see which line of it says more; a new kernel or its command line "
        "(systemd.unified_cgroup_hierarchy) may be why",
        weak=True,
    ),
    _row(
        "client-ca",
        (KUBELET,),
        r"unable to load client CA file (\S+?):",
        "the CA file {0} is not there",
        "copy it from a control plane" + BY_ITSELF,
    ),
    _row(
        "no-resolv-conf",
        (KUBELET, SANDBOX),
        r"open (\S*resolv\.conf): no such file or directory",
        "{0}, which kubelet gives to its pods, is not there, as where systemd-resolved was "
        "switched off: no pod is started",
        "start systemd-resolved, or put `resolvConf` in /var/lib/kubelet/config.yaml right and restart kubelet",
    ),
    _row(
        "no-sandbox-image",
        (KUBELET, SANDBOX, *RUNTIMES),
        r"(?:get|pull) sandbox image \\*\"([^\"\\]+)",
        "the image {0}, which every pod needs, is not there and cannot be pulled: no pod is started",
        "bring it from another node (`ctr -n k8s.io images export` and `import`), or name one that "
        "is there as sandbox_image",
    ),
    _row(
        "no-image",
        (IMAGE,),
        r"(?:pull and unpack image|[Bb]ack-off pulling image|[Ff]ailed to pull image) \\*\"([^\"\\]+)",
        "its image {0} is not there and cannot be pulled",
        "name an image that is there in its manifest, or bring it from another node",
    ),
    _row(
        "another-name",
        (KUBELET,),
        r"nodes? \\*\"?([\w.-]+)\\*\"? is forbidden: node \\*\"?([\w.-]+)\\*\"? (?:is not allowed|cannot)",
        "it calls itself {0}, and its certificate is that of {1}: the machine's name was changed",
        "`hostnamectl set-hostname {1}`, and restart kubelet",
    ),
    _row(
        "dead-connection",
        (KUBELET,),
        r"use of closed network connection",
        "it keeps to a connection to the API server that is dead",
        "restart kubelet",
        restart=True,
        weak=True,
    ),
    _row(
        "pleg",
        (KUBELET,),
        r"PLEG is not healthy: pleg was last seen|container runtime is down",
        "the container runtime does not answer it",
        "restart the container runtime, then kubelet; see what hangs (NFS, a disk)",
        restart=True,
        weak=True,
    ),
    _row(
        "no-cni",
        (KUBELET,),
        r"cni (?:config|plugin not) (?:un)?initialized|[Nn]o networks found in (/\S+)",
        "the pod network's configuration is not there (/etc/cni/net.d)",
        "see to the CNI's own pods on this node, which write it, or put the file back",
        weak=True,
    ),
)
_RUNTIMES = (
    _row(
        "broken-configuration",
        RUNTIMES,
        r"failed to load TOML|\btoml: |invalid (?:disabled )?plugin (?:URI|config)|unable to configure the Docker "
        r"daemon with file|cannot unmarshal",
        "its configuration cannot be read",
        "put /etc/containerd/config.toml (docker: /etc/docker/daemon.json) right, and start it",
    ),
    _row(
        "pid-file-left",
        ("docker",),
        r"pid file found, ensure docker is not running or delete (\S+)",
        "an old {0} is in its way",
        "delete it when no dockerd runs, and start docker",
    ),
    _row(
        "broken-database",
        RUNTIMES,
        r"panic: (?:freepages|invalid page type|page \d+ already freed|assertion failed)|invalid database",
        "its own database is damaged, as after a power cut",
        "move /var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db away and start it: containers and "
        "images are made and pulled anew",
    ),
)
_CONTROL_PLANE = (
    _row(
        "entries-lost",
        (ETCD,),
        r"tocommit\(\d+\) is out of range",
        "its log lacks entries that it has acknowledged, as after the machine was put back to "
        "a snapshot or a power cut",
        "it has to be rebuilt from its peers (`rebuild-member`); its directory must not be emptied by hand before",
    ),
    _row(
        "snapshot-file-lost",
        (ETCD,),
        r"snapshot file doesn't exist|failed to find database snapshot file",
        "its database is older than its log, as after a power cut",
        "rebuild it from its peers; without peers restore a snapshot, and never move member/ away and start it: it "
        "would begin an empty cluster",
    ),
    _row(
        "log-broken",
        (ETCD,),
        r"wal: .*(?:unexpected EOF|file not found|crc mismatch|max entry size)|walpb: crc "
        r"mismatch|\bwal\b.*crc mismatch",
        "its write-ahead log is damaged or lacks a file",
        "rebuild it from its peers; without peers restore a snapshot",
    ),
    _row(
        "too-many-learners",
        (ETCD,),
        r"too many learner",
        "the member list that it holds has more learners than this version allows, as after an upgrade from a version "
        "that did not store promotions",
        "put the image of the version before back into its manifest; upgrade by way of 3.5.20 or later",
    ),
    _row(
        "older-than-its-data",
        (ETCD,),
        r"cannot be downgraded \(current version: ([\w.]+) is lower than determined cluster version: ([\w.]+)",
        "it is {0}, and its data are of {1}: an older program refuses them",
        "put the image of {1} back into its manifest",
    ),
    _row(
        "removed",
        (ETCD,),
        r"the member has been permanently removed from the cluster",
        "the others have removed it from the member list",
        "reset the machine and join it again",
    ),
    _row(
        "other-members",
        (ETCD,),
        r"member count is unequal|couldn't find local name|has already been bootstrapped|cluster ID mismatch",
        "its manifest or its data are of another member list than the others'",
        "which is right is for a person to say; where it is the others', and they serve: reset the "
        "machine and join it again",
    ),
    _row(
        "another-address",
        (ETCD, API),
        r"listen tcp (\S+?): bind: cannot assign requested address",
        "the machine does not have the address {0} any more",
        "give the machine its address back (DHCP? a snapshot of another one?)",
    ),
    _row(
        "port-in-use",
        (KUBELET, ETCD, API),
        r"listen tcp\d? \S*?:(\d+): bind: address already in use",
        "another process has its port {0}",
        "see which with `ss -ltnp 'sport = :{0}'`, and end it",
    ),
    _row(
        "encryption-configuration",
        (API,),
        r"error opening encryption provider configuration file \\?\"?([^\s\"\\]+)",
        "the encryption configuration {0} is not there, without which no secret can be read",
        "put the very file back from a backup or another control plane; a new one cannot read what is stored",
    ),
    _row(
        "audit-policy",
        (API,),
        r"(?:loading audit policy file|failed to read (?:audit policy )?file path) ?.*?\"?(/[^\s\":]+)",
        "the audit policy {0} is not there or cannot be read",
        "put it back, or take --audit-policy-file out of the manifest",
    ),
    _row(
        "no-default-route",
        (API,),
        r"no default routes found",
        "the machine has no default route",
        "put it back (`ip route`), and see to the network's configuration",
    ),
    _row(
        "file-not-readable",
        (ETCD, API),
        r"(?:open|stat|lstat|mkdir) (/[^\s:]+): permission denied",
        "it may not use {0}",
        "put the owner and the mode of {0} right",
    ),
    _row(
        "file-missing",
        (KUBELET,),
        r"(?:failed to run Kubelet|command failed|failed to construct kubelet)(?!.*bootstrap-kubelet).*"
        r"(?:open|stat) (/[^\s:\"]+): no such file or directory",
        "{0}, which it is told to use, is not there",
        "put {0} back, or take out what names it (/var/lib/kubelet/config.yaml, kubeadm-flags.env, kubelet.conf)"
        + BY_ITSELF,
    ),
    _row(
        "file-missing",
        (ETCD, API),
        r"(?:open|stat) (/[^\s:]+): no such file or directory",
        "{0}, which it is told to use, is not there",
        "put {0} back from a backup, or from another control plane",
    ),
)
_TRUST = (
    _row(
        "certificate-over",
        PROGRAMS,
        r"x509: certificate has expired or is not yet valid(?:: current time (\S+) is (?:after|before) (\S+))?",
        "a certificate is over or not valid yet",
        "see the clock and `kubeadm certs check-expiration`; recoverd offers "
        "`renew-certificates` for a control plane's",
        weak=True,
    ),
    _row(
        "certificate-of-another-name",
        PROGRAMS,
        r"x509: certificate is valid for (.+?), not ([\w.:-]+)",
        "the certificate that it is shown is not for {1}",
        "make that certificate anew with {1} in it (`kubeadm init phase certs`), or use a name that it has",
        weak=True,
    ),
    _row(
        "certificate-of-another-authority",
        PROGRAMS,
        r"x509: certificate signed by unknown authority",
        "what it talks to shows a certificate of another CA than it trusts",
        "see whether the CA was made anew; recoverd offers `restore-pki` where it knows the one of before",
        weak=True,
    ),
    _row(
        "name-not-resolved",
        (KUBELET, API),
        r"lookup ([\w.-]+)(?: on \S+)?: (?:no such host|server misbehaving|Temporary failure)",
        "the name {0} cannot be resolved on this machine",
        "put its line back into /etc/hosts (and into cloud-init's template, which writes it at "
        "each boot), or see to DNS",
        weak=True,
    ),
    _row(
        "no-etcd",
        (API,),
        r"dial tcp \S+:2379: connect: connection refused|context deadline exceeded.*2379|etcdserver: no leader",
        "it does not reach an etcd that serves",
        "see to etcd",
        weak=True,
    ),
)
CAUSES = (*_MACHINE, *_FLAGS, *_KUBELET, *_RUNTIMES, *_CONTROL_PLANE, *_TRUST)
