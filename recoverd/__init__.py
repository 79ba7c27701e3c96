"""recoverd: watches kubeadm clusters from a bastion host, repairs what it can prove broken,
and asks before data is at stake.
"""

__version__ = "0.1.0"
