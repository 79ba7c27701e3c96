"""What is done about the certificates of a control plane, as data. Everything is kept on the machine
itself; no private key leaves it.

Sources: kubeadm's pages on certificates (`kubeadm certs renew` renews leaf certificates and kubeconfigs and no CA, and
not kubelet.conf; before 1.20 it was `kubeadm alpha certs renew`), and on kubelet's client certificate
(kubelet-client-current.pem, rotated by kubelet itself; when it is over, kubelet does not even start).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recoverd.model.call import Call, HostCall

KUBERNETES = "/etc/kubernetes"
KUBELET_PKI = "/var/lib/kubelet/pki"
KEPT = "/var/lib/recoverd/pki"
"""Where copies are kept on a control plane, each in a directory of its own, for root only."""
STATIC_PODS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


@dataclass(frozen=True, slots=True)
class KeepPki(HostCall):
    """Copy /etc/kubernetes/pki and the kubeconfigs to a directory on the same machine: under another name first, so
    that one that exists is whole.

    Where there is a symbolic link, what it points to is copied: a link in the copy would lead to the very file that the
    copy is to replace. Only one that leads nowhere is kept as it is.
    """

    target: str
    prune: bool = False
    """Delete the oldest copies of the healthy time but a few (their names are 16 hexadecimal digits;
    others are nobody's to delete).
    """
    kubernetes: str = KUBERNETES
    kind: Literal["keep-pki"] = "keep-pki"
    repeatable = True

    @property
    def title(self) -> str:
        return f"keeping the certificates in {self.target}"

    def call(self) -> Call:
        return Call.of(
            "keep_pki", self.target, self.prune, self.kubernetes, does=f"cp -aL {self.kubernetes}/pki {self.target}/pki"
        )

    def check(self) -> Call:
        return Call.of("is_directory", f"{self.target}/pki")


@dataclass(frozen=True, slots=True)
class PutBackPki(HostCall):
    """Put a kept copy into place: pki as a whole by renaming, each kubeconfig by renaming; what was there
    before is copied to `aside` first.

    Files take the place of what were symbolic links: what these point to is not kubeadm's, and outside of
    /etc/kubernetes nothing is written to. May be broken off anywhere and begun again: what is aside already is not
    copied twice, and the rest ends in the same place.
    """

    source: str
    aside: str = ""
    """"" where what is in place is of no use, as when it is this very plan's that is taken back."""
    restart: bool = False
    """Where it put anything back, end the static pods' processes, for kubelet to start others with it."""
    marks: tuple[str, ...] = ()
    """Files that say `done` of what this takes back."""
    kubernetes: str = KUBERNETES
    kind: Literal["put-back-pki"] = "put-back-pki"
    repeatable = True

    @property
    def title(self) -> str:
        return f"putting back the certificates from {self.source}"

    def call(self) -> Call:
        does = f"cp -a {self.source}/pki {self.kubernetes}/pki"
        return Call.of("put_back_pki", self.source, self.aside, self.restart, self.kubernetes, *self.marks, does=does)

    def check(self) -> Call:
        return Call.of("pki_put_back", self.source, self.kubernetes)


@dataclass(frozen=True, slots=True)
class PutBackKeys(HostCall):
    """Put `pki` of a kept copy into place and no kubeconfig, for a machine that `kubeadm join` makes a control plane
    again: kubeadm uses the certificates that it finds, makes none that are there, and minds kubeconfigs.

    Where the machine has no such copy, as with a new disk, nothing is done: kubeadm brings what it needs.
    """

    source: str
    aside: str
    """Where what is in place is copied first."""
    kubernetes: str = KUBERNETES
    kind: Literal["put-back-keys"] = "put-back-keys"
    repeatable = True

    @property
    def title(self) -> str:
        return f"putting back {self.kubernetes}/pki from {self.source}"

    def call(self) -> Call:
        does = f"cp -a {self.source}/pki {self.kubernetes}/pki"
        return Call.of("put_back_keys", self.source, self.aside, self.kubernetes, does=does)

    def check(self) -> Call:
        return Call.of("keys_put_back", self.source, self.kubernetes)


@dataclass(frozen=True, slots=True)
class RenewLeaves(HostCall):
    """`kubeadm certs renew all` (`kubeadm alpha certs renew all` where the binary has only that): every leaf and
    kubeconfig but kubelet's, no CA.
    """

    kept: str
    """The copy that was made before; without it nothing is renewed."""
    kind: Literal["renew-leaves"] = "renew-leaves"
    repeatable = True

    @property
    def title(self) -> str:
        return "kubeadm certs renew all"

    @property
    def mark(self) -> str:
        return f"{self.kept}/renewed"

    def call(self) -> Call:
        return Call.of("renew_leaves", self.kept, does=self.title)

    def check(self) -> Call:
        return Call.of("present", self.mark)


@dataclass(frozen=True, slots=True)
class RepairKubeletClient(HostCall):
    """Have the CA in place sign a new client certificate for this machine's kubelet, and let
    kubelet.conf use it and trust that CA.

    What `kubeadm init phase kubeconfig kubelet` would write, without a change of the server or of
    anything else in kubelet.conf.
    """

    node: str
    """Name of the Node."""
    kept: str
    kubernetes: str = KUBERNETES
    kubelet_pki: str = KUBELET_PKI
    kind: Literal["repair-kubelet-client"] = "repair-kubelet-client"
    repeatable = True

    @property
    def title(self) -> str:
        return "renewing kubelet's client certificate"

    @property
    def mark(self) -> str:
        return f"{self.kept}/kubelet-client-repaired"

    def call(self) -> Call:
        does = f"openssl x509 -req -CA {self.kubernetes}/pki/ca.crt"
        return Call.of("repair_kubelet_client", self.node, self.kept, self.kubernetes, self.kubelet_pki, does=does)

    def check(self) -> Call:
        return Call.of("present", self.mark)


@dataclass(frozen=True, slots=True)
class RenewWorkerClient:
    """Have a control plane's CA sign a new client certificate for the kubelet of the step's host, a worker.

    The key is made there and never leaves it; the request goes to `signer` through the bastion, and the certificate
    comes back. What was in place is copied to `kept` first.
    """

    node: str
    """Name of the Node."""
    signer: str
    """The control plane."""
    kept: str
    kubernetes: str = KUBERNETES
    kubelet_pki: str = KUBELET_PKI
    kind: Literal["renew-worker-client"] = "renew-worker-client"
    repeatable = True
    functions = ("request_kubelet_client", "sign_kubelet_client", "put_kubelet_client")
    """Of the shell library."""

    @property
    def mark(self) -> str:
        return f"{self.kept}/kubelet-client-renewed"

    @property
    def work(self) -> str:
        """Where the key lies until its certificate has come, on the worker."""
        return f"{self.kept}.request"

    def command(self) -> str:
        pem = f"{self.kubelet_pki}/kubelet-client-current.pem"
        return (
            f"openssl req -new -subj /O=system:nodes/CN=system:node:{self.node}, with a new key that stays there; on "
            f"{self.signer}: openssl x509 -req -CA {self.kubernetes}/pki/ca.crt -days 365; the certificate as {pem}, "
            f"the old one copied to {self.kept}"
        )

    def check(self) -> Call:
        return Call.of("present", self.mark)


PkiOperation = KeepPki | PutBackPki | PutBackKeys | RenewLeaves | RepairKubeletClient
