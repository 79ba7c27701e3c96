"""The alerts in the manners of Prometheus' mixins: every warning reaches somebody, what Alertmanager silences is
told by another alert, and the dashboard has no hole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from recoverd.model.catalogue import Code
from tests.unit.test_package import ROOT, rules

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
