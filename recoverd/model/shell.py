"""Pieces of shell that several operations use."""

from __future__ import annotations

import shlex

_STATIC = "[0-9a-f]" * 32
PIDS = f"""pids() {{
  name=$(printf %.15s "$1") ours= other= unknown= nl='
'
  for c in /proc/[0-9]*/comm; do
    n=; read -r n 2>/dev/null <$c && [ "$n" = "$name" ] || continue
    case $(cat ${{c%comm}}cgroup 2>/dev/null) in
      *kubepods*pod{_STATIC}*) ours="$ours ${{c%/comm}}" ;;
      *kubepods*) other="$other ${{c%/comm}}" ;;
      */user.slice/*|*.service|*.service$nl*) ;;
      *) unknown="$unknown ${{c%/comm}}" ;;
    esac
  done
  [ -z "${{2-}}" ] || unknown=${{other:-$unknown}}
  echo ${{ours:-$unknown}}
}}"""
"""A shell function that prints the /proc/PID of a static pod's processes: /proc is everywhere, pidof and the runtime's own tool are not.

A static pod's UID is a hash without dashes (kubelet's pkg/kubelet/config), and kubelet names the cgroup after it; so somebody's own etcd, in
another pod or started on the machine, is told apart; with a second argument other pods count as well.
Where cgroups say nothing, the name (of which the kernel keeps 15 characters) has to do.
"""


def complain(text: str) -> str:
    return f"{{ echo {shlex.quote(text)} >&2; exit 3; }}"
