"""Makes recoverd's own kubeconfig through the API server, where an operator has said so: a key that is made here and
leaves this machine for nowhere, and a client certificate that the cluster signs.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import shlex
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kubernetes.aio.client import ApiClient
from tenacity import AsyncRetrying, RetryError, retry_if_result, stop_after_delay, wait_fixed

from recoverd.model.observation import EndpointHealth
from recoverd.observe.api import api_client
from recoverd.observe.kubeconfig import Access, read_access
from recoverd.observe.probe import probe
from recoverd.observe.rest import request
from recoverd.setup.learn import Learnt

USER = "recoverd"
"""Whom config/rbac*.yaml name."""
REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
SIGNED_SECONDS = 30.0
YEAR = 365 * 86400
"""What is asked for; clusters from 1.22 on know that field, and others give what their controllers are told to."""
PROBE_SECONDS = 5.0


class CertificateError(Exception):
    """No kubeconfig was made; the text says why, and what is left in the cluster."""


async def make_kubeconfig(kubeconfig: Path, learnt: Learnt, name: str) -> tuple[str, str]:
    """The text of a kubeconfig for the user `recoverd`, and the server that it names. Raises `CertificateError`."""
    access = await read_access(kubeconfig)
    key = ec.generate_private_key(ec.SECP256R1())
    async with api_client(access, access.server) as client:
        try:
            certificate = await _signed(client, key)
        except RetryError:
            raise CertificateError(
                f"nobody signed the request within {SIGNED_SECONDS:g} s: does a kube-controller-manager lead, and has "
                "it the CA's key (--cluster-signing-key-file)? The request stays there, approved, until the cluster "
                "clears it away within hours, or `kubectl delete csr` does"
            ) from None
        except (aiohttp.ClientError, OSError, ValueError, KeyError) as error:
            raise CertificateError(str(error)) from error
    server = await _server(access, learnt)
    return _text(access, server, key, certificate, name), server


async def _signed(client: ApiClient, key: ec.EllipticCurvePrivateKey) -> str:
    """The certificate, in base64, once it was asked for, approved and signed."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, USER)])
    asked = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    body: dict[str, Any] = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": f"recoverd-{secrets.token_hex(4)}"},
        "spec": {
            "request": base64.b64encode(asked.public_bytes(serialization.Encoding.PEM)).decode(),
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["digital signature", "client auth"],
            "expirationSeconds": YEAR,
        },
    }
    made = await _sent(client, REQUESTS, "POST", body)
    name = made["metadata"]["name"]
    condition = {"type": "Approved", "status": "True", "reason": "RecoverdInit", "message": "asked for by an operator"}
    made["status"] = {"conditions": [condition]}
    await _sent(client, f"{REQUESTS}/{name}/approval", "PUT", made)

    async def certificate() -> str:
        status = (await _sent(client, f"{REQUESTS}/{name}", "GET")).get("status", {})
        for each in status.get("conditions", ()):
            if each.get("type") in ("Failed", "Denied"):
                raise ValueError(f"the request {name} was not signed: {each.get('message') or each.get('reason')}")
        return str(status.get("certificate") or "")

    unsigned = retry_if_result(lambda text: not text)
    found: str = await AsyncRetrying(retry=unsigned, wait=wait_fixed(0.5), stop=stop_after_delay(SIGNED_SECONDS))(
        certificate
    )
    return found


async def _sent(client: ApiClient, path: str, method: str, body: Any = None) -> Any:
    answer = await request(client, path, method=method, body=body)
    text = await answer.read()
    if answer.status == 404 and method == "POST":
        raise ValueError("this cluster has no certificates.k8s.io/v1 (1.19 and later have)")
    if answer.status not in (200, 201):
        raise ValueError(f"{method} {path}: HTTP {answer.status}: {text.decode(errors='replace')[:300]}")
    return json.loads(text)


async def _server(access: Access, learnt: Learnt) -> str:
    """kubeadm's address of all control planes where it serves this machine, else the one that was given."""
    if not learnt.endpoint:
        return access.server
    url = learnt.endpoint if re.search(r":\d+$", learnt.endpoint) else f"{learnt.endpoint}:6443"
    host, _, port = url.rpartition(":")
    seen = await probe(access, host.strip("[]"), int(port), seconds=PROBE_SECONDS)
    return f"https://{url}" if seen.health is EndpointHealth.READY else access.server


def _text(access: Access, server: str, key: ec.EllipticCurvePrivateKey, certificate: str, name: str) -> str:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    cluster: dict[str, Any] = {"server": server}
    if access.configuration.ssl_ca_cert:
        authority = Path(access.configuration.ssl_ca_cert).read_bytes()
        cluster["certificate-authority-data"] = base64.b64encode(authority).decode()
    user = {"client-certificate-data": certificate, "client-key-data": base64.b64encode(pem).decode()}
    context = {"cluster": name, "user": USER}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": f"{USER}@{name}",
        "contexts": [{"name": f"{USER}@{name}", "context": context}],
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": USER, "user": user}],
    }
    return yaml.safe_dump(config, sort_keys=False)


def by_hand(learnt: Learnt, file: Path) -> str:
    """The command that makes one by kubeadm on a control plane, for this version."""
    plane = learnt.control_planes[0]
    numbers = [int(n) for n in re.findall(r"\d+", learnt.version)[:2]]
    remote = "kubeadm alpha kubeconfig user --client-name recoverd"
    if numbers >= [1, 22]:
        remote = (
            "kubectl --kubeconfig /etc/kubernetes/admin.conf -n kube-system get configmap kubeadm-config -o "
            "jsonpath={.data.ClusterConfiguration} >/tmp/kubeadm.yaml && kubeadm kubeconfig user --config "
            "/tmp/kubeadm.yaml --client-name recoverd --validity-period 8760h"
        )
    return f"(umask 077; ssh root@{plane.addresses[0]} {shlex.quote(remote)} >{shlex.quote(str(file))})"
