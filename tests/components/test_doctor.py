"""What `recoverd doctor` says of a machine, against a real sshd: each thing that is wrong in the word for it, with what
to do, and nothing changed on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import asyncssh
import pytest

from recoverd.config import ClusterConfig
from recoverd.doctor.check import Check, Level, shape, worst
from recoverd.doctor.machine import examine_machine
from recoverd.model.settings import ClusterSettings

from .conftest import Sshd

StartSshd = Callable[..., Sshd]


async def examined(sshd: Sshd) -> dict[str, Check]:
    """The checks of one control plane, by what they are about."""
    cluster = ClusterConfig(ClusterSettings("prod", sshd.hosts("cp1")), 5.0, Path("/nowhere"), sshd.settings)
    pool = sshd.pool("cp1")
    try:
        return {check.what: check for check in (await examine_machine(cluster, pool, "cp1")).checks}
    finally:
        await pool.close()


async def test_a_machine_that_lets_recoverd_in_is_told_line_by_line(sshd: Sshd) -> None:
    checks = await examined(sshd)
    assert checks["ssh"].level is Level.OK and checks["ssh"].line.startswith("ok   prod/cp1 ssh: ")
    assert checks["clock"].level is Level.OK
    assert checks["etcd"].level is not Level.OK  # this machine is no control plane
    assert shape(list(checks.values()))["worst"] == worst(list(checks.values())).name.lower() != "ok"


async def test_a_machine_that_is_off_is_asked_nothing_more(start_sshd: StartSshd) -> None:
    sshd = start_sshd()
    sshd.stop()
    checks = await examined(sshd)
    assert list(checks) == ["ssh"] and checks["ssh"].level is Level.FAIL
    assert "see that the machine is up" in checks["ssh"].line


async def test_a_host_key_that_is_not_the_known_one_is_told_apart(start_sshd: StartSshd) -> None:
    sshd = start_sshd()
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    sshd.settings.known_hosts.write_text(f"[127.0.0.1]:{sshd.port} {other}")
    checks = await examined(sshd)
    assert list(checks) == ["host key"] and checks["host key"].level is Level.FAIL


@pytest.mark.parametrize("option", [{"AllowTcpForwarding": "no"}, {"PermitOpen": "127.0.0.1:1"}])
async def test_an_sshd_that_forbids_tunnels_is_told_with_what_it_needs(
    start_sshd: StartSshd, option: dict[str, str]
) -> None:
    checks = await examined(start_sshd(**option))
    assert checks["tunnel"].level is Level.FAIL
    assert "PermitOpen" in checks["tunnel"].line and "AllowTcpForwarding" in checks["tunnel"].line


async def test_without_root_it_fails_where_a_repair_would(start_sshd: StartSshd) -> None:
    checks = await examined(start_sshd(ForceCommand="echo 1000"))
    assert checks["root"].level is Level.FAIL and "ssh.sudo" in checks["root"].line
