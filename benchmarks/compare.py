"""Two ways to the same end, in turns on one cluster, and the ratio of their medians."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence


def compare(rounds: int, by_hand: Callable[[], float], by_recoverd: Callable[[], float]) -> float:
    """Seconds each takes, `rounds` times in turns. Prints every round and returns
    recoverd's median over the other's.
    """
    hand: list[float] = []
    ours: list[float] = []
    for turn in range(rounds):
        hand.append(by_hand())
        ours.append(by_recoverd())
        print(f"round {turn + 1}: by hand {hand[-1]:.1f} s, recoverd {ours[-1]:.1f} s", flush=True)
    return ratio(ours, hand, "recoverd", "by hand")


def ratio(these: Sequence[float], those: Sequence[float], name: str, other: str) -> float:
    """The median of `these` over the median of `those`, printed."""
    found = statistics.median(these) / statistics.median(those)
    print(f"{name} / {other} = {found:.2f} (medians of {len(these)} and {len(those)})", flush=True)
    return found
