"""What is made once a machine and kept: Kubernetes' programs, the images, the nodes' root file
system, an unpacked image store.

Each stage is made beside its place and renamed in, and leaves a digest of what it was made of in `stages/`, so that an
interrupted build is gone on with and a change of the inputs makes anew what depends on them, and nothing else.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from . import images, rootfs
from .host import CACHE, CLUSTERS, SUITE, LabError, locked, mirror, remove_tree, run, say
from .images import VERSION

DEBIAN_SOURCE = "kubernetes=1.20.5+really1.20.2-1.1+deb12u1"
BINARIES = "kubelet kube-apiserver kubeadm kube-controller-manager kube-proxy kube-scheduler kubectl".split()
HOST_PACKAGES = """golang-go golang-github-modern-go-reflect2-dev dpkg-dev rsync jq gcc libc6-dev debootstrap
    systemd-container etcd-server etcd-client busybox-static haproxy iptables conntrack ipset iproute2 nftables procps
    openssh-client""".split()
STAGES = ("bin", "images", "base", "containerd")
"""Directories in the cache, each made of the ones before it."""


def build() -> None:
    """Make what is missing or out of date. About 10 minutes on 2 cores the first time, nothing afterwards."""
    with locked("build"):
        wanted = digests()
        adopt(wanted)
        if all(recorded(stage) == wanted[stage] for stage in STAGES):
            return
        if up := sorted(d.parent.name for d in CLUSTERS.glob("*/nodes.json")):
            raise LabError(
                f"the lab has to be built anew, under the feet of cluster {', '.join(up)}; `lab down --all` first"
            )
        install_packages()
        make: dict[str, Callable[[Path], None]] = {
            "bin": build_binaries,
            "images": images.build,
            "base": rootfs.build_base,
            "containerd": rootfs.unpack_images,
        }
        for stage in STAGES:
            if recorded(stage) != wanted[stage]:
                build_stage(stage, wanted[stage], make[stage])
        (CACHE / "built").write_text(wanted["containerd"] + "\n")


def build_stage(stage: str, digest: str, make: Callable[[Path], None]) -> None:
    """Make one stage into a new directory, swap it in, and only then record that it is there."""
    marker, new = CACHE / "stages" / stage, CACHE / f"{stage}.new"
    marker.unlink(missing_ok=True)
    say(TEXTS[stage])
    remove_tree(new)
    new.mkdir(parents=True)
    make(new)
    remove_tree(CACHE / stage)
    new.rename(CACHE / stage)
    marker.parent.mkdir(exist_ok=True)
    marker.write_text(digest + "\n")


TEXTS = {
    "bin": f"compiling Kubernetes {VERSION} from Debian's source package (about 7 minutes)",
    "images": "making container images",
    "base": "making the nodes' root file system",
    "containerd": "unpacking the images once, for every node to copy",
}


def digests() -> dict[str, str]:
    """The digest of each stage's inputs: its own, and those of the stages before."""

    def of(*inputs: object) -> str:
        return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()

    programs = of(VERSION, DEBIAN_SOURCE, SUITE, BINARIES, inspect.getsource(build_binaries))
    made_images = of(programs, code(images))
    base = of(programs, SUITE, code(rootfs))
    return {"bin": programs, "images": made_images, "base": base, "containerd": of(made_images, base)}


def code(module: ModuleType) -> str:
    return inspect.getsource(module)


def recorded(stage: str) -> str | None:
    """The digest a stage was made of, None where it is not there."""
    marker = CACHE / "stages" / stage
    return marker.read_text().strip() if marker.exists() and (CACHE / stage).is_dir() else None


def adopt(wanted: dict[str, str]) -> None:
    """Take over a cache of the lab's first version, whose marker `built` was empty and
    whose stages recorded nothing.
    """
    built = CACHE / "built"
    if built.exists() and not built.read_text().strip() and all((CACHE / stage).is_dir() for stage in STAGES):
        (CACHE / "stages").mkdir(exist_ok=True)
        for stage in STAGES:
            (CACHE / "stages" / stage).write_text(wanted[stage] + "\n")
        built.write_text(wanted["containerd"] + "\n")


def install_packages() -> None:
    """Install what building and running nodes needs. No service of them is started:
    policy-rc.d is Debian's way to say so.
    """
    say("installing Debian packages")
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        quiet = {"stdout": -3, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
        run(["apt-get", "update", "-qq"], **quiet)
        run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *HOST_PACKAGES], **quiet)
    finally:
        if ours:
            policy.unlink()


def build_binaries(out: Path) -> None:
    """Compile Kubernetes from Debian's source package: Debian ships no binary package of the server side.

    The vendored reflect2 is replaced by Debian's: built with Go 1.19, the old one crashes when it iterates over maps.
    """
    src = CACHE / "src"
    shutil.rmtree(src, ignore_errors=True)
    (src / "lists/partial").mkdir(parents=True)
    (src / "sources.list").write_text(f"deb-src {mirror()} {SUITE} main\n")
    apt = (
        f"apt-get -qq -o Dir::Etc::SourceList={src}/sources.list -o Dir::Etc::SourceParts=/dev/null -o "
        f"Dir::State::Lists={src}/lists"
    )
    settings = {"gitVersion": f"v{VERSION}", "gitMajor": "1", "gitMinor": "20", "gitTreeState": "clean"}
    packages = ("component-base/version", "client-go/pkg/version")
    flags = "-s -w " + " ".join(
        f"-X k8s.io/kubernetes/vendor/k8s.io/{p}.{k}={v}" for p in packages for k, v in settings.items()
    )
    run(f"""cd {src}; {apt} update; {apt} source --download-only {DEBIAN_SOURCE}
        dpkg-source -x kubernetes_*.dsc k8s >/dev/null
        cd k8s; r=vendor/github.com/modern-go/reflect2; rm -f $r/*.go $r/*.s
        cp /usr/share/gocode/src/github.com/modern-go/reflect2/*.{{go,s}} $r/; rm -f $r/*_test.go
        export GOPATH=$PWD/.go GO111MODULE=off CGO_ENABLED=0 GOCACHE={src}/gocache HOME=/root
        mkdir -p .go/src/k8s.io; ln -s ../../.. .go/src/k8s.io/kubernetes
        make generated_files >{src}/generate.log 2>&1 || {{ tail -20 {src}/generate.log >&2; exit 1; }}
        cd .go/src/k8s.io/kubernetes
        for b in {" ".join(BINARIES)}; do
            go build -trimpath -ldflags '{flags}' -o {out}/$b k8s.io/kubernetes/cmd/$b
        done""")
    shutil.rmtree(src, ignore_errors=True)
