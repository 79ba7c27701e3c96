"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# how long an example takes is the machine's other work as much as its own
settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")
