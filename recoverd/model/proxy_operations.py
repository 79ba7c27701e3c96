"""What recoverd can do to kube-proxy's configuration. Data, as in `operations`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CONFIG_MAP, KEY = "kube-proxy", "kubeconfig.conf"
"""Where kubeadm keeps it, in kube-system (`kubeadm init phase addon kube-proxy`)."""
MADE_ANEW = (
    "`kubectl -n kube-system get configmap kubeadm-config -o jsonpath='{.data.ClusterConfiguration}' >kubeadm.yaml` "
    "and `kubeadm init phase addon kube-proxy --config kubeadm.yaml` on a control plane write it anew, with its "
    "DaemonSet; "
    "what else was set in it, as `mode: ipvs`, goes into that file as a KubeProxyConfiguration"
)
"""What a person does where it is gone or spoilt. Without `--config` kubeadm writes the address of the machine itself in
it, and not the control plane's endpoint, and no pod subnet (seen on the lab with 1.20.2).
"""


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
