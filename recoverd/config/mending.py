"""A configuration without its mistakes, so that what is not mistaken in it can be checked in the same run. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

M = TypeVar("M", bound=BaseModel)
STAND_IN = "stands-in-for-what-is-wrong"
STAND_INS: dict[str, Any] = {
    "ssh": {},
    "clusters": [{}],
    "control_planes": [{}],
    "endpoints": [f"https://{STAND_IN}:1"],
}
"""Of what has to be there and is no text, by its key."""
ROUNDS = 10
"""More than there are levels: what stands in for something may lack something itself."""


def validated(model: type[M], raw: Any, wrong: Callable[[ErrorDetails], None]) -> M | None:
    """The model of what is right in `raw`, with stand-ins for what is wrong or missing and has to be there; `wrong` is
    told of each mistake. None where nothing of it can be used.
    """
    mended = deepcopy(raw)
    for attempt in range(ROUNDS):
        try:
            return model.model_validate(mended)
        except ValidationError as error:
            for each in error.errors():
                if attempt == 0:
                    wrong(each)
                _mend(mended, each["loc"], missing=each["type"] == "missing")
    return None


def _mend(raw: Any, loc: Sequence[int | str], *, missing: bool) -> None:
    """Take out what is at the place, or put something there."""
    node, above = raw, []
    for part in loc:
        if not _has(node, part):
            break
        above.append((node, part))
        node = node[part]
    if missing and isinstance(node, dict):
        node[loc[-1]] = deepcopy(STAND_INS.get(str(loc[-1]), STAND_IN))
    elif not missing and (len(above) == len(loc) or not isinstance(node, dict | list) or loc[-1] == "[key]"):
        _take_out(above)


def _take_out(above: list[tuple[Any, Any]]) -> None:
    """The innermost place whose key can be left out. The other entries of a list keep their numbers: one that has keys
    is emptied in its place, and of others the whole list is left out.
    """
    while above:
        container, part = above.pop()
        if isinstance(container, dict):
            container.pop(part, None)
            return
        if above and isinstance(above[-1][0], dict) and above[-1][1] in OF_MAPPINGS:
            container[part] = {}
            return


OF_MAPPINGS = ("clusters", "control_planes", "workers", "notifications")
"""Lists whose entries have keys."""


def _has(node: Any, part: int | str) -> bool:
    if isinstance(node, list):
        return isinstance(part, int) and part < len(node)
    return isinstance(node, dict) and part in node
