"""The running daemon: what it is wired of, the watches on its clusters, what it serves,
its log and its word to systemd.
"""
