# etcd's data made of a snapshot.

# etcd_tool MINOR IMAGE: `VERSION yes|no PATH` of a program of that minor version ("3.4."; "" for any) that restores
# snapshots here; yes where it knows
# --bump-revision and --mark-compacted. 1 where there is none. `etcd_tool_done` takes back what it mounted.
# kubeadm's nodes have it only in etcd's image, which may have no shell; its programs are static, so they run as they
# are: from the root of the running etcd, or from the image that its manifest names, mounted read-only, or copied from
# where docker has it. Never from wherever else in a container's files: pods could put a program there, and this runs as
# root.
etcd_tool() {
  image=/run/recoverd/etcd-image.$$ # its own for every run
  # shellcheck disable=SC2046 # a word each
  etcd_tool_at "$1" "$(command -v etcdutl)" "$(command -v etcdctl)" $(
    for p in $(pids etcd); do for n in etcdutl etcdctl; do echo "$p/root/usr/local/bin/$n"; done; done) && return
  [ -n "$2" ] || return 1
  if command -v ctr >/dev/null && make_private "$image" && ctr -n k8s.io images mount "$2" "$image" >/dev/null 2>&1; then
    etcd_tool_at "$1" "$image/usr/local/bin/etcdutl" "$image/usr/local/bin/etcdctl" && return
  fi
  # Debian and Ubuntu mount /run so that nothing on it is executed (noexec); elsewhere /var may be so
  for place in /run/recoverd /var/lib/recoverd; do
    copy=$place/etcd-copy.$$
    etcd_tool_copied "$2" "$copy" || return 1
    if [ -x "$copy/etcdutl" ] || [ -x "$copy/etcdctl" ]; then
      etcd_tool_at "$1" "$copy/etcdutl" "$copy/etcdctl"; return
    fi
    rm -rf "$copy"
  done
  return 1
}

# etcd_tool_copied IMAGE DIRECTORY: copy its programs out of docker's image, from a container that is never started. 1
# where docker has no such image; none is fetched.
etcd_tool_copied() {
  { command -v docker >/dev/null && timeout 10 docker image inspect "$1" >/dev/null 2>&1; } || return 1
  made=$(timeout 10 docker create "$1" etcd 2>/dev/null) || return 1
  make_private "$2"
  for n in etcdutl etcdctl; do timeout 10 docker cp "$made:/usr/local/bin/$n" "$2/$n" >/dev/null 2>&1 || rm -f "$2/$n"; done
  timeout 10 docker rm "$made" >/dev/null 2>&1 || true
}

# etcd_tool_done: unmount what `etcd_tool` has mounted, and remove what it has copied.
etcd_tool_done() {
  rm -rf /run/recoverd/etcd-copy.$$ /var/lib/recoverd/etcd-copy.$$
  [ ! -e /run/recoverd/etcd-image.$$ ] || ctr -n k8s.io images unmount --rm /run/recoverd/etcd-image.$$ >/dev/null 2>&1 || true
  rmdir /run/recoverd/etcd-image.$$ 2>/dev/null || true
}

# etcd_tool_at MINOR PATH...: what `etcd_tool` prints, of the first of them.
etcd_tool_at() {
  minor=$1; shift
  for t; do
    [ -x "$t" ] || continue
    v=$(ETCDCTL_API=3 "$t" version 2>/dev/null | sed -n 's/^etcd[a-z]* version: //p')
    case $v in "$minor"*) ;; *) continue ;; esac
    [ -n "$v" ] || continue
    # etcdctl of 3.6 has no `snapshot restore` any more, which is etcdutl's
    h=$(ETCDCTL_API=3 "$t" snapshot restore --help 2>&1) b=no
    case $h in *--initial-cluster*) ;; *) continue ;; esac
    case $h in *--mark-compacted*) b=yes ;; esac
    echo "$v $b $t"; return 0
  done
  return 1
}

# receive_snapshot TARGET SHA256 SIZE: take a file of so many bytes from stdin, whole, or leave nothing. 3 where there
# is no room for it and what is made of it, or what came is not what SHA256 says.
receive_snapshot() {
  set -eu
  umask 077
  rc_directory=${1%/*}
  make_private "$rc_directory"
  unfinished "$1."
  # the snapshot and what is made of it are on this disk together, and etcd itself must be able to write
  [ "$(free_kib "$rc_directory")" -gt $((3 * $3 / 1024 + 65536)) ] || refuse "there is no room in $rc_directory for the snapshot and what is made of it"
  rc_part=$1.$$.part
  trap 'rm -f "$rc_part"' EXIT
  trap 'exit 1' HUP INT TERM
  cat >"$rc_part"
  has_hash "$rc_part" "$2" || refuse "what arrived is not the snapshot that was sent"
  sync "$rc_part" || sync
  mv -f "$rc_part" "$1"
}

# restored BESIDE DATA: was it made in BESIDE and renamed into DATA?
restored() { [ -e "$1/whole" ] && [ ! -e "$1/member" ] && [ -e "$2/member/snap/db" ]; }

# place_free DATA: refuse where data are there, or etcd runs.
place_free() {
  [ ! -e "$1/member" ] || refuse "$1/member exists, and restored data must not be mixed with it"
  ! running etcd || refuse "etcd runs here"
}

# restore_snapshot SNAPSHOT SHA256 DATA NAME PEER_URL CLUSTER TOKEN BUMP MINOR IMAGE: make a member's data of a
# snapshot, in DATA/member: in DATA/restored-TOKEN first, and renamed in, so that what is there is whole. CLUSTER is
# etcd's --initial-cluster. BUMP: by how much revisions go on above the snapshot's, with older ones compacted; 0 for
# not. MINOR and IMAGE: see `etcd_tool`. 3 where data are there, etcd runs, the snapshot is another, there is no program
# for it, or another restore is at work.
restore_snapshot() {
  set -eu
  rs_snapshot=$1 rs_sha256=$2 rs_data=$3 rs_name=$4 rs_url=$5 rs_cluster=$6 rs_token=$7 rs_bump=$8 rs_minor=$9; shift 9; rs_image=$1
  rs_beside=$rs_data/restored-$rs_token
  if restored "$rs_beside" "$rs_data"; then return 0; fi
  # one that lost its connection may still be at work; what an earlier one left is in nobody's use then
  if command -v flock >/dev/null; then
    make_private /run/recoverd
    exec 9>/run/recoverd/restore.lock
    flock -w 100 9 || refuse "another restore is at work on this machine, and has not ended"
    rm -rf "$rs_beside".[0-9]*
    if restored "$rs_beside" "$rs_data"; then return 0; fi
  fi
  place_free "$rs_data"
  if [ ! -e "$rs_beside/whole" ]; then
    has_hash "$rs_snapshot" "$rs_sha256" || refuse "$rs_snapshot is not the snapshot that the plan names"
    rs_found=$(etcd_tool "$rs_minor" "$rs_image") ||
      refuse "no etcdctl or etcdutl ${rs_minor}x was found on this machine, in PATH or in etcd's image (${rs_image:-unknown})"
    rs_tool=${rs_found#* * }
    if [ "$rs_bump" != 0 ]; then
      case $rs_found in
        *" yes "*) ;;
        *) refuse "the program that restores snapshots here does not know --bump-revision and --mark-compacted, with which the plan was made" ;;
      esac
    fi
    # its own directory for every run, where there is no flock
    rs_new=$rs_beside.$$
    trap 'rm -rf "$rs_new"; etcd_tool_done' EXIT
    set -- --name "$rs_name" --initial-cluster "$rs_cluster" --initial-cluster-token "$rs_token" --initial-advertise-peer-urls "$rs_url" \
      --data-dir "$rs_new"
    [ "$rs_bump" = 0 ] || set -- "$@" --bump-revision "$rs_bump" --mark-compacted
    ETCDCTL_API=3 "$rs_tool" snapshot restore "$rs_snapshot" "$@"
    [ -e "$rs_new/member/snap/db" ]
    echo "$rs_found" >"$rs_new/whole"
    chown -R "$(stat -c %u:%g "$rs_data")" "$rs_new" 2>/dev/null || true
    sync
    rm -rf "$rs_beside"
    mv "$rs_new" "$rs_beside"
  fi
  # the restore took its time
  place_free "$rs_data"
  mv "$rs_beside/member" "$rs_data/member"
  rm -f "$rs_snapshot"
  cat "$rs_beside/whole"
}
