"""Text of machines and of the API, which is never trusted. Pure."""

from __future__ import annotations


def printable(text: str, most: int) -> str:
    """Its first so many characters, with a blank for each that would do something to a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)[:most]
