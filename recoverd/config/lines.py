"""Where each key of a YAML text stands, so that a mistake can be looked up in a long file. Pure."""

from __future__ import annotations

import re

import yaml


class Lines:
    """The lines of one text, by paths as `clusters[0].ssh.key`."""

    def __init__(self, text: str) -> None:
        """Raises `yaml.YAMLError` for what is no YAML."""
        self._root: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)

    def of(self, path: str) -> int:
        """The line, counted from 1, of as much of the path as is there: of what is missing, where it would be. 0
        where there is nothing.
        """
        node, line = self._root, 0
        for part in re.findall(r"[^.\[\]]+", path):
            found = _below(node, part)
            if found is None:
                break
            line, node = found
        if line == 0 and node is not None and not path:
            line = node.start_mark.line + 1
        return line


def _below(node: yaml.Node | None, part: str) -> tuple[int, yaml.Node] | None:
    """Where the part begins, and what it is."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == part:
                return key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
        item = node.value[int(part)]
        return item.start_mark.line + 1, item
    return None
