"""What recoverd can do to kube-proxy's configuration. Data, as in `operations`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CONFIG_MAP, KEY = "kube-proxy", "kubeconfig.conf"
"""Where kubeadm keeps it, in kube-system (`kubeadm init phase addon kube-proxy`)."""


@dataclass(frozen=True, slots=True)
class RepointProxy:
    """Have the ConfigMap kube-proxy name another API server: refused where it does not name `was` any more, or where
    somebody's controller owns it. What runs is not changed by it.
    """

    was: str
    """HOST:PORT, as `server`."""
    server: str
    kind: Literal["repoint-proxy"] = "repoint-proxy"
    repeatable = True

    def command(self) -> str:
        return (
            f"kubectl -n kube-system edit configmap {CONFIG_MAP}: in {KEY}, server: https://{self.was} becomes "
            f"https://{self.server}"
        )
