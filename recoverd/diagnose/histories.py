"""Two histories of etcd beside each other: nothing is restarted, moved or removed before a person has said which one is right. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from recoverd.model.catalogue import Of, codes
from recoverd.model.finding import Finding

HISTORIES, WAY_OUT = codes(Of.HISTORIES), codes(Of.WAY_OUT)


def in_the_way(found: Iterable[Finding], of: Iterable[str]) -> Finding | None:
    """The finding that says that two live, or will as soon as something is started; None where there is one, and for what is itself the way out.

    `of`: the codes for which something is to be done.
    """
    if WAY_OUT.intersection(of):
        return None
    return next((f for f in found if f.code in HISTORIES), None)
