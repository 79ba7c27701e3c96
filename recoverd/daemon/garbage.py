"""How often Python looks for garbage that reference counts do not find.

By default it does so after every 700 new objects, and goes through all there are whenever their number has grown by a
quarter: while a list of thousands of pods is decoded that is most of the work, and nothing of it is ever found.
"""

from __future__ import annotations

import gc

YOUNG = 50_000
"""New objects after which the young ones are gone through: some megabytes."""
OLDER = 20
"""Rounds of the young ones to one of the next generation, and of those to one of all."""


def settle() -> None:
    """Leave what the start has made, which stays as long as the process, to itself, and look for garbage seldom. Called
    once, when everything is loaded.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, OLDER, OLDER)
