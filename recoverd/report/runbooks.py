"""The runbooks, a page an alert, as recoverd itself serves them; and the links to them in the shipped alert rules."""

from __future__ import annotations

from functools import cache
from urllib.parse import urlsplit

from markupsafe import Markup

from recoverd.report.pages import written
from recoverd.report.shipped import place

FOLDER = "docs/runbooks"
PATH = "/runbooks/"
"""Where they are served, below `listen`."""
BASE = f"http://127.0.0.1:9770{PATH}"
"""What the links of the shipped rules begin with: where they are served unless the configuration says otherwise."""
INDEX = "README"
ALERT = "{alert}"
"""In an address: where the alert's name goes."""


@cache
def names() -> frozenset[str]:
    """The alerts that have one."""
    return frozenset(file.stem for file in place(FOLDER).glob("*.md")) - {INDEX}


@cache
def page(name: str) -> str | None:
    """The alert's page, and the list of all for `INDEX`, in HTML; None where there is none."""
    from markdown import markdown  # as the templates, once somebody opens one

    if name != INDEX and name not in names():
        return None
    text = (place(FOLDER) / f"{name}.md").read_text(encoding="utf-8")
    return written("runbook.html.j2", title=name, text=Markup(markdown(text)))  # noqa: S704  # our own files


def linked(rules: str, address: str) -> str:
    """The rules with links to pages that are served at `address`, to which an alert's name is added, or in which it
    stands for `ALERT`. Raises `ValueError` for what a pager cannot open.
    """
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and parts.hostname and not set(address) & set("\"' #\\")
    except ValueError:
        good = False
    if not good:
        raise ValueError("an http:// or https:// address that a pager can open, without blanks and quotes")
    before, here, after = address.partition(ALERT)
    before = before if here else f"{before.rstrip('/')}/"
    lines = rules.splitlines(keepends=True)
    return "".join(
        f"{line.rstrip()}{after}\n".replace(BASE, before) if BASE in line and "runbook_url:" in line else line
        for line in lines
    )
