"""The Debian package on a machine of the lab: installed, run under its real systemd, removed and purged; and the whole
way from a bare machine to a repair.
"""

from __future__ import annotations

import json
import shutil
import subprocess
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

BUILT = sorted((Path(__file__).parents[2] / "dist").glob("recoverd_*.deb"))
FAULTS = Path(__file__).parent / "faults"
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


@pytest.fixture
def site(bring_up: Callable[..., Cluster]) -> Cluster:
    """One control plane, one that a join hangs on, a worker, and a machine that is no part of it: the bastion."""
    return bring_up(control_planes=1, spares=2, workers=1)


RECEIVER = """
import http.server, sys
class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        with open("/root/told", "a") as file:
            file.write(body.replace("\\n", " ") + "\\n")
        self.send_response(200); self.end_headers()
http.server.HTTPServer(("127.0.0.1", 8081), Hook).serve_forever()
"""
TOLD = """
notifications:
  - {name: oncall, url_file: $CREDENTIALS_DIRECTORY/oncall}
"""


@pytest.mark.core()
def test_from_a_bare_machine_to_a_repair_as_the_page_on_installing_says(site: Cluster) -> None:
    """The short way of docs/install.md, command by command; then observed through the incident, and repaired."""
    bastion, machines = site.node("cp3"), [site.node("cp1"), site.node("w1")]
    root = bastion.dir / "root/root"
    shutil.copy(BUILT[-1], root / "recoverd.deb")
    (root / "admin.conf").write_text(site.kubeconfig())
    (root / ".ssh").mkdir(mode=0o700, exist_ok=True)
    shutil.copy(KEY, root / ".ssh/id_lab")
    began = time.monotonic()
    login = "ssh -i .ssh/id_lab -o StrictHostKeyChecking=no -o LogLevel=ERROR"
    init = "recoverd init --kubeconfig admin.conf --name prod --ssh-user root"  # no sudo on the lab's machines
    for command in (
        "dpkg -i recoverd.deb",
        f"{init} --apply-rbac rbac.yaml --apply-rbac rbac-canary.yaml --make-kubeconfig",
        "sh /etc/recoverd/prod/bastion.sh",
        f"for n in {' '.join(m.address for m in machines)}; do {login} root@$n sh -s </etc/recoverd/prod/node.sh; done"
        " | tee seen",
        f"{init} --accept-host-keys seen",
        "recoverd doctor prod || [ $? -eq 1 ]",
    ):
        print(output(bastion, f"cd /root; {command}"))
    print(f"installed, configured and examined after {time.monotonic() - began:.0f} s")

    file = bastion.dir / "root" / ETC / "recoverd.yaml"
    acting = file.read_text() + TOLD
    file.write_text(acting.replace("  - name: prod\n", "  - name: prod\n    mode: observe\n"))
    assert "mode: observe" in file.read_text(), acting
    (root / "receiver.py").write_text(RECEIVER)
    bastion.sh(
        "systemd-run -q --unit=receiver python3 /root/receiver.py; cd /etc/recoverd/credentials; "
        "echo json://127.0.0.1:8081/ >oncall; chmod 600 oncall; d=/etc/systemd/system/recoverd.service.d; mkdir -p $d; "
        "printf '[Service]\\nLoadCredential=oncall:/etc/recoverd/credentials/oncall\\n' >$d/oncall.conf; "
        "systemctl daemon-reload; systemctl enable --now recoverd"
    )
    bastion.wait_for(lambda: status(bastion).get("state") == "healthy", "saw no healthy cluster", 90)
    bastion.sh("recoverctl notify-test")

    def told(*words: str) -> bool:
        lines = (root / "told").read_text().splitlines() if (root / "told").exists() else []
        return any(all(word in line for word in words) for line in lines)

    fault = subprocess.Popen([str(FAULTS / "join-stuck"), str(site.number), "cp2"])
    try:
        bastion.wait_for(lambda: status(bastion).get("state") == "etcd-stuck", "did not find it", 240)
        shadow = "recoverctl shadow prod -o json"
        bastion.wait_for(
            lambda: "force-new-cluster" in output(bastion, shadow), "would have done nothing about it", 120
        )
        bastion.wait_for(lambda: told("etcd-stuck", "only observed"), "told nobody", 60)
    finally:
        assert fault.wait(400) == 0
    for machine in machines:
        written = output(machine, "find /var/lib/recoverd /run/recoverd -type f 2>/dev/null || true")
        assert not written.strip(), f"it only observes, and has written on {machine.name}: {written}"

    file.write_text(acting)
    bastion.sh("systemctl reload recoverd")
    bastion.wait_for(lambda: status(bastion).get("plan"), "offers nothing", 120)
    bastion.wait_for(lambda: told("recoverctl approve"), "called nobody", 60)

    def approved() -> bool:
        open_plans = json.loads(output(bastion, "recoverctl plans -o json"))["plans"]
        waiting = [p for p in open_plans if p["status"] == "awaiting-approval"]
        return bool(waiting) and bastion.answers(
            f"recoverctl approve {waiting[0]['id']} --yes --digest {waiting[0]['digest']} --reason tried --wait"
        )

    bastion.wait_for(approved, "was not approved", 240)
    bastion.wait_for(lambda: status(bastion).get("state") == "healthy", "is not healthy", 120)
    [incident] = json.loads(output(bastion, "recoverctl incidents -o json"))["incidents"]
    assert incident["outcome"] == "recovered", incident
    bastion.wait_for(lambda: told("healthy again"), "did not tell that it is over", 60)
    report = output(bastion, f"recoverctl show {incident['id']} --format html")
    assert "force-new-cluster" in report and report.lstrip().startswith("<!"), report[:200]
