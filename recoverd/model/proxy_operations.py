"""What recoverd can do to kube-proxy's configuration. Data, as in `operations`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CONFIG_MAP, KEY = "kube-proxy", "kubeconfig.conf"
"""Where kubeadm keeps it, in kube-system (`kubeadm init phase addon kube-proxy`)."""
_CLUSTERS = "kubectl -n kube-system get configmap kubeadm-config -o jsonpath='{.data.ClusterConfiguration}'"
_PROXYS = "kubectl -n kube-system get configmap kube-proxy -o jsonpath='{.data.config\\.conf}'"
_MAKE = "kubeadm init phase addon kube-proxy --config kubeadm.yaml"
MADE_ANEW = (
    f"`{_CLUSTERS} >kubeadm.yaml` and `{_MAKE}` on a control plane write it anew, with its DaemonSet; what else was "
    "set in it, as `mode: ipvs`, goes into that file as a KubeProxyConfiguration"
)
"""What a person does where it is spoilt. Without `--config` kubeadm knows neither the control plane's endpoint nor the
pods' subnet, and writes its own defaults.
"""
DAEMONSET_ANEW = (
    f"`({_CLUSTERS}; echo; echo ---; {_PROXYS}) >kubeadm.yaml` and `{_MAKE}` on a control plane make it anew"
)
"""What a person does where the DaemonSet alone is gone: what was set for it is kept (done so on the lab with 1.20.2,
where kube-proxy did not start with defaults instead).
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
