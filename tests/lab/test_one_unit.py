"""The unit as it is shipped, under the real systemd of a machine of the lab: a worker makes a good bastion."""

from __future__ import annotations

import json
import shutil
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster
from tests.lab.kubelab.host import KEY
from tests.lab.kubelab.node import Node
from tests.lab.witness import ready

PROJECT = Path(__file__).parents[2]
ETC = "etc/recoverd"
pytestmark = [
    pytest.mark.skipif(
        sys.version_info[:2] != (3, 11),
        reason="the node has Debian's Python 3.11, and could not use this one's packages",
    ),
]


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=1, spares=1, workers=2)


def install(node: Node, entry: dict[str, Any], files: Path) -> None:
    """What docs/install.md says, without a package index: the packages of this environment go to /opt/recoverd."""
    root = node.dir / "root"
    node.sh("rm -rf /opt/recoverd; python3 -m venv --without-pip /opt/recoverd")
    target = root / "opt/recoverd/lib/python3.11/site-packages"
    shutil.copytree(
        sysconfig.get_path("purelib"),
        target,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("*.pth", "__pycache__", "__editable__*"),
    )
    shutil.copytree(
        PROJECT / "recoverd", target / "recoverd", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
    )
    for name, module in (("recoverd", "daemon"), ("recoverctl", "ctl")):
        script = root / "opt/recoverd/bin" / name
        script.write_text(f"#!/opt/recoverd/bin/python\nfrom recoverd.cli.{module} import main\nmain()\n")
        script.chmod(0o755)
    shutil.copy(PROJECT / "systemd/recoverd.service", root / "etc/systemd/system/recoverd.service")
    (root / "usr/lib/sysusers.d").mkdir(exist_ok=True)
    shutil.copy(PROJECT / "systemd/recoverd.sysusers", root / "usr/lib/sysusers.d/recoverd.conf")
    node.sh("systemd-sysusers; mkdir -p /etc/recoverd/credentials; chmod 700 /etc/recoverd/credentials")
    shutil.copy(KEY, root / ETC / "credentials/ssh-key")
    for kind in ("kubeconfig", "known_hosts"):
        shutil.copy(files / f"{entry['name']}.{kind}", root / ETC / kind)
    ssh = {"user": "root", "key": "$CREDENTIALS_DIRECTORY/ssh-key", "known_hosts": "known_hosts"}
    config = {"clusters": [entry | {"kubeconfig": "kubeconfig", "ssh": ssh, "interval": "2s"}]}
    (root / ETC / "recoverd.yaml").write_text(yaml.safe_dump(config))
    node.sh(
        "cd /etc/recoverd; chown -R root:recoverd .; chmod 755 .; chmod 640 kubeconfig; chmod 644 "
        "known_hosts recoverd.yaml;"
        "chown -R root:root credentials; chmod 600 credentials/ssh-key;"
        # a shorter watchdog, so that the test need not wait a minute for it
        "d=/etc/systemd/system/recoverd.service.d; mkdir -p $d; printf '[Service]\\nWatchdogSec=6\\n' "
        ">$d/test.conf; systemctl daemon-reload"
    )


def shown(node: Node, *names: str) -> dict[str, str]:
    answer = node.sh(f"systemctl show recoverd -p {','.join(names)}", capture_output=True).stdout
    return dict(line.split("=", 1) for line in answer.splitlines())


def status(node: Node) -> dict[str, Any]:
    answer = node.sh("/opt/recoverd/bin/recoverctl status -o json", capture_output=True, check=False).stdout
    found: dict[str, Any] = json.loads(answer)["clusters"][0] if answer else {}
    return found


def notices(node: Node) -> str:
    return str(
        json.loads(node.sh("/opt/recoverd/bin/recoverctl status -o json", capture_output=True).stdout)["notices"]
    )


@pytest.mark.core()
def test_the_unit_runs_sandboxed_repairs_and_is_restarted_by_its_watchdog(cluster: Cluster) -> None:
    node, cp1 = cluster.node("w2"), cluster.node("cp1")
    files = Bastion(cluster)
    try:
        install(node, files.entry(cluster), files.home)
    finally:
        files.remove()
    node.sh(
        "timeout 120 systemctl start recoverd || { journalctl -u recoverd --no-pager | tail -30 >&2; exit 1; }"
    )  # ready after the first sweep
    unit = shown(node, "ActiveState", "MainPID", "User", "NRestarts")
    assert (unit["ActiveState"], unit["User"], unit["NRestarts"]) == ("active", "recoverd", "0")
    node.wait_for(lambda: status(node).get("state") == "healthy", "saw no healthy cluster", 60)
    assert "recoverd" in node.sh("stat -c %U:%a /run/recoverd/control.sock", capture_output=True).stdout
    assert not node.answers(
        f"cat /proc/{unit['MainPID']}/environ | grep -q ssh-key && su -s /bin/sh recoverd -c 'cat "
        "/etc/recoverd/credentials/ssh-key'"
    )

    cp1.sh("rm /etc/kubernetes/manifests/kube-apiserver.yaml")
    node.wait_for(lambda: status(node).get("incident") is not None, "found nothing", 60)
    node.wait_for(lambda: status(node).get("state") == "healthy", "did not repair it", 120)
    assert ready(cp1)

    file = node.dir / "root" / ETC / "recoverd.yaml"
    good = file.read_text()
    file.write_text(good + "\nclustres: []\n")
    node.sh("systemctl reload recoverd")
    node.wait_for(lambda: "did you mean clusters" in notices(node), "did not refuse the file", 30)
    file.write_text(good)
    node.sh("systemctl reload recoverd")
    node.wait_for(lambda: "refused" not in notices(node), "did not take the good file", 30)
    assert shown(node, "MainPID", "NRestarts") == {"MainPID": unit["MainPID"], "NRestarts": "0"}

    node.sh(f"kill -STOP {unit['MainPID']}")
    node.wait_for(lambda: shown(node, "NRestarts")["NRestarts"] == "1", "was not restarted by its watchdog", 90)
    node.wait_for(lambda: shown(node, "ActiveState")["ActiveState"] == "active", "did not come up again", 90)
    deadline = time.monotonic() + 60
    while status(node).get("state") != "healthy":
        assert time.monotonic() < deadline
        time.sleep(0.5)
    incidents = json.loads(node.sh("/opt/recoverd/bin/recoverctl incidents -o json", capture_output=True).stdout)[
        "incidents"
    ]
    assert [i["outcome"] for i in incidents] == ["recovered"], incidents

    node.sh("systemctl stop recoverd")
    assert shown(node, "Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "0"}
