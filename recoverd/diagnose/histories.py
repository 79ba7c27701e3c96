"""Two histories of etcd beside each other: nothing is restarted, moved or removed before a person has
said which one is right. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from recoverd.model.catalogue import Of, codes
from recoverd.model.finding import Finding, FindingKey

HISTORIES, WAY_OUT = codes(Of.HISTORIES), codes(Of.WAY_OUT)


def in_the_way(found: Iterable[Finding], unended: Mapping[FindingKey, str], of: Iterable[str]) -> str:
    """What says that two live, or will as soon as something is started; "" where there is one, and
    for what is itself the way out.

    `unended`: what was found before and was not seen to be gone, with why not. One side may only be silent while
    somebody is at work on it. `of`: the codes for which something is to be done.
    """
    if WAY_OUT.intersection(of):
        return ""
    if second := next((f for f in found if f.code in HISTORIES), None):
        return second.message
    before = ((subject, why) for (code, subject), why in unended.items() if code in HISTORIES)
    return next(
        (f"a second one was seen on {subject}, and it was not seen to be over: {why}" for subject, why in before), ""
    )
