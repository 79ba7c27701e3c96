"""What containerd, docker and CRI-O say of what stops them. Pure."""

from __future__ import annotations

from recoverd.diagnose.cause import RUNTIMES, row

CAUSES_OF_RUNTIMES = (
    row(
        "broken-configuration",
        RUNTIMES,
        r"expected containerd config version|failed to load TOML|\btoml: |invalid (?:disabled )?plugin (?:URI|config)|"
        r"unable to configure the Docker "
        r"daemon with file|cannot unmarshal|validating (?:runtime|root|image) config",
        "its configuration cannot be read",
        "put /etc/containerd/config.toml (docker: /etc/docker/daemon.json) right, and start it",
    ),
    row(
        "another-instance",
        RUNTIMES,
        r"is another instance running\?|failed to open database file: timeout|waiting for response from boltdb",
        "another process of it has its socket or its database",
        "see which with `fuser -v /run/containerd/containerd.sock` and `ps -C containerd`, and end it; then start it",
    ),
    row(
        "no-snapshotter",
        RUNTIMES,
        r"failed to find snapshotter \\*\"(\w+)|driver not supported: (\w+)|failed to mount (overlay): no such device",
        "the kernel or its configuration has no {0}, by which it stores images",
        "`modprobe overlay`, and its name below /etc/modules-load.d; where there is no such module, see whether "
        "/lib/modules/$(uname -r) is there",
    ),
    row(
        "own-network",
        ("docker",),
        r"Error initializing network controller: (.{1,100})",
        "it cannot set up its bridge or its rules: {0}",
        "see to firewalld and iptables (legacy or nft), and start it",
    ),
    row(
        "storage-drivers",
        ("docker",),
        r"contains several valid graphdrivers: ([\w, ]+)",
        "its directory holds what several storage drivers have left ({0}), and it is not told which to use",
        "name the one that was in use as storage-driver in /etc/docker/daemon.json, and start it",
    ),
    row(
        "pid-file-left",
        ("docker",),
        r"pid file found, ensure docker is not running or delete (\S+)",
        "an old {0} is in its way",
        "delete it when no dockerd runs, and start docker",
    ),
    row(
        "broken-database",
        RUNTIMES,
        r"panic: (?:freepages|invalid page type|page \d+ already freed|assertion failed|runtime error: "
        r"slice bounds out of range)|invalid database",
        "its own database is damaged, as after a power cut",
        "move /var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db away and start it: containers and "
        "images are made and pulled anew",
    ),
)
