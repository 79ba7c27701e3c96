"""What is installed beside the program: the example configuration, RBAC, alert rules, dashboard
and unit say what the code does.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
import yaml
from click.testing import CliRunner

from recoverd.cli.daemon import main
from recoverd.config.schema import (
    AccessModel,
    BoundsModel,
    CanaryModel,
    ClusterModel,
    DeadlinesModel,
    DrainModel,
    FileModel,
    HostModel,
    MaintenanceModel,
    PointsModel,
    SshModel,
)
from recoverd.metrics.server import Metrics
from recoverd.model.witness import HOOKS, LED
from recoverd.observe.canary import NAME, NODES, WRITES
from recoverd.observe.lists import POLICIES
from recoverd.playbooks import registry
from recoverd.report import runbooks
from tests.unit.test_config import KUBECONFIG

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config/recoverd.yaml"
RULES = ROOT / "config/alerts/recoverd.yml"
RULE_TESTS = ROOT / "config/alerts/tests/recoverd_test.yml"
DASHBOARD = ROOT / "config/grafana/recoverd.json"
UNIT = ROOT / "systemd/recoverd.service"


def exported() -> set[str]:
    """Every name that Prometheus can see, as it sees it (counters end in _total, histograms have buckets)."""
    names = set()
    for metric in Metrics().registry.collect():
        kinds = {"counter": ("_total",), "info": ("_info",), "histogram": ("_bucket", "_count", "_sum")}
        names |= {metric.name + suffix for suffix in kinds.get(metric.type, ("",))}
    return names


def used(text: str) -> set[str]:
    return set(re.findall(r"\brecoverd_[a-z_]+", text))


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


# --- the example configuration ---


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example as it lies in /etc/recoverd, with the files that it names; their contents are made for the test."""
    raw = yaml.safe_load(EXAMPLE.read_text())
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(str(credentials / "ssh-key"))
    public = key.export_public_key().decode().strip()
    hosts = [h["address"] for c in raw["clusters"] for h in (*c["control_planes"], *c.get("workers", []))]
    (tmp_path / "known_hosts").write_text("".join(f"{a} {public}\n[{a}]:2222 {public}\n" for a in hosts))
    for cluster in raw["clusters"]:
        path = tmp_path / Path(cluster["kubeconfig"]).name
        path.write_text(yaml.safe_dump(KUBECONFIG))
        path.chmod(0o600)
    file = tmp_path / "recoverd.yaml"
    file.write_text(EXAMPLE.read_text().replace("/etc/recoverd", str(tmp_path)))
    return file


def test_the_example_is_accepted_without_a_warning(installed: Path) -> None:
    result = CliRunner().invoke(main, ["check-config", str(installed)])
    assert result.exit_code == 0, result.output
    assert "warning" not in result.output
    assert f"{installed} is good" in result.output


def test_the_access_that_it_shows_is_accepted(installed: Path) -> None:
    text = installed.read_text().replace("access: null\n", "")
    begin, end = text.index("# Who may ask for what, by groups"), text.index("# Who is told by the bastion itself")
    part = re.sub(r"^# (access:|  \w+:|  #)", r"\1", text[begin:end], flags=re.MULTILINE)
    installed.write_text(text[:begin] + part + text[end:])
    assert set(yaml.safe_load(part)["access"]) == set(AccessModel.model_fields)
    result = CliRunner().invoke(main, ["check-config", str(installed)])
    assert result.exit_code == 0, result.output
    assert "access.view[0]: warning: there is no group ops on this machine" in result.output


def test_the_receivers_that_it_shows_are_accepted(installed: Path) -> None:
    """What is commented out there, as somebody would put it in force."""
    text = installed.read_text().replace("notifications: []", "notifications:").replace("heartbeat: null\n", "")
    begin, end = text.index("notifications:"), text.index("# What every cluster below")
    part = re.sub(r"^# (- name|  \w+:|  #|heartbeat:)", r"\1", text[begin:end], flags=re.MULTILINE)
    installed.write_text(text[:begin] + part + text[end:])
    for name, url in (("oncall", "json://127.0.0.1/x"), ("heartbeat", "https://127.0.0.1/x")):
        (installed.parent / "credentials" / name).write_text(url)
    result = CliRunner().invoke(main, ["check-config", str(installed)])
    assert result.exit_code == 0, result.output
    assert (
        "oncall (apprise) is told of prod: confirmed, waiting, escalated, failed, emergency, unobservable, "
        "unfinished, shadow, "
        "nobody-acts, common-cause, recovered" in result.output
    )
    assert "a sign of life every 300 s" in result.output


def test_outside_the_unit_the_missing_credentials_directory_is_named(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    (installed.parent / "credentials" / "ssh-key").chmod(0o600)
    assert CliRunner().invoke(main, ["check-config", str(installed)]).exit_code == 0, "credentials/ is beside the file"
    (installed.parent / "credentials").rename(installed.parent / "elsewhere")
    result = CliRunner().invoke(main, ["check-config", str(installed)])
    assert result.exit_code == 2
    assert (
        "CREDENTIALS_DIRECTORY is not set; systemd sets it for the unit, by hand: sudo CREDENTIALS_DIRECTORY="
        in result.output
    )


def test_the_example_shows_every_key() -> None:
    raw = yaml.safe_load(EXAMPLE.read_text())
    assert set(raw) == set(FileModel.model_fields)
    defaults = raw["defaults"]
    parts = {
        "ssh": SshModel,
        "bounds": BoundsModel,
        "drain": DrainModel,
        "restore_points": PointsModel,
        "deadlines": DeadlinesModel,
    }
    for part, model in (parts | {"maintenance": MaintenanceModel, "canary": CanaryModel}).items():
        assert set(defaults[part]) == set(model.model_fields), part
    assert set(defaults["approval"]) == {p.name for p in registry()}
    assert set().union(*raw["clusters"]) == set(ClusterModel.model_fields)
    assert set(raw["clusters"][0]["control_planes"][0]) == set(HostModel.model_fields)


def test_the_values_it_calls_defaults_are_the_defaults() -> None:
    defaults = yaml.safe_load(EXAMPLE.read_text())["defaults"]
    assert BoundsModel(**defaults["bounds"]) == BoundsModel()
    assert DeadlinesModel(**defaults["deadlines"]) == DeadlinesModel()
    assert PointsModel(**defaults["restore_points"]) == PointsModel()
    shown = SshModel(**defaults["ssh"])
    given = shown.model_copy(update={"user": "root", "sudo": False})
    assert given == SshModel(key=shown.key, known_hosts=shown.known_hosts)
    empty = ClusterModel(name="a", kubeconfig="k", ssh=shown, control_planes=[HostModel(name="a", address="10.0.0.1")])
    assert ClusterModel(**{**empty.model_dump(), "interval": defaults["interval"]}) == empty


def test_the_approvals_it_calls_defaults_are_the_defaults(installed: Path) -> None:
    def approvals() -> list[str]:
        lines = CliRunner().invoke(main, ["check-config", str(installed)]).output.splitlines()
        return [" ".join(line.split()[:2]) for line in lines if line.startswith("  ")][: len(registry())]

    with_them = approvals()
    raw = yaml.safe_load(installed.read_text())
    del raw["defaults"]["approval"]
    installed.write_text(yaml.safe_dump(raw))
    assert approvals() == with_them
    assert len(with_them) == len(registry())


# --- RBAC ---


def test_rbac_allows_what_is_read_and_nothing_else() -> None:
    role, binding, account = yaml.safe_load_all((ROOT / "config/rbac.yaml").read_text())
    assert [d["kind"] for d in (role, binding, account)] == ["ClusterRole", "ClusterRoleBinding", "ServiceAccount"]
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": role["metadata"]["name"],
    }
    subject = next(s for s in binding["subjects"] if s["kind"] == "ServiceAccount")
    assert (subject["name"], subject["namespace"]) == (account["metadata"]["name"], account["metadata"]["namespace"])
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"get", "list", "watch"}
    listed = {r for rule in role["rules"] for r in rule.get("resources", []) if rule["verbs"] == ["list"]}
    got = [
        (r, rule.get("resourceNames"))
        for rule in role["rules"]
        for r in rule.get("resources", [])
        if rule["verbs"] != ["list"]
    ]
    assert got == [("pods", None), ("leases", list(LED))], "pods are watched, and the leases of controllers read"
    asked = requests("recoverd/observe")
    proxied = {("GET", "'/api/v1/nodes/{node}/proxy/pods'"), ("GET", "PATH")}  # the other one is that of a lease
    proxied |= {("GET", "CONFIGURATIONS"), ("GET", "ENDPOINTS")}
    # whoever has a certificate may ask for the API's groups; policies beside NetworkPolicy are those of one table
    proxied |= {("GET", "'/apis'"), ("LIST", "kind")}
    (rule,) = [r for r in role["rules"] if set(r.get("apiGroups", [])) == set(POLICIES)]
    of_policies = {kind for kinds in POLICIES.values() for kind in kinds}
    assert set(rule["resources"]) == of_policies and ("LIST", "kind") in asked
    assert ("GET", "'/api/v1/pods'") in asked
    assert listed - of_policies | {"networkpolicies"} == {
        r.strip("'").removeprefix("/api/v1/") for verb, r in asked - proxied if verb in ("GET", "LIST")
    }
    assert ("write.verb", "write.path") in asked, "the dry run, which makes nothing and has config/rbac-canary.yaml"
    assert {verb for verb, _ in asked - {("write.verb", "write.path")}} == {"GET", "LIST"}, "what looks changes nothing"
    urls = {u for rule in role["rules"] for u in rule.get("nonResourceURLs", [])}
    assert set(re.findall(r"/(?:livez|readyz|healthz)\b", (ROOT / "recoverd/observe/probe.py").read_text())) <= urls


def test_rbac_for_the_canary_allows_what_is_tried_and_nothing_else() -> None:
    verbs, allowed = {"POST": "create", "PATCH": "patch"}, set[tuple[str, str, str]]()
    role, binding, lease, other, bound = yaml.safe_load_all((ROOT / "config/rbac-canary.yaml").read_text())
    for of, to in ((role, binding), (other, bound)):
        assert (of["kind"], to["kind"]) == ("Role", "RoleBinding"), "in one namespace"
        assert of["metadata"] == to["metadata"] and to["roleRef"]["name"] == of["metadata"]["name"]
        for rule in of["rules"]:
            (kind,), name = rule["resources"], "".join(f"/{n}" for n in rule.get("resourceNames", []))
            allowed |= {(verb, f"{kind}{name}", of["metadata"]["namespace"]) for verb in rule["verbs"]}
    tried = {
        (verbs[w.verb], w.path.partition("{namespace}/")[2], w.namespace or CanaryModel().namespace)
        for w in WRITES.values()
    }
    assert allowed == tried
    assert (lease["kind"], lease["metadata"]) == ("Lease", {"name": NAME, "namespace": NODES}), "what is changed"


def test_rbac_for_webhooks_allows_what_passing_one_by_takes_and_nothing_else() -> None:
    role, binding = yaml.safe_load_all((ROOT / "config/rbac-webhooks.yaml").read_text())
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    [rule] = role["rules"]
    assert (set(rule["resources"]), set(rule["verbs"])) == (set(HOOKS), {"get", "list", "update"})
    assert ("PUT", "CONFIGURATION") in requests("recoverd/act")


def test_rbac_for_repairs_allows_what_acting_asks_for_and_nothing_else() -> None:
    role, binding = yaml.safe_load_all((ROOT / "config/rbac-repair.yaml").read_text())
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    allowed = {(verb, resource) for rule in role["rules"] for verb in rule["verbs"] for resource in rule["resources"]}
    words = {
        ("GET", "NODE"): ("get", "nodes"),
        ("PATCH", "NODE"): ("patch", "nodes"),
        ("LIST", "'pods'"): ("list", "pods"),
        ("POST", "f'{POD}/eviction'"): ("create", "pods/eviction"),
        ("DELETE", "POD"): ("delete", "pods"),
        ("GET", "CONFIG_MAP"): ("get", "configmaps"),
        ("PUT", "CONFIG_MAP"): ("update", "configmaps"),
    }
    asked = requests("recoverd/act")
    assert allowed == {words[name] for name in asked if name in words}
    hooks = {("GET", "CONFIGURATION"), ("PUT", "CONFIGURATION"), ("GET", "ENDPOINTS")}
    # a lease, the table of pods, what the API server offers, and what is listed by those who look as well:
    # config/rbac.yaml allows these
    seen = {
        ("GET", "path"),
        ("GET", "'/api/v1/pods'"),
        ("GET", "'/api/v1/'"),
        ("LIST", "'services'"),
        ("LIST", "'endpoints'"),
        ("LIST", "'daemonsets'"),
        ("LIST", "*kind"),
    }
    assert asked - set(words) - hooks <= seen


def requests(package: str) -> set[tuple[str, str]]:
    """(HTTP method or LIST, what is named in the source) of every request to an API server that
    the modules of a package make.
    """
    found = set()
    for module in (ROOT / package).rglob("*.py"):
        for call in (
            n
            for n in ast.walk(ast.parse(module.read_text()))
            if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
        ):
            match call.func.id if len(call.args) > 1 and module.name != "rest.py" else "":
                case "request":
                    method = next((ast.unparse(k.value).strip("'") for k in call.keywords if k.arg == "method"), "GET")
                    found.add((method, ast.unparse(call.args[1])))
                case "list_all" | "list_group":
                    kind = ast.unparse(call.args[-1])
                    found |= {("LIST", "'endpointslices'")} if kind == "*self._slices" else {("LIST", kind)}
    return found


# --- alerts and dashboard ---


def test_alerts_use_only_what_is_exported() -> None:
    names = set().union(*(used(rule["expr"]) for rule in rules()))
    assert names and names <= exported()


def test_alerts_tell_what_to_do() -> None:
    for rule in rules():
        told = rule["annotations"]["description"]
        assert re.search(r"recoverctl|systemctl", told), rule["alert"]
        assert rule["labels"]["severity"] in ("page", "ticket"), rule["alert"]


def test_alerts_name_only_commands_that_exist() -> None:
    from recoverd.cli.ctl import main as ctl

    for rule in rules():
        for command in re.findall(r"recoverctl ([a-z-]+)", rule["annotations"]["description"]):
            assert command in ctl.commands, f"{rule['alert']}: recoverctl {command}"


def test_every_alert_has_a_page_of_its_own_and_every_page_an_alert() -> None:
    pages = {p.stem: p.read_text() for p in (ROOT / "docs/runbooks").glob("*.md") if p.stem != "README"}
    assert pages.keys() == {rule["alert"] for rule in rules()}
    for rule in rules():
        assert rule["annotations"]["runbook_url"] == f"{runbooks.BASE}{rule['alert']}"
    assert pages.keys() == runbooks.names()
    index = (ROOT / "docs/runbooks/README.md").read_text()
    for name, text in pages.items():
        assert re.findall("^## (.*)$", text, re.MULTILINE) == ["Meaning", "Impact", "Diagnosis", "Mitigation"], name
        assert f"({name}.md)" in index


@pytest.mark.parametrize("page", sorted((ROOT / "docs/runbooks").glob("*.md")), ids=lambda p: p.stem)
def test_a_runbook_names_only_commands_alerts_and_playbooks_that_exist(page: Path) -> None:
    from recoverd.cli.ctl import main as ctl
    from recoverd.cli.daemon import main as daemon

    text = page.read_text()
    for program, of in (("recoverctl", ctl), ("recoverd", daemon)):
        for command in re.findall(rf"(?:`|^    ){program} ([a-z-]+)", text, re.MULTILINE):
            assert command in of.commands, f"{program} {command}"
    known = {rule["alert"] for rule in rules()}
    assert set(re.findall(r"\bRecoverd[A-Z]\w+", text)) <= known
    for run in re.findall(r"recoverctl run ([a-z-]+)", text):
        assert run in {p.name for p in registry()}


def _tested() -> Iterator[tuple[str, bool]]:
    for test in yaml.safe_load(RULE_TESTS.read_text())["tests"]:
        for case in test.get("alert_rule_test", []):
            yield case["alertname"], bool(case["exp_alerts"])
        for case in test.get("promql_expr_test", []):
            if match := re.fullmatch(r'ALERTS\{alertname="(\w+)", alertstate="firing"\}', case["expr"]):
                yield match[1], bool(case["exp_samples"])


@pytest.mark.parametrize("alert", [rule["alert"] for rule in rules()])
def test_every_alert_is_tested_both_ways(alert: str) -> None:
    assert {fires for name, fires in _tested() if name == alert} == {True, False}


def test_the_dashboard_uses_only_what_is_exported() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert set().union(*map(used, expressions)) <= exported()
    assert all(used(e) for e in expressions)
    places = [tuple(panel["gridPos"].values()) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places) == len({panel["id"] for panel in dashboard["panels"]})


# --- the README ---


@pytest.mark.parametrize("page", ["README.md", "docs/install.md", "docs/notifications.md", "docs/status-page.md"])
def test_a_page_names_only_files_targets_and_commands_that_exist(page: str) -> None:
    from recoverd.cli.ctl import main as ctl

    text = (ROOT / page).read_text()
    for path in re.findall(r"(?<![\w/])((?:config|docs|scripts|systemd)/[\w./-]*\w)", text):
        assert (ROOT / path).exists(), path
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|\$ )make ([a-z-]+)", text)) <= targets
    assert set(re.findall(r"(?:`|\$ |^ +)recoverctl ([a-z-]+)", text, re.MULTILINE)) <= set(ctl.commands)
    for metric in used(text):
        assert metric in exported()


# --- the unit ---


def _unit() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def test_the_unit_shows_who_logged_in_behind_sudo() -> None:
    """/proc/PID/loginuid of root's processes; proc(5): hidepid hides them from everybody else."""
    assert _unit()["ProtectProc"] == ["default"]


def test_the_unit_and_the_example_speak_of_the_same_things() -> None:
    unit, raw = _unit(), yaml.safe_load(EXAMPLE.read_text())
    (credential,) = unit["LoadCredential"]
    assert raw["defaults"]["ssh"]["key"] == f"$CREDENTIALS_DIRECTORY/{credential.split(':')[0]}"
    assert raw["state_dir"] == f"/var/lib/{unit['StateDirectory'][0]}"
    assert raw["socket"].startswith(f"/run/{unit['RuntimeDirectory'][0]}/")


def test_the_unit_lets_the_kernel_name_the_approver() -> None:
    """In a user namespace SO_PEERCRED reports everybody else as nobody, and an approval would carry no name."""
    assert _unit()["PrivateUsers"] == ["no"]
