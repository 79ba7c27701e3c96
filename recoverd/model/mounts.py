"""File systems that a machine is to mount and has not. Pure."""

from __future__ import annotations

from recoverd.model.observation import HostView


def unmounted_above(view: HostView, path: str) -> str:
    """The place of a file system that is to be mounted at this path or above it, and is not; "" where none is."""
    return next((at for at in view.unmounted if f"{path}/".startswith(f"{at}/")), "")
