"""`python -m tests.lab.soak --minutes 30 --seed 1`: random episodes on one lab cluster; ends with
1 when one of them went wrong.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Mapping

from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster
from tests.lab.runner import claims, evidence
from tests.lab.soak.play import Result, play
from tests.lab.soak.trouble import drawn
from tests.soak import record

KINDS = ("by itself", "after approval", "escalated", "let be", "wrong")
BOUNDS = {"cooldown": 0, "attempts": 100}


def up(cluster: Cluster, shape: Mapping[str, int]) -> Bastion:
    """The cluster with its workload, and a recoverd that remembers it."""
    cluster.up(shape["control_planes"], shape["spares"], shape["workers"], workload=True)
    bastion = Bastion(cluster, bounds=BOUNDS)
    bastion.start()
    bastion.wait_healthy(240)
    bastion.wait_network(cluster)
    return bastion


def line(result: Result) -> str:
    did = f"; it ran {', '.join(result.playbooks)}" if result.playbooks else ""
    asked = f"; it asked for {', '.join(result.asked)}" if result.asked else ""
    return f"{result.episode.number:3} {result.outcome:14} {result.seconds:4.0f} s  {result.episode}{did}{asked}"


def wrong(result: Result, bastion: Bastion, run: str) -> None:
    said = "\n".join([line(result), *(f"WRONG: {w}" for w in result.wrong), *result.log])
    kept = evidence.archive(
        evidence.HOME / run / f"soak-{result.episode.number}.tar.gz", list(bastion.clusters), [bastion], said
    )
    print(f"{said}\n    evidence: {kept}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=None, help="another one each time when left out")
    parser.add_argument("--first", type=int, default=1, help="the number of the first episode, to come back to one")
    parser.add_argument("--control-planes", type=int, choices=(1, 3), default=1)
    parser.add_argument("--record", action="store_true", help=f"write a row in {record.TABLE.name}")
    args = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 31) if args.seed is None else args.seed
    shape = {"control_planes": args.control_planes, "spares": 0, "workers": 3 if args.control_planes == 1 else 1}
    run = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    claim = claims.claim(run, claims.preferred(**shape))
    cluster, results = Cluster(claim.number), list[Result]()
    print(f"seed {seed}, cluster {claim.number}, {shape}", flush=True)
    bastion: Bastion | None = None
    try:
        bastion = up(cluster, shape)
        names = [n.name for n in cluster.nodes]
        end = time.monotonic() + 60 * args.minutes
        number = args.first
        while time.monotonic() < end:
            episode = drawn(
                seed, number, [n for n in names if n.startswith("cp")], [n for n in names if n.startswith("w")]
            )
            result = play(cluster, bastion, episode)
            results.append(result)
            print(line(result), flush=True)
            if result.wrong:
                wrong(result, bastion, run)
                bastion.remove()
                cluster.down()
                bastion = up(cluster, shape)
            number += 1
    finally:
        if bastion:
            bastion.remove()
        cluster.down()
        claim.release()
    counts = Counter(r.outcome for r in results)
    if args.record:
        outcome = ", ".join(f"{counts[kind]} {kind}" for kind in KINDS[:-1] if counts[kind])
        took = f"{sum(r.seconds for r in results) / 60:.0f} min"
        where = f"lab, {args.control_planes} control plane{'s' if args.control_planes > 1 else ''}"
        record.append(where, seed, len(results), took, outcome, counts["wrong"])
    return summary(seed, results, counts)


def summary(seed: int, results: list[Result], counts: Mapping[str, int]) -> int:
    print(f"\nseed {seed}: {len(results)} episodes in {sum(r.seconds for r in results) / 60:.0f} min")
    for kind in KINDS:
        print(f"    {counts[kind]:4} {kind}")
    return 1 if counts["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
