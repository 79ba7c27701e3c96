"""The token and the Secret of a join, made and deleted by the real kubeadm and kubectl against a
real API server, over a real sshd.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from recoverd.act.join import JoinRunner
from recoverd.act.join_back import TakeBackRunner
from recoverd.clients.etcd import EtcdClient
from recoverd.clients.hosts import CommandResult, HostPool
from recoverd.model.join_operations import JOB, MARK, JoinControlPlane, TakeBackJoin
from recoverd.model.plan import StepResult

from .apiserver import ApiServer, lab_program
from .conftest import Sshd

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="as on real machines, root is asked")
LABEL, ADDRESS = "cp2-20260305T191000Z", "127.0.0.1"
KUBECTL = """#!/bin/sh
[ ! -e HOME/mute ] || { echo 'the server is not there' >&2; exit 1; }
shift 2
exec PROGRAM --kubeconfig HOME/admin.conf "$@"
"""
KUBEADM = """#!/bin/sh
case "$*" in
  'config print join-defaults') [ ! -e HOME/old ] || exit 1; exec PROGRAM "$@" ;;
  'init phase upload-certs --upload-certs') exec PROGRAM "$@" --config HOME/config.yaml --kubeconfig HOME/admin.conf ;;
  token*) exec PROGRAM "$@" --kubeconfig HOME/admin.conf ;;
  join*) [ ! -e HOME/later-mute ] || : >HOME/mute ;;
esac
"""
CONFIG = """apiVersion: kubeadm.k8s.io/v1beta2
kind: ClusterConfiguration
kubernetesVersion: v1.20.2
certificatesDir: HOME/pki
"""


class Moved(HostPool):
    """What joins keep on a machine is in a directory of the test's own."""

    home: Path

    async def run(self, host: str, script: str | Callable[[], str], **how: Any) -> CommandResult:
        text = script if isinstance(script, str) else script()
        own = text.replace(JOB, f"{self.home}/job").replace(MARK.rsplit("/", 1)[0], f"{self.home}/lib")
        return await super().run(host, own, **how)


class Site:
    """Source and new machine in one, with an API server."""

    def __init__(self, home: Path, pool: Moved, etcd: EtcdClient, programs: dict[str, str]) -> None:
        self.home, self.pool, self.etcd = home, pool, etcd
        self._programs = programs

    def sh(self, program: str, *arguments: str) -> str:
        command = [self._programs[program], *arguments, "--kubeconfig", str(self.home / "admin.conf")]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()

    def upload(self) -> None:
        """As somebody does by hand."""
        self.sh(
            "kubeadm", "init", "phase", "upload-certs", "--upload-certs", "--config", str(self.home / "config.yaml")
        )

    def secrets(self) -> set[str]:
        """The names of all that a join may have made, the tokens' by their description."""
        told = self.sh("kubectl", "-n", "kube-system", "get", "secrets", "-o", "yaml")
        found = [
            i
            for i in yaml.safe_load(told)["items"]
            if i["metadata"]["name"] == "kubeadm-certs" or i["type"].startswith("bootstrap")
        ]
        return {i["metadata"]["name"] for i in found}

    async def join(self) -> StepResult:
        operation = JoinControlPlane(LABEL, "cp1", "cp2", ADDRESS, 12, 60, skip_preflight=True)
        return await JoinRunner(operation, self.pool, self.etcd, asyncio.get_running_loop().time() + 100).perform(
            resume=False
        )

    async def take_back(self) -> StepResult:
        async def ready(until: float) -> StepResult:
            raise AssertionError("nothing was begun")

        return await TakeBackRunner(
            TakeBackJoin(LABEL, "cp1", "cp2", ADDRESS, 1),
            self.pool,
            self.etcd,
            ready,
            asyncio.get_running_loop().time() + 100,
        ).perform()


@pytest.fixture
async def site(start_sshd: Callable[..., Sshd], api: ApiServer, tmp_path: Path) -> AsyncIterator[Site]:
    programs = {name: lab_program(name) for name in ("kubeadm", "kubectl")}
    home = tmp_path / "machine"
    (home / "bin").mkdir(parents=True)
    for name, text in {"bin/kubeadm": KUBEADM, "bin/kubectl": KUBECTL, "config.yaml": CONFIG}.items():
        (home / name).write_text(
            text.replace("HOME", str(home)).replace("PROGRAM", programs.get(name.removeprefix("bin/"), ""))
        )
        (home / name).chmod(0o755)
    certs = [programs["kubeadm"], "init", "phase", "certs", "all", "--config", str(home / "config.yaml")]
    await asyncio.to_thread(subprocess.run, certs, check=True, capture_output=True)
    sshd = start_sshd(SetEnv=f"PATH={home}/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    pool = Moved(sshd.settings, sshd.hosts("cp1", "cp2"))
    pool.home = home
    etcd = api.etcd
    client = EtcdClient(pool, "cp1", port=etcd.port, metrics_port=etcd.metrics_port, pki=str(etcd.pki))
    (home / "admin.conf").write_text(api.admin_kubeconfig())
    yield Site(home, pool, client, programs)
    await pool.close()


async def test_a_join_that_went_well_leaves_no_secret_and_nobody_elses_goes(site: Site) -> None:
    site.sh("kubeadm", "token", "create", "--ttl", "1h", "--description", "recoverd join cp2-20260305T180000Z")
    site.sh("kubeadm", "token", "create", "--ttl", "1h")
    before = site.secrets()
    assert len(before) == 2
    joined = await site.join()
    assert joined.ok and "may still be" not in joined.detail, joined.detail
    assert site.secrets() == before


async def test_one_that_cannot_be_begun_has_them_deleted_by_its_taking_back(site: Site) -> None:
    (site.home / "old").touch()
    joined = await site.join()
    assert not joined.ok and "join-defaults" in joined.detail
    assert len(site.secrets()) == 3, "the token, the Secret, and the token that ends the Secret"
    back = await site.take_back()
    assert back.ok and back.already_done and "may still be" not in back.detail, back.detail
    assert site.secrets() == set()
    assert (await site.take_back()).ok, "it can be repeated"


async def test_certificates_that_somebody_has_uploaded_since_are_left(site: Site) -> None:
    (site.home / "old").touch()
    await site.join()
    made = site.secrets()
    site.upload()
    theirs = site.secrets() - made
    assert len(theirs) == 1
    assert (await site.take_back()).ok
    left = site.secrets()
    assert {"kubeadm-certs", *theirs} <= left and len(left) == 3, (
        "what ends the first upload is of no use to anybody, and ends by itself"
    )


async def test_a_good_join_stays_one_when_they_cannot_be_deleted(site: Site) -> None:
    (site.home / "later-mute").touch()
    joined = await site.join()
    assert joined.ok and joined.detail.startswith("cp2 has joined"), joined.detail
    assert "may still be in the cluster" in joined.detail and "the server is not there" in joined.detail
    assert len(site.secrets()) == 3
