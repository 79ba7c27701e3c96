"""Where the journal is kept, as the file says it: in a file of this machine, or in the bastions' own etcd."""

from __future__ import annotations

import socket
import ssl
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from recoverd.config.files import resolve
from recoverd.config.schema import EtcdStoreModel, StoreModel
from recoverd.config.types import EtcdStore, Problem


def kept(model: StoreModel, here: Path, errors: list[Problem], warnings: list[Problem]) -> EtcdStore | None:
    """The etcd of the bastions; None where the journal is this machine's alone. What is wrong goes to `errors`."""
    etcd = model.etcd
    if etcd is None:
        return None
    files = {name: resolve(text, here) for name in ("ca", "cert", "key") if (text := getattr(etcd, name))}
    if any(e.startswith("https:") for e in etcd.endpoints):
        errors += _papers(files)
    for index, endpoint in enumerate(etcd.endpoints):
        if endpoint.startswith("http:") and not _loopback(urlsplit(endpoint).hostname or ""):
            where = f"store.etcd.endpoints[{index}]"
            errors.append((where, f"{endpoint} is not encrypted: whoever can read it can approve plans; use https"))
    warnings += _few(etcd)
    name = etcd.bastion or socket.gethostname()
    return EtcdStore(
        tuple(etcd.endpoints),
        files.get("ca"),
        files.get("cert"),
        files.get("key"),
        etcd.prefix,
        name,
        etcd.ttl,
    )


def _papers(files: dict[str, Path]) -> list[Problem]:
    """What is wrong with the certificates, by using them."""
    lacking = [
        (f"store.etcd.{name}", "is missing: the bastions' etcd is asked by TLS, with a certificate of this bastion")
        for name in ("ca", "cert", "key")
        if name not in files
    ]
    if lacking:
        return lacking
    try:
        context = ssl.create_default_context(cafile=files["ca"])
    except (OSError, ssl.SSLError) as error:
        return [("store.etcd.ca", f"{files['ca']} cannot be used: {error}")]
    try:
        context.load_cert_chain(files["cert"], files["key"])
    except (OSError, ssl.SSLError) as error:
        return [("store.etcd.cert", f"{files['cert']} with {files['key']} cannot be used: {error}")]
    return []


def _few(etcd: EtcdStoreModel) -> list[Problem]:
    if len(etcd.endpoints) in (1, 2):
        text = (
            f"{len(etcd.endpoints)} endpoint{'s' * (len(etcd.endpoints) > 1)}: an etcd of fewer than three members "
            "outlives the death of none, and then nobody acts"
        )
        return [("store.etcd.endpoints", text)]
    return []


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
