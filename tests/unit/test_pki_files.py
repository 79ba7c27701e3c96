"""What the commands that keep and put back certificates do to files, symbolic links among them."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from recoverd.model.pki_operations import KeepPki, PutBackPki
from tests.shells import sent


def sh(operation: KeepPki | PutBackPki) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", sent(operation.call())], capture_output=True, text=True, check=False)


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A /etc/kubernetes whose pki holds every kind of symbolic link: to a file elsewhere, within,
    to a directory, and to nothing.
    """
    kubernetes, shared = tmp_path / "etc/kubernetes", tmp_path / "shared"
    for folder in (kubernetes / "pki", shared / "etcd"):
        folder.mkdir(parents=True)
    (kubernetes / "pki/sa.key").write_text("own key")
    (shared / "ca.crt").write_text("good CA")
    (shared / "ca.crt").chmod(0o640)
    (shared / "etcd/ca.crt").write_text("good CA of etcd")
    (kubernetes / "pki/ca.crt").symlink_to("../../../shared/ca.crt")
    (kubernetes / "pki/front-proxy-ca.crt").symlink_to("ca.crt")
    (kubernetes / "pki/etcd").symlink_to(shared / "etcd")
    (kubernetes / "pki/.#ca.crt").symlink_to("somebody@machine.7")
    (shared / "admin.conf").write_text("good")
    (kubernetes / "admin.conf").symlink_to(shared / "admin.conf")
    return kubernetes


CONTENT = {
    "pki/sa.key": "own key",
    "pki/ca.crt": "good CA",
    "pki/front-proxy-ca.crt": "good CA",
    "pki/etcd/ca.crt": "good CA of etcd",
    "admin.conf": "good",
}


def test_what_links_point_to_is_kept_and_put_back_as_files_whatever_became_of_it(linked: Path, tmp_path: Path) -> None:
    kept, aside, shared = tmp_path / "kept/0123456789abcdef", tmp_path / "kept/before-prod-1", tmp_path / "shared"
    keep = sh(KeepPki(str(kept), kubernetes=str(linked)))
    assert keep.returncode == 0, keep.stderr
    (shared / "ca.crt").write_text("made anew")
    (shared / "etcd/ca.crt").unlink()
    (shared / "admin.conf").write_text("made anew")
    assert {f: (kept / f).read_text() for f in CONTENT} == CONTENT
    assert [p.name for p in kept.rglob("*") if p.is_symlink()] == [".#ca.crt"]
    assert stat.S_IMODE((kept / "pki/ca.crt").stat().st_mode) == 0o640

    put = sh(PutBackPki(str(kept), str(aside), kubernetes=str(linked)))
    assert put.returncode == 0, put.stderr
    assert {f: (linked / f).read_text() for f in CONTENT} == CONTENT
    assert [p.name for p in linked.rglob("*") if p.is_symlink()] == [".#ca.crt"]
    assert (shared / "ca.crt").read_text() == "made anew", "what is not kubeadm's is left alone"

    found = {f: (aside / f).read_text() for f in CONTENT if (aside / f).exists()}
    changed = {"pki/ca.crt": "made anew", "pki/front-proxy-ca.crt": "made anew", "admin.conf": "made anew"}
    assert found == {f: t for f, t in {**CONTENT, **changed}.items() if f != "pki/etcd/ca.crt"}
    assert sh(PutBackPki(str(aside), kubernetes=str(linked))).returncode == 0
    assert {f: (linked / f).read_text() for f in CONTENT if (linked / f).exists()} == found


def test_a_copy_that_is_not_whole_is_none(linked: Path, tmp_path: Path) -> None:
    """As when the disk is full: cp tells the same by its exit status for that and for a link that leads nowhere."""
    kept, cp = tmp_path / "kept/0123456789abcdef", tmp_path / "bin/cp"
    cp.parent.mkdir()
    cp.write_text('#!/bin/sh\n/bin/cp "$@"\nfor to; do :; done\n: > "$to"/sa.key\nexit 1\n')
    cp.chmod(0o755)
    keep = KeepPki(str(kept), kubernetes=str(linked))
    done = subprocess.run(
        ["sh", "-c", f"PATH={cp.parent}:$PATH\n{sent(keep.call())}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3 and "not all of" in done.stderr
    assert not kept.exists()
