"""What kube-proxy, the CNI's agents and the cluster's DNS say of what keeps them from their work. Pure.

They log what is wrong while they run, too, so only what is new counts (`agents`). The add-ons of kubeadm are written
anew by `kubeadm init phase addon`
(https://kubernetes.io/docs/reference/setup-tools/kubeadm/kubeadm-init-phase/).
"""

from __future__ import annotations

from recoverd.diagnose.cause import AGENTS, BY_ITSELF, CNI, DNS, NO_API_THERE, POD, POD_NETWORK, PROXY, row
from recoverd.model.proxy_operations import MADE_ANEW

_MADE_ANEW = MADE_ANEW.replace("{", "{{").replace("}", "}}")  # a cure names what a line names by {0}
_CONFIG_MAP = "`kubectl -n kube-system edit configmap kube-proxy`"
_ANEW = "`kubectl -n kube-system rollout restart daemonset kube-proxy`"
_PROXY = (
    row(
        "xtables-lock",
        (PROXY,),
        r"holding the xtables lock",
        "another program holds the lock of iptables (/run/xtables.lock)",
        "see who with `fuser -v /run/xtables.lock`, and end it or have it done sooner" + BY_ITSELF,
    ),
    row(
        "iptables-option",
        (PROXY,),
        r"tables-restore.*unknown option \\*\"?(--[\w-]+)",
        "its iptables does not know the option {0}, as where its extensions are missing or another iptables is older",
        "run kube-proxy from the image of the cluster's version, which has its own iptables; else install the whole "
        "package iptables",
    ),
    row(
        "ipvs-modules",
        (PROXY,),
        r"kernel modules are not loaded: \[([\w ]+)|([Cc]an't use the IPVS proxier)",
        "it is to use IPVS, and the kernel's modules for that are not loaded ({0})",
        "`modprobe -a ip_vs ip_vs_rr ip_vs_wrr ip_vs_sh nf_conntrack`, the same below /etc/modules-load.d, and "
        + _ANEW,
    ),
    row(
        "nftables-missing",
        (PROXY,),
        r"(could not find nftables binary|nftables mode requires kernel \S+|nftables.* requires kernel \S+)",
        "it is to use nftables, which its image or the node's kernel does not have ({0})",
        f"`mode: iptables` in {_CONFIG_MAP} and {_ANEW}; nftables takes kernel 5.13",
    ),
    row(
        "netfilter-modules",
        (PROXY, CNI),
        r"(can't initialize ip6?tables table [`']\w+'|Table does not exist|Couldn't load (?:match|target) "
        r"[`'](?!KUBE-)\w+'|No chain/target/match by that name)",
        "the kernel's modules for the rules that it makes are not all there ({0})",
        "see whether /lib/modules/$(uname -r) is there: after an update of the kernel drain the machine and reboot "
        "it; else `modprobe ip_tables`, and what is named",
    ),
    row(
        "two-kinds-of-iptables",
        (PROXY,),
        r"Couldn't load target [`'](KUBE-[\w-]+)'",
        "the chain {0}, which kubelet makes, is not where it looks: the two use different kinds of iptables",
        "make the machine's kind (`iptables -V`: legacy or nf_tables) the pod's, with `update-alternatives --config "
        "iptables`, and restart kubelet and kube-proxy's pod",
    ),
    row(
        "conntrack-setting",
        (PROXY,),
        r"(nf_conntrack_\w+|nf_conntrack/parameters/hashsize|/proc/sys/net/(?!netfilter)[\w/.-]+): "
        r"(?:permission denied|operation not supported|read-only file system|no such file)",
        "it may not set the kernel's {0}, as in a container",
        f"`maxPerCore: 0` and `min: 0` below conntrack in {_CONFIG_MAP}, and {_ANEW}; the sysctl on the host itself",
    ),
    row(
        "another-node-name",
        (PROXY,),
        r"nodes \\*\"([\w.-]+)\\*\" not found|unable to get node(?: IP for hostname)? \\*\"?([\w.-]+)",
        "it calls its node {0}, and there is none of that name: the machine's name was changed, or kubelet was given "
        "another",
        f"`hostnamectl set-hostname` to the node's name, or --hostname-override=$(NODE_NAME) in its DaemonSet and an "
        f"empty hostnameOverride in {_CONFIG_MAP}",
    ),
    row(
        "feature-gate",
        (PROXY,),
        r"unrecognized feature gate: ([\w-]+)",
        "it is told of the feature gate {0}, which this version does not know, as after an upgrade that removed it",
        f"take {{0}} out of featureGates in {_CONFIG_MAP}, and {_ANEW}",
    ),
    row(
        "unknown-flag",
        (PROXY, CNI, DNS),
        r"(?:unknown (?:shorthand )?flag: '?|flag provided but not defined: )(-{0,2}[\w.-]+)",
        "it is given the flag {0}, which this version does not know",
        "take {0} out of its DaemonSet or Deployment",
    ),
    row(
        "broken-configuration",
        (PROXY,),
        r"no kind \\*\"KubeProxyConfiguration|strict decoding error|failed complete: (?!too many).*(?:config|unmarshal)"
        r"|(?:open|stat) /var/lib/kube-proxy/\S+: no such file|invalid configuration:",
        "its configuration (the ConfigMap kube-proxy) cannot be read",
        f"put it right ({_CONFIG_MAP}), or have it made: {_MADE_ANEW}",
    ),
    row(
        "rules-refused",
        (PROXY,),
        r"Failed to execute iptables-restore|iptables-restore: line \d+ failed|nft.*Could not process rule"
        r"|RULE_APPEND failed",
        "the kernel does not take its rules for services",
        "see whether two kinds of iptables write on the machine (`iptables -V` there and in the pod), what "
        "`iptables-save` says, and `dmesg`",
        weak=True,
    ),
)
_CNI = (
    row(
        "no-pod-cidr",
        (CNI, POD_NETWORK),
        # flannel's, Cilium's and kube-router's words, Calico's with `usePodCidr`, and kubelet's of kubenet
        r"(?i:pod ?cidr)(?: is)? not (?:assigned|available|set)|(?i:(?:\bno|lack of|without an?|has no) pod ?cidr\b)",
        "its node has been given no part of the pod network (spec.podCIDR)",
        "--allocate-node-cidrs=true and --cluster-cidr in the manifest of kube-controller-manager, and podSubnet in "
        "kubeadm-config; where they are there, the network has no part left (`kubectl get nodes -o "
        "custom-columns=NODE:.metadata.name,PODS:.spec.podCIDR`)" + BY_ITSELF,
    ),
    row(
        "bridge-module",
        (CNI,),
        r"/proc/sys/net/bridge/bridge-nf-call-iptables: no such file",
        "the kernel's module br_netfilter is not loaded",
        "`modprobe br_netfilter`, and its name below /etc/modules-load.d" + BY_ITSELF,
    ),
    row(
        "no-tunnel-module",
        (CNI,),
        r"(?:network|backend|vxlan|VXLAN|interface).*: operation not supported",
        "the kernel cannot make its tunnel device",
        "`modprobe vxlan`; where there is no such module, install it (Raspberry Pi: linux-modules-extra-raspi)"
        + BY_ITSELF,
    ),
    row(
        "no-interface",
        (CNI,),
        r"[Uu]nable to (?:find default route|determine direct routing device)|"
        r"[Ff]ailed to find any valid interface|[Uu]nable to auto-?detect an? IPv\d "
        r"address|no valid IPv\d addresses found",
        "it finds no device of the machine with an address or a default route",
        "put the default route back (`ip route`), or tell it the device (flannel: --iface; calico: "
        "IP_AUTODETECTION_METHOD)" + BY_ITSELF,
    ),
    row(
        "another-range",
        (CNI,),
        r"net config doesn't contain \\*\"?([\d.:a-fA-F/]+)",
        "its own range of pods does not have the part that its node was given, {0}",
        "put Network in its ConfigMap (kube-flannel-cfg) and podSubnet in kubeadm-config in accord" + BY_ITSELF,
    ),
    row(
        "device-of-another",
        (CNI,),
        r"(link has incompatible addresses|vxlan(?: tunnel)? device: address already in use|VXLAN.*file exists)",
        "its tunnel device cannot be made for one that is there already, as of another CNI or another range ({0})",
        "`ip -d link show type vxlan` on the node shows who has that port; `ip link delete` what is left of a CNI that "
        "was replaced" + BY_ITSELF,
    ),
    row(
        "bpf-file-system",
        (CNI,),
        r"BPF filesystem.*not mounted|[Ff]ailed to mount BPF filesystem",
        "the BPF file system is not mounted there",
        "`mount bpffs /sys/fs/bpf -t bpf`, and its line in /etc/fstab or systemd's sys-fs-bpf.mount" + BY_ITSELF,
    ),
    row(
        "address-of-another",
        (CNI,),
        r"node '?([\w.-]+?)'? is already using the IPv\d address ([\da-fA-F.:]*[\da-fA-F])",
        "it takes {1} for the address of its node, which is that of {0} as well",
        "tell it which device counts (calico: IP_AUTODETECTION_METHOD=can-reach=..., or interface=...), or correct "
        "the address of {0}" + BY_ITSELF,
    ),
    row(
        "reverse-path-loose",
        (CNI,),
        r"RPF check is set to 'loose'",
        "it refuses to work where the kernel's rp_filter is 2",
        "`sysctl -w net.ipv4.conf.all.rp_filter=1`, and the same below /etc/sysctl.d; or FELIX_IGNORELOOSERPF=true"
        + BY_ITSELF,
    ),
)
_DNS = (
    row(
        "asks-itself",
        (DNS,),
        r"plugin/loop: Loop \(([\d.:a-f]+)",
        "it asks itself: the resolv.conf that it gets from its node names the node itself",
        "a file with the real servers as resolvConf in /var/lib/kubelet/config.yaml there (with systemd-resolved "
        "/run/systemd/resolve/resolv.conf), `systemctl restart kubelet`, and its pods deleted",
    ),
    row(
        "no-servers",
        (DNS,),
        r"plugin/forward: no (?:valid upstream addresses|nameservers) found|not an IP address or file: \\*\"?(\S+)",
        "it has nobody to ask: the resolv.conf that it gets from its node names no server",
        "put servers into that file (resolvConf of /var/lib/kubelet/config.yaml), and delete its pods",
    ),
    row(
        "corefile",
        (DNS,),
        r"Corefile:\d+ - Error during parsing: (.{1,90})|Unknown directive '?([\w-]+)|(cannot serve \S+ - it is "
        r"already defined)",
        "its Corefile cannot be read ({0}), as after an edit or an upgrade that removed a plugin",
        "`kubectl -n kube-system edit configmap coredns`, and its pods deleted",
    ),
    row(
        "may-not-listen",
        (DNS,),
        r"listen (?:tcp|udp) \S*:(\d+): bind: (?:permission denied|address already in use)",
        "it cannot listen on its port {0}",
        "see whether another program on the node has it (`ss -lnp`), and that its container has the capability "
        "NET_BIND_SERVICE",
    ),
)
_ANY = (
    row(
        "watches",
        AGENTS,
        r"too many open files",
        "the kernel's limit of watched files or of those who watch (fs.inotify) is used up, or its file descriptors",
        "`sysctl -w fs.inotify.max_user_instances=8192 fs.inotify.max_user_watches=524288` on the node, and below "
        "/etc/sysctl.d" + BY_ITSELF,
    ),
    row(
        "another-architecture",
        AGENTS,
        r"exec format error",
        "its image is for another kind of processor",
        "use an image that has this one (`uname -m`)",
    ),
    row(
        "api-not-there",
        AGENTS,
        r"(\*v\w+\.\w+): the server could not find the requested resource",
        "the API server does not have what it follows ({0}), as where its custom resources were not brought along, or "
        "its version does not go with the cluster's",
        "apply the add-on's manifest of the version that runs, with its CustomResourceDefinitions, or use one for this "
        "cluster's version" + BY_ITSELF,
        weak=True,
    ),
    row(
        "not-permitted",
        AGENTS,
        r"([\w./-]+)(?: \\*\"[\w.-]*\\*\")? is forbidden: User \\*\"system:serviceaccount:([\w:-]+)\\*\" cannot (\w+)",
        "the API server does not let its service account {1} {2} {0}",
        "put its ClusterRole and binding back: on a control plane `kubeadm init phase addon all` for kubeadm's own "
        "(kube-proxy, coredns), else the add-on's manifest of the cluster's version" + BY_ITSELF,
    ),
    row(
        "authority-of-before",
        AGENTS,
        r"x509: certificate signed by unknown authority",
        "the CA that it trusts has not signed the API server's certificate, as where that was made anew",
        "a pod of it that is made anew takes in the CA of today; where that fails, see to the ConfigMap "
        "kube-root-ca.crt of its namespace",
        restart=True,
        weak=True,
    ),
    row(
        "token-refused",
        AGENTS,
        r"\bUnauthorized\b|the server has asked for the client to provide credentials",
        "the API server does not accept its token, as where the key of service accounts was made anew",
        "a pod of it that is made anew gets another; where that fails, see to sa.key and the clocks",
        restart=True,
        weak=True,
    ),
    row(
        NO_API_THERE,
        (CNI, DNS),
        r"https?://\S+.*dial tcp (\S+:(?!443\b)\d+): "
        r"(?:i/o timeout|connect: (?:connection refused|no route to host|network is unreachable))",
        "it asks the API server at {0} alone, as its configuration has it, and does not reach it there",
        "give it the address that all API servers share (Cilium: k8sServiceHost and k8sServicePort of its chart; else "
        "KUBERNETES_SERVICE_HOST in its DaemonSet), or see to the API server at {0}",
        weak=True,
    ),
    row(
        "service-address-not-reached",
        (CNI, DNS),
        r"dial tcp (\S+:443): (?:i/o timeout|connect: (?:connection refused|no route to host|network is unreachable))",
        "it does not reach the API server at its service's address {0}",
        "see to kube-proxy on the node and what it says, and to the chains that drop there (`iptables -S FORWARD`)",
        restart=True,
        weak=True,
    ),
)
_POD = (
    row(
        "configmap-gone",
        (POD,),
        r"configmap \\*\"([\w.-]+)\\*\" not found",
        "the ConfigMap {0}, which its pod mounts, is not there",
        "put it back: on a control plane `kubeadm init phase addon all` writes those of kube-proxy and coredns, else "
        "the add-on's manifest" + BY_ITSELF,
    ),
    row(
        "secret-gone",
        (POD,),
        r"secret \\*\"([\w.-]+)\\*\" not found",
        "the Secret {0}, which its pod mounts, is not there",
        "put it back from the add-on's manifest or a backup" + BY_ITSELF,
    ),
    row(
        "services-not-read",
        (POD,),
        r"services have not yet been read at least once",
        "its kubelet has not been given the cluster's services, as one of a newer version than the API server that it "
        "asks",
        "upgrade that API server first, or have the kubelets of control planes ask their own (`server:` in "
        "/etc/kubernetes/kubelet.conf); then `systemctl restart kubelet`",
    ),
    row(
        "host-path",
        (POD,),
        r"hostPath type check failed: (/\S+) is not (a \w+)",
        "{0}, which its pod takes from the machine, is not there or is not {1}",
        "see with `ls -ld {0}` what is there: put it back where it is gone; an empty directory in the place of a file "
        "was made by a container that began without it, and goes first (`rmdir`)" + BY_ITSELF,
    ),
    row(
        "container-not-created",
        (POD,),
        r".*(?:OCI runtime create failed|failed to create shim task|failed to create containerd task): (.{1,118})"
        r"|with (?:RunContainerError|CreateContainerError|CreateContainerConfigError): \\*\"(.{1,118})",
        "the container runtime cannot start it: {0}",
        "see to what the runtime names, on the node",
        weak=True,
    ),
)
CAUSES_OF_AGENTS = (*_PROXY, *_CNI, *_DNS, *_ANY, *_POD)
