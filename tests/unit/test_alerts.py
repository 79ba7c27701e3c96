"""The alerts in the manners of Prometheus' mixins: every warning reaches somebody, what Alertmanager silences is
told by another alert, and the dashboard has no hole.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from graphlib import TopologicalSorter
from typing import Any

import pytest
import yaml

from recoverd.model.catalogue import Code
from recoverd.model.finding import Phase, State
from tests.unit.test_package import DASHBOARD, ROOT, exported, rules, used

ALERTMANAGER = ROOT / "config/alertmanager.yml"
OTHERWISE = {
    "certificate-expires-soon": "RecoverdCertificateExpires",
    "certificate-expired": "RecoverdCertificateExpiresSoon",
}
"""Warnings that an alert on another metric tells, each with that alert."""


# --- warnings ---


def _selected(expr: str) -> Iterator[dict[str, tuple[str, str]]]:
    """The matchers of each selector of findings: label, and operator and value."""
    for inside in re.findall(r"recoverd_finding\{([^}]*)\}", expr):
        yield {label: (op, value) for label, op, value in re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', inside)}


def _matches(matcher: tuple[str, str] | None, value: str) -> bool:
    if matcher is None:
        return True
    op, wanted = matcher
    equal = re.fullmatch(wanted, value) is not None if "~" in op else wanted == value
    return equal is not op.startswith("!")


@pytest.mark.parametrize("code", [str(code) for code in Code])
def test_every_finding_that_is_a_warning_reaches_somebody_once(code: str) -> None:
    """Whichever of the catalogue: which of them are warnings is for `recoverd.diagnose` to change."""
    fire = {
        rule["alert"]
        for rule in rules()
        for matchers in _selected(rule["expr"])
        if _matches(matchers.get("code"), code) and _matches(matchers.get("severity"), "warning")
    }
    if otherwise := OTHERWISE.get(code):
        assert otherwise in {rule["alert"] for rule in rules()}
        assert not fire
    else:
        assert len(fire) == 1


def test_alerts_select_only_findings_that_there_are() -> None:
    named = [
        value for rule in rules() for matchers in _selected(rule["expr"]) for value in matchers["code"][1].split("|")
    ]
    assert set(named) <= set(Code)


# --- Alertmanager ---


def _inhibitions() -> list[dict[str, Any]]:
    inhibitions: list[dict[str, Any]] = yaml.safe_load(ALERTMANAGER.read_text())["inhibit_rules"]
    return inhibitions


def _names(matchers: list[str]) -> list[str]:
    [names] = [m for text in matchers for m in re.findall(r'^alertname=~?"([\w|]+)"$', text)]
    return names.split("|")


def test_alertmanager_takes_the_example() -> None:
    if (amtool := shutil.which("amtool")) is None:
        pytest.skip("amtool is not installed (Debian package prometheus-alertmanager)")
    ran = subprocess.run([amtool, "check-config", str(ALERTMANAGER)], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{len(_inhibitions())} inhibit rules" in ran.stdout


def test_only_alerts_that_there_are_silence_others_and_only_in_the_same_cluster() -> None:
    own = {rule["alert"] for rule in rules()}
    for inhibition in _inhibitions():
        causes, symptoms = _names(inhibition["source_matchers"]), _names(inhibition["target_matchers"])
        assert set(causes) <= own
        assert {name for name in symptoms if name.startswith("Recoverd")} <= own
        assert "cluster" in inhibition["equal"]


def test_an_alert_that_is_silenced_is_told_by_one_that_is_not_and_no_ticket_silences_a_page() -> None:
    """In a circle of alerts that silence each other nobody is told anything."""
    severity = {rule["alert"]: rule["labels"]["severity"] for rule in rules()}
    causes_of: dict[str, set[str]] = {}
    for inhibition in _inhibitions():
        others = any(m.startswith("severity!~") for m in inhibition["target_matchers"])
        for symptom in _names(inhibition["target_matchers"]):
            causes = set(_names(inhibition["source_matchers"]))
            causes_of.setdefault(symptom, set()).update(causes)
            if severity.get(symptom, "page") == "page" and not others:  # one of the mixins may be critical
                assert {severity[cause] for cause in causes} == {"page"}, symptom
    list(TopologicalSorter(causes_of).static_order())


def test_an_inhibition_by_a_label_has_it_on_its_source() -> None:
    labels = {rule["alert"]: rule["labels"] for rule in rules()}
    for inhibition in _inhibitions():
        for label in set(inhibition["equal"]) - {"cluster"}:
            assert all(label in labels[name] for name in _names(inhibition["source_matchers"])), label


def test_the_example_routes_every_severity() -> None:
    route = yaml.safe_load(ALERTMANAGER.read_text())["route"]
    [paged] = route["routes"]
    wanted = re.fullmatch(r'severity=~"([\w|]+)"', paged["matchers"][0])
    assert wanted and wanted[1].split("|") == ["page", "critical"]
    assert {rule["labels"]["severity"] for rule in rules()} <= {"page", "ticket"}


# --- the dashboard ---


def _expressions() -> list[str]:
    dashboard = json.loads(DASHBOARD.read_text())
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return shown + [annotation["expr"] for annotation in dashboard["annotations"]["list"]]


@pytest.mark.parametrize(("title", "label", "values"), [("State", "state", State), ("Phase", "phase", Phase)])
def test_a_band_of_the_dashboard_has_no_hole(title: str, label: str, values: type[State] | type[Phase]) -> None:
    [band] = [p for p in json.loads(DASHBOARD.read_text())["panels"] if p["title"].startswith(f"{title} of each")]
    drawn = re.findall(rf'(\d) \* \([^)]*{label}="([a-z-]+)"\}} == 1\)', band["targets"][0]["expr"])
    assert {value for _, value in drawn} == set(values)
    [mapping] = band["fieldConfig"]["defaults"]["mappings"]
    assert {(number, row["text"]) for number, row in mapping["options"].items()} == set(drawn)


ELSEWHERE = {
    "recoverd_incidents_total",  # of what is counted, the open ones and how plans ended are drawn
    "recoverd_cluster_observed",  # a setting
    "recoverd_cluster_never_healthy",  # of a first day
    "recoverd_cluster_common_cause",  # the number of such clusters is drawn
    "recoverd_config_last_reload_success_timestamp_seconds",
    "recoverd_notification_last_success_timestamp_seconds",
    "recoverd_config_last_reload_successful",  # an alert each
    "recoverd_journal_unreadable_rows",
    "recoverd_notifications_total",
    "recoverd_store_available",
    "recoverd_cluster_watched",
    "recoverd_requests_total",  # recoverctl audit tells each
}
"""What is exported and not drawn."""


def test_what_is_exported_is_drawn_or_left_out_on_purpose() -> None:
    drawn = set().union(*map(used, _expressions()))
    assert drawn <= exported()
    ends = re.compile(r"_(?:bucket|count|sum)$")
    families = {ends.sub("", name) for name in exported() if name.startswith("recoverd_")}
    assert families - {ends.sub("", name) for name in drawn} == ELSEWHERE


def test_the_daemon_says_what_it_takes_of_its_bastion() -> None:
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"} <= exported()
    taken = {name for expr in _expressions() for name in re.findall(r"\bprocess_[a-z_]+", expr)}
    assert taken and taken <= exported()
