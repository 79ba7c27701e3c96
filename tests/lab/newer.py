"""A newer etcd than Debian 12's on a lab cluster: Debian 13's, downloaded and unpacked beside the system's. Its
etcdutl knows --bump-revision.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from tests.lab import etcd
from tests.lab.kubelab import images
from tests.lab.kubelab.cluster import Cluster
from tests.lab.kubelab.host import CACHE, mirror, run
from tests.lab.kubelab.node import Node
from tests.lab.witness import ready

SUITE, VERSION = "trixie", "3.5.16"
IMAGE = f"k8s.gcr.io/etcd:{VERSION}-0"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
HOME = CACHE / f"etcd-{VERSION}"
PROGRAMS = HOME / "usr/bin"
"""etcd, etcdctl and etcdutl, once `fetch` has run."""


def fetch() -> Path:
    """The directory of the programs. They run on Debian 12 as they are: they load nothing but its libc."""
    if HOME.exists():
        return PROGRAMS
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
    return PROGRAMS


def upgrade(cluster: Cluster) -> None:
    """Every member runs it, one after the other, as etcd's upgrade guide says."""
    fetch()
    [image] = HOME.glob("*.tar")
    planes = [node for node in cluster.nodes if node.answers("test -e /etc/kubernetes/manifests/etcd.yaml")]
    for node in planes:
        with image.open("rb") as file:
            node.sh("ctr -n k8s.io images import - >/dev/null", stdin=file)
        node.sh(f"sed -i 's|image: .*/etcd:.*|image: {IMAGE}|' /etc/kubernetes/manifests/etcd.yaml")
        node.wait_for(lambda n=node: version(n) == VERSION, f"does not run etcd {VERSION}", 120)
    for node in planes:
        node.wait_for(lambda n=node: ready(n), "is not ready", 120)


def version(node: Node) -> str:
    """Of the member on a control plane; "" when it does not answer."""
    told = json.loads(etcd.ctl(node, "endpoint", "status", "-w", "json", check=False) or "[]")
    return str(told[0]["Status"]["version"]) if told else ""
