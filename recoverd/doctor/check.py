"""One thing that was checked, what came of it, and what to do about it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from recoverd.model.text import clean

SECONDS = 15.0
"""For one check: longer than any source of a sweep may take, as nothing else waits for it."""


class Level(IntEnum):
    """How it is, and the exit code when nothing is worse."""

    OK = 0
    WARN = 1
    """It works, and something that recoverd can do will not, or not for long."""
    FAIL = 2
    """What is wrong must be put right before the cluster can be trusted to recoverd."""


@dataclass(frozen=True, slots=True)
class Check:
    level: Level
    cluster: str
    """"" for what is of the bastion itself."""
    node: str
    """"" for what is of the whole cluster."""
    what: str
    detail: str
    """What was seen, or what came back instead."""
    remedy: str = ""

    @property
    def line(self) -> str:
        word = "FAIL" if self.level is Level.FAIL else self.level.name.lower()
        place = "/".join(filter(None, (self.cluster or "bastion", self.node)))
        return clean(" ".join(f"{word:4} {place} {self.what}: {self.detail}".split("\n"))) + (
            clean(f"; {self.remedy}") if self.remedy else ""
        )


@dataclass(frozen=True, slots=True)
class About:
    """What checks are about; makes them."""

    cluster: str = ""
    node: str = ""

    def ok(self, what: str, detail: str) -> Check:
        return Check(Level.OK, self.cluster, self.node, what, detail)

    def warn(self, what: str, detail: str, remedy: str = "") -> Check:
        return Check(Level.WARN, self.cluster, self.node, what, detail, remedy)

    def fail(self, what: str, detail: str, remedy: str = "") -> Check:
        return Check(Level.FAIL, self.cluster, self.node, what, detail, remedy)

    async def within(self, what: str, work: Awaitable[list[Check]], seconds: float = SECONDS) -> list[Check]:
        """What came of it, by its deadline; what was not foreseen is told as well, and ends no other check."""
        try:
            async with asyncio.timeout(seconds):
                return await work
        except TimeoutError:
            return [self.fail(what, f"no end within {seconds:g} s")]
        except Exception as error:
            return [self.fail(what, f"recoverd itself failed: {error!r}", "report this")]


def worst(checks: Sequence[Check]) -> Level:
    return max((c.level for c in checks), default=Level.OK)


def shape(checks: Sequence[Check]) -> dict[str, Any]:
    """As JSON: stable names."""
    return {
        "worst": worst(checks).name.lower(),
        "checks": [
            {
                "level": c.level.name.lower(),
                "cluster": c.cluster or None,
                "node": c.node or None,
                "what": c.what,
                "detail": c.detail,
                "remedy": c.remedy or None,
            }
            for c in checks
        ],
    }
