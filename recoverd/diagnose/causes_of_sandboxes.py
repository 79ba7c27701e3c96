"""What kubelet and the container runtime say of pods that they cannot start: of a sandbox, or of its network. Pure."""

from __future__ import annotations

from recoverd.diagnose.cause import (
    BY_ITSELF,
    IMAGE,
    KUBELET,
    NO_ADDRESS,
    NO_CNI_AGENT,
    NO_RESOLV_CONF,
    NO_SANDBOX_IMAGE,
    NOT_MADE,
    POD_NETWORK,
    RUNTIMES,
    SANDBOX,
    row,
)

CAUSES_OF_SANDBOXES = (
    row(
        NO_RESOLV_CONF,
        (KUBELET, SANDBOX),
        r"open (\S*resolv\.conf): no such file or directory",
        "{0}, which kubelet gives to its pods, is not there, as where systemd-resolved was "
        "switched off: no pod is started",
        "`systemctl enable --now systemd-resolved` where that kept it; else `sed -i 's|^resolvConf:.*|resolvConf: "
        "/etc/resolv.conf|' /var/lib/kubelet/config.yaml` and `systemctl restart kubelet`",
    ),
    row(
        "resolv-conf-loops",
        (KUBELET, SANDBOX),
        r"open (\S*resolv\.conf): too many levels of symbolic links",
        "{0}, which kubelet gives to its pods, is a link that leads back to itself: no pod is started",
        "`ln -sfn /run/systemd/resolve/resolv.conf {0}` where systemd-resolved runs; else `rm {0}` and write the name "
        "servers into it",
    ),
    row(
        NO_SANDBOX_IMAGE,
        (KUBELET, SANDBOX, *RUNTIMES),
        r"(?:get|pull) sandbox image \\*\"([^\"\\]+)",
        "the image {0}, which every pod needs, is not there and cannot be pulled: no pod is started",
        "on a node that has it `ctr -n k8s.io images export pause.tar {0}`, and here `ctr -n k8s.io images import "
        "pause.tar` (with docker: save and load); or name one that is there as sandbox_image in the runtime's "
        "configuration and restart it",
    ),
    row(
        NO_ADDRESS,
        (POD_NETWORK,),
        r"no (?:more )?(?:IP|ip) addresse?s? available in (?:range|network)(?: set)?(?:: ([^\s\"\\]+))?",
        "no address of its part of the pod network ({0}) is free for a pod",
        "files in /var/lib/cni/networks whose container is gone hold some (free-pod-addresses moves them away), or as "
        "many pods run there as it has addresses for",
    ),
    row(
        "another-bridge-address",
        (POD_NETWORK,),
        r"\\*\"([\w.-]+)\\*\" already has an IP address different from ([0-9a-fA-F.:/]+)",
        "the bridge {0} has another address than {1}, as where a node was joined anew and given another subnet",
        "drain the node, `ip link delete {0}`, and the CNI makes it anew",
    ),
    row(
        "no-cni-program",
        (POD_NETWORK,),
        r"failed to find plugin \\*\"([\w.-]+)\\*\" in path",
        "the program of the CNI's plugin {0} is not there",
        "install it (package kubernetes-cni, or the network add-on's own DaemonSet puts it there)",
    ),
    row(
        NO_CNI_AGENT,
        (POD_NETWORK,),
        r"(?:open|stat) (/run/flannel/subnet\.env|/var/lib/calico/nodename): no such file|"
        r"(?:unable to connect|connect) to (Cilium) (?:daemon|agent)|"
        r"dial (?:unix|tcp) ((?:/|127\.0\.0\.1:|localhost:|\[::1\]:)(?!\S*(?:containerd|crio))[^\s:\"\\]+): connect: ",
        "the CNI's agent has not come up there, or does not answer ({0})",
        "see why its pod on the node does not run (`kubectl -n kube-system get pods -o wide`)",
    ),
    row(
        "addresses-given-out",
        (POD_NETWORK,),
        r"(Assigned 0 out of \d+ requested IPv\d addresses[^\"\\]*|postIpamFailure[^\n]*?range is full|failed to "
        r"assign an IP address to container|no address allocated to pod|no configured Calico pools)",
        "the CNI's IPAM has no address for a pod there ({0})",
        "see what it has given out, and release what is held by pods that are gone (Calico's IPAM: `calicoctl ipam "
        "check`; Cilium's: `kubectl get ciliumnodes`), or give it another range (an IPPool, "
        "clusterPoolIPv4PodCIDRList, a subnet)",
    ),
    row(
        "cni-not-accepted",
        (POD_NETWORK,),
        r"connection is unauthorized|error getting (?:ClusterInformation|pod).*(?:Unauthorized|x509: certificate "
        r"signed by unknown)|is forbidden: User \\*\"system:serviceaccount:",
        "the API server does not accept the token, the rights or the CA of the CNI's program (/etc/cni/net.d), as "
        "where its agent did not renew it, the clock is wrong, or the add-on's ClusterRole is of another version",
        "make the pod of the CNI's agent on the node anew, which writes another one; see to the clock, and to the "
        "ClusterRole of the add-on's version",
    ),
    row(
        "cni-versions",
        (POD_NETWORK,),
        r"incompatible CNI versions; (.{1,110})",
        "the CNI's configuration and its programs are of different versions: {0}",
        "install the plugins that go with it (package kubernetes-cni), or put cniVersion in /etc/cni/net.d right",
    ),
    row(
        "broken-cni-configuration",
        (POD_NETWORK,),
        r"failed to (?:load netconf|parse network config)|error parsing configuration|netplugin failed.*invalid "
        r"character",
        "the CNI's configuration in /etc/cni/net.d cannot be read",
        "put it right, or have the CNI's agent write it anew (its pod on the node)",
    ),
    row(
        "cni-program-not-executable",
        (POD_NETWORK,),
        r"(/opt/cni/bin/[\w.-]+): permission denied",
        "the CNI's program {0} may not be run",
        "`chmod 755 {0}`; /opt must not be mounted noexec",
    ),
    row(
        "cni-lacks-program",
        (POD_NETWORK,),
        r"plugin type=.*exec: \\*\"([\w./-]+)\\*\": executable file not found",
        "the CNI's plugin finds no {0} on the machine",
        "install it (iptables: package iptables, beside nftables, too)",
    ),
    row(
        "cni-lacks-module",
        (POD_NETWORK, SANDBOX),
        r"modprobe: FATAL: Module ([\w-]+) not found|(?:could not add|create bridge|create (?:mac|ip)vlan|setup veth)"
        r"[^:]*: (operation not supported)|failed to mount (\S+): no such device",
        "the kernel lacks a module for it ({0})",
        "see whether /lib/modules/$(uname -r) is there: after an update of the kernel drain the machine and reboot it; "
        "else load the module, and name it below /etc/modules-load.d",
    ),
    row(
        "no-way-to-api",
        (POD_NETWORK,),
        r"dial tcp (\S+?:443): (?:i/o timeout|connect: )",
        "the CNI's program does not reach the API server at its service's address {0}",
        "see to kube-proxy on the node and what it says, and to the chains that drop there (`iptables -S FORWARD`)",
        weak=True,
    ),
    row(
        "selinux",
        (SANDBOX, *RUNTIMES),
        r"/proc/(?:self|thread-self)/attr/(?:keycreate|exec): (?:permission denied|invalid argument)",
        "SELinux does not let the runtime start containers",
        "bring container-selinux and runc up to date together, and see `ausearch -m avc -ts recent`",
    ),
    row(
        "apparmor",
        (SANDBOX, *RUNTIMES),
        r"(?:apply apparmor profile|apparmor failed to apply profile|apparmor_parser\\*\": executable file not found)",
        "AppArmor's profile for containers cannot be applied",
        "install the package apparmor, `systemctl restart apparmor`, and restart the container runtime",
    ),
    row(
        "systemd-not-answering",
        (KUBELET, SANDBOX, *RUNTIMES),
        r"Message recipient disconnected from message bus|Maximum number of units reached|org\.freedesktop\.systemd1.*"
        r"[Tt]imed ?out|Failed to activate service 'org\.freedesktop\.systemd1'",
        "systemd does not make the control groups that it is asked for",
        "see `systemctl --failed` and how many units there are (`systemctl list-units --all | wc -l`); `systemctl "
        "daemon-reexec`, or drain the machine and reboot it",
    ),
    row(
        "sandbox-left",
        (IMAGE,),
        r"is reserved for \\*\"(\w{12})|already in use by (?:sandbox|container) \\*\"?(\w{12})",
        "an older sandbox holds its name, as after a power cut",
        "`crictl pods` names it, `crictl rmp -f` removes it (docker: `docker rm -f`); it comes up by itself then",
    ),
    row(
        "termination-pending",
        (IMAGE,),
        r"is pending termination|[Pp]od (?:cannot start yet|is still terminating)",
        "kubelet waits for an older one of its own to end, of which nothing is left (1.21, 1.22)",
        "`systemctl restart kubelet`; what runs goes on",
        weak=True,
    ),
    row(
        "manifest-refused",
        (IMAGE,),
        r"(?:process manifest file\\*\" err=\\*\"\S+?: (?:couldn't parse as pod\()?|Invalid pod\\*\".*?err=\\*\")"
        r"(.{1,150})",
        "kubelet does not take its manifest: {0}",
        "put the manifest in /etc/kubernetes/manifests right" + BY_ITSELF,
    ),
    row(
        "not-admitted",
        (IMAGE,),
        r"(?:[Ff]ailed to admit pod|Pod admission denied).*?(?:reclaim resources: \[\(res: ([\w./-]+)|"
        r"enough resource: ([\w./-]+)|nodeCondition=\[\\*\"?(\w+)|reason=\\*\"(\w+))",
        "kubelet does not admit it to its machine ({0}), as where that has fewer processors, less memory or less room "
        "than it had",
        "give the machine back what it had, or ask for less in `resources` of its manifest; then `systemctl restart "
        "kubelet`, since a static pod that was refused is not tried again",
    ),
    row(
        "evicted",
        (IMAGE,),
        r"[Ee]viction manager: pods? .*evicted",
        "kubelet has evicted it for want of room, and does not start a static pod again that it has evicted",
        "free room (`df -h`, `df -i`, `free -m`), and then `systemctl restart kubelet`",
    ),
    row(
        "no-runc",
        (SANDBOX, *RUNTIMES),
        r"(?<!container process: )(?:exec: \\*\"|fork/exec )([\w/.-]+?)(?:\\*\": executable file not found|: no such "
        r"file|: exec format error)",
        "the program {0}, with which the runtime starts containers, is not there or cannot be run",
        "install it again (package runc, or containerd.io)",
    ),
    row(
        "not-made",
        (NOT_MADE,),
        # containerd's, CRI-O's and dockershim's words, the innermost that they quote
        r".*(?:plugin type=\\*\"[^\"]+\"(?: name=\\*\"[^\"]+\")? failed \(add\)|to set ?up pod \\*\"[^\"]+\" network"
        r"|to set ?up network for sandbox \\*\"[^\"]+\"): (?!.*network-attachment)(.{1,160})"
        r"|PodSandbox.*?desc = (?!.*network-attachment)(?:failed to create (?:containerd (?:task|container)|shim "
        r"task): |OCI runtime create failed: |runc create failed: |unable to start container process: |error during "
        r"container init: )*(.{1,160})",
        "kubelet's runtime or its CNI refuses to make it: {0}",
        "see to what that names on the node (`journalctl -u kubelet`, the log of the CNI's agent there, `dmesg`)",
        weak=True,
    ),
)
