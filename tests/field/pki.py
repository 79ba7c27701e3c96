"""What kubeadm's certificates on the machines of an environment are: the CA's own, and those of kubelets."""

from __future__ import annotations

from pathlib import Path

from tests.authority import Authority
from tests.field.machines import Machine

CLIENT = "var/lib/kubelet/pki/kubelet-client-current.pem"


class Pki:
    def __init__(self, folder: Path, authority: Authority) -> None:
        self.folder, self.authority = folder, authority

    def kubelet(self, node: str, *, days: float = 365) -> str:
        """Its client certificate with the key, as kubelet keeps both in one file."""
        self.authority.issue(f"system:node:{node}", days=days)
        return "".join((self.authority.directory / f"system:node:{node}.{kind}").read_text() for kind in ("crt", "key"))

    def put(self, machine: Machine, node: str, *, plane: bool) -> None:
        machine.write(CLIENT, self.kubelet(node))
        for name in ("ca.crt", "ca.key") if plane else ("ca.crt",):
            machine.write(f"etc/kubernetes/pki/{name}", (self.authority.directory / name).read_text())
        for name in ("apiserver", "apiserver-kubelet-client") if plane else ():
            machine.write(f"etc/kubernetes/pki/{name}.crt", (self.authority.directory / "apiserver.crt").read_text())

    def over(self, machine: Machine, node: str) -> None:
        """Those of a control plane that a year makes void."""
        self.authority.issue("over", days=-2, addresses=["127.0.0.1"])
        for name in ("apiserver", "apiserver-kubelet-client"):
            machine.write(f"etc/kubernetes/pki/{name}.crt", (self.authority.directory / "over.crt").read_text())
        machine.write(CLIENT, self.kubelet(node, days=-2))
