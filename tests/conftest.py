"""What all tests share."""

from __future__ import annotations

import gc

from hypothesis import settings

# how long an example takes is the machine's other work as much as its own
settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")


def pytest_collection_finish() -> None:
    """What is imported and collected by now stays: the collector need not go through it for each test."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
