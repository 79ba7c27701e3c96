"""The configuration as `recoverd init` writes it: what differs from the defaults, in the words of the shipped example.
Pure.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from recoverd.config.lines import Lines

WIDTH = 118


@dataclass(frozen=True, slots=True)
class Host:
    """A machine as the configuration names it."""

    name: str
    address: str
    others: tuple[str, ...] = ()
    """Its other addresses, for whoever reads the file."""


@dataclass(frozen=True, slots=True)
class Document:
    """What the configuration of one cluster says."""

    name: str
    kubeconfig: str
    ssh: Mapping[str, Any]
    """Keys of `ssh`, in the example's order; those with the program's own default may be left out."""
    control_planes: tuple[Host, ...]
    workers: tuple[Host, ...]
    fixed: bool
    """Name the workers; else they are learnt, and shown as a comment."""
    about: Sequence[str] = ()
    """Remarks on the cluster, a sentence each."""
    about_kubeconfig: Sequence[str] = ()


def write(document: Document, example: str) -> str:
    """The YAML. `example` is the text of config/recoverd.yaml, whose comments are taken."""
    words = Words(example)
    lines = [
        "# recoverd's configuration, as `recoverd init` made it. What is not here has its default: `recoverd",
        "# example-config` shows every key with its unit, its default and what it does. After a change:",
        "#   recoverd check-config FILE        (every mistake with its line)",
        "#   systemctl reload recoverd         (a file with an error is refused, and `recoverctl status` says so)",
        "# Paths that are relative begin in this file's folder; $CREDENTIALS_DIRECTORY is what systemd sets for the",
        "# unit, and without it the folder `credentials` beside this file.",
        "",
        "# What every cluster below has unless it says otherwise.",
        "defaults:",
        "  ssh:",
    ]
    for key, value in document.ssh.items():
        lines += words.above(f"defaults.ssh.{key}", 4)
        lines.append(f"    {key}: {scalar(value)}")
    lines += ["", "clusters:"]
    lines += comment(2, document.about)
    lines += words.above("clusters[0].name", 2)
    lines.append(f"  - name: {scalar(document.name)}")
    lines += words.above("clusters[0].kubeconfig", 4)
    lines += comment(4, document.about_kubeconfig)
    lines.append(f"    kubeconfig: {scalar(document.kubeconfig)}")
    lines += words.above("clusters[0].control_planes", 4)
    lines += ["    control_planes:", *_hosts(document.control_planes, "      ")]
    lines += words.above("clusters[0].workers", 4)
    if document.fixed and document.workers:
        lines += ["    workers:", *_hosts(document.workers, "      ")]
    elif document.workers:
        lines += [
            "    # These are learnt; a list here would keep recoverd from learning of new ones:",
            "    # workers:",
        ]
        lines += _hosts(document.workers, "    #   ")
    return "\n".join(lines) + "\n"


class Words:
    """The comments of the example."""

    def __init__(self, example: str) -> None:
        self._text, self._lines = example.splitlines(), Lines(example)

    def above(self, path: str, indent: int) -> list[str]:
        """What stands above a key, as it stands there."""
        at = self._lines.of(path) - 1
        begin = at
        while begin and self._text[begin - 1].lstrip().startswith("#"):
            begin -= 1
        return [" " * indent + line.strip() for line in self._text[begin:at]]


def comment(indent: int, sentences: Iterable[str]) -> list[str]:
    """The sentences as comments, each on lines of its own."""
    width = WIDTH - indent - 2
    return [
        f"{' ' * indent}# {part}"
        for sentence in sentences
        for part in textwrap.wrap(sentence, width, break_long_words=False, break_on_hyphens=False)
    ]


def scalar(value: Any) -> str:
    """One value, quoted where YAML would read it as something else."""
    return yaml.safe_dump([value], default_flow_style=True, width=10_000, allow_unicode=True).strip()[1:-1]


def _hosts(hosts: Iterable[Host], before: str) -> list[str]:
    lines = []
    for host in hosts:
        also = f" # also {', '.join(host.others)}" if host.others else ""
        lines.append(f"{before}- {{name: {scalar(host.name)}, address: {scalar(host.address)}}}{also}")
    return lines
