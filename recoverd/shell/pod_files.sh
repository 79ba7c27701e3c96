# Files that static pods name: copies of them, kept on the machine itself for root alone, and put back from there.

# keep_pod_files COPIES [SHA256 PATH]...: copy each PATH to COPIES/SHA256, whole or not at all, and write which is which
# to COPIES/index. Of copies the 128 newest stay: who has changed a key may need the one before. 3 where a file
# does not hold that any more, or there is no room; a copy that was made before that stays, and does no harm.
keep_pod_files() {
  set -eu
  umask 077
  kf_dir=$1; shift
  make_private "$kf_dir"
  chmod 700 "$kf_dir"
  # 64 MiB stay free, of which the largest copies take a quarter
  [ "$(free_kib "$kf_dir")" -gt 81920 ] || refuse "there is no room for copies of what static pods name in $kf_dir"
  trap 'rm -f "$kf_dir/.new.$$" "$kf_dir/.index.$$"' EXIT
  : >"$kf_dir/.index.$$"
  while [ $# -gt 1 ]; do
    if has_hash "$kf_dir/$1" "$1"; then
      touch "$kf_dir/$1"
    else
      has_hash "$2" "$1" || refuse "$2 is not what it was when it was looked at, so it is not copied"
      cat "$2" >"$kf_dir/.new.$$"
      has_hash "$kf_dir/.new.$$" "$1" || refuse "$2 was written to while it was copied"
      sync "$kf_dir/.new.$$" || sync
      mv -f "$kf_dir/.new.$$" "$kf_dir/$1"
    fi
    printf '%s %s\n' "$1" "$2" >>"$kf_dir/.index.$$"
    shift 2
  done
  mv -f "$kf_dir/.index.$$" "$kf_dir/index"
  # shellcheck disable=SC2010 # by time, which find cannot; all other names are left alone
  ls -1t "$kf_dir" | grep -x '[0-9a-f]\{64\}' | tail -n +129 |
    while read -r old; do grep -q "^$old " "$kf_dir/index" || rm -f "$kf_dir/$old"; done
}

# pod_files_kept COPIES SHA256...: is a copy of each there, and whole?
pod_files_kept() {
  pk_dir=$1; shift
  for digest in "$@"; do has_hash "$pk_dir/$digest" "$digest" || return 1; done
}

# put_back_pod_file PATH SHA256 MODE OWNER BEFORE KEEP COPIES: put COPIES/SHA256 in place of PATH, which holds BEFORE
# ("": there is nothing, or an empty directory that a container runtime has made of a mount). What is there is copied to
# KEEP first. A symbolic link that leads nowhere is replaced. 3 where there is no such copy, anything else is there,
# etcd would begin anew, or the key is not that of the certificate beside it.
put_back_pod_file() {
  set -eu
  umask 077
  if has_hash "$1" "$2"; then return 0; fi
  has_hash "$7/$2" "$2" || refuse "there is no copy of $1 in $7 any more: put it back from a backup"
  not_anew "putting $1 back" beside
  fits_certificate "$7/$2" "$1"
  if [ -z "$5" ] && [ -d "$1" ] && [ ! -L "$1" ]; then
    rmdir "$1" 2>/dev/null || refuse "$1 is a directory by now, and it is not empty"
  fi
  unchanged "$1" "$5"
  # for others to read as directories of /etc are: what is in it has its own mode
  ( umask 022; mkdir -p "${1%/*}" )
  if [ -n "$6" ]; then make_private "${6%/*}"; keep_file "$1" "$6"; fi
  pb_new=${1%/*}/.${1##*/}.recoverd.$$
  trap 'rm -f "$pb_new"' EXIT
  cat "$7/$2" >"$pb_new"
  has_hash "$pb_new" "$2" || refuse "$1 could not be written whole: is its disk full?"
  chown "$4" "$pb_new"
  chmod "$3" "$pb_new"
  sync "$pb_new" || sync
  # looked at once more, since the disk took its time
  unchanged "$1" "$5"
  mv -f "$pb_new" "$1"
}

# fits_certificate KEY PATH: refuse a private key that is to go beside the certificate of another one, where there is
# openssl to tell. Renewed together they may have been since the copy was made.
fits_certificate() {
  case $2 in *.key) fc_certificate=${2%.key}.crt ;; *) return 0 ;; esac
  { [ -f "$fc_certificate" ] && command -v openssl >/dev/null; } || return 0
  fc_mine=$(openssl pkey -in "$1" -passin pass: -pubout 2>/dev/null) || return 0
  fc_its=$(openssl x509 -in "$fc_certificate" -noout -pubkey 2>/dev/null) || return 0
  [ "$fc_mine" = "$fc_its" ] ||
    refuse "$fc_certificate is another key's than the copy of $2: it was made anew since; \`kubeadm certs\` makes both, or restore-pki puts both back"
}
