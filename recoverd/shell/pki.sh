# The certificates of a control plane. Everything is kept on the machine itself; no private key leaves it.

# keep_pki COPY PRUNE KUBERNETES: copy KUBERNETES/pki and the kubeconfigs to the directory COPY, under another name
# first, so that one that exists is whole. PRUNE yes: delete the oldest copies of the healthy time but five; their names
# are 16 hexadecimal digits, and others are nobody's to delete. Where there is a symbolic link, what it points to is
# copied: a link in the copy would lead to the very file that the copy is to replace. Only one that leads nowhere is
# kept as it is. 3 where there is nothing to keep, no room, or not all could be copied.
keep_pki() {
  set -eu
  umask 077
  if [ -d "$1/pki" ]; then touch "$1"; return 0; fi
  [ -d "$3/pki" ] || refuse "$3/pki does not exist"
  kp_parent=${1%/*}
  make_private "$kp_parent"
  chmod 700 "$kp_parent"
  unfinished "$kp_parent/"
  kp_size=$(du -skL "$3/pki" | first_word)
  # 64 MiB stay free
  [ "$(free_kib "$kp_parent")" -gt $((kp_size + 65536)) ] || refuse "there is no room for a copy of the certificates in $kp_parent"
  kp_part=$1.$$.part
  trap 'rm -rf "$kp_part"' EXIT
  mkdir -m 700 "$kp_part" "$kp_part/pki"
  # cp fails for a link that leads nowhere, once it has copied the rest; whether it has is asked afterwards
  cp -aL "$3/pki/." "$kp_part/pki/" || :
  ( cd "$3/pki" && find . -type l ! -exec test -e {} \; -exec cp -P {} "$kp_part/pki/{}" \; )
  ( cd "$3/pki" && find -L . -type f | while read -r f; do cmp -s "$f" "$kp_part/pki/$f" || refuse "not all of $3/pki could be copied"; done )
  for f in "$3"/*.conf; do [ ! -f "$f" ] || cp -p "$f" "$kp_part/"; done
  # pki keeps its own mode, for when it is put back: the directories around it are root's alone
  sync
  mv "$kp_part" "$1"
  [ "$2" != yes ] || prune_pki "$kp_parent"
}

# prune_pki DIRECTORY: of the copies of the healthy time in it, only the five newest stay.
prune_pki() {
  cd "$1"
  kp_digits='[0-9a-f][0-9a-f][0-9a-f][0-9a-f]'
  # shellcheck disable=SC2012,SC2086 # by time, which find cannot; $kp_digits is a pattern, so no name of them is odd
  ls -1dt $kp_digits$kp_digits$kp_digits$kp_digits 2>/dev/null | tail -n +6 | while read -r old; do rm -rf ./"$old"; done
}

# same_pki COPY KUBERNETES: is every file of the copy in place, as it is in the copy?
same_pki() (
  cd "$1" 2>/dev/null || exit 1
  [ -d pki ] || exit 1
  { find pki -type f; for f in *.conf; do printf '%s\n' "$f"; done; } |
    while read -r f; do [ ! -e "$f" ] || cmp -s "$f" "$2/$f" || exit 1; done
)

# pki_put_back COPY KUBERNETES: is it, and was what restarts the static pods not broken off?
pki_put_back() { same_pki "$1" "$2" && [ ! -e "$1/putting-back" ]; }

# keys_put_back COPY KUBERNETES: is every file of the copy's pki in place, or is there no such copy here?
keys_put_back() (
  cd "$1" 2>/dev/null && [ -d pki ] || exit 0
  find pki -type f | while read -r f; do cmp -s "$f" "$2/$f" || exit 1; done
)

# refuse_expired COPY: refuse one that etcd or an API server could not start with, where there is openssl to tell.
refuse_expired() {
  command -v openssl >/dev/null || return 0
  for f in apiserver.crt apiserver-etcd-client.crt etcd/server.crt etcd/peer.crt; do
    # by words, since openssl fails for a file that it cannot read, too
    case $(openssl x509 -noout -checkend 0 -in "$1/pki/$f" 2>/dev/null) in
      *"will expire"*) refuse "$1/pki/$f has expired meanwhile: nothing starts with this copy, so it is not put back" ;;
    esac
  done
}

# good_pki DIRECTORY: would what is in it start, as far as openssl can tell?
good_pki() {
  command -v openssl >/dev/null || return 1
  for f in apiserver.crt apiserver-etcd-client.crt etcd/server.crt etcd/peer.crt; do
    ! cert_over "$1/$f" || return 1
  done
}

# end_static_pods: end their processes, for kubelet to start others.
end_static_pods() {
  for component in etcd kube-apiserver kube-controller-manager kube-scheduler; do
    for p in $(pids "$component"); do kill "${p##*/}" 2>/dev/null || :; done
  done
}

# swap_pki COPY KUBERNETES: pki of the copy in the place of what is there, by renaming.
swap_pki() {
  rm -rf "$2/.pki.recoverd-new"
  mkdir -p "$2"
  cp -a "$1/pki" "$2/.pki.recoverd-new"
  sync
  rm -rf "$2/.pki.recoverd-old"
  [ ! -e "$2/pki" ] || mv "$2/pki" "$2/.pki.recoverd-old"
  mv "$2/.pki.recoverd-new" "$2/pki"
}

# put_back_keys COPY ASIDE KUBERNETES: put pki of a kept copy into place, and no kubeconfig; what was there is copied to
# ASIDE first. Where there is no such copy nothing is done. 3 where it has expired, pki is a symbolic link, or the
# machine is a control plane.
put_back_keys() {
  set -eu
  umask 077
  if [ ! -d "$1/pki" ]; then echo "there is no copy in $1, and kubeadm brings what it needs"; return 0; fi
  [ ! -L "$3/pki" ] || refuse "$3/pki is a symbolic link; put $1/pki back by hand"
  for f in "$3/kubelet.conf" "$3"/manifests/kube-apiserver.yaml; do
    [ ! -e "$f" ] || refuse "$f is there: what runs here has certificates of its own"
  done
  ! keys_put_back "$1" "$3" || return 0
  refuse_expired "$1"
  if [ -d "$3/pki" ]; then ( keep_pki "$2" no "$3" ); fi
  swap_pki "$1" "$3"
  rm -rf "$3/.pki.recoverd-old"
  sync
}

# put_back_pki COPY ASIDE RESTART KUBERNETES MARK...: put a kept copy into place: pki as a whole by renaming, each
# kubeconfig by renaming; what was there is copied to ASIDE first. ASIDE "": it is of no use, as when it is this very
# plan's that is taken back. RESTART yes: where it put anything back, the static pods' processes are ended. MARKs are
# files that say `done` of what this takes back. COPY/putting-back is there while it is at work, so that a broken-off
# one is not taken for done. It may be broken off anywhere and begun again. 3 where there is no such copy, it has
# expired, pki is a symbolic link, or etcd would begin anew.
put_back_pki() {
  set -eu
  umask 077
  pp_copy=$1 pp_aside=$2 pp_restart=$3 pp_k=$4; shift 4
  [ -d "$pp_copy/pki" ] || refuse "there is no copy of the certificates in $pp_copy"
  [ ! -L "$pp_k/pki" ] || refuse "$pp_k/pki is a symbolic link; put $pp_copy/pki back by hand"
  if [ "$pp_restart" = yes ]; then not_anew 'ending the static pods'; fi
  # begun before, it is only ended; and taking back what was kept must not end what would go on
  if [ ! -e "$pp_copy/putting-back" ]; then
    if [ -n "$pp_aside" ] || good_pki "$pp_k/pki"; then refuse_expired "$pp_copy"; fi
  fi
  # moved away by hand, there is nothing to keep
  if [ -n "$pp_aside" ] && [ -d "$pp_k/pki" ]; then ( keep_pki "$pp_aside" no "$pp_k" ); fi
  if ! same_pki "$pp_copy" "$pp_k"; then
    : >"$pp_copy/putting-back"
    swap_pki "$pp_copy" "$pp_k"
    for f in "$pp_copy"/*.conf; do
      [ -f "$f" ] || continue
      cp -p "$f" "$pp_k/.conf.recoverd-new"
      mv -f "$pp_k/.conf.recoverd-new" "$pp_k/${f##*/}"
    done
    rm -rf "$pp_k/.pki.recoverd-old"
    sync
  fi
  for mark in "$@"; do rm -f "$mark"; done
  if [ "$pp_restart" = yes ] && [ -e "$pp_copy/putting-back" ]; then end_static_pods; fi
  rm -f "$pp_copy/putting-back"
}

# renewing: does a kubeadm renew certificates here?
renewing() {
  for c in /proc/[0-9]*/comm; do
    n=''
    if read -r n 2>/dev/null <"$c" && [ "$n" = kubeadm ] && tr '\0' ' ' <"${c%comm}cmdline" 2>/dev/null | grep -q 'certs renew'; then return 0; fi
  done
  return 1
}

# await_no_renewal: two at once would leave a certificate of the one with a key of the other. The first is somebody's by
# hand, or this very step's before a crash of the bastion: while it waits for an API server that is down, it takes a
# minute before it begins. 3 after 100 s.
await_no_renewal() {
  an_i=0
  while renewing; do
    an_i=$((an_i + 1)); [ $an_i -lt 100 ] || refuse "another kubeadm is renewing certificates here, and has not ended"
    sleep 1
  done
}

# renew_leaves COPY: `kubeadm certs renew all` (`kubeadm alpha certs renew all` before 1.20): every leaf and kubeconfig
# but kubelet's, no CA. COPY is what was kept before; COPY/renewed says that it is done. 3 without that copy, or without
# a kubeadm that can.
renew_leaves() {
  set -eu
  [ -d "$1/pki" ] || refuse "nothing was kept in $1, so nothing is renewed"
  command -v kubeadm >/dev/null || refuse "there is no kubeadm here"
  await_no_renewal
  for words in 'certs renew' 'alpha certs renew'; do
    # shellcheck disable=SC2086 # words
    if kubeadm $words all --help >/dev/null 2>&1; then
      kubeadm $words all </dev/null
      : >"$1/renewed"
      return 0
    fi
  done
  refuse "this kubeadm has neither \`kubeadm certs renew\` nor \`kubeadm alpha certs renew\`"
}

# repair_kubelet_client NODE COPY KUBERNETES KUBELET_PKI: have the CA in place sign a new client certificate for this
# machine's kubelet, and let kubelet.conf use it and trust that CA: what `kubeadm init phase kubeconfig kubelet` would
# write, without a change of the server or of anything else in it. COPY is what was kept before;
# COPY/kubelet-client-repaired says that it is done. 3 without that copy, openssl, the CA's key or a kubelet.conf.
repair_kubelet_client() {
  set -eu
  umask 077
  command -v openssl >/dev/null || refuse "there is no openssl here"
  [ -d "$2/pki" ] || refuse "nothing was kept in $2, so nothing is changed"
  [ -s "$3/pki/ca.key" ] || refuse "the key of the CA ($3/pki/ca.key) is not on this machine"
  [ -f "$3/kubelet.conf" ] || refuse "$3/kubelet.conf does not exist"
  mkdir -p "$4"
  rk_dir=$(mktemp -d)
  trap 'rm -rf "$rk_dir"' EXIT
  client_request "$1" "$rk_dir/key" >"$rk_dir/csr"
  sign_client "$rk_dir" "$3" >"$rk_dir/crt"
  use_client "$rk_dir" "$4"
  rk_current=$4/kubelet-client-current.pem
  rk_ca=$(base64 <"$3/pki/ca.crt" | tr -d '\n')
  sed -e "s|^\\( *certificate-authority-data:\\).*|\\1 $rk_ca|" -e "s|^\\( *client-certificate\\)-data:.*|\\1: $rk_current|" \
    -e "s|^\\( *client-key\\)-data:.*|\\1: $rk_current|" "$3/kubelet.conf" >"$3/.conf.recoverd-new"
  mv -f "$3/.conf.recoverd-new" "$3/kubelet.conf"
  sync
  : >"$2/kubelet-client-repaired"
}
