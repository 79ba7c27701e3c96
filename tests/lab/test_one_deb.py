"""The Debian package on a machine of the lab: installed by dpkg, run under its real systemd, removed and purged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster
from tests.lab.kubelab.host import KEY
from tests.lab.kubelab.node import Node

BUILT = sorted((Path(__file__).parents[2] / "dist").glob("recoverd_*.deb"))
ETC = "etc/recoverd"
pytestmark = [pytest.mark.skipif(not BUILT, reason="no package in dist; `make deb` builds it")]


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=1, workers=2)


def output(node: Node, script: str) -> str:
    return str(node.sh(script, capture_output=True).stdout)


def status(node: Node) -> dict[str, Any]:
    answer = node.sh("recoverctl status -o json", capture_output=True, check=False).stdout
    return json.loads(answer)["clusters"][0] if answer else {}


def configure(node: Node, entry: dict[str, Any], files: Path) -> None:
    root = node.dir / "root"
    shutil.copy(KEY, root / ETC / "credentials/ssh-key")
    for kind in ("kubeconfig", "known_hosts"):
        shutil.copy(files / f"{entry['name']}.{kind}", root / ETC / kind)
    ssh = {"user": "root", "key": "$CREDENTIALS_DIRECTORY/ssh-key", "known_hosts": "known_hosts"}
    config = {"clusters": [entry | {"kubeconfig": "kubeconfig", "ssh": ssh, "interval": "2s"}]}
    (root / ETC / "recoverd.yaml").write_text(yaml.safe_dump(config))
    node.sh(
        "cd /etc/recoverd; chown root:recoverd kubeconfig; chmod 640 kubeconfig; chmod 644 known_hosts recoverd.yaml;"
        "chmod 600 credentials/ssh-key"
    )


@pytest.mark.core()
def test_the_package_is_installed_watches_is_upgraded_and_purged(cluster: Cluster) -> None:
    node, cp1 = cluster.node("w2"), cluster.node("cp1")
    shutil.copy(BUILT[-1], node.dir / "root/root/recoverd.deb")
    node.sh("dpkg -i /root/recoverd.deb")
    assert "disabled" in node.sh("systemctl is-enabled recoverd", capture_output=True, check=False).stdout
    assert output(node, "stat -c %a:%U /etc/recoverd/credentials").strip() == "700:root"
    refused = node.sh("systemctl start recoverd", capture_output=True, check=False)
    assert refused.returncode != 0, "without a configuration it says so, and does not loop"

    files = Bastion(cluster)
    try:
        configure(node, files.entry(cluster), files.home)
    finally:
        files.remove()
    node.sh("timeout 120 systemctl start recoverd || { journalctl -u recoverd --no-pager | tail -30 >&2; exit 1; }")
    node.wait_for(lambda: status(node).get("state") == "healthy", "saw no healthy cluster", 60)
    cp1.sh("rm /etc/kubernetes/manifests/kube-apiserver.yaml")
    node.wait_for(lambda: status(node).get("incident") is not None, "found nothing", 60)
    node.wait_for(lambda: status(node).get("state") == "healthy", "did not repair it", 120)

    before = output(node, "systemctl show recoverd -p MainPID")
    node.sh("dpkg -i /root/recoverd.deb")
    assert node.answers("systemctl is-active -q recoverd")
    assert output(node, "systemctl show recoverd -p MainPID") != before, "an upgrade restarts what runs"

    node.sh("dpkg -r recoverd")
    assert not node.answers("systemctl is-active recoverd")
    assert node.answers("test -s /var/lib/recoverd/journal.sqlite3"), "removing keeps the history"
    node.sh("mkdir -p /var/lib/recoverd/restore-points/prod; touch /var/lib/recoverd/restore-points/prod/point")
    node.sh("dpkg -P recoverd")
    assert not node.answers("test -e /etc/recoverd -o -e /usr/lib/recoverd -o -e /var/lib/recoverd/journal.sqlite3")
    assert node.answers("test -e /var/lib/recoverd/restore-points/prod/point"), "what a cluster may need is kept"
