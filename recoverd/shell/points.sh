# What a restore point takes from one control plane.

# point_section MARKER NAME [WORD]: begin a section of what is printed, on a line of its own, even after a file whose
# last line has no end.
point_section() { printf '\n%s\n' "$*"; }

# point_aside DIRECTORY ID: copy the private keys and kubeconfigs to DIRECTORY/ID, whole or not at all. 1 when that does
# not go, with the reason.
point_aside() {
  [ ! -d "$1/$2" ] || return 0
  [ -d /etc/kubernetes/pki ] || { echo "there is no /etc/kubernetes/pki"; return 1; }
  { mkdir -p "$1" && chmod 700 "$1"; } || return 1
  pa_need=$(($(du -sk /etc/kubernetes/pki | cut -f1) * 2 + 65536)) pa_free=$(free_kib "$1")
  [ "$pa_free" -gt "$pa_need" ] || { echo "$1 has $pa_free KiB free, and $pa_need are to be"; return 1; }
  rm -rf "$1"/.*.part; pa_part=$1/.$2.part
  { mkdir "$pa_part" && cp -a /etc/kubernetes/pki "$pa_part/pki"; } || return 1
  for f in /etc/kubernetes/*.conf; do [ ! -f "$f" ] || cp -a "$f" "$pa_part/" || return 1; done
  [ ! -d /var/lib/kubelet/pki ] || cp -a /var/lib/kubelet/pki "$pa_part/kubelet-pki" || return 1
  point_pod_files /var/lib/recoverd/pod-files "$pa_part/pod-files" || return 1
  chmod -R go-rwx "$pa_part" && sync && mv "$pa_part" "$1/$2"
}

# point_pod_files COPIES TARGET: copy what keep_pod_files has kept of the files that static pods name now, with its index,
# which names only what was copied. 1 when that does not go.
point_pod_files() {
  [ -f "$1/index" ] || return 0
  mkdir "$2" && : >"$2/index" || return 1
  while read -r digest path; do
    has_hash "$1/$digest" "$digest" || continue
    { cp "$1/$digest" "$2/" && printf '%s %s\n' "$digest" "$path" >>"$2/index"; } || return 1
  done <"$1/index"
}

# point_files MARKER: what kubeadm and people wrote here, without what holds a private key.
point_files() {
  kubelet_flags ''
  # shellcheck disable=SC2154 # kubelet_flags sets them
  for f in /etc/kubernetes/manifests/* /etc/kubernetes/kubeadm*.yaml /etc/kubernetes/kubeadm*.conf /var/lib/kubelet/config.yaml \
    /var/lib/kubelet/instance-config.yaml /var/lib/kubelet/kubeadm-flags.env /etc/default/kubelet /etc/systemd/system/kubelet.service.d/*.conf \
    /usr/lib/systemd/system/kubelet.service.d/*.conf /lib/systemd/system/kubelet.service.d/*.conf $kc_drops; do
    { [ -f "$f" ] && [ "$(wc -c <"$f")" -lt 1000000 ]; } || continue
    ! grep -q 'PRIVATE KEY\|client-key-data' "$f" || continue
    point_section "$1" file "$f"; base64 <"$f"
  done
}

# take_point MARKER DIRECTORY ID KEYS: copy the private keys to DIRECTORY/ID, and print the rest in sections, each of
# which begins with MARKER. KEYS yes: the private keys, too. Nothing of Kubernetes is changed.
take_point() {
  LC_ALL=C; export LC_ALL
  umask 077
  tp_mark=$1 tp_aside=$2 tp_id=$3
  point_section "$tp_mark" pki
  if tp_said=$(point_aside "$tp_aside" "$tp_id" 2>&1); then echo 'done'; else rm -rf "$tp_aside/.$tp_id.part"; printf '%s\n' "$tp_said" | tail -n 2; fi
  if [ "$4" = yes ] && [ -d "$tp_aside/$tp_id" ]; then
    point_section "$tp_mark" tar; tar -C "$tp_aside/$tp_id" -cf - . | base64
    point_section "$tp_mark" pod-files; cat "$tp_aside/$tp_id/pod-files/index" 2>/dev/null
  fi
  point_files "$tp_mark"
  tp_limit=''; if command -v timeout >/dev/null; then tp_limit='timeout 10'; fi
  if [ -f /etc/kubernetes/admin.conf ] && command -v kubectl >/dev/null; then
    point_section "$tp_mark" configmaps
    # before 1.24 kubelet's has the minor version in its name
    tp_minor=$(kubelet --version 2>/dev/null | sed -n 's/.* v\([0-9]*\.[0-9]*\).*/\1/p')
    $tp_limit kubectl --kubeconfig=/etc/kubernetes/admin.conf --request-timeout=5s -n kube-system \
      get configmap kubeadm-config kubelet-config ${tp_minor:+"kubelet-config-$tp_minor"} -o yaml --ignore-not-found 2>/dev/null | base64
  fi
  for f in /etc/kubernetes/pki/*.crt /etc/kubernetes/pki/etcd/*.crt /var/lib/kubelet/pki/kubelet.crt /var/lib/kubelet/pki/kubelet-client-current.pem; do
    [ -r "$f" ] || continue
    point_section "$tp_mark" cert "$f"; sha256sum <"$f" | cut -d' ' -f1; sed -n '/-BEGIN CERTIFICATE-/,/-END CERTIFICATE-/p' "$f"
  done
  for f in /etc/kubernetes/*.conf; do
    [ -r "$f" ] || continue
    point_section "$tp_mark" kubeconfig "$f"
    sha256sum <"$f" | cut -d' ' -f1
    sed -n 's/^ *client-certificate-data: *//p' "$f" | head -n 1
  done
  point_section "$tp_mark" end
}
