"""The Ansible role that `recoverd init` writes, played for real: by ansible-playbook, through a real sshd, on a machine
that has its own /etc, /home, network and processes, and is this one otherwise.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .test_api import node
from .test_init import Site, site

__all__ = ["site"]

PLAY = shutil.which("ansible-playbook")
pytestmark = [
    pytest.mark.skipif(PLAY is None, reason="ansible-playbook is not installed (pip install ansible-core)"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a machine with users of its own needs root"),
    pytest.mark.timeout(900),
]

APART = ("unshare", "-m", "-n", "-p", "-f", "--kill-child", "--mount-proc")
"""A machine with mounts, a network and processes of its own, which end with it."""
MACHINE = """set -e
work=$1 host_key=$2 port=$3 ansible=$4 program=$5 key=$6
mount --make-rprivate /
ip link set lo up
mkdir -p "$work/etc"; cp -a /etc/. "$work/etc/"
mount --bind "$work/etc" /etc
mount -t tmpfs none /home
mount -t tmpfs none /usr/local/sbin
mkdir -p /etc/sudoers.d /run/sshd
rm -f /etc/ssh/ssh_host_*
cp "$host_key" /etc/ssh/ssh_host_ed25519_key; cp "$host_key.pub" /etc/ssh/ssh_host_ed25519_key.pub
# sudo is not installed everywhere where tests run; where it is, the real one checks
if ! command -v visudo >/dev/null; then
    printf '#!/bin/sh\\ngrep -q NOPASSWD "$2"\\n' >/usr/local/sbin/visudo; chmod 755 /usr/local/sbin/visudo
fi
ssh-keygen -q -t ed25519 -N '' -f "$work/admin"
cat >"$work/sshd_config" <<END
Port $port
ListenAddress 127.0.0.1
UsePAM yes
PermitRootLogin yes
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile .ssh/authorized_keys $work/admin.pub
StrictModes no
SetEnv PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
END
/usr/sbin/sshd -f "$work/sshd_config" -E "$work/sshd.log"
echo "[127.0.0.1]:$port $(cat "$host_key.pub")" >"$work/known_hosts"
export HOME="$work" ANSIBLE_HOST_KEY_CHECKING=False ANSIBLE_NOCOLOR=1 ANSIBLE_PIPELINING=True
cd "$ansible"
play() {
    "$program" -i inventory.yaml -e ansible_python_interpreter=/usr/bin/python3 -u root --private-key "$work/admin" \
        "$@" playbook.yaml
}
echo "== only checked"; play --check --diff
id recoverd 2>&1 || echo "nobody was made"
[ ! -e fingerprints ] || echo "fingerprints were written"
echo "== played"; play
echo "== played again"; play --diff
echo "== there"
stat -c '%a %U %G %n' /home/recoverd/.ssh /home/recoverd/.ssh/authorized_keys /etc/sudoers.d/recoverd
ssh -i "$key" -p "$port" -o UserKnownHostsFile="$work/known_hosts" recoverd@127.0.0.1 whoami
"""
MODES = """\
700 recoverd recoverd /home/recoverd/.ssh
600 recoverd recoverd /home/recoverd/.ssh/authorized_keys
440 root root /etc/sudoers.d/recoverd
recoverd
"""


async def test_the_role_makes_a_node_ready_and_changes_nothing_when_played_again(site: Site, tmp_path: Path) -> None:
    site.has(node("cp1"))
    await site.init("--ssh-user", "recoverd")
    ansible, sshd = site.folder / "prod" / "ansible", site.sshds[0]
    told = await asyncio.to_thread(
        apart, str(tmp_path), str(sshd.host_key), str(sshd.port), str(ansible), str(PLAY), str(sshd.settings.key)
    )
    parts = dict(part.split("\n", 1) for part in told.split("== ")[1:])
    assert "nobody was made" in parts["only checked"] and "fingerprints were written" not in parts["only checked"]
    assert "changed=0 " in recap(parts["played again"]) and "changed=0 " not in recap(parts["played"])
    assert all("failed=0" in recap(parts[name]) for name in ("only checked", "played", "played again")), told
    assert parts["there"] == MODES, "the last line is who logs in"
    (line,) = (ansible / "fingerprints").read_text().splitlines()
    assert line.startswith("cp1 256 SHA256:")
    seen = ("--accept-host-keys", str(ansible / "fingerprints"))
    assert "  accepted (" in await site.init("--ssh-user", "recoverd", *seen)


def recap(played: str) -> str:
    """The last words of Ansible about the node."""
    return next(line for line in played.splitlines() if line.startswith("cp1 ") and "ok=" in line)


def apart(*arguments: str) -> str:
    """What is printed on a machine of its own, so that nothing of this one is changed."""
    if subprocess.run([*APART, "true"], check=False).returncode:
        pytest.skip("this needs namespaces of its own")
    done = subprocess.run([*APART, "sh", "-c", MACHINE, "sh", *arguments], capture_output=True, text=True, timeout=850)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
