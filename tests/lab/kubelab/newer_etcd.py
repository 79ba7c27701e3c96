"""Debian 13's etcd, downloaded and unpacked beside the system's, and an image of it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from . import images
from .host import CACHE, locked, mirror, run

SUITE, VERSION = "trixie", "3.5.16"
TAG = f"{VERSION}-0"
IMAGE = f"k8s.gcr.io/etcd:{TAG}"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
HOME = CACHE / f"etcd-{VERSION}"
PROGRAMS = HOME / "usr/bin"
"""etcd, etcdctl and etcdutl, once `fetch` has run."""


def fetch() -> Path:
    """The directory of the programs. They run on Debian 12 as they are: they load nothing but its libc."""
    with locked(f"etcd-{VERSION}"):
        if not HOME.exists():
            _download()
    return PROGRAMS


def archive() -> Path:
    """The archive of the image."""
    fetch()
    [found] = HOME.glob("*.tar")
    return found


def _download() -> None:
    with tempfile.TemporaryDirectory(dir=CACHE) as made:
        work = Path(made)
        (work / "lists/partial").mkdir(parents=True)
        (work / "source.list").write_text(f"deb [signed-by={KEYRING}] {mirror()} {SUITE} main\n")
        places = {
            "Dir::Etc::sourcelist": work / "source.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::State::lists": work / "lists",
        }
        # neither the system's package lists nor their caches are touched
        options = [
            f"-o{name}={value}" for name, value in (places | {"Dir::Cache": work, "APT::Sandbox::User": "root"}).items()
        ]
        run(["apt-get", "-qq", *options, "update"])
        run(["apt-get", "-qq", *options, "download", "etcd-server", "etcd-client"], cwd=work)
        for package in work.glob("*.deb"):
            run(["dpkg-deb", "-x", package, work / "whole"])
        images.write(
            work / "whole",
            IMAGE,
            [],
            {str(work / "whole/usr/bin" / p): f"/usr/local/bin/{p}" for p in ("etcd", "etcdctl", "etcdutl")},
        )
        shutil.move(work / "whole", HOME)
