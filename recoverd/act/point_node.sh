# What a restore point takes from one control plane, as root, in POSIX sh. Set before this text: M begins each section, A is the directory of the
# private keys' copies, I the point's id, B is `yes` where the bastion wants the keys too.
# Nothing of Kubernetes is changed, and no private key is printed unless B is `yes`.
LC_ALL=C; export LC_ALL
umask 077
K=/etc/kubernetes L=/var/lib/kubelet
s() { printf '\n%s\n' "$M $*"; }
aside() {
  [ -d "$A/$I" ] && return
  [ -d $K/pki ] || { echo "there is no $K/pki"; return 1; }
  mkdir -p "$A" && chmod 700 "$A" || return 1
  need=$(($(du -sk $K/pki | cut -f1) * 2 + 65536)) free=$(df -Pk "$A" | awk 'NR == 2 { print $4 }')
  [ "$free" -gt "$need" ] || { echo "$A has $free KiB free, and $need are to be"; return 1; }
  rm -rf "$A"/.*.part; t=$A/.$I.part
  mkdir "$t" && cp -a $K/pki "$t/pki" || return 1
  for f in $K/*.conf; do [ ! -f "$f" ] || cp -a "$f" "$t/" || return 1; done
  [ ! -d $L/pki ] || cp -a $L/pki "$t/kubelet-pki" || return 1
  chmod -R go-rwx "$t" && sync && mv "$t" "$A/$I" || return 1
}
s pki
if said=$(aside 2>&1); then echo done; else rm -rf "$A/.$I.part"; printf '%s\n' "$said" | tail -n 2; fi
if [ "$B" = yes ] && [ -d "$A/$I" ]; then s tar; tar -C "$A/$I" -cf - . | base64; fi

for f in $K/manifests/* $K/kubeadm*.yaml $K/kubeadm*.conf $L/config.yaml $L/instance-config.yaml $L/kubeadm-flags.env /etc/default/kubelet \
  /etc/systemd/system/kubelet.service.d/*.conf /usr/lib/systemd/system/kubelet.service.d/*.conf /lib/systemd/system/kubelet.service.d/*.conf; do
  [ -f "$f" ] && [ "$(wc -c <"$f")" -lt 1000000 ] || continue
  grep -q 'PRIVATE KEY\|client-key-data' "$f" && continue
  s file "$f"; base64 <"$f"
done
limit=; command -v timeout >/dev/null && limit='timeout 10'
if [ -f $K/admin.conf ] && command -v kubectl >/dev/null; then
  s configmaps
  $limit kubectl --kubeconfig=$K/admin.conf --request-timeout=5s -n kube-system get configmap kubeadm-config kubelet-config -o yaml --ignore-not-found \
    2>/dev/null | base64
fi
for f in $K/pki/*.crt $K/pki/etcd/*.crt $L/pki/kubelet.crt $L/pki/kubelet-client-current.pem; do
  [ -r "$f" ] && { s cert "$f"; sha256sum <"$f" | cut -d' ' -f1; sed -n '/-BEGIN CERTIFICATE-/,/-END CERTIFICATE-/p' "$f"; }
done
for f in $K/*.conf; do
  [ -r "$f" ] && { s kubeconfig "$f"; sha256sum <"$f" | cut -d' ' -f1; sed -n 's/^ *client-certificate-data: *//p' "$f" | head -n 1; }
done
s end
