"""What recoverd costs for a fleet of made-up clusters, as `benchmarks.fleet` tells."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from benchmarks.fleet.measure import ROOT, Result, Size, fleet, watch


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--clusters", type=int, default=1)
    parser.add_argument("--workers", type=int, default=10, help="of each cluster")
    parser.add_argument("--control-planes", type=int, default=1, help="of each cluster")
    parser.add_argument("--seconds", type=float, default=30.0, help="to measure for")
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between two sweeps of a cluster")
    parser.add_argument("--deadline", type=float, default=0.0, help="seconds for each source, to cut nothing short")
    parser.add_argument("--processes", type=int, default=2, help="that serve the clusters")
    parser.add_argument("--code", type=Path, action="append", help="a tree to run recoverd of; several are compared")
    parser.add_argument("--lose-quorum", action="store_true", help="one cluster loses etcd's quorum at the end")
    parser.add_argument("--floor", action="store_true", help="what the libraries alone need for the same")
    parser.add_argument("--json", action="store_true", help="a line for each run")
    asked = parser.parse_args()
    size = Size(asked.clusters, asked.workers, asked.control_planes, asked.interval, asked.deadline, asked.processes)
    first: Result | None = None
    for code in asked.code or [ROOT]:
        # quorum that was lost stays lost, so each tree has a fleet of its own
        with fleet(size) as made:
            run = watch(
                made,
                asked.seconds,
                code=code.resolve(),
                floor_too=asked.floor,
                lose_quorum=asked.lose_quorum,
            )
            result = asyncio.run(run)
        print(result.json() if asked.json else told(result, code, first), flush=True)
        first = first or result


def told(result: Result, code: Path, first: Result | None) -> str:
    size, per = result.size, result.cpu_sweep
    asked = ", ".join(f"{n:g} {name}" for name, n in result.asked.items() if n)
    lines = [
        f"{size.clusters} x {size.workers} workers ({size.planes} control plane each), recoverd of {code}: "
        f"{result.sweeps} sweeps in {result.seconds:.0f} s",
        f"CPU     {result.cpu_node:.1f} ms a node and sweep, {per:.3f} s a sweep of one cluster, "
        f"{result.cores:.0%} of a core (the made-up clusters: {result.fakes:.0%})",
        f"memory  {result.rss:.0f} MiB; {result.written:.1f} kB written a sweep",
        "sweep   {:.2f} s p50, {:.2f} s p99; from one to the next {:.2f} s p50, {:.2f} s p99".format(
            *result.sweep, *result.interval
        ),
        f"states  {result.states}; {result.unseen} of {result.sources} sources unseen; {result.behind:.2f} s late",
        f"asked   {asked} a sweep",
        *(f"unseen  {n} times: {why}" for why, n in result.why.items()),
        *(f"unknown {line}" for line in result.unknown),
    ]
    if result.floor and result.ratio:
        lines.append(f"floor   {result.floor:.3f} s by the libraries alone: recoverd / floor = {result.ratio:.2f}")
    if first:
        ratios = per / first.cpu_sweep, result.rss / first.rss
        lines.append("ratio   CPU {:.2f}, memory {:.2f} of the first tree's".format(*ratios))
    if result.lost is not None:
        lines.append(f"quorum  awaiting-approval {result.lost:.1f} s after the loss")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
