"""What kubelet, a container runtime, and whatever runs on a machine say of what stops them. Pure."""

from __future__ import annotations

from recoverd.diagnose.cause import (
    API,
    BY_ITSELF,
    CONTROLLERS,
    ETCD,
    KUBELET,
    MACHINE,
    PROGRAMS,
    RUNTIMES,
    SANDBOX,
    row,
)

_MACHINE = (
    row(
        "disk-full",
        MACHINE,
        r"no space left on device",
        "a disk is full",
        "free space (`df -h`, and `df -i` for files; rotated logs first; nothing below etcd's member/)" + BY_ITSELF,
    ),
    row(
        "read-only",
        MACHINE,
        r"^(?!.*/proc/sys/\S*: ).*[Rr]ead-only file ?system",
        "a file system is mounted read-only, as after an error of its disk",
        "see `dmesg` for the disk's errors, check the file system, `mount -o remount,rw` it" + BY_ITSELF,
    ),
    row(
        "file-system-broken",
        MACHINE,
        r"[Ss]tructure needs cleaning|[Ii]nput/output error|bad message\b",
        "a file system is damaged, or its disk has errors",
        "see `dmesg` and `smartctl -a`; check the file system while nothing uses it (`xfs_repair`, `fsck`), or replace "
        "the disk",
    ),
    row(
        "out-of-memory",
        PROGRAMS,
        r"Failed with result 'oom-kill'|killed by the OOM killer|fatal error: runtime: out of "
        r"memory|cannot allocate memory",
        "the kernel killed it for want of memory",
        "see with `dmesg` and `free -m` what takes the memory",
        restart=True,
    ),
    row(
        "unit-refused",
        (KUBELET, *RUNTIMES),
        r"Service has (more than one|no) ExecStart=|(?:has a|Unit) (bad unit file setting|configuration has fatal "
        r"error)",
        "systemd refuses its unit or a drop-in of it ({0})",
        "see which line with `systemd-analyze verify` of the unit, put it right (a drop-in that gives another "
        "ExecStart= begins with an empty one), and `systemctl daemon-reload`",
    ),
    row(
        "not-executable",
        (KUBELET, *RUNTIMES),
        r"Failed (?:at step EXEC spawning|to execute(?: command)?:?) ?([^:]*): |status=203/EXEC",
        "its program {0} is not there or cannot be run",
        "install the package again, or put the unit's ExecStart right",
    ),
    row(
        "another-system",
        (KUBELET, *RUNTIMES),
        r"version [`'](GLIBC_[\d.]+)' not found",
        "its program needs {0}, and this system has an older C library",
        "install the package that was built for this system",
    ),
    row(
        "environment-file",
        (KUBELET, *RUNTIMES),
        r"Failed to load environment files: ",
        "a file that its unit names with EnvironmentFile is not there",
        "see which with `systemctl cat` of the unit, and put it back",
    ),
)
_FLAGS = (
    row(
        "feature-gate-locked",
        (KUBELET, API, *CONTROLLERS),
        r"cannot set feature gate ([\w-]+) to (\w+), feature is locked to (\w+)",
        "it is told to set the feature gate {0} to {1}, and this version does not let it be anything but {2}, as after "
        "an upgrade",
        "take {0} out of featureGates in /var/lib/kubelet/config.yaml or its drop-ins (kubelet), or out of "
        "--feature-gates in its manifest and in kubeadm-config (a control plane's)",
    ),
    row(
        "cipher-suite",
        (KUBELET, ETCD, API, *CONTROLLERS),
        r"[Cc]ipher suite (\w+) not supported or doesn't exist|unexpected TLS cipher suite \\*\"(\w+)",
        "it is told of the TLS cipher suite {0}, which this version does not know",
        "take {0} out of tlsCipherSuites in /var/lib/kubelet/config.yaml (kubelet), or out of --tls-cipher-suites "
        "(etcd: --cipher-suites) in its manifest and in kubeadm-config",
    ),
    row(
        "feature-gate",
        (KUBELET, API, *CONTROLLERS),
        r"unrecognized feature gate: ([\w-]+)",
        "it is told of the feature gate {0}, which this version does not know, as after an upgrade that removed it",
        "take {0} out of featureGates in /var/lib/kubelet/config.yaml (kubelet), or out of --feature-gates in its "
        "manifest and in kubeadm-config (a control plane's)",
    ),
    row(
        "admission-plugin",
        (API,),
        r"plugin \\*\"(\w+)\\*\" is unknown|unknown admission plugin:? \\*\"?(\w+)",
        "it is told to use the admission plugin {0}, which this version does not have (PodSecurityPolicy: up to 1.24)",
        "take it out of --enable-admission-plugins in its manifest, and out of kubeadm-config",
    ),
    row(
        "unknown-flag",
        (KUBELET,),
        r"unknown (?:shorthand )?flag: '?(-{0,2}[\w.-]+)",
        "it is given the flag {0}, which this version does not know, as after an upgrade that removed it",
        "take {0} out of /var/lib/kubelet/kubeadm-flags.env, /etc/default/kubelet or the unit's "
        "drop-ins, and restart kubelet",
    ),
    row(
        "unknown-flag",
        (ETCD, API, *CONTROLLERS),
        r"(?:unknown (?:shorthand )?flag: '?|flag provided but not defined: )(-{0,2}[\w.-]+)",
        "it is given the flag {0}, which this version does not know",
        "take {0} out of its manifest in /etc/kubernetes/manifests",
    ),
    row(
        "wrong-flag",
        (KUBELET, ETCD, API, *CONTROLLERS),
        r"invalid argument \\?\"?([^\"\\\s]*)\\?\"? for \\?\"(?:-\w, )?(--[\w.-]+)",
        "its flag {1} has the value {0}, which it does not take",
        "put the value right where the flag is given",
    ),
    row(
        "wrong-flags",
        (ETCD,),
        r"error verifying flags, (.+?)(?:\. See|$)",
        "its flags do not go together: {0}",
        "put its manifest in /etc/kubernetes/manifests right",
    ),
    row(
        "required-flag",
        (API,),
        r"([\w-]+) is a required flag",
        "this version requires the flag --{0}, and its manifest does not give it",
        "add --{0} to its manifest (`kubeadm init phase control-plane apiserver` writes one that has it)",
    ),
)
ANEW = (
    "on a control plane `kubeadm kubeconfig user --org system:nodes --client-name system:node:NODE`; that as its "
    "/etc/kubernetes/kubelet.conf, and /var/lib/kubelet/pki/kubelet-client-* moved away; it comes up by itself then"
)
_KUBELET = (
    row(
        "swap",
        (KUBELET,),
        r"running with swap on is not supported",
        "swap is on",
        "`swapoff -a`, and take its line out of /etc/fstab" + BY_ITSELF,
    ),
    row(
        "no-configuration",
        (KUBELET,),
        r"[Ff]ailed to load [Kk]ubelet config file.*open (\S+?): no such file",
        "its configuration {0} is not there",
        "write it anew: `kubeadm upgrade node phase kubelet-config`, or copy it from another node",
    ),
    row(
        "no-runtime-named",
        (KUBELET,),
        r"container runtime endpoint address was not specified or empty",
        "it is not told the container runtime's socket, as where /var/lib/kubelet/kubeadm-flags.env is empty",
        'KUBELET_KUBEADM_ARGS="--container-runtime-endpoint=unix:///run/containerd/containerd.sock" in that file'
        + BY_ITSELF,
    ),
    row(
        "cgroup-v1",
        (KUBELET,),
        r"configured to not run on a host using cgroup v1",
        "the machine has control groups of version 1, which this version refuses (from 1.35)",
        "`failCgroupV1: false` in /var/lib/kubelet/config.yaml for now; boot with systemd.unified_cgroup_hierarchy=1",
    ),
    row(
        "client-certificate-lost",
        (KUBELET,),
        r"(?:unable to read client-(?:cert|key)|could not convert data from) \\*\"?(/[^\s\"\\]+)",
        "its client certificate {0} is not there or empty, as after a power cut",
        "where a whole kubelet-client-DATE.pem is beside it, `ln -sf` that to it; else " + ANEW,
    ),
    row(
        "broken-kubeconfig",
        (KUBELET,),
        r"invalid kubeconfig: invalid configuration|no configuration has been provided|error loading config file "
        r"\\*\"/etc/kubernetes/kubelet\.conf",
        "/etc/kubernetes/kubelet.conf is empty or cannot be read, as after a power cut",
        ANEW,
    ),
    row(
        "drop-ins-missing",
        (KUBELET,),
        r"failed to walk through kubelet drop-?in directory \\*\"([^\"\\]+)\\*\".*: no such file or directory",
        "the directory {0}, in which its configuration's drop-ins are to be (--config-dir), is not there",
        "`mkdir -p {0}`, and its files from another node, or take --config-dir out of "
        "/var/lib/kubelet/kubeadm-flags.env, /etc/default/kubelet or the unit's drop-ins" + BY_ITSELF,
    ),
    row(
        "drop-ins-not-enabled",
        (KUBELET,),
        r"environment variable (KUBELET_CONFIG_DROPIN_DIR_ALPHA) not set",
        "it is given --config-dir without the environment variable {0}, on which 1.28 and 1.29 insist",
        "`Environment={0}=on` in a drop-in of its unit and `systemctl daemon-reload`, or take --config-dir out",
    ),
    row(
        "broken-drop-in",
        (KUBELET,),
        r"failed to load kubelet drop-?in file, path: (\S+?),",
        "{0}, a drop-in of its configuration, cannot be read",
        "put {0} right (it needs apiVersion and kind as well), or move it away" + BY_ITSELF,
    ),
    row(
        "broken-configuration",
        (KUBELET,),
        r"[Ff]ailed to load [Kk]ubelet config file|strict decoding error|error unmarshaling "
        r"JSON|yaml: (?:line|unmarshal)"
        r"|failed to validate kubelet configuration|kubelet config file .* was empty",
        "its configuration cannot be read",
        "put /var/lib/kubelet/config.yaml right (`kubeadm upgrade node phase kubelet-config` writes it anew)"
        + BY_ITSELF,
    ),
    row(
        "cgroup-driver",
        (KUBELET, SANDBOX),
        r"cgroup driver: \\?\"(\w+)\\?\" is different from (?:docker |runtime )?cgroup driver|expected "
        r"cgroupsPath to be of format",
        "kubelet and the container runtime do not have the same cgroup driver",
        "make `cgroupDriver` in /var/lib/kubelet/config.yaml what the runtime has (containerd: SystemdCgroup; docker: "
        "native.cgroupdriver), and "
        "restart both",
    ),
    row(
        "no-cri",
        (KUBELET,),
        r"unknown service runtime\.v1(?:alpha2)?\.\w+Service|CRI v1 \w+ API is not implemented",
        "containerd runs without its CRI plugin, or is too old for this kubelet",
        "see why it has none (`ctr plugins ls | grep cri`, `journalctl -u containerd | grep -i cri`): take cri out of "
        "`disabled_plugins` in /etc/containerd/config.toml, put what it says of its configuration right, or `modprobe "
        "overlay` where it finds no snapshotter; then restart containerd",
    ),
    row(
        "no-runtime",
        (KUBELET,),
        r"dial unix (\S+?): connect: (?:no such file or directory|connection refused)|Is the docker daemon running",
        "it does not reach the container runtime's socket",
        "see that the runtime runs, and that kubelet is told its socket (--container-runtime-endpoint)" + BY_ITSELF,
    ),
    row(
        "client-certificate-over",
        (KUBELET,),
        r"part of the existing bootstrap client certificate(?: in \S+)? is expired: (\d{4}-\d\d-\d\d)?",
        "its client certificate is over (since {0}), and it has no bootstrap kubeconfig to ask for another",
        "on a control plane: `kubeadm kubeconfig user --org system:nodes --client-name system:node:NODE`; that as its "
        "/etc/kubernetes/kubelet.conf, "
        "/var/lib/kubelet/pki/kubelet-client-* moved away, and restart kubelet",
    ),
    row(
        "no-client-certificate",
        (KUBELET,),
        r"unable to load bootstrap kubeconfig: stat (\S+?): no such file",
        "it has no client certificate that is valid, and no bootstrap kubeconfig to ask for one",
        "see /var/lib/kubelet/pki/kubelet-client-current.pem (emptied? over?) and "
        "/etc/kubernetes/kubelet.conf; on a control plane "
        "`kubeadm kubeconfig user --org system:nodes --client-name system:node:NODE` makes a new kubelet.conf",
        weak=True,
    ),
    row(
        "broken-checkpoint",
        (KUBELET,),
        r"(?:delete|remove) [\w -]+ file \\*\"(/[^\"\\]+)\\*\" before restarting",
        "what it has kept in {0} cannot be read or does not fit, as after a power cut or another policy",
        "`mv {0} {0}.broken` (drain the node where its pods have processors or devices of their own)" + BY_ITSELF,
    ),
    row(
        "manager-state",
        (KUBELET,),
        r"could not restore state from checkpoint|differs from state checkpoint policy|start "
        r"(?:cpu|memory) manager error"
        r"|could not initialize checkpoint manager",
        "the state that its CPU or memory manager left does not fit, as after a crash or another policy",
        "`rm /var/lib/kubelet/cpu_manager_state /var/lib/kubelet/memory_manager_state`" + BY_ITSELF,
    ),
    row(
        "kernel-settings",
        (KUBELET,),
        r"invalid kernel flag: (\S+), expected value: (\S+),",
        "the kernel setting {0} is not {1}, which it insists on (protectKernelDefaults)",
        "set it with `sysctl`, and below /etc/sysctl.d for the next boot",
    ),
    row(
        "cgroups",
        (KUBELET, *RUNTIMES, SANDBOX),
        r"[Ff]ailed to start ContainerManager|Cgroup subsystem not mounted|Devices cgroup isn't mounted|cgroup "
        r"mountpoint does not exist",
        "the kernel's control groups are not as it needs them",
        "see which line of it says more; a new kernel or its command line "
        "(systemd.unified_cgroup_hierarchy) may be why",
        weak=True,
    ),
    row(
        "client-ca",
        (KUBELET,),
        r"unable to load client CA file (\S+?):",
        "the CA file {0} is not there",
        "copy it from a control plane" + BY_ITSELF,
    ),
    row(
        "cloud-provider",
        (KUBELET,),
        r"could not init cloud provider \\*\"([\w-]+)",
        "it cannot reach the cloud {0} that it is told of (--cloud-provider)",
        "see to its credentials and the way to the cloud's API; --cloud-provider=external leaves it to its own "
        "controller",
    ),
    row(
        "node-address",
        (KUBELET,),
        r"node IP: \\*\"([^\"\\]+)\\*\" not found in the host's network interfaces",
        "the machine does not have the address {0} any more, which it is told to use (--node-ip)",
        "give the machine its address back (DHCP?), or put --node-ip right; certificates and the others' configuration "
        "go by that address as well",
    ),
    row(
        "pleg",
        (KUBELET,),
        r"PLEG is not healthy: pleg was last seen|container runtime is down",
        "the container runtime does not answer it",
        "restart the container runtime, then kubelet; see what hangs (NFS, a disk)",
        restart=True,
        weak=True,
    ),
    row(
        "no-cni",
        (KUBELET,),
        r"cni (?:config|plugin not) (?:un)?initialized|[Nn]o networks found in (/\S+)",
        "the pod network's configuration is not there (/etc/cni/net.d)",
        "see to the CNI's own pods on this node, which write it, or put the file back",
        weak=True,
    ),
)
CAUSES_OF_NODES = (*_MACHINE, *_FLAGS, *_KUBELET)
