# Files and directories, put into place by a rename: kubelet reads half-written ones.

# present PATH: is something there?
present() { [ -e "$1" ]; }

# is_directory PATH: is it?
is_directory() { [ -d "$1" ]; }

# has_hash FILE SHA256: is there a file with this content? Not by `sha256sum -c`, whose options differ between coreutils
# and busybox, and without a name, since one with a backslash in it changes what is printed.
has_hash() { [ -n "$2" ] && [ "$(sha256sum 2>/dev/null <"$1" | cut -c 1-64)" = "$2" ]; }

# file_has FILE WORDS: are they in it?
file_has() { grep -qF -e "$2" "$1"; }

# make_private DIRECTORY: make it, for root alone, as those above it that are not there.
make_private() { ( umask 077; mkdir -p "$1" ); }

# first_word: of what comes in; 1 where nothing does.
first_word() { read -r fw_word _ && printf '%s\n' "$fw_word"; }

# free_kib DIRECTORY: what is free on its disk.
free_kib() { df -Pk "$1" | tail -n 1 | { read -r _ _ _ fk_free _ && printf '%s\n' "$fk_free"; }; }

# needed PATH TARGET: refuse to put TARGET in place without PATH; "" for nothing.
needed() {
  [ -z "$1" ] || [ -e "$1" ] || refuse "$1 does not exist, and $2 must not be put in without it"
}

# unchanged PATH SHA256: refuse where PATH does not hold that; with "", where there is anything.
unchanged() {
  if [ -n "$2" ]; then
    has_hash "$1" "$2" || refuse "$1 is not what it was when the plan was made"
  else
    [ ! -e "$1" ] || refuse "$1 exists, and was absent when the plan was made"
  fi
}

# keep_file FILE COPY: copy it, whole or not at all; refused where the copy is there and holds something else.
keep_file() {
  mkdir -p "${2%/*}"
  if [ ! -e "$1" ]; then return 0; fi
  if [ -e "$2" ]; then
    cmp -s "$1" "$2" || refuse "$2 holds something else than what is in place, and no older copy is written over"
  else
    cp -p "$1" "$2.$$"
    mv -f "$2.$$" "$2"
  fi
}

# write_file PATH SHA256 BEFORE KEEP BESIDE NEEDS CONTENT: write it whole in the directory BESIDE and rename it in.
# SHA256 is that of CONTENT, BEFORE that of what must be there ("": nothing). KEEP is where what was there is copied,
# NEEDS what must exist; "" for neither. 3 where anything is not as the plan saw it, or where etcd would begin anew with
# it.
write_file() {
  set -eu
  umask 077
  if has_hash "$1" "$2"; then return 0; fi
  unchanged "$1" "$3"
  needed "$6" "$1"
  mkdir -p "$5"
  [ -z "$4" ] || keep_file "$1" "$4"
  # its own name for every run: one that lost its connection may still be at work
  wf_new=$5/${1##*/}.new.$$
  trap 'rm -f "$wf_new"' EXIT
  printf %s "$7" >"$wf_new"
  has_hash "$wf_new" "$2" || refuse "what arrived for $1 is not what was sent"
  sync "$wf_new" || sync
  if of_etcd "$1"; then not_over_nothing "$wf_new" "$1"; fi
  # looked at once more, since the disk took its time
  unchanged "$1" "$3"
  mv -f "$wf_new" "$1"
}

# moved SOURCE TARGET OPTIONAL: is it there and not here any more? OPTIONAL yes: where there is nothing, nothing is
# moved.
moved() {
  [ ! -e "$1" ] && { [ "$3" = yes ] || [ -e "$2" ]; }
}

# move_path SOURCE TARGET OPTIONAL NEEDS SHA256: rename it. NEEDS must exist, SHA256 is what the file must hold; "" for
# neither. 3 where that is not so, where TARGET exists, for etcd's data that anything has open, and for etcd's manifest
# over no data.
move_path() {
  set -eu
  if moved "$1" "$2" "$3"; then return 0; fi
  [ ! -e "$2" ] || refuse "$2 exists already"
  needed "$4" "$2"
  [ -z "$5" ] || has_hash "$1" "$5" || refuse "$1 is not what it was when the plan was made"
  if of_data "$1"; then at_rest "$1" moved; fi
  if of_etcd "$2"; then not_over_nothing "$1" "$2"; fi
  make_private "${2%/*}"
  mv "$1" "$2"
}

# unfinished PREFIX: delete what copies named PREFIX... have left that were cut off, by a reboot or a kill: PREFIX*.part,
# and PREFIX*.PID.part of a shell that is gone. What is whole has no such name. 3 where one is being made at this moment.
unfinished() {
  for un_part in "$1"*.part; do
    [ -e "$un_part" ] || continue
    un_pid=${un_part%.part}; un_pid=${un_pid##*.}
    case $un_pid in
      *[!0-9]*) ;;
      *) case $(cat "/proc/$un_pid/comm" 2>/dev/null) in
        sh | dash | bash | ash | busybox | ksh*) refuse "$un_part is being made at this moment, by process $un_pid" ;;
      esac ;;
    esac
    rm -rf "$un_part"
  done
}

# copy_path SOURCE TARGET: copy a directory whole, to beside it or to another disk: under another name first, so that a
# target that exists is complete. What earlier copies of SOURCE left that were cut off is deleted. 3 where there is nothing to copy
# or no room for it, also where the disk fills meanwhile, where another copy of it is being made, and for etcd's data
# that anything has open; nothing is left of a copy then.
copy_path() {
  set -eu
  if [ -e "$2" ]; then return 0; fi
  [ -e "$1" ] || refuse "$1 does not exist"
  if of_data "$1"; then at_rest "$1" copied; fi
  # they take the room that etcd needs, and each attempt has a name of its own
  unfinished "$1."
  cp_size=$(du -sk "$1" | first_word)
  # 64 MiB stay free: etcd itself must be able to write
  [ "$(free_kib "${2%/*}")" -gt $((cp_size + 65536)) ] || refuse "there is no room for a copy of $1 in ${2%/*}"
  cp_part=$2.$$.part
  # half a copy must not take the room that etcd needs to go on
  trap 'rm -rf "$cp_part"' EXIT
  trap 'exit 1' HUP INT TERM
  cp -a "$1" "$cp_part" || refuse "$1 could not be copied, and what there was of the copy is deleted"
  sync
  mv "$cp_part" "$2"
}

# print_files SEPARATOR FILE...: each, with the separator on a line between two. 1 when one cannot be read.
print_files() {
  pf_separator=$1 pf_first=yes; shift
  for f in "$@"; do
    [ "$pf_first" = yes ] || printf '%s\n' "$pf_separator"
    pf_first=no
    cat "$f" || return 1
  done
}

# remove PATH...: delete them, with all that is in them.
remove() { rm -rf "$@"; }

# put_resolv_conf PATH SHA256 CONTENT: write CONTENT where there is no PATH; behind a symbolic link that leads nowhere,
# where it leads. For everybody to read, as what is gone was. 3 where anything is there, or etcd would begin anew.
put_resolv_conf() {
  set -eu
  if has_hash "$1" "$2"; then return 0; fi
  unchanged "$1" ''
  not_anew "putting $1 back" beside
  pr_at=$1
  if [ -L "$1" ]; then
    pr_at=$(readlink "$1")
    case $pr_at in /*) ;; *) pr_at=${1%/*}/$pr_at ;; esac
    [ ! -L "$pr_at" ] || refuse "$1 is a link to a link that leads nowhere; see to $pr_at"
  fi
  ( umask 022; mkdir -p "${pr_at%/*}" )
  pr_new=$pr_at.recoverd.$$
  trap 'rm -f "$pr_new"' EXIT
  printf %s "$3" >"$pr_new"
  has_hash "$pr_new" "$2" || refuse "what arrived for $1 is not what was sent"
  chmod 644 "$pr_new"
  unchanged "$1" ''
  mv -f "$pr_new" "$pr_at"
}

# put_hosts_line LINE NAME...: add LINE to /etc/hosts, to the file itself: in a container it is a mount, over which
# nothing can be renamed. 3 where a line names one of these hosts by now.
put_hosts_line() {
  set -eu
  ph_line=$1; shift
  if hosts_line_is "$ph_line"; then return 0; fi
  for ph_name in "$@"; do
    ! names_host "$ph_name" || refuse "/etc/hosts names $ph_name otherwise by now"
  done
  [ -z "$(tail -c 1 /etc/hosts)" ] || echo >>/etc/hosts
  printf '%s\n' "$ph_line" >>/etc/hosts
  sync /etc/hosts || sync
}

# names_host NAME: does a line of /etc/hosts?
names_host() { sed -e 's/#.*//' -e 's/$/ /' /etc/hosts | tr '\t' ' ' | grep -qF " $1 "; }

# hosts_line_is LINE: is it there?
hosts_line_is() { grep -qxF -- "$1" /etc/hosts; }
