"""URLs of receivers, which hold passwords and tokens: read from files, and in no text,
error or log, not even in part.
"""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

from recoverd.config.files import open_to_all, read_text


class UrlError(Exception):
    """What is wrong with a URL or its file, in words that hold nothing of the URL."""


def read_url(path: Path) -> str:
    """The one URL that is in the file; lines that begin with # and empty ones do not count. Raises `UrlError`."""
    return _only_url(_text(path), path)


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except ValueError as error:
        raise UrlError(str(error)) from None


def _only_url(text: str, path: Path) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if len(lines) != 1:
        raise UrlError(f"{path} holds {len(lines) or 'no'} URL{'s' if lines else ''}; it is one URL on one line")
    if not lines[0].isprintable():
        raise UrlError(f"{path} holds control characters in its URL")
    return lines[0]


def check_url(kind: str, path: Path) -> str | None:
    """What is wrong with the file or with the URL in it, or None. `kind`: apprise, or
    else one that is asked by HTTP.
    """
    try:
        text = _text(path)
        if problem := open_to_all(path):
            return problem
        url = _only_url(text, path)
        if kind == "apprise":
            service(url)
        else:
            web_address(url)
    except UrlError as error:
        return str(error) if str(path) in str(error) else f"{path}: {error}"
    return None


def web_address(url: str) -> str:
    """The URL, where it is one of HTTP. Raises `UrlError`."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or " " in url:
        raise UrlError("what it holds is no http:// or https:// URL with a host")
    return url


def service(url: str) -> object:
    """apprise's own object for the URL (`apprise.NotifyBase`). Raises `UrlError` where it knows none."""
    try:
        found = apprise().Apprise.instantiate(url, asset=_asset(), suppress_exceptions=True)
    except Exception as error:  # its text may hold the URL
        raise UrlError(f"apprise cannot read the URL that it holds ({type(error).__name__})") from None
    if not found:
        raise UrlError(
            "apprise knows no such URL as it holds, or something is missing in it; "
            "https://appriseit.com says how each is written"
        )
    return found


@cache
def apprise() -> ModuleType:
    """The library, loaded where it is needed and silenced: what it logs may hold tokens."""
    # urllib3 writes paths, which are the secret of a webhook, where it tries again
    for name in ("apprise", "urllib3", "requests", "charset_normalizer"):
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.propagate = False
    import apprise as library

    return library


def _asset() -> object:
    """Text as it is: nothing in it is an emoji, an escape or a file, and nothing is kept on the disk."""
    return apprise().AppriseAsset(
        app_id="recoverd",
        app_desc="recoverd",
        app_url="",
        async_mode=False,
        interpret_escapes=False,
        interpret_emojis=False,
        secure_logging=True,
        storage_path=None,
        plugin_paths=None,
    )
