"""A plan on one screen: what is the same on several hosts is one block, and no step is lost in it."""

from __future__ import annotations

from typing import Any

import pytest

from recoverd.cli.folding import Block, folded, generic


def step(host: str, text: str, *, timeout: float = 30.0, commits: bool = False) -> dict[str, Any]:
    return {"host": host, "description": text.replace("@", host), "timeout": timeout, "point_of_no_return": commits}


def shape(blocks: list[Block]) -> list[tuple[str, str, int]]:
    return [(b.numbers, " ".join(b.hosts), len(b.steps)) for b in blocks]


CASES = {
    "one step on each host": ([step(h, "stop etcd on @") for h in ("a", "b", "c")], [("1-3", "a b c", 1)]),
    "a turn of three on each host": (
        [step(h, t) for h in ("a", "b") for t in ("keep on @", "send to @", "restore on @")],
        [("1-6", "a b", 3)],
    ),
    "what differs in its deadline is told apart": (
        [step("a", "stop etcd on @"), step("b", "stop etcd on @", timeout=60.0)],
        [("1", "a", 1), ("2", "b", 1)],
    ),
    "what is the point of no return is told apart": (
        [step("a", "start @"), step("b", "start @", commits=True)],
        [("1", "a", 1), ("2", "b", 1)],
    ),
    "the same host twice is not one turn": ([step("a", "see @"), step("a", "see @")], [("1", "a", 1), ("2", "a", 1)]),
    "a turn is one host's": (
        [step("a", "x on @"), step("b", "y on @"), step("a", "x on @"), step("b", "y on @")],
        [(str(n), h, 1) for n, h in enumerate("abab", 1)],
    ),
    "what is left over stands alone": (
        [
            *(step(h, "stop on @") for h in ("a", "b")),
            step("a", "look at @"),
            *(step(h, "start on @") for h in ("a", "b")),
        ],
        [("1-2", "a b", 1), ("3", "a", 1), ("4-5", "a b", 1)],
    ),
    "none": ([], []),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_alike_is_one_block(case: str) -> None:
    steps, blocks = CASES[case]
    assert shape(list(folded(steps))) == blocks
    assert sum(len(b.steps) * len(b.hosts) for b in folded(steps)) == len(steps), "no step is lost"


@pytest.mark.parametrize(
    ("text", "host", "said"),
    [
        ("restart kubelet on cp1", "cp1", "restart kubelet"),
        ("see node cp1 Ready", "cp1", "see node HOST Ready"),
        ("write /etc/cp1/x on cp1", "cp1", "write /etc/HOST/x"),
        ("restart kubelet on cp10", "cp1", "restart kubelet on cp10"),
        ("send it to cp1-a", "cp1", "send it to cp1-a"),
        ("look at cp1.example.org", "cp1", "look at cp1.example.org"),
        ("look at node.a", "node.a", "look at HOST"),
        ("look at nodexa", "node.a", "look at nodexa"),
    ],
)
def test_a_host_is_taken_out_of_a_text_where_it_is_a_word(text: str, host: str, said: str) -> None:
    assert generic(text, host) == said
