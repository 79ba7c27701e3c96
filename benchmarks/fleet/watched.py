"""`recoverd run`, with one line a sweep written beside it: which cluster, how long, what was unseen, what state it is
in, and the CPU time of the process so far. A script and no module, so that it can start recoverd of another tree.

    PYTHONPATH=TREE FLEET_SWEEPS=FILE python watched.py run --config FILE
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from recoverd.cli.daemon import main
from recoverd.metrics.server import Metrics
from recoverd.model.network import NetworkView
from recoverd.model.observation import Observation, Unseen
from recoverd.model.status import ClusterStatus

FILE = Path(os.environ["FLEET_SWEEPS"]).open("a", buffering=1)  # noqa: SIM115  # as long as the process
_swept = Metrics.swept


def swept(metrics: Metrics, observation: Observation, status: ClusterStatus) -> None:
    _swept(metrics, observation, status)
    line = {
        "cluster": observation.cluster,
        "at": time.monotonic(),
        "took": (observation.at - observation.started_at).total_seconds(),
        "cpu": time.process_time(),
        "behind": observation.behind,
        "state": str(status.state),
        "sources": 2 + len(observation.hosts) + len(observation.etcd),
        "unseen": dict(unseen(observation)),
    }
    FILE.write(json.dumps(line) + "\n")


def unseen(observation: Observation) -> Iterator[tuple[str, str]]:
    views = {"objects": observation.api.objects, "network": observation.network}
    for name, view in (*views.items(), *observation.etcd.items(), *observation.hosts.items()):
        if isinstance(view, Unseen):
            yield name, view.reason
    if isinstance(observation.network, NetworkView):
        for name, of_host in observation.network.hosts.items():
            if isinstance(of_host, Unseen):
                yield f"network of {name}", of_host.reason


if __name__ == "__main__":
    Metrics.swept = swept  # type: ignore[method-assign]
    main()
