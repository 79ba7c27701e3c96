"""Machines that are not the default's: another way in, another runtime, other places. A profile is a layer between the
root file system that all machines of its Debian share and a machine's own disk, made once and kept.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import balanced, dual, newer_etcd, overlay, suites
from .host import CACHE, KEY, SUITE, LabError, locked, mirror, remove_tree, run, say, unmount_below

LAYERS = CACHE / "profiles"
SUDOERS = Path(__file__).parents[3] / "config/sudoers"
USER = "recoverd"
ELSEWHERE = "kubelet kubeadm kubectl ctr".split()
SECURE = """# as Red Hat's, and of old
Defaults secure_path="/sbin:/bin:/usr/sbin:/usr/bin"
Defaults requiretty
"""
DOCKER = "/var/lib/containerd/docker"
"""Where docker keeps images and containers: on a file system of the host's, since an overlay does not lie on another,
and kept with containerd's.
"""
# docker makes the policy of FORWARD DROP; this is what kubeadm's guide of the time said to do about it
OPEN = """[Service]
ExecStartPost=/usr/sbin/iptables -P FORWARD ACCEPT
"""
# docker has no `restrict_oom_score_adj`, and gives privileged containers every capability that it knows: where
# CAP_SYS_RESOURCE is missing each ended with "can't get final child's PID from pipe", or with "unable to apply caps"
RUNC = """#!/bin/sh
before=
for word; do
  case $before in --bundle|-b) file=$word/config.json;; --process|-p) file=$word;; *) file=;; esac
  [ -z "$file" ] || sed -i -E -e 's/"oomScoreAdj": *-[0-9]+/"oomScoreAdj":0/' -e 's/"CAP_SYS_RESOURCE", *//g' \\
    -e 's/, *"CAP_SYS_RESOURCE"//g' "$file"
  before=$word
done
exec /usr/sbin/runc "$@"
"""
RUNTIME = "/usr/local/sbin/lab-runc"


@dataclass(frozen=True)
class Profile:
    """What machines of it are."""

    name: str
    text: str
    packages: tuple[str, ...]
    """Debian's, beside those that every machine has."""
    finish: Callable[[Path], None]
    """Makes of the root file system what it is to be."""
    socket: str = "unix:///run/containerd/containerd.sock"
    """Where kubelet finds its runtime."""
    texts: tuple[str, ...] = ()
    """What `finish` writes, beside what stands in it."""
    load: str = ""
    """The command that takes an image's archive, where machines do not run those of containerd's store."""
    user: str = "root"
    """Who recoverd logs in as."""
    etcd_apart: int = 0
    """How many machines etcd has of its own, as a service there (`external`); 0 where it is a static pod."""
    images: Callable[[Path, Path], None] | None = None
    """Writes images of its own, from the root file system, into a directory."""
    before: str = ""
    """Shell that is run on each machine when it was booted for the first time."""
    overlaid: bool = False
    """Whether the pods' network and the cluster's DNS are the work of pods (`overlay`)."""
    balances_itself: bool = False
    """Whether the control planes have the cluster's address and balance over their API servers (`balanced`)."""
    etcd_tag: str = ""
    """Of etcd's image, where kubeadm is to take another than its own."""
    suite: str = SUITE
    """Debian's (`suites`)."""
    dual: bool = False
    """Whether nodes, pods and services have IPv6 beside IPv4 (`dual`)."""

    @property
    def api_port(self) -> int:
        """The API servers' own."""
        return balanced.BEHIND if self.balances_itself else balanced.BALANCED

    @property
    def digest(self) -> str:
        parts = (self.name, *self.packages, inspect.getsource(self.finish), SECURE, SUDOERS.read_text(), *self.texts)
        base = (CACHE / "stages/base").read_text() if (CACHE / "stages/base").exists() else ""
        return hashlib.sha256("\n".join((base, *parts)).encode()).hexdigest() + suites.digest(self.suite)

    @property
    def layers(self) -> list[Path]:
        """The disks below a machine's own, the uppermost first; made when they are not there."""
        if self is DEFAULT:
            return []
        place = LAYERS / self.name
        with locked(f"profile-{self.name}"):
            marker = place / "made-of"
            if not marker.exists() or marker.read_text() != self.digest:
                self._make(place)
                marker.write_text(self.digest)
        return [place / "upper", suites.root_of(self.suite)]

    @property
    def archives(self) -> list[Path]:
        """Of the images that its machines take in when they are booted for the first time."""
        everything = sorted((CACHE / "images").glob("*.tar")) if self.load else []
        own = sorted((LAYERS / self.name / "images").glob("*.tar")) if self.images else []
        return [*everything, *own, *([newer_etcd.archive()] if self.etcd_tag else [])]

    def _make(self, place: Path) -> None:
        say(f"making the layer of the profile {self.name}")
        remove_tree(place)
        for part in ("upper", "work", "root", "images"):
            (place / part).mkdir(parents=True)
        root, below = place / "root", suites.root_of(self.suite)
        layers = f"lowerdir={below},upperdir={place}/upper,workdir={place}/work"
        run(["mount", "-t", "overlay", "overlay", "-o", layers, root])
        try:
            install(root, self.packages, self.suite)
            self.finish(root)
            if self.images:
                self.images(root, place / "images")
        finally:
            unmount_below(root)
        shutil.rmtree(place / "work")


def install(root: Path, packages: tuple[str, ...], suite: str) -> None:
    """Install packages of a suite of Debian's into a root file system, from this machine's own mirror; nothing of
    them is started.
    """
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    sources = root / "etc/apt/sources.list"
    before = sources.read_text() if sources.exists() else ""
    sources.write_text(f"deb [trusted=yes] {mirror()} {suite} main\n")
    quiet = {"stdout": -3, "stderr": -3, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
    apt = ["chroot", root, "apt-get", "-o", "APT::Sandbox::User=root", "-y", "-qq"]
    run(["mount", "-t", "proc", "proc", root / "proc"])
    try:
        run([*apt, "update"], **quiet)
        run([*apt, "install", "--no-install-recommends", *packages], **quiet)
        run([*apt, "clean"], **quiet)
    finally:
        run(["umount", root / "proc"])
        policy.unlink()
        sources.write_text(before)


def nothing(root: Path) -> None:
    """The default."""


def by_sudo(root: Path) -> None:
    """An ordinary user with config/sudoers, a PATH of Red Hat's under sudo, and programs that it does not name."""
    run(["chroot", root, "useradd", "--create-home", "--shell", "/bin/bash", USER])
    keys = root / f"home/{USER}/.ssh"
    keys.mkdir(mode=0o700)
    shutil.copy(KEY.with_suffix(".pub"), keys / "authorized_keys")
    run(["chroot", root, "chown", "-R", f"{USER}:", f"/home/{USER}/.ssh"])
    (root / "etc/sudoers.d/10-secure").write_text(SECURE)
    shutil.copy(SUDOERS, root / "etc/sudoers.d/recoverd")
    for file in (root / "etc/sudoers.d").iterdir():
        file.chmod(0o440)
    for program in ELSEWHERE:
        shutil.move(root / "usr/bin" / program, root / "usr/local/bin" / program)
    unit = root / "etc/systemd/system/kubelet.service"
    unit.write_text(unit.read_text().replace("/usr/bin/kubelet", "/usr/local/bin/kubelet"))


def with_docker(root: Path) -> None:
    """docker beside containerd, which it runs its containers by, and the plug-ins where dockershim looks for them."""
    runtime = root / RUNTIME.lstrip("/")
    runtime.write_text(RUNC)
    runtime.chmod(0o755)
    told = {
        "data-root": DOCKER,
        "storage-driver": "overlay2",
        "default-runtime": "lab",
        "runtimes": {"lab": {"path": RUNTIME}},
    }
    (root / "etc/docker").mkdir(exist_ok=True)
    (root / "etc/docker/daemon.json").write_text(json.dumps(told))
    drop_in = root / "etc/systemd/system/docker.service.d"
    drop_in.mkdir()
    (drop_in / "forward.conf").write_text(OPEN)
    unit = root / "etc/systemd/system/kubelet.service"
    unit.write_text(unit.read_text().replace("After=containerd.service", "After=docker.service"))
    (root / "opt/cni").mkdir(parents=True)
    (root / "opt/cni/bin").symlink_to("/usr/lib/cni")


def with_etcd(root: Path) -> None:
    """Debian's etcd, which only the machine starts that is there for it."""
    run(["chroot", root, "systemctl", "disable", "-q", "etcd"])


def with_bird(root: Path) -> None:
    """BIRD, which whoever gives it a configuration starts."""
    run(["chroot", root, "systemctl", "disable", "-q", "bird"])


def with_balancer(root: Path) -> None:
    """haproxy and keepalived in an image that its static pods run, and not as services."""
    run(["chroot", root, "systemctl", "disable", "-q", "haproxy", "keepalived"])
    balanced.make_image(root)


DEFAULT = Profile("", "Debian's containerd, root over SSH", (), nothing)
PROFILES = {
    p.name: p
    for p in (
        DEFAULT,
        Profile(
            "sudo", "an ordinary user, Red Hat's secure_path, programs in /usr/local/bin", ("sudo",), by_sudo, user=USER
        ),
        Profile(
            "docker",
            "docker.io and kubelet's dockershim",
            ("docker.io",),
            with_docker,
            socket="/var/run/dockershim.sock",
            texts=(DOCKER, OPEN, RUNC),
            load="docker load",
        ),
        Profile(
            "external-etcd",
            "etcd as a service of a machine of its own",
            ("etcd-server", "etcd-client"),
            with_etcd,
            etcd_apart=1,
        ),
        Profile(
            "external-etcd-of-three",
            "etcd as a service of three machines of its own",
            ("etcd-server", "etcd-client"),
            with_etcd,
            etcd_apart=3,
        ),
        Profile(
            "vxlan",
            "pods' network over VXLAN by a DaemonSet's agent, and the cluster's DNS in pods",
            overlay.PACKAGES,
            overlay.finish,
            texts=(overlay.source(),),
            images=overlay.images,
            before=overlay.BEFORE,
            overlaid=True,
        ),
        Profile(
            "ha-nodes",
            "haproxy and keepalived as static pods on the control planes, API servers on 8443",
            ("haproxy", "keepalived"),
            with_balancer,
            texts=(*balanced.TEXTS, inspect.getsource(balanced.make_image)),
            balances_itself=True,
        ),
        Profile(
            "trixie",
            "Debian 13 and its etcd",
            ("libpam-systemd",),
            nothing,
            etcd_tag=newer_etcd.TAG,
            suite="trixie",
        ),
        Profile(
            "dual-stack",
            "nodes, pods and services with IPv6 beside IPv4",
            (),
            dual.finish,
            texts=tuple(part for words in dual.TOLD for part in words),
            dual=True,
        ),
        Profile("bird", "a routing daemon, which is given no configuration", ("bird2",), with_bird),
    )
}


def profile_of(name: str) -> Profile:
    """Raises LabError when there is none of this name."""
    if name not in PROFILES:
        raise LabError(f"there is no profile {name}: {', '.join(n for n in PROFILES if n)}")
    return PROFILES[name]
