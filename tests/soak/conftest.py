from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

from tests.soak.__main__ import quiet


@pytest.fixture(autouse=True, scope="module")
def silent() -> Iterator[None]:
    """What a story breaks on purpose is no news."""
    quiet()
    yield
    structlog.reset_defaults()
