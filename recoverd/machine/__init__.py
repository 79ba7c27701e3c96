"""The state machine of one cluster: events in, instructions out, no I/O and no clock of its own."""

from recoverd.machine.cluster import ClusterMachine

__all__ = ["ClusterMachine"]
