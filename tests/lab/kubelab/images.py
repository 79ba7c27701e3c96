"""Container images, made of the programs of this machine and the shared libraries they load."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from .host import CACHE, run

VERSION = "1.20.2"
DIRECTORIES = "tmp etc var run usr usr/bin bin sbin usr/sbin usr/local usr/local/bin lib lib64 proc sys dev".split()
XTABLES = "/usr/lib/x86_64-linux-gnu/xtables"

# Kubernetes' own pause does the same: hold the pod's namespaces and reap what is left in them.
PAUSE_C = r"""
#include <signal.h>
#include <unistd.h>
#include <sys/wait.h>
static void down(int s) { _exit(0); }
static void reap(int s) { while (waitpid(-1, 0, WNOHANG) > 0); }
int main(void) { signal(SIGINT, down); signal(SIGTERM, down); signal(SIGCHLD, reap); for (;;) pause(); }
"""


def build(out: Path) -> None:
    """Write every image a node needs into the directory `out`, as `docker save` would."""
    pause, source = CACHE / "pause", CACHE / "pause.c"
    source.write_text(PAUSE_C)
    run(["gcc", "-static", "-Os", "-s", "-o", pause, source])
    shell = {"/usr/bin/busybox": "/bin/sh"}
    write(out, "k8s.gcr.io/pause:3.2", ["/pause"], {str(pause): "/pause"})
    write(
        out,
        "docker.io/lab/busybox:1",
        ["/bin/busybox"],
        {"/bin/busybox": "/bin/sh", "/usr/bin/busybox": "/bin/busybox"},
    )
    write(
        out,
        "k8s.gcr.io/etcd:3.4.13-0",
        [],
        {"/usr/bin/etcd": "/usr/local/bin/etcd", "/usr/bin/etcdctl": "/usr/local/bin/etcdctl"} | shell,
    )
    for component in ("kube-apiserver", "kube-controller-manager", "kube-scheduler"):
        write(
            out,
            f"k8s.gcr.io/{component}:v{VERSION}",
            [],
            {str(CACHE / "bin" / component): f"/usr/local/bin/{component}"},
        )
    tables = [f"/usr/sbin/{family}{verb}" for family in ("iptables", "ip6tables") for verb in ("", "-save", "-restore")]
    same = {path: path for path in (*tables, "/usr/sbin/conntrack", "/usr/sbin/ipset", XTABLES)}
    proxy = {str(CACHE / "bin/kube-proxy"): "/usr/local/bin/kube-proxy"}
    write(out, f"k8s.gcr.io/kube-proxy:v{VERSION}", [], same | proxy | shell)


def write(out: Path, name: str, entrypoint: Sequence[str], files: Mapping[str, str]) -> None:
    """Write the one-layer image `name`, holding `files` (path here to path inside) and
    every shared library they load.
    """
    data = layer(files)
    digest = hashlib.sha256(data).hexdigest()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            "config": {"Entrypoint": entrypoint, "Env": ["PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
            "history": [{}],
        }
    ).encode()
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": [f"{digest}/layer.tar"]}]).encode()
    with tarfile.open(out / (name.rsplit("/", 1)[-1].replace(":", "_") + ".tar"), "w") as tar:
        for path, content in ((f"{digest}/layer.tar", data), (config_name, config), ("manifest.json", manifest)):
            info = tarfile.TarInfo(path)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def layer(files: Mapping[str, str]) -> bytes:
    """A tar archive of the files, the libraries they load and the usual directories."""
    buffer, seen = io.BytesIO(), set[str]()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for directory in DIRECTORIES:
            info = tarfile.TarInfo(directory)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if directory == "tmp" else 0o755
            tar.addfile(info)

        def add(source: str, target: str) -> None:
            if target in seen:
                return
            seen.add(target)
            real = Path(os.path.realpath(source))
            tar.add(real, arcname=target.lstrip("/"))
            for program in [real] if real.is_file() else real.rglob("*.so"):
                for library in libraries(program):
                    add(library, library)

        for source, target in files.items():
            add(source, target)
    return buffer.getvalue()


def libraries(program: Path) -> list[str]:
    """Absolute paths of the shared libraries that a program loads; none for a static one."""
    text = subprocess.run(["ldd", str(program)], capture_output=True, text=True).stdout
    return [word for line in text.splitlines() for word in line.split() if word.startswith("/") and Path(word).exists()]
