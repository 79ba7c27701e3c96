"""The benchmark's made-up clusters answer as real ones: recoverd calls them healthy, and sees when one is not."""

from __future__ import annotations

from benchmarks.fleet.measure import Size, fleet, watch


async def test_a_made_up_cluster_is_healthy_until_it_loses_quorum() -> None:
    size = Size(clusters=1, workers=3, interval=1.0, deadline=20.0)
    with fleet(size) as made:
        result = await watch(made, 1.0, lose_quorum=True)
    assert result.unknown == [], "a script or a path that the made-up cluster does not know"
    assert result.states == {"healthy": result.sweeps}
    assert (result.unseen, result.why) == (0, {})
    assert result.cpu_node > 0
    assert result.lost is not None, "nothing waits for approval though quorum is lost"
