"""The pods' network over VXLAN by an agent that runs as a DaemonSet, as with Flannel, and the cluster's DNS in pods.

Neither Flannel nor CoreDNS is Debian's, so both have a stand-in under their names, in `vxlan/`: their manifests
(CoreDNS's is kubeadm's own), their way to the API server and what they do on the machine are as theirs.
"""

from __future__ import annotations

from pathlib import Path

from .host import run
from .images import XTABLES, write
from .node import Node

HERE = Path(__file__).parent / "vxlan"
PACKAGES = ("jq", "dnsmasq-base")
"""Debian's: of which the images are made, beside what every machine has."""
DROP_IN = """[Service]
ExecStartPre=-/sbin/ip link del flannel.1
"""
"""A reboot clears the tunnel, which the machine's network namespace would keep."""
MANIFEST = (HERE / "flannel.yaml").read_text()
COREDNS = "1.7.0"
"""What kubeadm 1.20.2 asks for."""
COMMON = [f"/usr/bin/{program}" for program in "curl jq cat sleep mkdir rm mv".split()]
OF_FLANNEL = [*(f"/usr/{p}" for p in "bin/cp bin/head sbin/ip sbin/bridge sbin/iptables".split()), XTABLES]
OF_DNS = ["/usr/sbin/dnsmasq", "/etc/passwd", "/etc/group"]
BEFORE = """rm -f /etc/cni/net.d/10-lab.conflist
sed -n 's/^ip route replace/ip route del/p' /etc/lab-routes | sh
: >/etc/lab-routes
"""
"""What takes the lab's own pod network off a machine."""

SETTLED = "kubectl -n kube-system rollout status deploy/coredns --timeout=180s >/dev/null"


def finish(root: Path) -> None:
    """Put the CNI's plugin and what a reboot clears into the machines' root file system."""
    plugin = root / "usr/lib/cni/flannel"
    plugin.write_text((HERE / "flannel").read_text())
    plugin.chmod(0o755)
    drop_in = root / "etc/systemd/system/lab-boot.service.d"
    drop_in.mkdir(parents=True)
    (drop_in / "overlay.conf").write_text(DROP_IN)


def images(root: Path, out: Path) -> None:
    """Write the images of both agents, of programs of the root file system `root`, into the directory `out`."""
    # busybox's shell would take its own `ip` for that word
    follow = {str(HERE / "follow.sh"): "/lib/follow.sh", str(root / "usr/bin/dash"): "/bin/sh"}
    flannel = {str(_program(out, "flanneld")): "/opt/bin/flanneld"}
    write(out, "docker.io/lab/flannel:1", [], _with_libraries(root, [*COMMON, *OF_FLANNEL]) | follow | flannel)
    dns = {str(_program(out, "coredns")): "/coredns", "/usr/bin/busybox": "/bin/busybox"}
    files = _with_libraries(root, [*COMMON, *OF_DNS]) | follow | dns
    write(out, f"k8s.gcr.io/coredns:{COREDNS}", ["/coredns"], files)
    for name in ("flanneld", "coredns"):
        (out / name).unlink()


def _program(out: Path, name: str) -> Path:
    made = out / name
    made.write_text((HERE / name).read_text())
    made.chmod(0o755)
    return made


def _with_libraries(root: Path, paths: list[str]) -> dict[str, str]:
    """Where the programs, and what they load, lie here, to where they lie there."""
    programs = [p for path in paths for p in (sorted((root / path[1:]).rglob("*.so")) or [root / path[1:]])]
    inside = [f"/{p.relative_to(root)}" for p in programs]
    said = run(["chroot", root, "ldd", *inside], capture_output=True, check=False).stdout
    libraries = {w for line in said.splitlines() for w in line.split() if w.startswith("/") and not w.endswith(":")}
    return {str(root / path[1:]): path for path in (*paths, *sorted(libraries)) if (root / path[1:]).exists()}


def give(first: Node, pods: str) -> None:
    """Give a cluster that kubeadm has just begun both agents; `pods`: the network of its pods."""
    manifest = MANIFEST.replace("POD_NETWORK", pods)
    first.sh(
        f"kubectl apply -f - <<'E' >/dev/null\n{manifest}E\n"
        "kubeadm init phase addon coredns --config /root/init.yaml >/dev/null 2>&1"
    )


def source() -> str:
    """All that a machine and a cluster of it are made of."""
    return "\n".join(p.read_text() for p in (Path(__file__), *sorted(HERE.iterdir())))
