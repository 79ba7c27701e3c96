"""A real kube-apiserver on its own, over an etcd of the component tests."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
import yaml
from tenacity import AsyncRetrying, Retrying, retry_if_exception_type, retry_if_result, stop_after_delay, wait_fixed

from tests.authority import Authority

from .conftest import EtcdNode, Process, end, free_port, wait_for_port

ADMIN = "a-token-of-this-test"
OWN = {
    *(f"/registry/namespaces/{name}" for name in ("default", "kube-node-lease", "kube-public", "kube-system")),
    "/registry/services/specs/default/kubernetes",
    "/registry/configmaps/kube-system/extension-apiserver-authentication",
}
"""What an API server makes itself, and only a moment after it is ready."""


def lab_program(name: str) -> str:
    """A program of Kubernetes, the lab's own before the system's; the test is skipped where there is none."""
    lab = Path(os.environ.get("LAB_CACHE", "/var/cache/recoverd-lab")) / "bin"
    program = shutil.which(name, path=f"{lab}:{os.environ['PATH']}")
    if program is None:
        pytest.skip(f"there is no {name} (`make lab-test` builds one)")
    return program


class ApiServer:
    """A kube-apiserver on its own, with one token of an administrator and certificates of the
    authority that etcd's test made.
    """

    def __init__(self, pki: Path, port: int, etcd: EtcdNode, process: Process) -> None:
        self.pki, self.base, self.etcd, self._process = pki, f"https://127.0.0.1:{port}", etcd, process
        self._own: set[str] = set()

    def assert_alive(self) -> None:
        """That tests of this process have it in common must not hide which of them it has ended in, and how."""
        for name, process in (("kube-apiserver", self._process), ("its etcd", self.etcd.process)):
            assert process and process.poll() is None, f"{name} has ended with {process and process.returncode}"

    def await_own(self) -> None:
        """Wait until it is ready and has made whatever it makes itself."""
        tls = ssl.create_default_context(cafile=self.pki / "ca.crt")

        def made() -> bool:
            self._own = self._keys()
            with urllib.request.urlopen(f"{self.base}/readyz", context=tls, timeout=20):  # raises where it is not
                return self._own >= OWN

        not_yet = retry_if_exception_type(OSError) | retry_if_result(lambda done: not done)
        Retrying(retry=not_yet, wait=wait_fixed(0.2), stop=stop_after_delay(200), reraise=True)(made)
        self._own = self._keys()

    async def clean(self) -> None:
        """Make it what it was before the test: what was made since is taken out of etcd, which an API
        server sees as it sees any change.
        """
        for key in self._keys() - self._own:
            await asyncio.to_thread(self.etcd.ctl, "del", key)
        assert self._keys() >= self._own, "a test has deleted what the API server makes itself"

        async def denied() -> bool:
            return await self.ask("GET", "/api/v1/nodes", admin=False) == 403

        # that a binding is gone, whoever decides about permissions hears a moment later
        await AsyncRetrying(retry=retry_if_result(lambda no: not no), wait=wait_fixed(0.1), stop=stop_after_delay(30))(
            denied
        )

    def _keys(self) -> set[str]:
        """All that is in etcd, without what comes and goes with a lease of etcd's."""
        keys = self.etcd.ctl("get", "/registry/", "--prefix", "--keys-only").split()
        return {key for key in keys if not key.startswith(("/registry/masterleases/", "/registry/events/"))}

    def kubeconfig(self, path: Path) -> Path:
        """For the user `recoverd`, by client certificate, as config/rbac.yaml tells to make it."""
        user = {"client-certificate": str(self.pki / "recoverd.crt"), "client-key": str(self.pki / "recoverd.key")}
        cluster = {"server": self.base, "certificate-authority": str(self.pki / "ca.crt")}
        context = {"cluster": "c", "user": "recoverd"}
        entries = {"clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "recoverd", "user": user}]}
        path.write_text(
            yaml.safe_dump({"current-context": "x", "contexts": [{"name": "x", "context": context}], **entries})
        )
        return path

    def admin_kubeconfig(self) -> str:
        """For the administrator, with everything in it."""
        authority = base64.b64encode((self.pki / "ca.crt").read_bytes()).decode()
        clusters = [{"name": "c", "cluster": {"server": self.base, "certificate-authority-data": authority}}]
        contexts = [{"name": "x", "context": {"cluster": "c", "user": "admin"}}]
        users = [{"name": "admin", "user": {"token": ADMIN}}]
        kind = {"apiVersion": "v1", "kind": "Config", "current-context": "x"}
        return yaml.safe_dump(kind | {"clusters": clusters, "contexts": contexts, "users": users})

    async def ask(self, method: str, path: str, *, admin: bool, body: object = None) -> int:
        """The HTTP status."""
        tls = ssl.create_default_context(cafile=self.pki / "ca.crt")
        if not admin:
            tls.load_cert_chain(self.pki / "recoverd.crt", self.pki / "recoverd.key")
        headers = {"Authorization": f"Bearer {ADMIN}"} if admin else {}
        async with (
            aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(ssl=tls)) as session,
            session.request(method, self.base + path, json=body) as response,
        ):
            return response.status


@contextmanager
def api_server(tmp_path: Path, etcd: EtcdNode) -> Iterator[ApiServer]:
    """One over a running etcd, ended with the context; the test is skipped where there is no such program."""
    program = lab_program("kube-apiserver")
    authority = Authority(tmp_path / "kubernetes")
    for name in ("apiserver", "recoverd"):
        authority.issue(name)
    (tmp_path / "tokens").write_text(f'{ADMIN},admin,1,"system:masters"\n')
    pki, port, log = authority.directory, free_port(), tmp_path / "kube-apiserver.log"
    arguments = {
        "bind-address": "127.0.0.1",
        "secure-port": port,
        "cert-dir": tmp_path,
        "tls-cert-file": pki / "apiserver.crt",
        "tls-private-key-file": pki / "apiserver.key",
        "client-ca-file": pki / "ca.crt",
        "token-auth-file": tmp_path / "tokens",
        "authorization-mode": "RBAC",
        "etcd-servers": f"https://127.0.0.1:{etcd.port}",
        "etcd-cafile": etcd.pki / "ca.crt",
        "etcd-certfile": etcd.pki / "healthcheck-client.crt",
        "etcd-keyfile": etcd.pki / "healthcheck-client.key",
        "service-cluster-ip-range": "10.96.0.0/24",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": pki / "apiserver.crt",
        "service-account-signing-key-file": pki / "apiserver.key",
    }
    command = [program, *(f"--{name}={value}" for name, value in arguments.items())]
    process = subprocess.Popen(command, stdout=log.open("ab"), stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        wait_for_port(port, process, log, seconds=60)
        made = ApiServer(pki, port, etcd, process)
        made.await_own()
        yield made
    finally:
        end(process, kill=True)
