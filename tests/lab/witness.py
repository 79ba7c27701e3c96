"""What the users of a lab cluster notice: whether the service answered all along, and
whether their pods were left alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from tests.lab.kubelab.cluster import Cluster
from tests.lab.kubelab.node import Node

ANSWERS = "/root/answers"
ASK = f"""while :; do
  at=$(date +%s.%N)
  if r=$(curl -s -m 5 http://10.96.0.80/) && [ -n "$r" ]; then echo "$at ok $r"; else echo "$at failed"; fi; sleep 0.2
done >{ANSWERS} 2>&1 </dev/null & echo $!"""


class Client:
    """Asks the service 10.96.0.80 from a node five times a second, until `stop`."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._pid = node.sh(f"nohup bash -c {_quoted(ASK)}", capture_output=True).stdout.strip()

    def answers(self) -> list[tuple[float, bool]]:
        """(when it was asked by the node's clock, whether an answer came), oldest first."""
        lines = self.node.sh(f"cat {ANSWERS}", capture_output=True).stdout.splitlines()
        return [(float(words[0]), words[1] == "ok") for line in lines if len(words := line.split()) >= 2]

    def failures(self) -> list[float]:
        return [at for at, ok in self.answers() if not ok]

    def stop(self) -> None:
        self.node.sh(f"kill {self._pid}", check=False)


@dataclass(frozen=True)
class Pod:
    """What must stay as it is of a pod that nobody touches."""

    uid: str
    node: str
    restarts: int
    started: tuple[str, ...]
    """When each of its containers was started."""


def pods(cluster: Cluster, label: str = "app=web") -> dict[str, Pod]:
    """The pods with the label, by name, as the API server lists them."""
    answer = cluster.node("cp1").sh(f"kubectl get pods -l {label} -o json", capture_output=True).stdout
    found = {}
    for item in json.loads(answer)["items"]:
        containers = item["status"].get("containerStatuses", [])
        started = tuple(str(c["state"].get("running", {}).get("startedAt")) for c in containers)
        found[item["metadata"]["name"]] = Pod(
            item["metadata"]["uid"],
            item["spec"].get("nodeName", ""),
            sum(c["restartCount"] for c in containers),
            started,
        )
    return found


def boots(cluster: Cluster) -> dict[str, str]:
    """Boot id of every machine, by name, once each answers."""
    for node in cluster.nodes:
        node.wait_for(node.answers, "does not answer over SSH", 60)
    return {n.name: n.boot_id() for n in cluster.nodes}


def ready(node: Node) -> bool:
    """Whether the API server on the machine says ok to /readyz."""
    port = Cluster(node.cluster).profile.api_port
    answer = node.sh(f"curl -sk -m 5 https://127.0.0.1:{port}/readyz", capture_output=True, check=False)
    return answer.stdout.strip() == "ok"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
