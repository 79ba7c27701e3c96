# What an operation makes sure of on the machine itself, in the very script that acts. What a plan was made on is a
# sweep, and a sweep is a moment old: people, kubelet and another recoverd change things meanwhile. Each of them refuses
# (3) before anything was changed, forwards and backwards.

# term_there: which owner of its cluster this machine has seen: tm_id and tm_term, '' and 0 for none.
term_there() {
  tm_id='' tm_term=0
  { read -r tm_id tm_term _ </run/recoverd-lease/term; } 2>/dev/null
  case $tm_term in ''|*[!0-9]*|????????????????*) tm_id='' tm_term=0 ;; esac
}

# term_guard ID TERM: refuse where a later owner of this cluster has been here. ID is that of bastions that take over
# from each other, TERM the number of this one's ownership, which grows from one owner to the next.
term_guard() {
  term_there
  if [ "$tm_id" = "$1" ] && [ "$tm_term" -gt "$2" ]; then
    refuse "nothing was done: another bastion has taken this cluster over"
  fi
}

# lease_guard ID FENCE STRICT [TERM]: refuse where another bastion holds the lease of this cluster. ID is the bastion's own,
# FENCE the number that its lease must have here (0: any), STRICT yes where it must stand here at all, no where a lease
# that nobody holds will do. See observe/lease.sh.
lease_guard() {
  [ -z "${4-}" ] || term_guard "$1" "$4"
  lg_holder='' lg_fence='' lg_until=0 lg_name=''
  { read -r lg_holder lg_fence lg_until lg_name _ </run/recoverd-lease/lease; } 2>/dev/null
  read -r lg_now _ </proc/uptime; lg_now=${lg_now%%.*}
  case $lg_until in ''|*[!0-9]*|????????????????*) lg_holder='' lg_until=0 ;; esac
  [ "$2" != 0 ] || lg_fence=0
  if [ "$lg_holder $lg_fence" = "$1 $2" ] && [ "$lg_until" -gt "$lg_now" ]; then return 0; fi
  if [ "$3" = no ] && { [ -z "$lg_holder" ] || [ "$lg_until" -le "$lg_now" ]; }; then return 0; fi
  refuse "nothing was done: the recoverd on ${lg_name:-another bastion} holds the lease of this cluster, or this one lost its own"
}

# of_data PATH: is it etcd's data: `member` in its data directory, or a copy beside it?
of_data() {
  od_path=${1%/}
  case ${od_path##*/} in member|member.*) return 0 ;; *) return 1 ;; esac
}

# of_etcd PATH: is it etcd's manifest, in kubelet's sight?
of_etcd() {
  case $1 in */manifests/etcd.yaml) return 0 ;; *) return 1 ;; esac
}

# holders DIRECTORY: who has the database in it open, a line NAME (PID) each. By inode, since a process in a container
# knows the file under another name.
holders() {
  find -L /proc/self/fd -maxdepth 0 -inum 0 >/dev/null 2>&1 || { echo "somebody, for all that this machine's find can tell"; return; }
  [ -f "$1/snap/db" ] || return 0
  held=$(stat -L -c '%i %d' "$1/snap/db")
  # shellcheck disable=SC2044 # no name in /proc/PID/fd is odd
  for fd in $(find -L /proc/[0-9]*/fd -maxdepth 1 -inum "${held% *}" 2>/dev/null); do
    [ "$(stat -L -c '%i %d' "$fd" 2>/dev/null)" = "$held" ] || continue
    fd=${fd#/proc/}; echo "$(cat "/proc/${fd%%/*}/comm" 2>/dev/null) (${fd%%/*})"
  done | sort -u
}

# at_rest DIRECTORY WHAT: refuse while etcd runs here, or anybody has the database in DIRECTORY open. WHAT must not be
# done then, as in "moved".
at_rest() {
  ! running etcd || refuse "etcd runs here, and $1 must not be $2 from under it"
  at_rest_open=$(holders "$1")
  [ -z "$at_rest_open" ] || refuse "$1 must not be $2: it is open in $(printf '%s' "$at_rest_open" | tr '\n' ' ')"
}

# manifest_flag FILE NAME: what --NAME is in a manifest as kubeadm writes it; nothing where it is not there.
manifest_flag() { sed -n "s/^ *- *[\"']\{0,1\}--$2=//p" "$1" | head -n 1 | tr -d "\"' \r"; }

# begins_anew FILE: would an etcd that is started with this manifest begin a cluster of its own, over nothing? As etcd
# itself decides: with a log it goes on, without one it begins what --initial-cluster-state says (`wal.Exist` in etcd's
# server). A database without a log counts as somebody's data from 64 KiB on the disk on: a refused first start leaves
# less.
begins_anew() (
  [ -f "$1" ] || exit 1
  [ "$(manifest_flag "$1" initial-cluster-state)" != existing ] || exit 1
  d=$(manifest_flag "$1" data-dir); d=${d:-/var/lib/etcd}; w=$(manifest_flag "$1" wal-dir)
  for f in "${w:-$d/member/wal}"/*.wal; do [ ! -e "$f" ] || exit 1; done
  [ -e "$d/member/snap/db" ] || exit 0
  # what cannot be told is not taken for data
  size=$(stat -L -c '%b %B' "$d/member/snap/db") || exit 0
  [ $((${size% *} * ${size#* })) -lt 65536 ]
)

# not_over_nothing FILE TARGET: refuse to put FILE in place at TARGET, as etcd's manifest, where there is no data for
# that etcd.
not_over_nothing() {
  ! begins_anew "$1" ||
    refuse "etcd would begin a new, empty cluster: its data directory holds nothing, and $2 does not say that it joins one (existing)"
}

# not_anew WHAT [beside]: refuse where WHAT would start etcd over nothing. `beside`: what is started lets an etcd that
# runs go on as it is, so then it may be.
not_anew() {
  if [ "${2-}" = beside ] && running etcd; then return 0; fi
  ! begins_anew /etc/kubernetes/manifests/etcd.yaml ||
    refuse "$1 would start etcd over nothing, as a new, empty cluster: /etc/kubernetes/manifests/etcd.yaml is in place, and its data directory holds none. Bring the data back, or move the manifest away, first"
}
