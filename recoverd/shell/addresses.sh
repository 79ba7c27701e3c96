# Addresses of pods that the IPAM plugin host-local has given out: a file for each, named after the address, which begins
# with the id of the container that it was given to (containernetworking/plugins, ipam/host-local/backend/disk).

# given_out DIRECTORY [TEST...]: the files of addresses there, of which find's TESTs are so.
given_out() {
  go_directory=$1; shift
  find "$go_directory" -maxdepth 1 -type f -name '*[.:]*' ! -name '*reserved*' "$@" 2>/dev/null
}

# leaked DIRECTORY: the files there whose container no process on the machine is of. Younger ones than three minutes are
# left out: the address comes before the process. Nothing where no container can be seen to run.
leaked() {
  lk_live=$(cat /proc/[0-9]*/cgroup 2>/dev/null | grep -oE '[0-9a-f]{64}' | sort -u)
  [ -n "$lk_live" ] || return 0
  given_out "$1" -mmin +2 | while IFS= read -r lk_file; do
    lk_id=$(head -n 1 "$lk_file" 2>/dev/null | tr -d '\r \t')
    [ -n "$lk_id" ] || continue
    case $lk_live in *"$lk_id"*) ;; *) printf '%s\n' "$lk_file" ;; esac
  done
}

# none_leaked DIRECTORY: is there no such file?
none_leaked() { [ -z "$(leaked "$1")" ]; }

# free_addresses DIRECTORY KEPT: move them to KEPT. 3 where there is none.
free_addresses() {
  set -eu
  fa_files=$(leaked "$1")
  [ -n "$fa_files" ] || refuse "every address in $1 is that of a container that runs, or was given out a moment ago"
  make_private "$2"
  printf '%s\n' "$fa_files" | while IFS= read -r fa_file; do mv "$fa_file" "$2/"; done
}
