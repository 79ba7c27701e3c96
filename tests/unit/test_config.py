"""The configuration file: what is accepted, and that every mistake is named with its place."""

from __future__ import annotations

import base64
import grp
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from recoverd.cli.daemon import main
from recoverd.config import ConfigError, load
from recoverd.config.types import Access, Heartbeat
from recoverd.model.news import Topic
from recoverd.model.settings import Approval, FleetBounds, Mode, PersonsNeeded


def certified(days: int = 365) -> tuple[bytes, bytes]:
    """A certificate that is valid for so many days from now, which may be over, and its key; in PEM."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name, until = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "recoverd")]), now + timedelta(days=days, hours=1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(min(now, until) - timedelta(days=1)).not_valid_after(until)
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    private = key.private_bytes(pem, form, serialization.NoEncryption())
    return builder.sign(key, hashes.SHA256()).public_bytes(pem), private


def user(certificate: bytes, key: bytes) -> dict[str, Any]:
    """Who holds the two, as a kubeconfig has it."""
    data = {"client-certificate-data": certificate, "client-key-data": key}
    return {name: base64.b64encode(pem).decode() for name, pem in data.items()}


GOOD = user(*certified())
KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "c",
    "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
    "clusters": [{"name": "k", "cluster": {"server": "https://k8s-api:6443"}}],
    "users": [{"name": "u", "user": GOOD}],
}


@pytest.fixture(scope="module")
def ssh_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen (Debian package openssh-client) is not installed")
    path = tmp_path_factory.mktemp("key") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


class Folder:
    """A folder with everything that a good configuration needs; tests spoil parts of it."""

    def __init__(self, path: Path, key: Path) -> None:
        self.path = path
        shutil.copy(key, path / "id")
        (path / "id").chmod(0o600)
        public = key.with_suffix(".pub").read_text().split()
        (path / "known_hosts").write_text(f"10.99.1.11,10.99.1.21 {public[0]} {public[1]}\n")
        (path / "kubeconfig").write_text(yaml.safe_dump(KUBECONFIG))
        (path / "kubeconfig").chmod(0o600)
        self.cluster: dict[str, Any] = {
            "name": "prod",
            "kubeconfig": "kubeconfig",
            "ssh": {"key": "id", "known_hosts": "known_hosts"},
            "control_planes": [{"name": "cp1", "address": "10.99.1.11"}],
            "workers": [{"name": "w1", "address": "10.99.1.21"}],
        }
        self.file: dict[str, Any] = {"clusters": [self.cluster]}

    def write(self, text: str | None = None) -> Path:
        file = self.path / "recoverd.yaml"
        file.write_text(text if text is not None else yaml.safe_dump(self.file))
        return file

    def errors(self, text: str | None = None, **options: Any) -> dict[str, str]:
        with pytest.raises(ConfigError) as caught:
            load(self.write(text), **options)
        return dict(caught.value.errors)

    def said(self, text: str) -> str:
        """What a person reads of it."""
        with pytest.raises(ConfigError) as caught:
            load(self.write(text))
        return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path, ssh_key: Path) -> Folder:
    return Folder(tmp_path, ssh_key)


def test_a_good_file_is_taken_with_durations_defaults_and_relative_paths(folder: Folder) -> None:
    folder.file["defaults"] = {
        "interval": "10s",
        "bounds": {"cooldown": "2h", "attempts": 5},
        "approval": {"remove-member": "never"},
    }
    folder.cluster["bounds"] = {"attempts": 1}
    config = load(folder.write(), known_playbooks=["remove-member"])
    cluster = config.clusters[0]
    assert (cluster.interval, cluster.settings.bounds.cooldown, cluster.settings.bounds.attempts) == (10.0, 7200.0, 1)
    assert cluster.settings.approval_of("remove-member") is Approval.NEVER
    assert cluster.settings.approval_of("restore-manifest") is Approval.AUTOMATIC
    assert cluster.settings.approval_of("force-new-cluster") is Approval.REQUIRED
    assert cluster.ssh.key == folder.path / "id"
    assert config.listen == ("127.0.0.1", 9770) and not config.warnings


def test_every_mistake_is_named_at_once(folder: Folder) -> None:
    folder.cluster["intervall"] = "5s"
    folder.cluster["ssh"]["prot"] = 22
    folder.cluster["control_planes"][0]["address"] = "10.99.1.300"
    folder.file["listen"] = "nonsense"
    errors = folder.errors()
    assert "did you mean interval" in errors["clusters[0].intervall"]
    assert "did you mean port" in errors["clusters[0].ssh.prot"]
    assert "10.99.1.300" in errors["clusters[0].control_planes[0].address"]
    assert "HOST:PORT" in errors["listen"]


@pytest.mark.parametrize(
    ("change", "where", "what"),
    [
        ({"interval": "0.1s"}, "clusters[0].interval", "greater than or equal to 1"),
        ({"interval": "5 parsecs"}, "clusters[0].interval", "no duration"),
        ({"bounds": {"attempts": 0}}, "clusters[0].bounds.attempts", "greater than or equal to 1"),
        ({"deadlines": {"api": 0}}, "clusters[0].deadlines.api", "greater than 0"),
        ({"bounds": {"person_at_work": "wait"}}, "clusters[0].bounds.person_at_work", "ask, ignore, or the idle time"),
        ({"bounds": {"person_at_work": True}}, "clusters[0].bounds.person_at_work", "ask, ignore, or the idle time"),
        ({"bounds": {"person_at_work": "10s"}}, "clusters[0].bounds.person_at_work", "1m at least"),
        ({"name": "Prod!"}, "clusters[0].name", "RFC 1123"),
        ({"control_planes": []}, "clusters[0].control_planes", "at least 1"),
        ({"approval": {"remove-member": "maybe"}}, "clusters[0].approval.remove-member", "automatic"),
        ({"approval": {"remove-membr": "never"}}, "clusters[0].approval.remove-membr", "did you mean remove-member"),
        ({"kubeconfig": "nowhere"}, "clusters[0].kubeconfig", "No such file"),
    ],
)
def test_a_value_that_makes_no_sense(folder: Folder, change: dict[str, Any], where: str, what: str) -> None:
    folder.cluster.update(change)
    assert what in folder.errors(known_playbooks=["remove-member"])[where]


def test_a_mistake_elsewhere_does_not_make_the_defaults_missing(folder: Folder) -> None:
    folder.file["defaults"] = {"ssh": folder.cluster.pop("ssh")}
    folder.file["listne"] = "127.0.0.1:9770"
    assert folder.errors() == {"listne": "unknown key; did you mean listen?"}


def test_how_a_person_at_work_counts(folder: Folder) -> None:
    for wanted, means in (("ask", "ask"), ("ignore", "ignore"), ("15m", 900.0), (3600, 3600.0)):
        folder.cluster["bounds"] = {"person_at_work": wanted}
        assert load(folder.write()).clusters[0].settings.bounds.person_at_work == means


def test_names_and_addresses_must_be_unique(folder: Folder) -> None:
    folder.cluster["workers"] = [{"name": "cp1", "address": "10.99.1.11"}]
    folder.file["clusters"] = [folder.cluster, {**folder.cluster, "workers": []}]
    errors = folder.errors()
    assert "clusters[0].control_planes[0] already" in errors["clusters[0].workers[0].name"]
    assert "clusters[0].control_planes[0] already" in errors["clusters[0].workers[0].address"]
    assert "clusters[0] already" in errors["clusters[1].name"]
    assert "another cluster" in errors["clusters[1].control_planes[0].address"]


def test_a_key_that_others_can_read_is_refused_and_one_that_systemd_guards_is_not(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.path / "id").chmod(0o640)
    assert "chmod 600" in folder.errors()["clusters[0].ssh.key"]
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder.path))
    folder.cluster["ssh"]["key"] = "$CREDENTIALS_DIRECTORY/id"
    assert load(folder.write()).clusters[0].ssh.key == folder.path / "id"


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_an_unreadable_file_is_named(folder: Folder) -> None:
    (folder.path / "known_hosts").chmod(0)
    assert "Permission denied" in folder.errors()["clusters[0].ssh.known_hosts"]


def test_what_is_no_key_no_kubeconfig_or_has_no_host_key(folder: Folder) -> None:
    (folder.path / "id").write_text("hello")
    (folder.path / "kubeconfig").write_text(yaml.safe_dump({**KUBECONFIG, "users": []}))
    errors = folder.errors()
    assert "no SSH private key" in errors["clusters[0].ssh.key"]
    assert "no credentials" in errors["clusters[0].kubeconfig"]


def test_what_is_wrong_in_one_place_hides_nothing_elsewhere(folder: Folder) -> None:
    """A value of the wrong type let everything that is looked up go unsaid: the next run told of that, and so on."""
    folder.cluster["interval"] = "fast"
    folder.cluster["ssh"]["key"] = "nowhere"
    folder.cluster["approval"] = {"restore-manifst": "never", "remove-member": "yes"}
    folder.cluster["workers"] += [{"name": "w1", "address": "10.99.1.22"}, {"name": "w3"}]
    other = {"name": "prod", "kubeconfig": "none", "ssh": None, "control_planes": []}
    folder.file["clusters"].append(other)
    folder.file |= {"notifications": [{"name": "pager", "url_file": "none", "on": ["confirmd"]}], "socket": "x" * 108}
    assert {at: what.split(";")[0] for at, what in folder.errors(known_playbooks=["restore-manifest"]).items()} == {
        "clusters[0].interval": "'fast' is no duration",
        "clusters[0].ssh.key": f"{folder.path}/nowhere cannot be read: No such file or directory",
        "clusters[0].approval.restore-manifst": "unknown playbook",
        "clusters[0].approval.remove-member": "'yes' is not possible here",
        "clusters[0].workers[1].name": "'w1' is the name of clusters[0].workers[0] already",
        "clusters[0].workers[2].address": "is missing",
        "clusters[1].name": "'prod' is the name of clusters[0] already",
        "clusters[1].kubeconfig": f"{folder.path}/none cannot be read: No such file or directory",
        "clusters[1].ssh": "is empty",
        "clusters[1].control_planes": "has too few entries",
        "notifications[0].on[0]": "'confirmd' is not possible here",
        "notifications[0].url_file": f"{folder.path}/none cannot be read: No such file or directory",
        "socket": f"{folder.path}/{'x' * 108} is too long: a Unix socket's path has 107 bytes at most",
    }


def test_what_defaults_would_give_is_not_missing_where_they_are_wrong(folder: Folder) -> None:
    folder.file["defaults"] = {"ssh": "root", "bounds": {"atempts": 3}}
    del folder.cluster["ssh"]
    errors = folder.errors()
    assert "stands where keys belong" in errors["defaults.ssh"] and "did you mean attempts?" in "".join(errors.values())
    assert set(errors) == {"defaults.ssh", "defaults.bounds.atempts"}


def test_a_machine_is_in_one_cluster(folder: Folder) -> None:
    """Each of the two would restart and reboot it."""
    folder.cluster["workers"].append({"name": "w6", "address": "fd00::1"})
    other = {**folder.cluster, "name": "test", "control_planes": [{"name": "cp1", "address": "10.99.2.11"}]}
    other["workers"] = [
        {"name": "a", "address": "10.99.1.21"},
        {"name": "b", "address": "10.99.1.11"},
        {"name": "c", "address": "FD00:0::1"},
    ]
    folder.file["clusters"].append(other)
    errors = folder.errors()
    assert "a worker of another cluster already (clusters[0].workers[0])" in errors["clusters[1].workers[0].address"]
    assert "a control plane of another cluster already" in errors["clusters[1].workers[1].address"]
    assert "a worker of another cluster already (clusters[0].workers[1])" in errors["clusters[1].workers[2].address"]
    other["ssh"] = {**folder.cluster["ssh"], "jump": "elsewhere"}
    assert load(folder.write()).clusters, "another network may have the same addresses"


def test_an_address_that_is_spelled_in_two_ways_is_one(folder: Folder) -> None:
    folder.cluster["workers"] = [{"name": "w1", "address": "fd00::1"}, {"name": "w2", "address": "fd00:0::1"}]
    assert "is the address of clusters[0].workers[0] already" in folder.errors()["clusters[0].workers[1].address"]


def test_an_anchor_that_is_merged_above_where_it_is_overridden_is_no_key_that_stands_twice(folder: Folder) -> None:
    text = yaml.safe_dump(folder.file)
    anchors = "defaults:\n  bounds:\n    <<: &b {<<: &a {attempts: 2}, attempts: 1}\n  canary: {}\n"
    assert load(folder.write(anchors + text)).clusters[0].settings.bounds.attempts == 1


def test_where_no_socket_can_be_made_is_said_before_the_start(folder: Folder) -> None:
    folder.file["socket"] = str(folder.path)
    assert "is there and no socket" in folder.errors()["socket"]


def test_a_host_without_a_known_key_is_a_warning(folder: Folder) -> None:
    folder.cluster["workers"].append({"name": "w2", "address": "10.99.1.22"})
    ((where, what),) = load(folder.write()).warnings
    assert where == "clusters[0].ssh.known_hosts" and "ssh-keyscan 10.99.1.22" in what


def test_broken_yaml_has_its_line_and_a_key_that_stands_twice_is_refused(folder: Folder) -> None:
    assert folder.said("clusters:\n  - {name: [}\n").startswith(f"{folder.path}/recoverd.yaml:2: column ")
    assert folder.said("a: 1\nb: \x07\n").startswith(f"{folder.path}/recoverd.yaml:2: the character U+0007 ")
    errors = folder.errors("clusters:\n  - name: a\n    name: b\nlisten: x\nlisten: 127.0.0.1:1\n")
    assert errors["clusters[0].name"] == "the key 'name' stands twice, at first in line 2; take one of them out"
    assert "'listen' stands twice, at first in line 4" in errors["listen"]
    assert errors["clusters[0].kubeconfig"] == "is missing", "the rest is looked at all the same"
    assert "clusters" in folder.errors("")


def test_defaults_are_merged_key_by_key_and_their_mistakes_are_named_where_they_stand(folder: Folder) -> None:
    other = {
        **folder.cluster,
        "name": "test",
        "control_planes": [{"name": "cp1", "address": "10.99.2.11"}],
        "workers": [],
        "ssh": {"user": "ops"},
    }
    folder.file["defaults"] = {
        "ssh": {**folder.cluster.pop("ssh"), "port": 2222},
        "deadlines": {"api": "2s"},
        "approval": {"restore-manifest": "required"},
    }
    folder.cluster["deadlines"] = {"etcd": "1s"}
    folder.file["clusters"].append(other)
    one, two = load(folder.write(), known_playbooks=["restore-manifest"]).clusters
    assert (one.ssh.user, two.ssh.user, one.ssh.port, two.ssh.port) == ("root", "ops", 2222, 2222)
    assert (one.deadlines.api, one.deadlines.etcd, one.deadlines.hosts) == (2.0, 1.0, 4.0)
    assert two.settings.approval_of("restore-manifest") is Approval.REQUIRED
    folder.file["defaults"] |= {"interval": "soon", "bounds": {"attempts": 0}}
    folder.file["defaults"]["ssh"]["prot"] = 1
    folder.cluster["interval"] = "5s"
    errors = folder.errors()
    assert set(errors) == {"defaults.interval", "defaults.bounds.attempts", "defaults.ssh.prot"}


@pytest.mark.parametrize(
    "jump",
    [
        "user@",
        "host:port",
        "host:0",
        "a.example,b.example",
        "ssh://host",
        "host/path",
        "u:password@host",
        "10.0.0.300",
        "",
    ],
)
def test_a_jump_host_that_is_none(folder: Folder, jump: str) -> None:
    folder.cluster["ssh"]["jump"] = jump
    assert "clusters[0].ssh.jump" in folder.errors()


def test_a_jump_hosts_key_must_be_known_too(folder: Folder) -> None:
    folder.cluster["ssh"]["jump"] = "ops@bastion.example:2222"
    ((where, what),) = load(folder.write()).warnings
    assert (
        where == "clusters[0].ssh.known_hosts" and "jump host" in what and "ssh-keyscan -p 2222 bastion.example" in what
    )


def test_paths_are_relative_to_the_file_and_not_to_where_one_stands(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any
) -> None:
    folder.file |= {"state_dir": "state", "socket": "run/control.sock"}
    folder.write()
    monkeypatch.chdir(folder.path)
    config = load(Path("recoverd.yaml"))
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert (config.state_dir, config.socket) == (folder.path / "state", folder.path / "run/control.sock")
    assert config.clusters[0].kubeconfig == folder.path / "kubeconfig" and config.clusters[0].kubeconfig.exists()


def test_a_kubeconfig_that_everybody_can_read_and_a_key_with_a_passphrase(folder: Folder) -> None:
    (folder.path / "kubeconfig").chmod(0o644)
    (folder.path / "id").unlink()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", folder.path / "id"], check=True)
    errors = folder.errors()
    assert "chmod 600" in errors["clusters[0].kubeconfig"]
    assert "passphrase" in errors["clusters[0].ssh.key"]


def test_the_command_prints_every_error_with_its_file_and_place(folder: Folder) -> None:
    from click.testing import CliRunner

    from recoverd.cli.daemon import main

    good = CliRunner().invoke(main, ["check-config", str(folder.write())])
    assert (good.exit_code, "force-new-cluster" in good.output, "is good" in good.output) == (0, True, True)
    folder.cluster["approval"] = {"restore-manifst": "never"}
    (folder.path / "id").chmod(0o644)
    bad = CliRunner().invoke(main, ["check-config", str(folder.write())])
    assert bad.exit_code == 2
    for part in (
        "recoverd.yaml:10: clusters[0].ssh.key: ",
        "recoverd.yaml:3: clusters[0].approval.restore-manifst: ",
        "did you mean restore-manifest?",
    ):
        assert part in bad.output
    assert CliRunner().invoke(main, ["check-config", str(folder.path / "nowhere.yaml")]).exit_code == 2


# --- who is told ---


def told(folder: Folder, url: str, **changes: Any) -> None:
    (folder.path / "url").write_text(f"# of the on-call team\n{url}\n")
    (folder.path / "url").chmod(0o600)
    folder.file["notifications"] = [{"name": "oncall", "url_file": "url"} | changes]


def test_who_is_told_of_what_and_of_which_clusters(folder: Folder) -> None:
    told(folder, "json://127.0.0.1/hunter2")
    folder.file["heartbeat"] = {"url_file": "beat", "every": "1m"}
    (folder.path / "beat").write_text("https://hc.example.org/hunter2")
    (folder.path / "beat").chmod(0o600)
    config = load(folder.write())
    (receiver,) = config.notifications
    assert (receiver.name, receiver.kind, receiver.url_file) == ("oncall", "apprise", folder.path / "url")
    assert receiver.on == set(Topic) and receiver.clusters == {"prod"}
    assert config.heartbeat == Heartbeat(folder.path / "beat", 60.0)
    assert "hunter2" not in repr(config)


def test_the_word_on_is_a_key_though_yaml_reads_it_as_true(folder: Folder) -> None:
    told(folder, "json://127.0.0.1/hunter2")
    text = folder.write().read_text().replace("url_file: url", "url_file: url\n  on: [waiting, escalated]")
    assert load(folder.write(text)).notifications[0].on == {Topic.WAITING, Topic.ESCALATED}


@pytest.mark.parametrize(
    ("url", "change", "where", "what"),
    [
        ("nonsense://hunter2", {}, "url_file", "apprise knows no such URL"),
        ("slack://hunter2", {}, "url_file", "apprise knows no such URL"),
        ("json://127.0.0.1/hunter2\njson://127.0.0.1/hunter2", {}, "url_file", "holds 2 URLs"),
        ("", {}, "url_file", "holds no URL"),
        ("json://127.0.0.1/hunter2", {"url_file": "nowhere"}, "url_file", "No such file"),
        ("json://127.0.0.1/hunter2", {"kind": "alertmanager"}, "url_file", "no http:// or https:// URL"),
        ("http://127.0.0.1:hunter2", {"kind": "alertmanager"}, "url_file", "no http:// or https:// URL"),
        ("json://127.0.0.1/hunter2", {"clusters": ["prod", "prdo"]}, "clusters[1]", "did you mean prod?"),
        ("json://127.0.0.1/hunter2", {"on": ["wating"]}, "on[0]", "'waiting'"),
        ("json://127.0.0.1/hunter2", {"on": []}, "on", "at least 1"),
        ("json://127.0.0.1/hunter2", {"name": "heartbeat"}, "name", "sign of life"),
    ],
)
def test_a_receiver_that_cannot_be_told_is_named_without_its_url(
    folder: Folder, url: str, change: dict[str, Any], where: str, what: str
) -> None:
    told(folder, url, **change)
    errors = folder.errors()
    assert what in errors[f"notifications[0].{where}"]
    assert "hunter2" not in str(errors)


def test_a_url_that_everybody_can_read_is_refused(folder: Folder) -> None:
    told(folder, "json://127.0.0.1/hunter2")
    (folder.path / "url").chmod(0o644)
    assert "can be read by everybody" in folder.errors()["notifications[0].url_file"]


def test_a_mode_is_of_one_cluster_or_of_all_and_its_mistake_is_named_where_it_stands(folder: Folder) -> None:
    assert load(folder.write()).clusters[0].settings.mode is Mode.ACT
    folder.file["defaults"] = {"mode": "observe"}
    settings = load(folder.write()).clusters[0].settings
    assert settings.observes and "recoverd only observes prod (mode: observe" in settings.hands_off
    folder.cluster["mode"] = "act"
    settings = load(folder.write()).clusters[0].settings
    assert (settings.observes, settings.hands_off) == (False, "")
    del folder.cluster["mode"]
    folder.file["defaults"] = {"mode": "watch"}
    assert set(folder.errors()) == {"defaults.mode"}


# --- who may ask for what ---


def test_without_access_everybody_may_and_one_person_is_enough(folder: Folder) -> None:
    config = load(folder.write())
    assert config.access is None and config.clusters[0].settings.persons == PersonsNeeded()


def test_groups_and_persons_are_taken_for_every_cluster(folder: Folder) -> None:
    group = grp.getgrgid(0).gr_name
    folder.file["access"] = {"view": [group], "approve": [group], "destructive_needs": 2, "emergency": True}
    config = load(folder.write())
    assert config.access == Access((group,), (group,)) and config.warnings == ()
    assert all(c.settings.persons == PersonsNeeded(2, emergency=True) for c in config.clusters)
    folder.file["access"] = {"destructive_needs": 2}
    assert load(folder.write()).access == Access(None, None)


def test_what_hardly_is_meant_of_access_is_told_with_its_line(folder: Folder) -> None:
    folder.file["access"] = {"approve": ["no-such-group-here"], "emergency": True}
    file = folder.write()
    config = load(file)
    assert [path for path, _ in config.warnings] == ["access.approve[0]", "access.emergency"]
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if "no-such-group-here" in text)
    assert config.lines["access.approve[0]"] == line
    result = CliRunner().invoke(main, ["check-config", str(file)])
    assert result.exit_code == 0
    assert f"{file}:{line}: access.approve[0]: warning: there is no group no-such-group-here" in result.output


@pytest.mark.parametrize(
    ("access", "path", "what"),
    [
        ({"aprove": ["a"]}, "access.aprove", "did you mean approve?"),
        ({"view": ["a"]}, "access.view", "nothing says who may approve"),
        ({"approve": []}, "access.approve", "at least 1"),
        ({"approve": "sre"}, "access.approve", "list"),
        ({"destructive_needs": 3}, "access.destructive_needs", "2"),
        ({"destructive_needs": 0}, "access.destructive_needs", "1"),
    ],
)
def test_access_that_cannot_be_meant(folder: Folder, access: dict[str, Any], path: str, what: str) -> None:
    folder.file["access"] = access
    assert what in folder.errors()[path]


def test_what_holds_for_all_clusters_together_has_defaults_and_is_checked(folder: Folder) -> None:
    assert load(folder.write()).fleet == FleetBounds()
    folder.file["fleet"] = {"acting_at_once": 1, "same_fault_share": "50%", "same_fault_within": "10m"}
    assert load(folder.write()).fleet == FleetBounds(1, 3, "50%", 600.0)
    folder.file["fleet"] = {"acting_at_once": 0, "same_fault_clusters": 1, "same_fault_share": "a third", "share": "9%"}
    assert set(folder.errors()) == {
        "fleet.acting_at_once",
        "fleet.same_fault_clusters",
        "fleet.same_fault_share",
        "fleet.share",
    }
