"""Writes what people read of the program into a package's tree: manual pages, completions, licences of what is carried.

`pages.py STAGE LIBRARY WORK MAINTAINER`: STAGE is the root of the package, LIBRARY the folder in it with the Python
packages, WORK a folder for what is thrown away.
"""

from __future__ import annotations

import gzip
import sys
from email.utils import formatdate
from importlib.metadata import Distribution, distributions
from os import environ
from pathlib import Path

import click
from click_man.core import write_man_pages

from recoverd import __version__
from recoverd.cli import completing, ctl, daemon
from recoverd.setup.shipped import shipped

ROOT = Path(__file__).parents[2]
PROGRAMS: dict[str, tuple[click.Group, int]] = {"recoverd": (daemon.main, 8), "recoverctl": (ctl.main, 1)}
SHELLS = {
    "bash": "usr/share/bash-completion/completions/{}",
    "zsh": "usr/share/zsh/vendor-completions/_{}",
    "fish": "usr/share/fish/vendor_completions.d/{}.fish",
}
SEE_ALSO = ".SH SEE ALSO\nrecoverd(8), recoverctl(1), recoverd.yaml(5), /usr/share/doc/recoverd\n"
YAML_HEAD = """.TH "RECOVERD.YAML" "5" "{date}" "{version}" "recoverd.yaml Manual"
.SH NAME
recoverd.yaml \\- what recoverd watches, and what it may do by itself
.SH DESCRIPTION
Every key there is, with its unit and its default, as
.B recoverd example\\-config
prints it. \\fBrecoverd check\\-config\\fP FILE names every mistake with its line.
.SH FILE
.nf
"""


def moment() -> int:
    """When the sources were made, in seconds since 1970: the same sources give the same package."""
    return int(environ["SOURCE_DATE_EPOCH"])


def packed(file: Path, text: str) -> None:
    """Write it as Debian wants texts: gzip at its best, without a time in it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def manuals(stage: Path, work: Path) -> None:
    """click-man makes every page one of section 1 and cuts the line that `apropos` shows; both are put right here."""
    for name, (program, section) in PROGRAMS.items():
        program.short_help = program.get_short_help_str(300)
        for command in program.commands.values():
            command.short_help = command.get_short_help_str(300)
        folder = work / name
        folder.mkdir(parents=True)
        write_man_pages(name, program, version=__version__, target_dir=str(folder))
        for page in folder.glob("*.1"):
            text = page.read_text().replace('" "1" "', f'" "{section}" "', 1).replace(r"(1)\fP", rf"({section})\fP")
            packed(stage / f"usr/share/man/man{section}/{page.stem}.{section}.gz", text + SEE_ALSO)
    date = formatdate(moment(), usegmt=True)
    lines = (line.replace("\\", r"\e").replace("-", r"\-") for line in shipped("recoverd.yaml").splitlines())
    example = "".join(f"\\&{line}\n" for line in lines)
    text = YAML_HEAD.format(date=date, version=__version__) + example + ".fi\n" + SEE_ALSO
    packed(stage / "usr/share/man/man5/recoverd.yaml.5.gz", text)


def completions(stage: Path) -> None:
    """Static scripts that ask the program for what may follow."""
    for name, (program, _) in PROGRAMS.items():
        for shell, place in SHELLS.items():
            file = stage / place.format(name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(completing.script(program, name, shell))


def licence_of(dist: Distribution) -> str:
    meta = dist.metadata
    named = meta.get("License-Expression") or (meta.get("License") or "").split("\n")[0].strip()
    kinds = [c.split(" :: ")[-1] for c in meta.get_all("Classifier") or [] if c.startswith("License")]
    return named if 0 < len(named) < 60 else ", ".join(kinds) or "see its files"


def licences(stage: Path, library: Path) -> None:
    """The copyright file: the project's licence by Debian's name of it, and what the carried packages say of theirs."""
    carried = sorted(distributions(path=[str(library)]), key=lambda d: d.metadata["Name"].lower())
    lines = [
        f"{d.metadata['Name']} {d.version}: {licence_of(d)}"
        for d in carried
        if d.metadata["Name"].lower() != "recoverd"
    ]
    text = (
        "recoverd\n\nCopyright 2026 The recoverd authors\n\n"
        "Licensed under the Apache License, Version 2.0; on Debian systems its text is in\n"
        "/usr/share/common-licenses/Apache-2.0.\n\n"
        f"The package carries these Python packages below /{library.relative_to(stage)}, each with its own\n"
        "copyright and licence, whose text is in its folder *.dist-info there:\n\n" + "\n".join(lines) + "\n"
    )
    (stage / "usr/share/doc/recoverd/copyright").write_text(text)


def changes(stage: Path, maintainer: str) -> None:
    docs = stage / "usr/share/doc/recoverd"
    packed(docs / "CHANGELOG.md.gz", (ROOT / "CHANGELOG.md").read_text())
    entry = (
        f"recoverd ({__version__}) stable; urgency=medium\n\n"
        "  * What is new is in CHANGELOG.md.gz beside this file.\n\n"
        f" -- {maintainer}  {formatdate(moment())}\n"
    )
    packed(docs / "changelog.gz", entry)


def main() -> None:
    stage, library, work, maintainer = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
    (stage / "usr/share/doc/recoverd").mkdir(parents=True, exist_ok=True)
    manuals(stage, work)
    completions(stage)
    licences(stage, library)
    changes(stage, maintainer)


if __name__ == "__main__":
    main()
