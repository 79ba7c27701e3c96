"""What is wrong with a value, in the words of who wrote the file: pydantic speaks of models and instances. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic_core import ErrorDetails

MISSING = "is missing"
SHOWN = 60
"""Characters of a value that are repeated."""


def said(error: ErrorDetails) -> str:
    """A sentence about the value at the error's place; the place itself is not in it."""
    kind, value, bounds = error["type"], error["input"], error.get("ctx") or {}
    if kind != "missing" and value is None:
        return "is empty; give it a value, or take the key out"
    words = WORDS.get(kind)
    return words(_shown(value), bounds) if words else error["msg"].removeprefix("Value error, ")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "what has keys below it"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value) if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _one_of(shown: str, bounds: dict[str, Any]) -> str:
    return f"{shown} is not possible here; write {bounds.get('expected', 'another value')}"


def _no_keys(shown: str, _: dict[str, Any]) -> str:
    return f"{shown} stands where keys belong; write `key: value` lines below it"


def _no_number(shown: str, _: dict[str, Any]) -> str:
    return f"{shown} is no whole number"


def _no_yes_or_no(shown: str, _: dict[str, Any]) -> str:
    return f"{shown} is neither true nor false"


WORDS: dict[str, Callable[[str, dict[str, Any]], str]] = {
    "missing": lambda _, __: MISSING,
    "model_type": _no_keys,
    "model_attributes_type": _no_keys,
    "dict_type": _no_keys,
    "list_type": lambda shown, _: f"{shown} is no list; write `- ` lines, or [one, another]",
    "string_type": lambda shown, _: f"{shown} is no text; put it in quotes if it is meant as one",
    "int_type": _no_number,
    "int_parsing": _no_number,
    "int_from_float": _no_number,
    "bool_type": _no_yes_or_no,
    "bool_parsing": _no_yes_or_no,
    "enum": _one_of,
    "literal_error": _one_of,
    "greater_than": lambda shown, b: f"{shown} is too little; it has to be greater than {b['gt']:g}",
    "greater_than_equal": lambda shown, b: f"{shown} is too little; it has to be greater than or equal to {b['ge']:g}",
    "less_than_equal": lambda shown, b: f"{shown} is too much; it has to be {b['le']:g} at most",
    "too_short": lambda _, b: f"has too few entries; it needs at least {b['min_length']}",
}
"""By pydantic's kinds of errors: what is said, of the value as it is shown, and of the limits."""
