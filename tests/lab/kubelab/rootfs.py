"""The root file system that every node shares as an overlay's lower layer, and the
image store that every node copies.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from .host import CACHE, KEY, SUITE, mirror, run

PACKAGES = """systemd systemd-sysv dbus openssh-server iproute2 iputils-ping iptables conntrack containerd runc
    containernetworking-plugins socat ebtables ethtool kmod curl ca-certificates procps util-linux mount udev openssl
    nftables python3""".split()

KUBELET_UNIT = """[Unit]
Description=kubelet
After=containerd.service
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \
    --kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS
Restart=always
StartLimitInterval=0
RestartSec=3
[Install]
WantedBy=multi-user.target
"""

# Control groups must be remounted inside nspawn. The rest is what a real machine's reboot clears and a network
# namespace keeps (pod bridge, rules, connections), and then the node's routes.
BOOT_UNIT = """[Unit]
DefaultDependencies=no
Before=containerd.service kubelet.service ssh.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'for c in /sys/fs/cgroup/*; do mount -o remount,rw,bind $c; done; mount --make-rshared /; \
    sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1; ip link del cni0 2>/dev/null; \
    nft flush ruleset; conntrack -F; . /etc/lab-routes; true'
[Install]
WantedBy=sysinit.target
"""

# These machines may lack CAP_SYS_RESOURCE: without restrict_oom_score_adj every pod sandbox fails.
CONTAINERD = {"sandbox_image": '"k8s.gcr.io/pause:3.2"', "bin_dir": '"/usr/lib/cni"', "restrict_oom_score_adj": "true"}


def build_base(base: Path) -> None:
    """Make a Debian with sshd, containerd, kubelet and kubeadm in the directory `base`."""
    log = CACHE / "debootstrap.log"
    run(
        f"debootstrap --variant=minbase --include={','.join(PACKAGES)} {SUITE} {base} {mirror()} >{log} 2>&1 || {{ "
        f"tail -5 {log} >&2; exit 1; }}"
    )
    (base / "etc/containerd").mkdir(exist_ok=True)
    (base / "etc/containerd/config.toml").write_text(containerd_config(base))
    (base / "etc/systemd/system/kubelet.service").write_text(KUBELET_UNIT)
    (base / "etc/systemd/system/lab-boot.service").write_text(BOOT_UNIT)
    (base / "etc/systemd/system.conf.d").mkdir(exist_ok=True)
    (base / "etc/systemd/system.conf.d/lab.conf").write_text("[Manager]\nDefaultTimeoutStopSec=5s\n")
    for program in ("kubelet", "kubeadm", "kubectl"):
        shutil.copy(CACHE / "bin" / program, base / "usr/bin" / program)
    run(["chroot", base, "systemctl", "enable", "-q", "lab-boot", "kubelet"])
    KEY.parent.mkdir(exist_ok=True, mode=0o700)
    if not KEY.exists():
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", KEY])
    (base / "root/.ssh").mkdir(exist_ok=True, mode=0o700)
    shutil.copy(KEY.with_suffix(".pub"), base / "root/.ssh/authorized_keys")


def containerd_config(base: Path) -> str:
    """containerd's default configuration with the lab's few values."""
    lines = []
    for line in run(["chroot", base, "containerd", "config", "default"], capture_output=True).stdout.splitlines():
        head = line.split("=")[0]
        value = CONTAINERD.get(head.strip())
        lines.append(line if value is None else f"{head}= {value}")
    return "\n".join(lines) + "\n"


def unpack_images(store: Path) -> None:
    """Import the images into a containerd store, by a node that is booted for it and thrown away."""
    from .network import remove_bridge
    from .node import Node

    seed = Node(0, "seed", 9)
    seed.destroy()  # what an interrupted build left
    try:
        seed.boot(store)
        for tar in sorted((CACHE / "images").glob("*.tar")):
            with tar.open("rb") as file:
                seed.sh("ctr -n k8s.io images import - >/dev/null", stdin=file)
        seed.sh("systemctl stop containerd")
    finally:
        seed.destroy()
        remove_bridge(0)
