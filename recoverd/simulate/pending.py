"""Pods that wait for a node, as the bastion sees them."""

from __future__ import annotations

from recoverd.model.observation import Unseen, UnseenKind
from recoverd.model.witness import UntriedPods
from recoverd.simulate.cluster import ModelCluster


def untried(cluster: ModelCluster) -> UntriedPods | Unseen:
    """Those that no scheduler has looked at: somebody makes one every moment."""
    since = cluster.nodes.passed_over
    if cluster.api.lists() is None:
        return Unseen(UnseenKind.NOT_TRIED, "no API server is ready to list the pods that wait")
    return UntriedPods() if since is None else UntriedPods(1, cluster.now - since, ("default/new",))
