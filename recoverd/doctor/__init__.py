"""Proves an installation before the first night: every machine, etcd member and API server of the configuration is
asked what recoverd will need of it, over the daemon's own connections.

Nothing is written anywhere: machines are looked at by the script of a sweep, without the lease; etcd and the API server
are only asked, permissions by SelfSubjectAccessReview, which stores nothing.
"""

from recoverd.doctor.check import Check, Level, shape, worst
from recoverd.doctor.examine import Stranger, examine

__all__ = ["Check", "Level", "Stranger", "examine", "shape", "worst"]
