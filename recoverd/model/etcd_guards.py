"""Shell with which an operation makes sure, on the machine and in the very script that acts, that etcd comes to no harm.

What a plan was made on is a sweep, and a sweep is a moment old: people, kubelet and another recoverd change things meanwhile. Each guard ends the
script with status 3 and a sentence before anything was changed, which the runner tells as refused. Forwards and backwards alike.
"""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath

from recoverd.model.shell import PIDS, complain

MANIFEST = "/etc/kubernetes/manifests/etcd.yaml"
"""kubeadm's; the first component's to be started by a kubelet that finds it."""
BEGUN = 65536
"""Bytes on the disk from which on a database without a log counts as somebody's data: a refused first start leaves less (see `observe.look`)."""

_HOLDERS = r"""holders() { # DIRECTORY: who has the database in it open, as NAME (PID)
  find -L /proc/self/fd -maxdepth 0 -inum 0 >/dev/null 2>&1 || { echo "somebody, for all that this machine's find can tell"; return; }
  [ -f "$1/snap/db" ] && held=$(stat -L -c '%i %d' "$1/snap/db") || return 0
  for fd in $(find -L /proc/[0-9]*/fd -maxdepth 1 -inum ${held% *} 2>/dev/null); do
    [ "$(stat -L -c '%i %d' "$fd" 2>/dev/null)" = "$held" ] || continue
    fd=${fd#/proc/}; echo "$(cat /proc/${fd%%/*}/comm 2>/dev/null) (${fd%%/*})"
  done | sort -u
}"""
"""By inode, since a process in a container knows the file under another name."""

_ANEW = rf"""begins_anew() {{ # FILE: would an etcd that is started with this manifest begin a cluster of its own, over nothing?
  [ -f "$1" ] || return 1
  flag() {{ sed -n "s/^ *- *[\"']\{{0,1\}}--$2=//p" "$1" | head -n 1 | tr -d "\"' \r"; }}
  [ "$(flag "$1" initial-cluster-state)" != existing ] || return 1
  d=$(flag "$1" data-dir); d=${{d:-/var/lib/etcd}}; w=$(flag "$1" wal-dir)
  for f in "${{w:-$d/member/wal}}"/*.wal; do [ ! -e "$f" ] || return 1; done
  [ -e "$d/member/snap/db" ] || return 0
  set -- $(stat -L -c '%b %B' "$d/member/snap/db"); [ $(($1 * $2)) -lt {BEGUN} ]
}}"""
"""As etcd itself decides: with a log it goes on, without one it begins what --initial-cluster-state says (`wal.Exist` in etcd's server)."""


def of_data(path: str) -> bool:
    """Whether a path is etcd's data: `member` in its data directory, or a copy beside it."""
    name = PurePosixPath(path).name
    return name == "member" or name.startswith("member.")


def of_etcd(path: str) -> bool:
    """Whether a path is etcd's manifest, in kubelet's sight."""
    return path.endswith("/manifests/etcd.yaml")


def at_rest(path: str, what: str) -> str:
    """Refuse while etcd runs on this machine, or anybody has the database under `path` open. `what` must not be done then, as in "moved"."""
    return (
        f'{PIDS}\n{_HOLDERS}\ntest -z "$(pids etcd)" || {complain(f"etcd runs here, and {path} must not be {what} from under it")}\n'
        f"open=$(holders {shlex.quote(path)})\n"
        f'test -z "$open" || {{ echo {shlex.quote(path)}" must not be {what}: it is open in" $open >&2; exit 3; }}\n'
    )


def not_over_nothing(file: str, target: str) -> str:
    """Refuse to put `file` (as the shell names it) in place as etcd's manifest, where there is no data for that etcd."""
    why = f"etcd would begin a new, empty cluster: its data directory holds nothing, and {target} does not say that it joins one (existing)"
    return f"{_ANEW}\n! begins_anew {file} || {complain(why)}\n"


def not_anew(starting: str, *, beside: bool = False) -> str:
    """Refuse to start what starts etcd over nothing. `beside`: what is started lets an etcd that runs go on as it is, so then it may be."""
    why = (
        f"{starting} would start etcd over nothing, as a new, empty cluster: {MANIFEST} is in place, and its data directory holds none. "
        "Bring the data back, or move the manifest away, first"
    )
    runs = f'{PIDS}\ntest -n "$(pids etcd)" || ' if beside else ""
    return f"{_ANEW}\n{runs}! begins_anew {MANIFEST} || {complain(why)}\n"
