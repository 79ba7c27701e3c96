"""Files that the API server's manifest names, gone from the only control plane or changed there: put back from the copy
on it, and the secrets can be read as before.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable

import pytest
import yaml

from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster
from tests.lab.kubelab.node import Node
from tests.lab.witness import ready

MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"
COPIES = "/var/lib/recoverd/pod-files"
PUBLIC, CONFIG = "/etc/kubernetes/pki/sa.pub", "/etc/kubernetes/enc/enc.yaml"
END = "kill $(pidof kube-apiserver)"
PLAYBOOK = "restore-pod-files"


@pytest.fixture
def cluster(bring_up: Callable[..., Cluster]) -> Cluster:
    return bring_up(control_planes=1, spares=1, workers=2)


def wait_kept(daemon: Bastion, path: str) -> None:
    """Until a copy of the file is known to be on cp1."""

    def kept() -> bool:
        files = daemon.memory()["pod_files"].get("cp1", {})
        return bool(files.get(path, {}).get("kept"))

    daemon.wait(f"a copy of {path} is kept", kept, 180, 1)


def digest(node: Node, path: str) -> str:
    return node.sh(f"sha256sum {path} | cut -c1-64", capture_output=True, check=False).stdout.strip()


def shape(node: Node, path: str) -> str:
    return node.sh(f"stat -c '%a %u:%g' {path}", capture_output=True).stdout.strip()


def encrypt(node: Node) -> str:
    """Encryption at rest is switched on as Kubernetes' page has it, and the API server is ready with it: the key."""
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    root = node.dir / "root"
    config = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [
            {
                "resources": ["secrets"],
                "providers": [{"aescbc": {"keys": [{"name": "k1", "secret": key}]}}, {"identity": {}}],
            }
        ],
    }
    folder = CONFIG.rpartition("/")[0]
    (root / "root/enc.yaml").write_text(yaml.safe_dump(config))
    node.sh(f"mkdir -p -m 700 {folder}; chmod 600 /root/enc.yaml; mv /root/enc.yaml {CONFIG}")
    pod = yaml.safe_load((root / MANIFEST.lstrip("/")).read_text())
    container = pod["spec"]["containers"][0]
    container["command"].append(f"--encryption-provider-config={CONFIG}")
    container["volumeMounts"].append({"name": "enc", "mountPath": folder, "readOnly": True})
    pod["spec"]["volumes"].append({"name": "enc", "hostPath": {"path": folder, "type": "DirectoryOrCreate"}})
    (root / "root/new.yaml").write_text(yaml.safe_dump(pod))
    node.sh(f"mv /root/new.yaml {MANIFEST}")
    flag = f"tr '\\0' '\\n' </proc/$(pidof kube-apiserver)/cmdline | grep -q {CONFIG}"
    node.wait_for(lambda: node.answers(flag) and ready(node), "encrypts no secrets", 180)
    return key


@pytest.mark.core("restore-pod-files")
def test_a_key_file_that_is_gone_is_put_back_without_a_person(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    daemon, cp1 = bastion(cluster), cluster.node("cp1")
    wait_kept(daemon, PUBLIC)
    before = digest(cp1, PUBLIC), shape(cp1, PUBLIC)
    assert cp1.sh(f"stat -c %a {COPIES} {COPIES}/{before[0]}", capture_output=True).stdout.split() == ["700", "600"]
    cp1.sh(f"mv {PUBLIC} /root/; {END}")
    incident = daemon.repaired(300)
    assert incident["state"] == "apiserver-down" and incident["outcome"] == "recovered"
    assert any("pod-file-missing" in entry["detail"] for entry in incident["timeline"]), incident
    assert [(p["playbook"], p["status"]) for p in daemon.plans(everything=True)] == [(PLAYBOOK, "succeeded")]
    assert (digest(cp1, PUBLIC), shape(cp1, PUBLIC)) == before and ready(cp1)


@pytest.mark.spoils
def test_the_encryption_configuration_is_put_back_and_secrets_are_read_as_before(
    cluster: Cluster, bastion: Callable[..., Bastion]
) -> None:
    """Gone, it is put back unasked; changed so that the API server does not start, after approval. What it holds is in
    nothing that recoverd writes.
    """
    cp1 = cluster.node("cp1")
    key = encrypt(cp1)
    cp1.sh("kubectl create secret generic of-the-test --from-literal=word=swordfish")
    read = "kubectl get secret of-the-test -o jsonpath='{.data.word}' | base64 -d"
    daemon = bastion(cluster, bounds={"cooldown": 0, "attempts": 100})
    wait_kept(daemon, CONFIG)
    warned = {"code": "encryption-key-in-no-restore-point", "severity": "warning"}
    daemon.wait("it is warned of", lambda: any(warned.items() <= f.items() for f in daemon.status()["findings"]), 60)
    before = digest(cp1, CONFIG), shape(cp1, CONFIG)

    cp1.sh(f"mv {CONFIG} /root/; {END}")
    assert daemon.repaired(300)["outcome"] == "recovered"
    assert (digest(cp1, CONFIG), shape(cp1, CONFIG)) == before
    assert cp1.sh(read, capture_output=True).stdout == "swordfish"

    daemon.wait_state("healthy", seconds=60)
    cp1.sh(f"sed -i 's/secret: .*/secret: no base64!/' {CONFIG}; {END}")
    # what an API server says of a file that it cannot use names it, or it ends twice more first
    plan = daemon.approve(PLAYBOOK, 240)
    daemon.wait("it is done", lambda: daemon.ended(plan, 240)["status"] == "succeeded", 250)
    daemon.wait_state("healthy", seconds=240)
    assert digest(cp1, CONFIG) == before[0] and cp1.sh(read, capture_output=True).stdout == "swordfish"
    told = daemon.ctl("dump", daemon.name).stdout + daemon.ctl("plans", "-o", "json").stdout
    assert key not in told and key not in "".join(map(str, daemon.journal("SELECT * FROM note")))
