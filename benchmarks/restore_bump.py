"""What --bump-revision is worth: `restore-etcd-snapshot` with an etcd that has it, against one that has not and has
to have every agent restarted.

    python -m benchmarks.restore_bump [ROUNDS]      root; builds and takes down a lab cluster of
    one control plane and two workers

First with Debian 12's etcd, 3.4.23, then, on the same cluster, with Debian 13's, 3.5.16. Both begin with the
approval and end when every worker runs just the pods that the API lists for it, by uid, and answers of the
service come twenty times in a row from each. What is printed is the ratio of the two medians, and how many
kubelets were started anew in all rounds.
"""

from __future__ import annotations

import sys
import time

from benchmarks.compare import ratio
from benchmarks.stale_restore import healed
from tests.lab import newer
from tests.lab.bastion import Bastion
from tests.lab.kubelab.cluster import Cluster
from tests.lab.loss import delete_data, kubelets

NUMBER = 9


def restored(cluster: Cluster, daemon: Bastion) -> float:
    """Seconds from the approval until the workload is whole."""
    daemon.wait_healthy(240)
    known = len(daemon.json("restore-points")["restore_points"])
    # refused while the daemon still looks at what is on the disk, and in the first sweeps after an incident
    daemon.wait(
        "a restore point is begun", lambda: daemon.ctl("restore-points", "take", f"lab{NUMBER}").returncode == 0, 90
    )
    daemon.wait("a restore point is taken", lambda: len(daemon.json("restore-points")["restore_points"]) > known, 90)
    # every pod is another one than the restored data will list, so that a deaf kubelet shows
    cluster.node("cp1").sh("kubectl rollout restart deploy/web; kubectl rollout status deploy/web --timeout=120s")
    delete_data(cluster)
    daemon.wait_plan("restore-etcd-snapshot", 120)
    began = time.monotonic()
    plan = daemon.approve("restore-etcd-snapshot")
    daemon.wait("the workload is whole", lambda: healed(cluster), 300, every=0.1)
    took = time.monotonic() - began
    daemon.ended(plan, 300)
    daemon.wait_state("healthy", seconds=240)
    return took


def rounds_of(cluster: Cluster, rounds: int, name: str) -> tuple[list[float], int]:
    """Seconds of each round, and how many kubelets were started anew."""
    daemon = Bastion(
        cluster, bounds={"cooldown": 0, "attempts": 100}, points={"programs": str(newer.fetch()), "interval": "0s"}
    )
    took, anew = [], 0
    try:
        daemon.start()
        for turn in range(rounds):
            before = kubelets(cluster)
            took.append(restored(cluster, daemon))
            anew += len(before.items() - kubelets(cluster).items())
            print(f"round {turn + 1}, {name}: {took[-1]:.1f} s", flush=True)
    finally:
        daemon.remove()
    return took, anew


def main(rounds: int) -> None:
    cluster = Cluster(NUMBER)
    cluster.down()
    cluster.up(control_planes=1, workers=2)
    cluster.workload()
    try:
        plain, anew = rounds_of(cluster, rounds, "3.4.23, without the bump")
        newer.upgrade(cluster)
        bumped, none = rounds_of(cluster, rounds, f"{newer.VERSION}, with the bump")
        ratio(bumped, plain, "with the bump", "without")
        print(f"kubelets started anew: {none} with the bump, {anew} without")
    finally:
        cluster.down()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
