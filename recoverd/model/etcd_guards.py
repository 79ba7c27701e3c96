"""Paths that operations treat with care: etcd's data and its manifest. What is made sure of on the machine itself is
in `recoverd/shell/guards.sh`.

What a plan was made on is a sweep, and a sweep is a moment old: people, kubelet and another recoverd change things
meanwhile. Each guard ends the script with status 3 and a sentence before anything was changed, which the runner tells
as refused. Forwards and backwards alike.
"""

from __future__ import annotations

from pathlib import PurePosixPath

MANIFEST = "/etc/kubernetes/manifests/etcd.yaml"
"""kubeadm's; the first component's to be started by a kubelet that finds it."""


def of_data(path: str) -> bool:
    """Whether a path is etcd's data: `member` in its data directory, or a copy beside it."""
    name = PurePosixPath(path).name
    return name == "member" or name.startswith("member.")


def of_etcd(path: str) -> bool:
    """Whether a path is etcd's manifest, in kubelet's sight."""
    return path.endswith("/manifests/etcd.yaml")
