"""Every promise of the README stands in docs/promises.md with what holds it, and what is named there is there."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = " ".join((ROOT / "README.md").read_text().split())
PAGE = (ROOT / "docs/promises.md").read_text()
NAMED = re.compile(r"`([^`\s]+\.(?:py|txt)(?:::\w+)?)(?:\[(.*)\])?`")
MARKS = ("**By itself**", "**Asks first**", "**Never**: ", "**And meanwhile**")


def readme() -> dict[str, list[str]]:
    """The README's promises by their heading: playbooks by name, the rest clause by clause."""
    parts = {m: README[README.index(m) + len(m) : README.index(n)] for m, n in pairwise((*MARKS, "## A session"))}
    playbooks = {m: re.findall(r" - (`[a-z-]+`):", parts[m]) for m in MARKS[:2]}
    return {**playbooks, MARKS[2]: [clause.strip(" .") for clause in parts[MARKS[2]].split(";")]}


def promises() -> dict[str, list[str]]:
    """Each promise of the page, and the lines below it."""
    found: dict[str, list[str]] = {}
    for line in PAGE.splitlines():
        if line.startswith("- "):
            found[line.removeprefix("- ").replace("](", "](docs/")] = []  # a link leads on from where the page is
        elif line.startswith("  - "):
            found[list(found)[-1]].append(line)
    return found


def test_no_promise_of_the_readme_is_left_out() -> None:
    said = readme()
    assert [len(each) for each in said.values()] == [8, 15, 17], "the README promises something more or less"
    left = [what for each in said.values() for what in each if what not in promises()]
    assert not left


def test_each_promise_of_the_page_is_the_readmes_and_is_held_by_something() -> None:
    for what, lines in promises().items():
        assert what in README, what
        assert lines, what
        assert all(NAMED.fullmatch(line.removeprefix("  - ")) for line in lines), what


def test_each_test_and_story_that_is_named_is_there() -> None:
    for name, case in NAMED.findall(PAGE):
        path, _, test = name.partition("::")
        text = (ROOT / path).read_text()
        assert not test or re.search(rf"def {test}\(", text), name
        assert not case or f'"{case}"' in text, f"{name}[{case}]"


def test_each_link_of_the_documents_leads_to_something() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "tests/lab/README.md"]
    for document in documents:
        for link in re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.relative_to(ROOT)} links to {link}"
