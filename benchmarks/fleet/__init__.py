"""What recoverd costs by the number of machines and clusters, with the daemon itself over made-up clusters.

    python -m benchmarks.fleet --clusters C --workers W [--seconds N] [--floor] [--lose-quorum] [--json]

The clusters are served by processes of their own, over real SSH, TLS and HTTP on addresses of 127.0.0.0/8; no root, no
network. Nothing is wrong with them, so every sweep has to say `healthy`. `--code TREE --code OTHER` compares two trees
in one run. CPU time is what counts: seconds depend on what else the machine does. docs/performance.md has the numbers.
"""
