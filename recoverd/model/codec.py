"""Our frozen dataclasses to JSON and back, by pydantic, for the journal and the control socket."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter

T = TypeVar("T")


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast(Any, kind))


def dump(value: object) -> str:
    """`value`, an instance of one of our dataclasses, as JSON text; times are ISO 8601 in UTC."""
    text: bytes = _adapter(cast(Hashable, type(value))).dump_json(value)
    return text.decode()


def plain(value: object) -> Any:
    """`value` as dicts, lists, strings and numbers, ready for `json.dumps`."""
    return _adapter(cast(Hashable, type(value))).dump_python(value, mode="json")


def load(kind: type[T], text: str | bytes) -> T:
    """The inverse of `dump`. Raises `ValueError` (pydantic's ValidationError) for text that is no such thing."""
    value: T = _adapter(cast(Hashable, kind)).validate_json(text)
    return value
