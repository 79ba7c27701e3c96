"""Text: what came from a cluster made harmless, how long something took, and moments as programs take them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches


def clean(value: object) -> str:
    """Text from a cluster, with control characters made visible: it must not steer the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in str(value))


def some(names: Sequence[str], most: int) -> str:
    """Names in a sentence, of more than `most` the first and how many others there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


LISTED = 30
"""Names that one sentence lists."""


def meant(name: str, known: Iterable[str], otherwise: str = "there are: ") -> str:
    """The end of a sentence about a name that nobody has: the one that was probably meant, or those that there are."""
    names = list(known)
    near = nearest(name, names)
    return f"did you mean {near}?" if near else otherwise + (some(names, LISTED) or "none")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The one of the names that is spelled most like it, if any is, in capitals or not."""
    spelled: dict[str, str] = {}
    for each in known:
        spelled.setdefault(each.lower(), each)
    close = get_close_matches(name.lower(), spelled, n=1)
    return spelled[close[0]] if close else None


def typed(text: str) -> str:
    """What a person has typed, as text that any program takes. Bytes that are no UTF-8, which Python hands on as lone
    surrogates (PEP 383), are made visible; what is UTF-8, and was taken for ASCII by the locale, is read.
    """
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()


def lasting(seconds: float) -> str:
    """A length of time as a person says it: 90 s, 14 min, 2 h 5 min."""
    left = int(seconds)
    sign, left = ("-", -left) if left < 0 else ("", left)
    if left < 120:
        return f"{sign}{left} s"
    return f"{sign}{left // 60} min" if left < 7200 else f"{sign}{left // 3600} h {left % 3600 // 60} min"


def exactly(seconds: float) -> str:
    """A length of time beside others that it has to add up with: 72 s, 4 min 26 s, 2 h 5 min."""
    whole = int(seconds)
    return f"{whole // 60} min {whole % 60} s" if 120 <= whole < 7200 and whole % 60 else lasting(whole)


def utc(at: datetime) -> str:
    """A moment for people: with its date, since what stands for days is read as of today, and with its zone."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def moment(at: datetime) -> str:
    """A moment in ISO 8601 and UTC, to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
