"""What is asked over the network, and how: machines over SSH, etcd through their tunnels, leases on their disks.
Deadlines, and errors in words.
"""
