"""What becomes of the files that static pods name: as `faults`, which names them."""

from __future__ import annotations

from recoverd.model.pod_files import ENCRYPTION
from recoverd.simulate.cluster import ModelCluster
from recoverd.simulate.pod_files import ENCRYPTION_FILE, SPOILT, complaint
from recoverd.simulate.texts import path_of


def encrypt_secrets(c: ModelCluster, *names: str) -> None:
    """Encryption at rest is switched on, as Kubernetes' page has it: a configuration with a key in it, and the API
    server's flag.
    """
    for name in names:
        files, manifest = c.machines[name].files, path_of("kube-apiserver")
        if manifest in files and ENCRYPTION not in files[manifest]:
            _write(c, name, "key 1")
            flag = f"    - {ENCRYPTION}={ENCRYPTION_FILE}\n    - --etcd-servers="
            files[manifest] = files[manifest].replace("    - --etcd-servers=", flag)


def rotate_key(c: ModelCluster, name: str) -> None:
    """The encryption configuration gets another key; no API server has read it yet."""
    if ENCRYPTION_FILE in c.machines[name].files:
        _write(c, name, "key 2")


def spoil_key(c: ModelCluster, name: str) -> None:
    """Somebody's edit of the encryption configuration is no YAML, and the API server is started anew."""
    if ENCRYPTION_FILE in c.machines[name].files:
        _write(c, name, SPOILT)
        _restart(c, name)


def lose_pod_file(c: ModelCluster, name: str) -> None:
    """A clean-up takes the encryption configuration away, and the API server is started anew."""
    if c.machines[name].files.pop(ENCRYPTION_FILE, None) is not None:
        _restart(c, name)


def delete_pod_file(c: ModelCluster, name: str) -> None:
    """The encryption configuration is removed, and the API server that has read it runs on."""
    c.machines[name].files.pop(ENCRYPTION_FILE, None)


def restore_pod_file(c: ModelCluster, name: str) -> None:
    """A person puts the encryption configuration back from a backup, where an API server would not start without."""
    machine = c.machines[name]
    if complaint(machine, machine.manifests().get("kube-apiserver", "")):
        _write(c, name, "key 1")


def _write(c: ModelCluster, name: str, text: str) -> None:
    machine = c.machines[name]
    machine.files[ENCRYPTION_FILE], machine.written[ENCRYPTION_FILE] = text, c.now


def _restart(c: ModelCluster, name: str) -> None:
    c.kubelets[name].exited("kube-apiserver", c.now, "received signal; shutting down")
