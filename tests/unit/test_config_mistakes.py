"""Mistakes in the configuration: each with its line, in the words of who wrote it, and none called good."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from click.testing import CliRunner
from pydantic import BaseModel

from recoverd.cli.daemon import main
from recoverd.config import load
from recoverd.config.lines import Lines
from recoverd.config.schema import AccessModel, ClusterModel, FileModel, HeartbeatModel, NotificationModel

from .test_config import GOOD, KUBECONFIG, Folder, certified, ssh_key, user

__all__ = ["ssh_key"]
PYDANTIC = ("Input should", "Field required", "valid dictionary", "instance of", "Model", "valid string", "unable to")


@pytest.fixture
def folder(tmp_path: Path, ssh_key: Path) -> Folder:
    return Folder(tmp_path, ssh_key)


def found(folder: Folder) -> dict[str, str]:
    """Warnings of a configuration that is accepted, by place."""
    return dict(load(folder.write()).warnings)


# --- lines ---

TEXT = """\
# a comment
state_dir: /var/lib/recoverd
defaults:
  ssh:
    key: id
    known_hosts: known_hosts
  bounds:
    attempts: 0
clusters:
  - name: prod
    kubeconfig: kubeconfig
    control_planes:
      - {name: cp1, address: 10.99.1.11}
      - name: cp2
        address: 10.99.1.300
  - {name: other, kubeconfig: nowhere, control_planes: [{name: cp1, address: 10.99.2.11}], intervall: 5s}
"""


def test_every_mistake_has_the_line_where_it_stands(folder: Folder) -> None:
    told = CliRunner().invoke(main, ["check-config", str(folder.write(TEXT))])
    assert told.exit_code == 2
    lines = {tuple(line.split(": ", 2)[:2]) for line in told.output.splitlines()}
    file = folder.path / "recoverd.yaml"
    assert lines == {
        (f"{file}:8", "defaults.bounds.attempts"),
        (f"{file}:15", "clusters[0].control_planes[1].address"),
        (f"{file}:16", "clusters[1].intervall"),
        (f"{file}:16", "clusters[1].kubeconfig"),
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("clusters: []\n---\nclusters: []\n", "expected a single document in the stream, but found another"),
        ("clusters:\n\t- name: prod\n", "with blanks, and never with tabs"),
        (f"clusters: {'[' * 5000}\n", "is nested too deeply"),
    ],
)
def test_what_yaml_cannot_read_is_told_in_a_sentence(text: str, said: str, folder: Folder) -> None:
    told = CliRunner().invoke(main, ["check-config", str(folder.write(text))])
    assert (told.exit_code, told.exception.__class__) == (2, SystemExit), told.exception
    assert said in told.output


def test_a_program_is_given_the_same_as_json(folder: Folder) -> None:
    def said(text: str, code: int) -> dict[str, Any]:
        told = CliRunner().invoke(main, ["check-config", str(folder.write(text)), "-o", "json"])
        assert told.exit_code == code, told.output
        return dict(json.loads(told.stdout))

    bad = said(TEXT, 2)
    assert not bad["good"] and {e["path"]: e["line"] for e in bad["errors"]} == {
        "defaults.bounds.attempts": 8,
        "clusters[0].control_planes[1].address": 15,
        "clusters[1].intervall": 16,
        "clusters[1].kubeconfig": 16,
    }
    text = "\n".join(
        TEXT.replace("attempts: 0", "plan_deadline: 1m").replace("10.99.1.300", "10.99.1.12").splitlines()[:-1]
    )
    good = said(text, 0)
    assert good["good"] and not good["errors"] and all(w["line"] and w["message"] for w in good["warnings"])
    nowhere = CliRunner().invoke(main, ["check-config", "/nowhere", "-o", "json"])
    assert nowhere.exit_code == 2 and json.loads(nowhere.stdout)["errors"][0]["line"] is None


def test_a_warning_has_its_line_too_and_that_of_the_defaults_where_it_comes_from_there(folder: Folder) -> None:
    text = TEXT.replace("attempts: 0", "plan_deadline: 1m").replace("10.99.1.300", "10.99.1.12")
    text = "\n".join(text.splitlines()[:-1])
    told = CliRunner().invoke(main, ["check-config", str(folder.write(text))])
    assert told.exit_code == 0, told.output
    assert f"{folder.path}/recoverd.yaml:8: clusters[0].bounds.plan_deadline: warning: " in told.output
    assert f"{folder.path}/recoverd.yaml:6: clusters[0].ssh.known_hosts: warning: " in told.output


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("state_dir", 2),
        ("clusters", 9),
        ("clusters[0].ssh", 10),
        ("clusters[1].name", 16),
        ("clusters[0].control_planes[1].address", 15),
        ("clusters[7].name", 9),
        ("listen", 0),
        ("", 0),
    ],
)
def test_a_place_that_is_not_there_is_where_it_would_be(path: str, line: int) -> None:
    assert Lines(TEXT).of(path) == line


# --- words ---


def fields(model: type[BaseModel], place: str) -> Iterator[str]:
    """The places of all values below one part of the file."""
    for name, field in model.model_fields.items():
        yield f"{place}{name}"
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                here = f"{place}{name}.0." if inner is not field.annotation and field.annotation is not None else ""
                yield from fields(inner, here if "list" in str(field.annotation) else f"{place}{name}.")


PLACES = sorted({*fields(ClusterModel, "clusters.0."), *fields(FileModel, ""), "clusters.0", "defaults.bounds"})
PLACES += [
    *fields(NotificationModel, "notifications.0."),
    *fields(HeartbeatModel, "heartbeat."),
    *fields(AccessModel, "access."),
]
WRONG = (None, [], {}, "", "x y", -1, 1.5, True, [None], {"a": 1}, {1: 2})


def put(raw: Any, place: str, value: Any) -> None:
    """Write a value at `a.0.b`, whatever is on the way to it."""
    first, _, rest = place.partition(".")
    key: Any = int(first) if first.isdigit() else first
    if not rest:
        raw[key] = value
        return
    if isinstance(raw, dict) and not isinstance(raw.get(key), (dict, list)):
        raw[key] = [{}] if rest[0].isdigit() else {}
    put(raw[key], rest, value)


@pytest.mark.parametrize("place", PLACES)
def test_no_word_is_pydantics(folder: Folder, place: str) -> None:
    for value in WRONG:
        raw = yaml.safe_load(yaml.safe_dump(folder.file))
        put(raw, place, value)
        told = CliRunner().invoke(main, ["check-config", str(folder.write(yaml.safe_dump(raw)))])
        assert not told.exception or isinstance(told.exception, SystemExit), (value, told.exception)
        assert not [word for word in PYDANTIC if word in told.output], (value, told.output)


def test_a_part_left_empty_is_said_to_be(folder: Folder) -> None:
    folder.cluster["bounds"] = None
    assert folder.errors() == {"clusters[0].bounds": "is empty; give it a value, or take the key out"}


def test_what_is_missing_is_said_to_be(folder: Folder) -> None:
    del folder.cluster["kubeconfig"]
    assert folder.errors() == {"clusters[0].kubeconfig": "is missing"}


# --- what used to be called good ---


def kubeconfig(folder: Folder, holder: dict[str, Any], **cluster: Any) -> None:
    entry = {"name": "k", "cluster": {"server": "https://k8s-api:6443"} | cluster}
    text = yaml.safe_dump(KUBECONFIG | {"users": [{"name": "u", "user": holder}], "clusters": [entry]})
    (folder.path / "kubeconfig").write_text(text)


def test_a_token_is_a_warning(folder: Folder) -> None:
    kubeconfig(folder, {"token": "t"})
    assert "has no client certificate" in found(folder)["clusters[0].kubeconfig"]


OTHER = certified()
GARBAGE = base64.b64encode(b"hello").decode()


@pytest.mark.parametrize(
    ("holder", "what"),
    [
        (
            {"client-certificate": "nowhere.crt", "client-key": "nowhere.key"},
            "nowhere.crt cannot be read: No such file",
        ),
        (GOOD | {"client-certificate-data": GARBAGE}, "client-certificate is no certificate"),
        (GOOD | {"client-certificate-data": "%%%"}, "client-certificate-data is not base64"),
        (GOOD | {"client-key-data": GARBAGE}, "client-key is no private key"),
        (GOOD | {"client-key-data": base64.b64encode(OTHER[1]).decode()}, "is not that of its client-certificate"),
        ({"client-certificate-data": GOOD["client-certificate-data"]}, "no client-key"),
    ],
)
def test_credentials_that_cannot_be_used_are_named_and_keep_nobody_from_watching(
    folder: Folder, holder: dict[str, Any], what: str
) -> None:
    kubeconfig(folder, holder)
    assert what in found(folder)["clusters[0].kubeconfig"]


def test_an_authority_that_is_none_is_named(folder: Folder) -> None:
    kubeconfig(folder, GOOD, **{"certificate-authority-data": GARBAGE})
    assert "certificate-authority is no certificate" in found(folder)["clusters[0].kubeconfig"]


@pytest.mark.parametrize(("days", "what"), [(-400, "expired on"), (10, "in 10 days")])
def test_a_certificate_that_is_over_or_soon_will_be_is_a_warning(folder: Folder, days: int, what: str) -> None:
    kubeconfig(folder, user(*certified(days)))
    assert what in found(folder)["clusters[0].kubeconfig"]


def test_certificates_in_files_beside_the_kubeconfig_are_good(folder: Folder) -> None:
    for name, pem in zip(("c.crt", "c.key"), OTHER, strict=True):
        (folder.path / name).write_bytes(pem)
    kubeconfig(folder, {"client-certificate": "c.crt", "client-key": "c.key"})
    assert found(folder) == {}


def test_ways_to_the_api_server_that_are_not_gone_are_named(folder: Folder) -> None:
    """It was asked at another's address, or past the proxy, and nobody was told why it is not seen."""
    kubeconfig(folder, GOOD, server="https://rancher.example/k8s/clusters/c-m-abc")
    assert "is a path behind another server's address" in found(folder)["clusters[0].kubeconfig"]
    for name, value in (("proxy-url", "socks5://10.0.0.1:1080"), ("tls-server-name", "kubernetes")):
        kubeconfig(folder, GOOD, **{name: value})
        assert f"{name} is not followed" in found(folder)["clusters[0].kubeconfig"]


@pytest.mark.parametrize("host", ["10.99.1.11", "cp1"])
def test_the_address_of_one_of_several_control_planes_is_no_vip(folder: Folder, host: str) -> None:
    kubeconfig(folder, GOOD, server=f"https://{host}:6443")
    assert found(folder) == {}, "with one control plane there may be no other address"
    folder.cluster["control_planes"].append({"name": "cp2", "address": "10.99.1.21"})
    folder.cluster["workers"] = []
    assert "is cp1 alone" in found(folder)["clusters[0].kubeconfig"]


@pytest.mark.parametrize(
    ("change", "where", "what"),
    [
        ({"ssh": {"user": "recoverd"}}, "ssh.sudo", "recoverd is not root"),
        ({"bounds": {"plan_deadline": "1m", "step_deadline": "30m"}}, "bounds.plan_deadline", "end a plan before"),
        ({"deadlines": {"hosts": "200s"}}, "deadlines.hosts", "every 5 s"),
        ({"restore_points": {"keep_age": "1h"}}, "restore_points.keep_age", "removed after 3600 s"),
        ({"restore_points": {"programs": "/nope"}}, "restore_points.programs", "has no etcd"),
        ({"approval": {"force-new-cluster": "automatic"}}, "approval.force-new-cluster", "means required"),
    ],
)
def test_what_is_hardly_meant_is_a_warning(folder: Folder, change: dict[str, Any], where: str, what: str) -> None:
    folder.cluster.update({k: {**folder.cluster.get(k, {}), **v} for k, v in change.items()})
    warnings = found(folder)
    assert list(warnings) == [f"clusters[0].{where}"] and what in warnings[f"clusters[0].{where}"]


@pytest.mark.parametrize("listen", ["0.0.0.0:9770", "[::]:9770"])
def test_metrics_for_everybody_are_a_warning(folder: Folder, listen: str) -> None:
    folder.file["listen"] = listen
    assert "every network of this machine" in found(folder)["listen"]


def test_folders_in_which_no_file_can_be_kept_are_refused(folder: Folder) -> None:
    folder.file["state_dir"] = "/proc/nope"
    assert "is the kernel's" in folder.errors()["state_dir"]
    folder.file["state_dir"] = "id/nope"
    assert "is a file" in folder.errors()["state_dir"]
    folder.file["state_dir"] = "state"
    folder.cluster["restore_points"] = {"directory": "/proc/nope"}
    assert "is the kernel's" in folder.errors()["clusters[0].restore_points.directory"]


def test_a_public_key_is_called_one(folder: Folder) -> None:
    (folder.path / "id").write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI me\n")
    (folder.path / "id").chmod(0o644)
    assert "is the public key" in folder.errors()["clusters[0].ssh.key"]
