"""The job that joins, over real sshd with a program that stands for kubeadm: one join at a time, its secrets in
one file for as long as it runs.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from recoverd.act.join import Secrets, cleared, start
from recoverd.clients.hosts import CommandResult, HostPool
from recoverd.model.call import Call
from recoverd.model.join_operations import JOB, MARK, JoinControlPlane
from tests.shells import sent

from .conftest import Sshd

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="as on real machines, root is asked")
TOKEN, KEY = "abcdef.0123456789abcdef", "0123456789abcdef" * 4
SECRETS = Secrets("k8s-api:6443", TOKEN, "sha256:" + "ab" * 32, KEY)
IT = JoinControlPlane("cp2-20260305T191000Z", "cp1", "cp2", "10.99.1.12", 12, 60, skip_preflight=True, api_port=8443)
KUBEADM = """#!/bin/sh
case "$*" in
  'config print join-defaults') echo 'apiVersion: kubeadm.k8s.io/v1beta2'; exit ;;
  'version -o short') echo v1.20.2; exit ;;
esac
echo "kubeadm $*" >$HOME_OF_TEST/arguments
cp -p "$3" $HOME_OF_TEST/config
echo '[etcd] Waiting for the new etcd member to join the cluster.'
while [ ! -e $HOME_OF_TEST/end ]; do sleep 0.1; done
exit $(cat $HOME_OF_TEST/end)
"""


@dataclass
class Job:
    """One machine on which joins are begun, in a directory of the test's own."""

    pool: HostPool
    home: Path

    async def run(self, call: Call) -> CommandResult:
        own = sent(call).replace(JOB, f"{self.home}/job").replace(MARK.rsplit("/", 1)[0], f"{self.home}/lib")
        return await self.pool.run("cp2", own, timeout=20)

    async def state(self, label: str = IT.label) -> str:
        return (await self.run(Call.of("join_state", label))).stdout.strip()

    async def until(self, wanted: str) -> None:
        async with asyncio.timeout(20):
            while await self.state() != wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    def file(self, name: str) -> Path:
        return self.home / name

    def secrets_in(self) -> list[str]:
        """Files of the test's directory that hold a secret, kubeadm's own copy excepted."""
        files = [p for p in self.home.rglob("*") if p.is_file() and p != self.file("config")]
        return [
            str(p.relative_to(self.home))
            for p in files
            if TOKEN in (text := p.read_text(errors="replace")) or KEY in text
        ]


@pytest.fixture
async def job(start_sshd: Callable[..., Sshd], tmp_path: Path) -> AsyncIterator[Job]:
    home = tmp_path / "machine"
    (home / "bin").mkdir(parents=True)
    (home / "bin/kubeadm").write_text(KUBEADM.replace("$HOME_OF_TEST", str(home)))
    (home / "bin/kubeadm").chmod(0o755)
    sshd = start_sshd(SetEnv=f"PATH={home}/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    pool = sshd.pool("cp2")
    yield Job(pool, home)
    await Job(pool, home).run(Call.of("join_stop", IT.label))
    await pool.close()


@pytest.mark.parametrize(("status", "state"), [("0", "ended"), ("1", "failed")])
async def test_it_runs_on_its_own_and_tells_how_it_ended(job: Job, status: str, state: str) -> None:
    assert await job.state() == "none"
    begun = await job.run(start(IT, SECRETS))
    assert begun.exit_status == 0, begun.stderr
    await job.until("running")
    async with asyncio.timeout(20):
        while not job.file("config").exists():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert job.secrets_in() == ["job/config.yaml"]
    assert (job.home / "job/config.yaml").stat().st_mode & 0o777 == 0o600
    assert (
        TOKEN not in job.file("arguments").read_text()
        and "--skip-phases=preflight" in job.file("arguments").read_text()
    )
    assert await job.state("cp2-another") == "none"
    job.file("end").write_text(status)
    await job.until(state)
    assert job.secrets_in() == []
    asked = yaml.safe_load(job.file("config").read_text())
    assert (asked["apiVersion"], asked["kind"]) == ("kubeadm.k8s.io/v1beta2", "JoinConfiguration")
    found = asked["discovery"]["bootstrapToken"]
    assert (found["token"], found["apiServerEndpoint"], found["caCertHashes"]) == (
        TOKEN,
        "k8s-api:6443",
        [SECRETS.ca_hash],
    )
    assert asked["nodeRegistration"]["name"] == "cp2"
    endpoint = {"advertiseAddress": "10.99.1.12", "bindPort": 8443}
    assert asked["controlPlane"] == {"certificateKey": KEY, "localAPIEndpoint": endpoint}


@pytest.mark.skipif(Path("/run/docker.sock").exists(), reason="kubeadm asks docker for no crictl")
@pytest.mark.parametrize("crictl", [True, False])
async def test_preflight_checks_that_need_crictl_are_left_out_where_there_is_none(job: Job, crictl: bool) -> None:
    if crictl:
        job.file("bin/crictl").write_text("#!/bin/sh\n")
        job.file("bin/crictl").chmod(0o755)
    elif shutil.which("crictl"):
        pytest.skip("there is a crictl here")
    job.file("end").write_text("0")
    assert (await job.run(start(replace(IT, skip_preflight=False, needs_crictl=True), SECRETS))).exit_status == 0
    await job.until("ended")
    assert ("--skip-phases=preflight" in job.file("arguments").read_text()) is not crictl


async def test_stopped_it_is_gone_and_so_are_its_secrets(job: Job) -> None:
    assert (await job.run(Call.of("join_stop", "cp2-another"))).stdout.strip() == "none"
    await job.run(start(IT, SECRETS))
    await job.until("running")
    assert (await job.run(Call.of("join_stop", "cp2-another"))).stdout.strip() == "none"
    assert await job.state() == "running"
    assert (await job.run(Call.of("join_stop", IT.label))).stdout.strip() == "begun"
    await job.until("lost")
    assert job.secrets_in() == []


async def test_given_up_it_does_not_begin_afterwards(job: Job) -> None:
    """A start whose connection was lost may be at work still, before it has marked the machine: it was taken
    back as if it had never begun.
    """
    assert (await job.run(Call.of("join_stop", IT.label))).stdout.strip() == "none"
    begun = await job.run(start(IT, SECRETS))
    assert begun.exit_status == 3 and "given up" in begun.stderr
    assert await job.state() == "none" and not job.file("arguments").exists() and job.secrets_in() == []
    again = replace(IT, label="cp2-20260305T201000Z")
    assert (await job.run(start(again, SECRETS))).exit_status == 0
    assert await job.state(again.label) == "running"
    assert (await job.run(Call.of("join_stop", again.label))).stdout.strip() == "begun"


async def test_nothing_is_begun_without_a_kubeadm_that_tells_its_version(job: Job) -> None:
    job.file("bin/kubeadm").write_text("#!/bin/sh\nexit 1\n")
    begun = await job.run(start(IT, SECRETS))
    assert begun.exit_status == 3 and "join-defaults" in begun.stderr
    assert await job.state() == "none"
    assert job.secrets_in() == []


def test_what_is_told_is_cleared_of_tokens_and_keys() -> None:
    said = (
        f"kubeadm join k8s-api:6443 --token {TOKEN} --discovery-token-ca-cert-hash "
        f"{SECRETS.ca_hash} --certificate-key {KEY}"
    )
    assert (
        cleared(said)
        == "kubeadm join k8s-api:6443 --token [token] --discovery-token-ca-cert-hash [CA hash] --certificate-key [key]"
    )
    assert TOKEN not in repr(SECRETS) and KEY not in repr(SECRETS)
