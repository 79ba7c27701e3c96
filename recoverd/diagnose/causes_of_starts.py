"""What kubelet, the API server and the controllers say as they start, of a machine that lacks what they need, and of
settings that do not go with it or with their version. Pure.
"""

from __future__ import annotations

from recoverd.diagnose.cause import API, BY_ITSELF, CONTROLLERS, KUBELET, RUNTIMES, row

_MANIFEST = "its manifest in /etc/kubernetes/manifests and in kubeadm-config"
_MACHINE = (
    row(
        "no-control-group",
        (KUBELET,),
        r"missing required cgroups: ([\w, ]+)",
        "the kernel has no control group {0}, as on a Raspberry Pi after an update",
        "`cgroup_enable=memory cgroup_memory=1` on the kernel's command line (there /boot/firmware/cmdline.txt), and "
        "reboot it",
    ),
    row(
        "sysctl-not-writable",
        (KUBELET,),
        r"open (/proc/sys/\S+): (?:read-only file system|permission denied|operation not permitted)",
        "it may not set the kernel's {0}, as in a container (LXC); no disk is read-only for that",
        "let the container set it, or set it on its host and `protectKernelDefaults: false` in "
        "/var/lib/kubelet/config.yaml",
    ),
    row(
        "kernel-log",
        (KUBELET,),
        r"open /dev/kmsg: (?:operation not permitted|no such file or directory|permission denied)",
        "it may not read the kernel's log (/dev/kmsg), as in a container (LXC)",
        "give the container /dev/kmsg; `ln -s /dev/console /dev/kmsg` is often done instead",
    ),
    row(
        "library-missing",
        (KUBELET, *RUNTIMES),
        r"error while loading shared libraries: ([^\s:]+)",
        "its program needs the library {0}, which is not there",
        "install that library's package, or its program for this system",
    ),
    row(
        "reserved-too-much",
        (KUBELET,),
        r"Resource \\*\"([\w./-]+)\\*\" has a reservation of",
        "it is told to reserve more {0} than the machine has, as one that was made smaller",
        "put systemReserved and kubeReserved in /var/lib/kubelet/config.yaml right, or give the machine back what it "
        "had" + BY_ITSELF,
    ),
    row(
        "watchdog",
        (KUBELET, *RUNTIMES),
        r"Watchdog timeout \(limit (\S+?)\)",
        "systemd ended it since it gave no sign for {0}: it hangs, or the machine has no time for it",
        "see what takes the processors and disks (`top`, `iostat -x 1`), and whether the runtime answers it (`crictl "
        "info`)",
        weak=True,
    ),
)
_SETTINGS = (
    row(
        "node-labels",
        (KUBELET,),
        r"labels specified with --node-labels: \[([^\]]+)\]",
        "it is told to give its node the labels {0}, which it may not from 1.16 on",
        "take them out of --node-labels (/var/lib/kubelet/kubeadm-flags.env, /etc/default/kubelet), and `kubectl "
        "label` the node" + BY_ITSELF,
    ),
    row(
        "reserved-processors",
        (KUBELET,),
        r"unable to determine reserved CPU resources for static policy",
        "its CPU manager's policy static needs processors reserved, and none are",
        "cpu in kubeReserved or reservedSystemCPUs in /var/lib/kubelet/config.yaml, or `cpuManagerPolicy: none`"
        + BY_ITSELF,
    ),
    row(
        "audit-policy-version",
        (API,),
        r"audit policy.*no kind \\*\"\w+\\*\" is registered for version \\*\"([\w./]+)",
        "its audit policy is of {0}, which this version does not take any more",
        "`apiVersion: audit.k8s.io/v1` in the file that --audit-policy-file names",
    ),
    row(
        "kms",
        (API,),
        r"(?:KMS [Pp]rovider|kms-provider-\d+|kmsv?\d?: ).*(dial unix /\S+?|[Dd]eadline ?[Ee]xceeded|Unavailable|"
        r"failed to \w+)(?:: |$| desc)",
        "the KMS plugin that its encryption configuration names does not serve it ({0}), and no secret can be read",
        "see to that plugin on the machine (its static pod or unit, its socket) and to the KMS behind it" + BY_ITSELF,
    ),
    row(
        "emulated-version",
        (API, *CONTROLLERS),
        r"emulation version (\S+) is not between \[([\d.]+), ([\d.]+)",
        "it is told to behave as {0}, and this version does so from {1} to {2}",
        "take --emulated-version out of " + _MANIFEST,
    ),
    row(
        "required-flags",
        (API,),
        r"([\w-]+ and [\w-]+) are required flags|(service-account-issuer) contained a ':'",
        "its flags {0} are missing or not as this version takes them",
        "put them right in its manifest (`kubeadm init phase control-plane apiserver` writes one that has them)",
    ),
    row(
        "start-hook",
        (API,),
        r"PostStartHook \\*\"([\w./-]+)\\*\" failed: (.{1,150})",
        "a step of its own start, {0}, fails: {1}",
        "see to what that names: the step writes through the API itself, so a webhook that fails closed or an etcd "
        "that is slow or full is in its way; a webhook without pods has its failurePolicy set to Ignore",
    ),
    row(
        "pod-range",
        ("kube-controller-manager",),
        r"cidr ([\d.:a-fA-F/]+) is out the range of cluster cidr ([\d.:a-fA-F/]+)",
        "its --cluster-cidr is {1}, and a node has {0}, which is not in it",
        "put the range of before back into its manifest, and into podSubnet of kubeadm-config",
    ),
    row(
        "node-range",
        ("kube-controller-manager",),
        r"(node CIDR size is too big|length of clusterCIDRs is:\d+ more than max allowed)",
        "its --cluster-cidr and --node-cidr-mask-size do not go together ({0})",
        "put both right in its manifest, and podSubnet in kubeadm-config",
    ),
    row(
        "leader-lock",
        CONTROLLERS,
        r"(\w+) lock is removed",
        "it is told to hold its lead as {0}, which this version does not do any more",
        "take --leader-elect-resource-lock out of " + _MANIFEST,
    ),
    row(
        "unknown-controller",
        ("kube-controller-manager",),
        r"\\*\"([\w-]+)\\*\" is not in the list of known controllers",
        "its --controllers names {0}, which this version does not have",
        "take {0} out of " + _MANIFEST,
    ),
    row(
        "unknown-cloud",
        (API, *CONTROLLERS),
        r"(?:unknown cloud provider|could not init cloud provider) \\*\"([\w-]+)",
        "it is told of the cloud {0}, which this version does not know or does not reach",
        "`--cloud-provider=external`, with the cloud's own controller, or take the flag out of " + _MANIFEST,
    ),
    row(
        "scheduler-configuration",
        ("kube-scheduler",),
        r"(no kind \\*\"KubeSchedulerConfiguration\\*\" is registered for version [^ ]+|strict decoding error: .{1,80}|"
        r"initializing plugin [^:]+: .{1,60})",
        "its configuration (--config) is not as this version takes it ({0})",
        "put its apiVersion (kubescheduler.config.k8s.io/v1 from 1.25 on) and what is named right",
    ),
)
CAUSES_OF_STARTS = (*_MACHINE, *_SETTINGS)
