"""Pages and post-mortems made of templates. Whatever comes from a cluster is made harmless in one place, which no
template can forget: control characters are made visible, and markup is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from recoverd import __version__
from recoverd.model.text import clean, exactly, lasting
from recoverd.report import words
from recoverd.report.diagram import HEIGHT, WIDTH

if TYPE_CHECKING:
    from jinja2 import Environment

    from recoverd.report.postmortem import PostMortem

MARKDOWN = re.compile(r"([\\`*_\[\]<>|~&]|^[#+-]|^\d+(?=[.)]( |$)))")
"""What means something in Markdown, anywhere in a line or at its begin; CommonMark lets each sign be escaped."""


class Raw(str):
    """Text that stands in a block of code, where nothing is escaped."""

    __slots__ = ()


def markdown(text: object) -> str:
    """Text as one line of Markdown, in a cell of a table too: nothing in it is markup."""
    return MARKDOWN.sub(lambda m: f"{m[0]}\\" if m[0].isdigit() else f"\\{m[0]}", " ".join(clean(text).split()))


def fenced(text: str) -> Raw:
    """A block of code; its fence is longer than any in it."""
    inner = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (inner + 1)
    return Raw(f"{fence}sh\n{clean(text)}\n{fence}")


def _in_markdown(value: Any) -> Any:
    return value if isinstance(value, Raw | int) else markdown(value)


def _in_html(value: Any) -> Any:
    return value if isinstance(value, Markup | int) else clean(value)


@cache
def _environment(html: bool) -> Environment:
    # the daemon, which has pages to give, may run for months without anybody who opens one
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("recoverd.report"),
        autoescape=html,  # noqa: S701  # Markdown is escaped by its own rules, by `finalize`
        undefined=StrictUndefined,
        finalize=_in_html if html else _in_markdown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    told = ("when", "clock", "place", "pause", "observed", "asks", "answers", "age", "grouped")
    made.globals |= {name: getattr(words, name) for name in told}
    made.globals |= {"lasting": lasting, "exactly": exactly, "version": __version__, "wide": WIDTH, "tall": HEIGHT}
    made.filters["fenced"] = fenced
    if html:
        made.globals["style"] = Markup(_shipped("style.css"))  # noqa: S704  # our own files
        made.globals["script"] = Markup(_shipped("page.js"))  # noqa: S704
    return made


@cache
def _shipped(name: str) -> str:
    return (files("recoverd.report") / "templates" / name).read_text(encoding="utf-8")


def hashes() -> tuple[str, str]:
    """Of the style and of the script of the page, as a Content-Security-Policy names what may be there."""
    style, script = (hashlib.sha256(_shipped(n).encode()).digest() for n in ("style.css", "page.js"))
    return f"'sha256-{base64.b64encode(style).decode()}'", f"'sha256-{base64.b64encode(script).decode()}'"


def written(template: str, **view: Any) -> str:
    """A page of that template, in HTML."""
    return _environment(True).get_template(template).render(view)


def page(**view: Any) -> str:
    """The status page."""
    return written("page.html.j2", **view)


def in_html(seen: PostMortem) -> str:
    """A post-mortem as one file that needs no other."""
    return written("report.html.j2", r=seen)


def in_markdown(seen: PostMortem) -> str:
    """A post-mortem as a page for a wiki or a merge request."""
    return _environment(False).get_template("report.md.j2").render(r=seen)
