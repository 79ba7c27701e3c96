"""Who may ask the daemon for what, as the file says: groups of this machine, and how many persons let data be lost."""

from __future__ import annotations

import grp
from collections.abc import Iterator

from recoverd.config.schema import AccessModel
from recoverd.config.types import Access, Problem
from recoverd.model.settings import PersonsNeeded


def access(model: AccessModel | None) -> Access | None:
    """None where the file says nothing: whoever may open the socket may do everything."""
    if model is None:
        return None
    return Access(
        tuple(model.view) if model.view is not None else None,
        tuple(model.approve) if model.approve is not None else None,
    )


def persons(model: AccessModel | None) -> PersonsNeeded:
    return PersonsNeeded(model.destructive_needs, model.emergency) if model else PersonsNeeded()


def problems(model: AccessModel | None) -> Iterator[Problem]:
    """What cannot be meant."""
    if model and model.view is not None and model.approve is None:
        yield (
            "access.view",
            "says who may look, and nothing says who may approve: everybody who may open the socket might, and look "
            "too; name groups in access.approve",
        )


def doubts(model: AccessModel | None) -> Iterator[Problem]:
    """What is hardly meant; groups are looked up on this machine, which may ask a directory server."""
    if model is None:
        return
    for key in ("view", "approve"):
        for index, name in enumerate(getattr(model, key) or ()):
            if not _is_there(name):
                yield f"access.{key}[{index}]", f"there is no group {name} on this machine, so nobody is in it"
    if model.emergency and model.destructive_needs < 2:
        yield "access.emergency", "nobody has to go alone while one person is enough (access.destructive_needs: 1)"


def _is_there(group: str) -> bool:
    try:
        grp.getgrnam(group)
    except KeyError:
        return False
    return True
