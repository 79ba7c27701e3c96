"""The certificates of a made-up cluster, as kubeadm has them: RSA keys of 2048 bits, CAs of its own, a year to go.

One key for all CAs and one for all leaves of a cluster: making them takes longest, and nothing that is measured looks
whether two are the same.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from benchmarks.fleet.layout import Layout, Machine

K, L = "/etc/kubernetes", "/var/lib/kubelet"


@lru_cache(maxsize=2)
def _key(of: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def _pem(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


def _digest(key: rsa.RSAPrivateKey) -> str:
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def _certificate(name: str, issuer: str, addresses: Iterable[str] = (), group: str = "", ca: bool = False) -> str:
    now = datetime.now(UTC)
    words = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    words += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)] if group else []
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(words))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(_key("ca" if ca else "leaf").public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=3650 if ca else 335))
        .add_extension(x509.BasicConstraints(ca, None), True)
    )
    if not ca:
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        names = [x509.DNSName("localhost"), *(x509.IPAddress(ipaddress.ip_address(a)) for a in addresses)]
        made = made.add_extension(x509.ExtendedKeyUsage(uses), False)
        made = made.add_extension(x509.SubjectAlternativeName(names), False)
    return made.sign(_key("ca"), hashes.SHA256()).public_bytes(Encoding.PEM).decode()


class Papers:
    """Of one cluster. `files` of a machine are its certificates by path, `kubeconfigs` those embedded in them."""

    def __init__(self, layout: Layout) -> None:
        self.ca, self.etcd_ca, self.front_ca = (
            _certificate(n, n, ca=True) for n in ("kubernetes", "etcd-ca", "front-proxy-ca")
        )
        self.key = _pem(_key("leaf"))
        addresses = [m.address for m in layout.planes]
        self.api = _certificate("kube-apiserver", "kubernetes", ["127.0.0.1", layout.vip, "10.96.0.1", *addresses])
        self.etcd = _certificate("etcd", "etcd-ca", ["127.0.0.1", *addresses])
        self.health = _certificate("kube-etcd-healthcheck-client", "etcd-ca", group="system:masters")
        self.user = _certificate("recoverd", "kubernetes")

    def files(self, machine: Machine) -> dict[str, str]:
        """What `look.sh` prints of a machine's certificates: three of a worker's, those of kubeadm of a plane's."""
        client = _certificate(f"system:node:{machine.name}", "kubernetes", group="system:nodes")
        serving = _certificate(f"{machine.name}@1", "kubernetes", [machine.address])
        own = {f"{L}/pki/kubelet.crt": serving, f"{L}/pki/kubelet-client-current.pem": client}
        if not machine.plane:
            return {f"{K}/pki/ca.crt": self.ca, **own}
        leaf = _certificate("kube-apiserver-etcd-client", "etcd-ca", group="system:masters")
        kubelet = _certificate("kube-apiserver-kubelet-client", "kubernetes", group="system:masters")
        return {
            f"{K}/pki/apiserver-etcd-client.crt": leaf,
            f"{K}/pki/apiserver-kubelet-client.crt": kubelet,
            f"{K}/pki/apiserver.crt": self.api,
            f"{K}/pki/ca.crt": self.ca,
            f"{K}/pki/front-proxy-ca.crt": self.front_ca,
            f"{K}/pki/front-proxy-client.crt": _certificate("front-proxy-client", "front-proxy-ca"),
            f"{K}/pki/etcd/ca.crt": self.etcd_ca,
            f"{K}/pki/etcd/healthcheck-client.crt": self.health,
            f"{K}/pki/etcd/peer.crt": self.etcd,
            f"{K}/pki/etcd/server.crt": self.etcd,
            **own,
        }

    def kubeconfigs(self, machine: Machine) -> dict[str, str]:
        """The client certificate in each kubeconfig by path, in base 64; "" where it only names a file."""
        found = {f"{K}/kubelet.conf": ""}
        if machine.plane:
            users = {
                "admin": ("kubernetes-admin", "system:masters"),
                "controller-manager": ("system:kube-controller-manager", ""),
                "scheduler": ("system:kube-scheduler", ""),
            }
            for name, (user, group) in users.items():
                pem = _certificate(user, "kubernetes", group=group)
                found[f"{K}/{name}.conf"] = base64.b64encode(pem.encode()).decode()
        return found

    def keys(self, machine: Machine) -> dict[str, str]:
        """What `keys.sh` prints: the digest of each private key's public part, by path."""
        leaf, ca = _digest(_key("leaf")), _digest(_key("ca"))
        found = {f"{L}/pki/kubelet-client-current.pem": leaf, f"{L}/pki/kubelet.key": leaf}
        if machine.plane:
            found |= {
                path.removesuffix(".crt") + ".key": ca if path.endswith("ca.crt") else leaf
                for path in self.files(machine)
                if path.startswith(f"{K}/pki/")
            }
            found |= {path: leaf for path, inside in self.kubeconfigs(machine).items() if inside}
        return found

    def kubeconfig(self, server: str) -> str:
        """For recoverd."""

        def coded(text: str) -> str:
            return base64.b64encode(text.encode()).decode()

        cluster = {"server": server, "certificate-authority-data": coded(self.ca)}
        user = {"client-certificate-data": coded(self.user), "client-key-data": coded(self.key)}
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
                "clusters": [{"name": "k", "cluster": cluster}],
                "users": [{"name": "u", "user": user}],
            }
        )
