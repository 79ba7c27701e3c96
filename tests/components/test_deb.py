"""The Debian package, where `make deb` has built it: unpacked beside the system and run by Debian's own Python."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = Path("/usr/bin/python3")
BUILT = sorted((ROOT / "dist").glob("recoverd_*.deb"))
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not BUILT or shutil.which("dpkg-deb") is None, reason="no package in dist; `make deb` builds it on Debian"
    ),
]
LIBRARY = "usr/lib/recoverd"
RUN = "import sys; sys.path.insert(0, {library!r}); from recoverd.cli.{module} import main; main(prog_name={name!r})"


def said(*command: str | Path) -> str:
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("deb")
    said("dpkg-deb", "-R", BUILT[-1], place)
    return place


def packaged(unpacked: Path, *words: str) -> str:
    """What its program says, with nothing of this checkout or environment on its path."""
    module = {"recoverd": "daemon", "recoverctl": "ctl"}[words[0]]
    code = RUN.format(library=str(unpacked / LIBRARY), module=module, name=words[0])
    return said(PYTHON, "-ISBc", code, *words[1:])


def test_it_carries_what_the_lock_file_names(unpacked: Path) -> None:
    pins = re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    carried = {
        d.metadata["Name"].lower().replace("_", "-"): d.version for d in distributions(path=[str(unpacked / LIBRARY)])
    }
    assert carried.pop("recoverd")
    assert carried == {name.lower(): version for name, version in pins}


@pytest.mark.skipif(not PYTHON.exists(), reason="no Python of Debian's own")
def test_its_program_runs_alone(unpacked: Path) -> None:
    assert packaged(unpacked, "recoverd", "example-config") == (ROOT / "config/recoverd.yaml").read_text()
    assert "healthy" in packaged(unpacked, "recoverd", "drill", "join-stuck", "--approve")
    assert "audit" in packaged(unpacked, "recoverctl", "--help")


@pytest.mark.skipif(not PYTHON.exists(), reason="no Python of Debian's own")
def test_every_module_of_it_can_be_loaded_though_parts_of_the_kubernetes_client_were_left_out(unpacked: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(unpacked / LIBRARY)!r})\n"
        "import importlib, pkgutil, recoverd\n"
        "for m in pkgutil.walk_packages(recoverd.__path__, 'recoverd.'):\n"
        "    m.name.endswith('__main__') or importlib.import_module(m.name)\n"
    )
    assert said(PYTHON, "-ISBc", code) == ""


def test_what_its_unit_and_scripts_name_is_in_it(unpacked: Path) -> None:
    unit = (unpacked / "lib/systemd/system/recoverd.service").read_text()
    assert "ExecStart=/usr/bin/recoverd run --config /etc/recoverd/recoverd.yaml" in unit
    assert "/opt/" not in unit and "AssertPathExists=/etc/recoverd/recoverd.yaml" in unit
    for file in (
        "usr/bin/recoverd usr/bin/recoverctl usr/lib/sysusers.d/recoverd.conf usr/lib/tmpfiles.d/recoverd.conf "
        "usr/share/man/man8/recoverd.8.gz usr/share/man/man8/recoverd-doctor.8.gz usr/share/man/man1/recoverctl.1.gz "
        "usr/share/man/man1/recoverctl-approve.1.gz usr/share/man/man5/recoverd.yaml.5.gz "
        "usr/share/recoverd/alerts/recoverd.yml usr/share/recoverd/grafana/recoverd.json "
        "usr/share/doc/recoverd/copyright usr/share/doc/recoverd/examples/rbac.yaml "
        "usr/share/doc/recoverd/docs/install.md"
    ).split():
        assert (unpacked / file).is_file(), file
    for script in ("postinst", "prerm", "postrm"):
        text = (unpacked / "DEBIAN" / script).read_text()
        assert not re.search(r"systemctl (\S+ )*(enable|start|restart)\b", text), "nothing is enabled or started"
    assert not (unpacked / "DEBIAN/conffiles").exists(), "dpkg has nothing to ask about"


def test_its_completions_are_read_by_their_shells(unpacked: Path) -> None:
    share = unpacked / "usr/share"
    file = share / "bash-completion/completions/recoverctl"
    assert "_recoverctl_completion" in said("bash", "-c", f". {file}; complete -p recoverctl")
    for shell, script in (
        ("zsh", "zsh/vendor-completions/_recoverctl"),
        ("fish", "fish/vendor_completions.d/recoverctl.fish"),
    ):
        if shutil.which(shell):
            said(shell, "-n", share / script)


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
def test_its_manual_pages_are_set_without_a_warning(unpacked: Path) -> None:
    pages = sorted((unpacked / "usr/share/man").rglob("*.gz"))
    assert len(pages) > 30
    for page in pages:
        shown = subprocess.run(
            ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", page], capture_output=True, text=True, check=False
        )
        assert (shown.returncode, shown.stderr) == (0, ""), page.name
        assert "recoverd.yaml(5)" in shown.stdout, page.name


def test_nothing_of_the_machine_that_built_it_is_in_it(unpacked: Path) -> None:
    build = str(ROOT).encode()
    found = [f for f in unpacked.rglob("*") if f.is_file() and build in f.read_bytes()]
    assert found == []
