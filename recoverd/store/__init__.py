"""The journal of several bastions: kept in their own etcd, each cluster's by the one bastion that owns it."""
