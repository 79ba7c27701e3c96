"""The files that are shipped beside the program: examples, permissions, alerts, the unit."""

from __future__ import annotations

from recoverd.report.shipped import place

ALERTS = "alerts.yml"
SHIPPED = {
    "recoverd.yaml": "config/recoverd.yaml",
    "rbac.yaml": "config/rbac.yaml",
    "rbac-canary.yaml": "config/rbac-canary.yaml",
    "rbac-repair.yaml": "config/rbac-repair.yaml",
    "rbac-webhooks.yaml": "config/rbac-webhooks.yaml",
    "sudoers": "config/sudoers",
    ALERTS: "config/alerts/recoverd.yml",
    "alertmanager.yml": "config/alertmanager.yml",
    "grafana.json": "config/grafana/recoverd.json",
    "recoverd.service": "systemd/recoverd.service",
    "recoverd.sysusers": "systemd/recoverd.sysusers",
}
"""By the name under which they are asked for, where they are in the repository."""

PERMISSIONS = tuple(name for name in SHIPPED if name.startswith("rbac"))
"""Those that let recoverd's user do something."""


def shipped(name: str) -> str:
    """What is in the file; `name` is one of `SHIPPED`."""
    return place(SHIPPED[name]).read_text()
