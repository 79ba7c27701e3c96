"""Where files are that are shipped beside the program: in an installed package below it, in a checkout beside it."""

from __future__ import annotations

from pathlib import Path

import recoverd


def place(path: str) -> Path:
    """Where the file or folder is that the repository has at `path`."""
    package = Path(recoverd.__file__).parent
    installed = package / "shipped" / path
    return installed if installed.exists() else package.parent / path
