"""`python -m tests.soak --seconds 60 --seed 1`: the fixed seeds, then fresh ones, on every core; ends
with 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import logging
import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import structlog

from tests.soak import record
from tests.soak.moves import Story, drawn
from tests.soak.player import Outcome, play
from tests.soak.shrink import shrunk

FIXED = Path(__file__).with_name("seeds.txt")


def quiet() -> None:
    """What the loop logs is judged from the journal."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def one(seed: int) -> Outcome:
    outcome = play(drawn(seed))
    return (
        outcome
        if outcome.wrong
        else Outcome(outcome.story, [], [], outcome.steps, outcome.seconds, outcome.plans, outcome.healthy)
    )


def fixed() -> list[int]:
    """Seeds that have once found something."""
    return [
        int(line.split()[0]) for line in FIXED.read_text().splitlines() if line.strip() and not line.startswith("#")
    ]


def _seeds(seed: int, first: list[int], until: float) -> Iterator[int]:
    """Until then, or until somebody ends it (SIGTERM): what has been played is counted in any case."""
    asked = list[int]()
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    for number in itertools.chain(first, itertools.count(seed)):
        if asked or time.monotonic() > until:
            return
        yield number


def _worker() -> None:
    """What ends the whole is for the parent, which waits for the stories in hand."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    quiet()


def report(outcome: Outcome, shrink: float) -> None:
    story: Story = outcome.story
    print(f"\nBROKEN {outcome.wrong[0]}\n{story}", flush=True)
    small = shrunk(story, outcome.wrong[0].what, shrink)
    again = play(small)
    print(f"shrunk to {len(small.moves)} moves:\n{small}")
    print("what was told:")
    for line in again.told[-120:]:
        print(f"    {line}")
    print(f"    {[str(w) for w in again.wrong]}\nagain: make soak-model SEED={story.seed} RUNS=1", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long")
    parser.add_argument(
        "--seed", type=int, default=None, help="the first fresh seed; another one each time when left out"
    )
    parser.add_argument("--runs", type=int, default=0, help="so many stories from the seed on, and no fixed ones")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--keep-going",
        action="store_true",
        help="do not stop at the first story that breaks a promise, and shrink none",
    )
    parser.add_argument("--record", action="store_true", help=f"write a row in {record.TABLE.name}")
    args = parser.parse_args()
    quiet()
    seed = random.SystemRandom().randrange(1 << 31) if args.seed is None else args.seed
    until = time.monotonic() + (args.seconds if not args.runs else 1e9)
    seeds = iter(range(seed, seed + args.runs)) if args.runs else _seeds(seed, fixed(), until)
    print(f"seed {seed}", flush=True)
    began, count, steps, virtual, well = time.monotonic(), 0, 0, 0.0, 0
    plans: Counter[str] = Counter()
    broken: list[Outcome] = []
    # what is imported by now stays: the collector went through it again and again, for an eighth of a story's time
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    with ProcessPoolExecutor(args.jobs, multiprocessing.get_context("fork"), _worker) as pool:
        for outcome in _windowed(pool, seeds, args.jobs + 1):
            count, steps, virtual, well = (
                count + 1,
                steps + outcome.steps,
                virtual + outcome.seconds,
                well + outcome.healthy,
            )
            plans.update(outcome.plans)
            if outcome.wrong:
                broken.append(outcome)
                if args.keep_going:
                    print(f"BROKEN seed {outcome.story.seed}: {outcome.wrong[0]}", flush=True)
                else:
                    break
    took = time.monotonic() - began
    if broken and not args.keep_going:
        report(min(broken, key=lambda o: len(o.story.moves)), 60.0)
    print(
        f"\n{count} stories, {steps} steps, {virtual / 3600:.0f} h of the model in {took:.0f} s ({count / took:.1f} a "
        f"second); {well} ended healthy"
    )
    for name, number in sorted(plans.items()):
        print(f"    {number:6} {name}")
    if args.record:
        record.append("model", seed, count, f"{virtual / 3600:.0f} h", f"{well:,} ended healthy", len(broken))
    kinds = Counter(o.wrong[0].what for o in broken)
    print(f"seed {seed}: {len(broken)} stories broke a promise {dict(kinds) if broken else ''}")
    return 1 if broken else 0


def _windowed(pool: ProcessPoolExecutor, seeds: Iterator[int], width: int) -> Iterator[Outcome]:
    """Results of a pool that is never given more than `width` stories ahead, so that it ends in time."""
    waiting: list[Future[Outcome]] = []
    for seed in seeds:
        waiting.append(pool.submit(one, seed))
        if len(waiting) >= width:
            yield waiting.pop(0).result()
    for each in waiting:
        yield each.result()


if __name__ == "__main__":
    raise SystemExit(main())
