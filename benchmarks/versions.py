"""How long recoverd takes for the incident's two halves, against an earlier commit of its own: what was made
safer must not have made it slow.

    python -m benchmarks.versions COMMIT [ROUNDS] [HALF]      root; builds and takes down a lab cluster of one
    control plane and three workers

In turns, each on a cluster of its own: etcd without quorum, from the approval until it is whole (as
`force_new_cluster` measures it), and a restore to older data, from the API server's return until every worker is (as
`stale_restore` does) and recoverd calls it healthy. The earlier commit runs from a worktree of its own. What is printed
is the ratio of the medians of each half.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import force_new_cluster, stale_restore
from benchmarks.compare import ratio
from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster

NUMBER = 9
HERE = Path(__file__).parents[1]


@contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """The tree of a commit, for as long as it is used."""
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory) / "tree"
        subprocess.run(["git", "-C", HERE, "worktree", "add", "--quiet", "--detach", tree, commit], check=True)
        try:
            yield tree
        finally:
            subprocess.run(["git", "-C", HERE, "worktree", "remove", "--force", tree], check=True)


def bastion(cluster: Cluster, tree: Path) -> Bastion:
    # without PYTHONSAFEPATH `python -m` looks in the working directory first
    return Bastion(
        cluster, bounds={"cooldown": 0, "attempts": 100}, environment={"PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"}
    )


def main(commit: str, rounds: int, only: str = "") -> None:
    halves: dict[str, Callable[[Cluster, Bastion], float]] = {
        "quorum": lambda cluster, daemon: force_new_cluster.by_recoverd(daemon, cluster.node("cp1")),
        "older data": lambda cluster, daemon: stale_restore.healed_and_healthy(cluster, daemon)[1],
    }
    halves = {name: heal for name, heal in halves.items() if only in ("", name)}
    with worktree(commit) as tree:
        trees = {"now": HERE, commit: tree}
        took: dict[tuple[str, str], list[float]] = {(half, which): [] for half in halves for which in trees}
        for half, heal in halves.items():
            for turn in range(rounds):
                for which in trees:
                    took[half, which].append(once(heal, trees[which]))
                    print(f"{half}, round {turn + 1}, {which}: {took[half, which][-1]:.1f} s", flush=True)
        for half in halves:
            ratio(took[half, "now"], took[half, commit], f"{half}: now", commit)


def once(heal: Callable[[Cluster, Bastion], float], tree: Path) -> float:
    """Seconds, on a cluster of its own: kubelet waits longer and longer before it starts again what a round before
    has made it restart.
    """
    cluster = Cluster(NUMBER)
    cluster.down()
    cluster.up(control_planes=1, workers=3)
    cluster.workload()
    daemon = bastion(cluster, tree)
    try:
        return heal(cluster, daemon)
    finally:
        daemon.remove()
        cluster.down()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3, *sys.argv[3:4])
