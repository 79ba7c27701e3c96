"""Which runtime's socket a join names to kubeadm, by the real function of the shell library under dash."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

SHELL = Path(__file__).parents[2] / "recoverd/shell/join.sh"


@pytest.mark.parametrize(
    ("version", "sockets", "named"),
    [
        ("v1.20.15", ("docker.sock", "containerd/containerd.sock"), ""),
        ("v1.28.5", ("docker.sock", "containerd/containerd.sock"), "containerd/containerd.sock"),
        ("v1.30.2", ("docker.sock", "containerd/containerd.sock", "cri-dockerd.sock"), "cri-dockerd.sock"),
        ("v1.30.2", ("crio/crio.sock",), "crio/crio.sock"),
        ("", ("docker.sock", "containerd/containerd.sock"), ""),
    ],
)
def test_the_runtime_that_kubeadm_is_told_of(
    tmp_path: Path, version: str, sockets: tuple[str, ...], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path may have 107 characters
    for name in sockets:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(name)
        listener.close()
    text = SHELL.read_text().replace("/run/", f"{tmp_path}/")
    script = f"kubeadm() {{ echo {version}; }}\n{text}\njoin_socket"
    told = subprocess.run(
        [shutil.which("dash") or "sh", "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert told.stdout.strip() == (f"unix://{tmp_path}/{named}" if named else "")
