"""Files that static pods name, on the machine, by each shell: looked at without a word of what they hold, copied for
root alone, and put back only where the plan's own sight still holds.
"""

from __future__ import annotations

import hashlib
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from recoverd.model.call import Call
from recoverd.model.file_operations import KeepPodFiles, PutBackPodFile
from recoverd.model.pod_files import EMPTY, Is, PodFileView
from recoverd.observe.hosts import POD_FILES, SCRIPT
from recoverd.observe.look import sections
from recoverd.observe.pod_files import read
from tests.shells import SHELLS, command, sent

CONFIG = "resources: [{providers: [{aescbc: {keys: [{name: k1, secret: c2VjcmV0IGtleQ==}]}}]}]\n"
NO_ETCD = "not_anew() { :; }"
THERE = SCRIPT[SCRIPT.index("there() {") : SCRIPT.index("s boot;")]


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Machine:
    """Files below a directory, and a shell with only its own tools in it where it is busybox."""

    def __init__(self, root: Path, shell: str) -> None:
        self.root, self.shell, self.tools = root, shell, root / "tools"
        self.tools.mkdir(parents=True)
        if shell == "busybox":
            for tool in (
                "stat",
                "find",
                "sha256sum",
                "grep",
                "sed",
                "head",
                "ls",
                "cat",
                "df",
                "du",
                "tail",
                "cut",
                "mv",
            ):
                (self.tools / tool).symlink_to(str(shutil.which("busybox")))
        self.copies = root / "copies"

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def sh(self, script: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{self.tools}:/usr/bin:/bin"}
        return subprocess.run(
            [*command(self.shell), "-c", script], env=environment, capture_output=True, text=True, timeout=30
        )

    def do(self, call: Call | None) -> subprocess.CompletedProcess[str]:
        return self.sh(sent(call, NO_ETCD))

    def look(self, *paths: Path, encrypting: str = "", following: str = "") -> tuple[dict[str, PodFileView], str]:
        head = f"M=@@ E='{encrypting}' W='{following}'\ns() {{ printf '\\n%s\\n' \"$M $*\"; }}\n{THERE}\n{POD_FILES}\n"
        done = self.sh(f"{head}\npod_files {' '.join(map(str, paths))}\ns end")
        found = sections(done.stdout, "@@")
        assert [s.name for s in found] == ["pod-files", "end"], (done.stdout, done.stderr)
        return {p.rpartition("/")[2]: v for p, v in read(found[0].lines).items()}, done.stdout

    def keep(self, *paths: Path) -> subprocess.CompletedProcess[str]:
        return self.do(self.kept(*paths).call())

    def kept(self, *paths: Path) -> KeepPodFiles:
        digests = tuple(hashlib.sha256(p.read_bytes()).hexdigest() for p in paths)
        return KeepPodFiles(tuple(map(str, paths)), digests, str(self.copies))

    def back(self, path: Path, text: str, before: str = "", keep: str = "", mode: str = "640") -> PutBackPodFile:
        return PutBackPodFile(str(path), sha(text), mode, "0:0", before, keep, str(self.copies))


@pytest.fixture(params=SHELLS)
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    return Machine(tmp_path, request.param)


def test_what_is_there_is_told_and_nothing_of_what_it_holds(machine: Machine) -> None:
    config, policy = machine.write("enc.yaml", CONFIG), machine.write("policy.yaml", "kind: Policy\nrules: [secrets]\n")
    config.chmod(0o600)
    empty, large = machine.write("empty", ""), machine.write("large", "x" * 262145)
    link = machine.root / "link"
    link.symlink_to(policy)
    folder, pipe = machine.root / "folder", machine.root / "pipe"
    folder.mkdir()
    subprocess.run(["mkfifo", str(pipe)], check=True)
    paths = (config, policy, empty, large, link, folder, pipe, machine.root / "gone/by")
    found, printed = machine.look(*paths, encrypting=f"{config} {policy}")
    assert {name: view.what for name, view in found.items()} == {
        "enc.yaml": Is.FILE, "policy.yaml": Is.FILE, "empty": Is.FILE, "large": Is.FILE, "link": Is.FILE,
        "folder": Is.DIRECTORY, "pipe": Is.OTHER, "by": Is.GONE,
    }  # fmt: skip
    assert (found["enc.yaml"].sha256, found["enc.yaml"].mode, found["enc.yaml"].owner) == (sha(CONFIG), "600", "0:0")
    assert (found["enc.yaml"].keyed, found["policy.yaml"].keyed) == (True, False)
    assert found["link"].sha256 == found["policy.yaml"].sha256 == sha(policy.read_text())
    assert (found["large"].sha256, found["large"].size) == ("", 262145), "it is not read"
    assert (found["empty"].sha256, found["empty"].lacking, found["folder"].lacking) == (EMPTY, True, True)
    assert found["enc.yaml"].modified_at is not None
    assert "c2VjcmV0" not in printed


KUBECONFIG = """# path: /of/a/comment
clusters:
- name: hook
  cluster: {server: "https://hook/path:8443", certificate-authority: "/etc/hook/ca.crt"}
users:
- name: me
  user:
    client-certificate: tls.crt
    'client-key': ./tls.key
    client-key-data: c2VjcmV0
    token: c2VjcmV0
    password: /secret/path
    tokenFile: /etc/hook/token
- {"name": "x", "path": "/a", "kubeConfigFile":"/b"}
"""


def test_of_what_names_further_files_these_names_are_told_and_nothing_else(machine: Machine) -> None:
    config, other = machine.write("hook.conf", KUBECONFIG), machine.write("other.conf", KUBECONFIG)
    found, printed = machine.look(config, other, machine.root / "gone", following=f"{config} {machine.root}/gone")
    assert found["hook.conf"].names == (
        "certificate-authority /etc/hook/ca.crt", "client-certificate tls.crt", "client-key ./tls.key",
        "tokenFile /etc/hook/token", "path /a", "kubeConfigFile /b",
    )  # fmt: skip
    assert found["other.conf"].names == () and found["other.conf"].sha256
    assert "c2VjcmV0" not in printed and "secret" not in printed and "8443" not in printed


def test_a_file_on_a_disk_that_does_not_answer_is_not_taken_for_gone(machine: Machine) -> None:
    loop = machine.root / "loop"
    loop.symlink_to("loop")
    found, _ = machine.look(loop)
    assert found["loop"].what is Is.UNSEEN


def test_copies_are_whole_and_roots_alone(machine: Machine) -> None:
    config, key = machine.write("enc/enc.yaml", CONFIG), machine.write("pki/sa.key", "a private key\n")
    config.chmod(0o644)
    for _ in range(2):
        done = machine.keep(config, key)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
    copies = {p.name: p.read_text() for p in machine.copies.iterdir()}
    index = copies.pop("index")
    assert copies == {sha(CONFIG): CONFIG, sha("a private key\n"): "a private key\n"}
    assert index == f"{sha(CONFIG)} {config}\n{sha('a private key' + chr(10))} {key}\n"
    assert {stat.S_IMODE(p.stat().st_mode) for p in machine.copies.iterdir()} == {0o600}
    assert stat.S_IMODE(machine.copies.stat().st_mode) == 0o700
    assert machine.do(machine.kept(config, key).check()).returncode == 0
    (machine.copies / sha(CONFIG)).write_text("cut")
    assert machine.do(machine.kept(config, key).check()).returncode == 1


def test_what_was_changed_meanwhile_is_not_copied(machine: Machine) -> None:
    config = machine.write("enc.yaml", CONFIG)
    keep = machine.kept(config)
    config.write_text("another")
    done = machine.do(keep.call())
    assert done.returncode == 3 and "is not what it was" in done.stderr and "another" not in done.stderr
    assert list(machine.copies.iterdir()) == []


def test_old_copies_go_and_what_is_nobodys_stays(machine: Machine) -> None:
    config = machine.write("enc.yaml", CONFIG)
    assert machine.keep(config).returncode == 0
    for number in range(140):
        (machine.copies / f"{number:064x}").touch()
    (machine.copies / "before-prod-1").mkdir()
    assert machine.keep(config).returncode == 0
    left = {p.name for p in machine.copies.iterdir()}
    assert 128 + 2 <= len(left) <= 128 + 3 and {"before-prod-1", "index", sha(CONFIG)} <= left


def test_a_file_that_is_gone_is_put_back_as_it_was(machine: Machine) -> None:
    config = machine.write("enc/enc.yaml", CONFIG)
    assert machine.keep(config).returncode == 0
    shutil.rmtree(config.parent)
    operation = machine.back(config, CONFIG)
    assert machine.do(operation.check()).returncode != 0
    for _ in range(2):
        done = machine.do(operation.call())
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert config.read_text() == CONFIG and stat.S_IMODE(config.stat().st_mode) == 0o640
    assert [p.name for p in config.parent.iterdir()] == ["enc.yaml"]
    assert machine.do(operation.check()).returncode == 0
    assert "c2VjcmV0" not in operation.command() + operation.title, "a plan shows no secret"


def test_what_kubelet_and_a_runtime_put_in_its_place_gives_way(machine: Machine) -> None:
    config = machine.write("haproxy.cfg", "frontend\n")
    assert machine.keep(config).returncode == 0
    config.unlink()
    config.mkdir()
    assert machine.do(machine.back(config, "frontend\n").call()).returncode == 0
    assert config.read_text() == "frontend\n"
    config.write_text("")
    keep = machine.root / "aside/haproxy.cfg"
    assert machine.do(machine.back(config, "frontend\n", before=EMPTY, keep=str(keep)).call()).returncode == 0
    assert (config.read_text(), keep.read_text()) == ("frontend\n", "")


def test_nobodys_newer_file_is_overwritten(machine: Machine) -> None:
    config = machine.write("enc.yaml", CONFIG)
    assert machine.keep(config).returncode == 0
    config.write_text("a person's")
    folder = machine.root / "folder"
    (folder / "in").mkdir(parents=True)
    for operation in (
        machine.back(config, CONFIG),
        machine.back(config, CONFIG, before=sha("what the plan saw")),
        machine.back(folder, CONFIG),
    ):
        done = machine.do(operation.call())
        assert done.returncode == 3, (operation, done.stderr)
    assert config.read_text() == "a person's" and (folder / "in").is_dir()
    asked = machine.back(config, CONFIG, before=sha("a person's"), keep=f"{machine.root}/aside/enc.yaml")
    assert machine.do(asked.call()).returncode == 0
    assert (config.read_text(), (machine.root / "aside/enc.yaml").read_text()) == (CONFIG, "a person's")
    assert stat.S_IMODE((machine.root / "aside").stat().st_mode) == 0o700


def test_without_a_whole_copy_nothing_is_done(machine: Machine) -> None:
    config = machine.write("enc.yaml", CONFIG)
    assert machine.keep(config).returncode == 0
    config.unlink()
    (machine.copies / sha(CONFIG)).write_text(CONFIG[:-3])
    done = machine.do(machine.back(config, CONFIG).call())
    assert done.returncode == 3 and "from a backup" in done.stderr
    assert not config.exists()


def test_nothing_is_put_back_where_etcd_would_begin_anew(machine: Machine) -> None:
    config = machine.write("enc.yaml", CONFIG)
    assert machine.keep(config).returncode == 0
    config.unlink()
    refuses = 'not_anew() { refuse "$1 would start etcd over nothing"; }'
    done = machine.sh(sent(machine.back(config, CONFIG).call(), refuses))
    assert done.returncode == 3 and "over nothing" in done.stderr and not config.exists()


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
def test_a_key_does_not_go_beside_a_certificate_of_another_one(machine: Machine) -> None:
    key, certificate = machine.root / "pki/apiserver.key", machine.root / "pki/apiserver.crt"
    key.parent.mkdir()
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for _ in range(2):
        subprocess.run(
            [*make, "-subj", "/CN=x", "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True
        )
        if not machine.copies.exists():
            assert machine.keep(key).returncode == 0
            first = key.read_text()
    second = key.read_text()
    assert machine.keep(key).returncode == 0
    key.unlink()
    done = machine.do(machine.back(key, first, mode="600").call())
    assert done.returncode == 3 and "another key's" in done.stderr and not key.exists()
    assert machine.do(machine.back(key, second, mode="600").call()).returncode == 0
    assert key.read_text() == second


def test_a_restore_point_takes_the_copies_that_are_whole_and_says_which(machine: Machine) -> None:
    config, policy, lost = (machine.write(f"etc/{n}.yaml", n) for n in ("enc", "policy", "lost"))
    target = machine.root / "point/pod-files"
    target.parent.mkdir()
    take = Call.of("point_pod_files", str(machine.copies), str(target))
    assert machine.do(take).returncode == 0 and not target.exists(), "there is none"
    assert machine.keep(config, policy, lost).returncode == 0
    (machine.copies / sha("lost")).write_text("cut")
    done = machine.do(take)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {p.name: p.read_text() for p in target.iterdir()} == {
        sha("enc"): "enc",
        sha("policy"): "policy",
        "index": f"{sha('enc')} {config}\n{sha('policy')} {policy}\n",
    }
