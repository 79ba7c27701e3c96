"""Manifests of pods as YAML. Pure."""

from __future__ import annotations

from typing import Any

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The safe one, in C where there is one."""


def read_yaml(text: str) -> Any:
    """What the one document of a text holds, unchecked. Raises `yaml.YAMLError`, and `RecursionError` where it is
    nested too deep.
    """
    return yaml.load(text, Loader=LOADER)  # noqa: S506  # safe, see LOADER
