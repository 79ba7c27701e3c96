"""What `recoverd init` writes, without a cluster; and that what is shipped is in the wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from recoverd.cli.daemon import main
from recoverd.config.schema import ClusterModel, DefaultsModel, FileModel
from recoverd.model.places import Places, Socket
from recoverd.report import runbooks
from recoverd.setup.document import Document, Host, write
from recoverd.setup.learn import Learnt, Machine, vip_remarks
from recoverd.setup.nodes import Access, inventory, permitted, playbook, sudoers, tasks
from recoverd.setup.shipped import SHIPPED, shipped

ROOT = Path(__file__).parents[2]
SSH = {"user": "recoverd", "key": "$CREDENTIALS_DIRECTORY/ssh-key", "known_hosts": "known_hosts", "sudo": True}
PLANES = (Host("cp1", "fd00::11", ("10.99.1.11",)), Host("1e3", "fd00::12"))


def document(*, fixed: bool = True, workers: tuple[Host, ...] = (Host("w1", "10.99.1.21"),)) -> str:
    return write(
        Document("prod", "prod.kubeconfig", SSH, PLANES, workers, fixed, ["One.", "Two: three # four."], ["A VIP."]),
        shipped("recoverd.yaml"),
    )


# --- the configuration ---


def test_what_is_written_is_a_configuration_whatever_its_names_and_addresses_look_like() -> None:
    raw = yaml.safe_load(document())
    file = FileModel.model_validate(raw)
    (cluster,) = file.clusters
    assert DefaultsModel.model_validate(raw["defaults"]).ssh == SSH
    whole = ClusterModel.model_validate(cluster | {"ssh": SSH})
    assert [(h.name, h.address) for h in whole.control_planes] == [("cp1", "fd00::11"), ("1e3", "fd00::12")]
    assert [h.name for h in whole.workers] == ["w1"]


def test_workers_that_are_learnt_are_only_shown() -> None:
    text = document(fixed=False)
    assert "workers" not in yaml.safe_load(text)["clusters"][0] and "#   - {name: w1, address: 10.99.1.21}" in text


def test_every_key_has_the_words_of_the_example() -> None:
    example = [line.strip() for line in shipped("recoverd.yaml").splitlines()]
    text = document().splitlines()
    for key in ("user", "key", "known_hosts", "sudo", "- name", "kubeconfig", "control_planes"):
        at = next(n for n, line in enumerate(text) if line.strip().startswith(f"{key}:"))
        above = [line.strip() for line in text[max(0, at - 3) : at]]
        assert set(above) & set(example), key
    assert "  # Two: three # four." in text and "    # A VIP." in text


# --- the address that everybody uses ---


@pytest.mark.parametrize(
    ("server", "endpoint", "planes", "what"),
    [
        ("https://[fd00::1]:6443", "[fd00::1]:6443", 3, "the address that everybody uses"),
        ("https://k8s-api", "k8s-api:443", 3, "the address that everybody uses"),
        ("https://k8s-api:6443", "k8s-api", 3, "the address that everybody uses"),
        ("https://[fd00::11]:6443", "", 3, "is cp1 alone and no VIP: "),
        ("https://cp1:6443", "[fd00::1]:6443", 3, "kubeadm knows https://[fd00::1]:6443"),
        ("https://cp1:6443", "", 1, "the only control plane"),
        ("https://balancer:8443", "k8s-api:6443", 3, "everybody else uses the latter"),
    ],
)
def test_where_the_kubeconfig_leads_is_told_apart(server: str, endpoint: str, planes: int, what: str) -> None:
    machines = tuple(Machine(f"cp{n}", (f"fd00::1{n}",), True) for n in range(1, planes + 1))
    (remark,) = vip_remarks(Learnt(server, "v1.30.1", machines, endpoint=endpoint))
    assert what in remark


# --- the machines ---


def test_each_place_is_permitted_once_and_etcd_only_where_there_is_one() -> None:
    other = Places(8443, Socket("::1", 12379, tls=True), Socket("::1", 12381, tls=False))
    assert permitted([]) == ("127.0.0.1:2379", "127.0.0.1:2381", "127.0.0.1:6443")
    assert permitted([other, other]) == ("[::1]:12379", "[::1]:12381", "127.0.0.1:8443")
    assert permitted([Places()], elsewhere=("https://etcd1.example:2379",)) == ("etcd1.example:2379", "127.0.0.1:6443")


def test_sudo_is_for_the_user_that_logs_in_and_for_no_other() -> None:
    given = sudoers(shipped("sudoers"), "watcher")
    assert "watcher ALL=(root) NOPASSWD: /bin/sh, /usr/bin/sh" in given and "Defaults:watcher !requiretty" in given
    assert not [line for line in given.splitlines() if line.startswith(("recoverd", "Defaults:recoverd"))]
    assert sudoers(shipped("sudoers"), "root") == ""


def test_the_role_uses_what_the_inventory_gives() -> None:
    access = Access("recoverd", "ssh-ed25519 AAAA", ("127.0.0.1:2379",), "recoverd ALL=...")
    text = inventory("prod-eu", access, 2222, PLANES, (), "me@jump:2222")
    (group,) = yaml.safe_load(text).values()
    assert group["children"]["prod_eu_control_planes"]["hosts"]["cp1"] == {"ansible_host": "fd00::11"}
    assert group["vars"]["recoverd_line"] == access.line and group["vars"]["ansible_port"] == 2222
    steps = yaml.safe_load(tasks())
    assert {"user", "key", "line", "sudoers"} <= {n.removeprefix("recoverd_") for n in group["vars"]}
    for name in ("user", "key", "line", "sudoers"):
        assert f"recoverd_{name}" in tasks()
    assert all(len([k for k in step if k.startswith("ansible.builtin.")]) == 1 for step in steps)
    assert yaml.safe_load(playbook())[0]["roles"] == ["recoverd_node"]


# --- what is shipped ---


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_shipped_is_printed(name: str) -> None:
    told = CliRunner().invoke(main, ["example-config", name])
    assert (told.exit_code, told.output) == (0, (ROOT / SHIPPED[name]).read_text())


@pytest.mark.parametrize(
    ("address", "link"),
    [
        ("https://wiki.example.org/recoverd", "https://wiki.example.org/recoverd/RecoverdEscalated"),
        ("https://wiki.example.org/recoverd/", "https://wiki.example.org/recoverd/RecoverdEscalated"),
        (
            "https://git.example.org/docs/{alert}.md?ref=main",
            "https://git.example.org/docs/RecoverdEscalated.md?ref=main",
        ),
    ],
)
def test_the_links_of_the_alerts_lead_where_the_operator_says(address: str, link: str) -> None:
    told = CliRunner().invoke(main, ["example-config", "alerts.yml", "--runbooks", address])
    assert told.exit_code == 0, told.output
    there, was = (yaml.safe_load(text)["groups"] for text in (told.output, shipped("alerts.yml")))
    links = {r["alert"]: r["annotations"].pop("runbook_url") for g in there for r in g["rules"]}
    assert links["RecoverdEscalated"] == link and len(set(links.values())) == len(links)
    for group in was:
        for rule in group["rules"]:
            del rule["annotations"]["runbook_url"]
    assert there == was


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["alerts.yml", "--runbooks", "file:///usr/share/doc/recoverd"], "that a pager can open"),
        (["alerts.yml", "--runbooks", "wiki.example.org"], "that a pager can open"),
        (["alerts.yml", "--runbooks", 'https://wiki/"'], "that a pager can open"),
        (["sudoers", "--runbooks", "https://wiki"], "for alerts.yml alone"),
    ],
)
def test_no_link_is_written_that_a_pager_cannot_open(arguments: list[str], said: str) -> None:
    told = CliRunner().invoke(main, ["example-config", *arguments])
    assert told.exit_code == 2 and said in told.output


def test_without_a_name_it_is_the_configuration() -> None:
    assert CliRunner().invoke(main, ["example-config"]).output == (ROOT / "config/recoverd.yaml").read_text()


def test_the_wheel_holds_all_of_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert names >= {f"recoverd/shipped/{path}" for path in SHIPPED.values()}
        assert names >= {f"recoverd/shipped/docs/runbooks/{name}.md" for name in (*runbooks.names(), runbooks.INDEX)}
        assert names >= {f"recoverd/setup/{name}" for name in ("node.sh", "bastion.sh", "role/tasks.yaml")}
        archive.extractall(tmp_path / "installed")  # what was just built
    # apart from the checkout, as after `pip install`
    tells = (
        "from recoverd.setup.shipped import shipped; from recoverd.report import runbooks; "
        "print(len(runbooks.names())); print(shipped('sudoers'))"
    )
    isolated = [sys.executable, "-c", tells]
    told = subprocess.run(isolated, cwd=tmp_path / "installed", capture_output=True, text=True, check=True)
    assert told.stdout.strip() == f"{len(runbooks.names())}\n{(ROOT / 'config/sudoers').read_text().strip()}"
