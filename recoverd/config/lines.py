"""Where each key of a YAML text stands, so that a mistake can be looked up in a long file. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml


class Lines:
    """The lines of one text, by paths as `clusters[0].ssh.key`."""

    def __init__(self, text: str) -> None:
        """Raises `yaml.YAMLError` for what is no YAML."""
        self._root: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
        self.twice = list(_twice(self._root, "", set()))
        """Keys that stand twice in one place, of which YAML's reader silently takes the last."""

    def of(self, path: str) -> int:
        """The line, counted from 1, of as much of the path as is there: of what is missing, where it would be. 0
        where there is nothing.
        """
        return self._walk(path)[0]

    def _walk(self, path: str) -> tuple[int, bool]:
        """The line, and whether all of the path is there."""
        node, line = self._root, 0
        for part in re.findall(r"[^.\[\]]+", path):
            found = _below(node, part)
            if found is None:
                return line, False
            line, node = found
        return line, True

    def located(self, path: str) -> int:
        """The line where what counts for a path stands: its own, or that in `defaults` from where a cluster has it."""
        line, whole = self._walk(path)
        if not whole and (inherited := re.fullmatch(r"clusters\[\d+\]\.(.+)", path)):
            below, there = self._walk(f"defaults.{inherited[1]}")
            return below if there else line
        return line


def _twice(node: yaml.Node | None, path: str, seen: set[int]) -> Iterator[tuple[str, str]]:
    if node is None or id(node) in seen:
        return  # an alias of what was looked through already
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _twice(item, f"{path}[{index}]", seen)
    if not isinstance(node, yaml.MappingNode):
        return
    first: dict[str, int] = {}
    for key, value in node.value:
        here = f"{path}.{key.value}" if path else f"{key.value}"
        if isinstance(key, yaml.ScalarNode):
            line = first.setdefault(key.value, key.start_mark.line + 1)
            if line != key.start_mark.line + 1:
                yield here, f"the key {key.value!r} stands twice, at first in line {line}; take one of them out"
        yield from _twice(value, here, seen)


def _below(node: yaml.Node | None, part: str) -> tuple[int, yaml.Node] | None:
    """Where the part begins, and what it is."""
    if isinstance(node, yaml.MappingNode):
        for key, value in reversed(node.value):
            if key.value == part:
                return key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
        item = node.value[int(part)]
        return item.start_mark.line + 1, item
    return None
