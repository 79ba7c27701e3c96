"""One module a remediation. A module that defines `PLAYBOOK` is registered by being
here; nothing else has to change.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from recoverd.playbooks.base import Playbook


@cache
def registry() -> tuple[Playbook, ...]:
    """Every playbook, in the order in which they are asked."""
    modules = (import_module(f"{__name__}.{m.name}") for m in iter_modules(__path__) if m.name != "base")
    found: list[Playbook] = [m.PLAYBOOK for m in modules if hasattr(m, "PLAYBOOK")]
    return tuple(sorted(found, key=lambda p: (p.order, p.name)))
