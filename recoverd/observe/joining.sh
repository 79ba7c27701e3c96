# What a machine says of itself before a control plane joins, as root, in POSIX sh. Each line is "NAME VALUE..."; NAMES
# are those to resolve. Nothing here changes anything, and no private key is printed.
# shellcheck disable=SC2231 # $K is a path without blanks
LC_ALL=C; export LC_ALL
K=/etc/kubernetes
echo "hostname $(cat /proc/sys/kernel/hostname)"
for a in $(ip -o addr show 2>/dev/null | sed -n 's/.* inet6\{0,1\} \([0-9a-fA-F.:]*\).*/\1/p'); do echo "address $a"; done
limit=; command -v timeout >/dev/null && limit='timeout 5'
echo "kubeadm $($limit kubeadm version -o short 2>/dev/null </dev/null)"
echo "kubelet $($limit kubelet --version 2>/dev/null </dev/null | sed 's/.* //')"
for u in docker crio containerd; do systemctl is-active -q $u 2>/dev/null && echo "runtime $u"; done
command -v crictl >/dev/null && echo "crictl yes"
systemctl cat kubelet >/dev/null 2>&1 && echo "kubelet-unit yes"
# other static pods may be there before a join, and have to be where one of them is the cluster's address (kube-vip,
# haproxy and keepalived in kubeadm's guide): kubeadm itself looks for its own four alone
for c in etcd kube-apiserver kube-controller-manager kube-scheduler; do
  [ -e "$K/manifests/$c.yaml" ] && echo "left $K/manifests/$c.yaml"
done
# kubeadm reset leaves an empty one
[ -n "$(ls -A $K/pki 2>/dev/null)" ] && echo "left $K/pki"
for f in $K/*.conf /var/lib/etcd/member /var/lib/kubelet/config.yaml /var/lib/kubelet/pki/kubelet-client-current.pem; do
  [ -e "$f" ] && echo "left $f"
done
for c in /proc/[0-9]*/comm; do
  n=; read -r n 2>/dev/null <"$c" || continue
  case $n in etcd|kube-apiserver|kube-controller|kube-scheduler) echo "left a running $n" ;; esac
done
for p in /var/lib/etcd /var/lib/kubelet; do
  d=$p; while [ ! -e "$d" ]; do d=${d%/*}; d=${d:-/}; done
  # shellcheck disable=SC2046 # its columns
  set -- $(df -Pk "$d" 2>/dev/null | tail -n 1); [ $# -ge 4 ] && echo "free $p $4"
done
for n in $NAMES; do
  for a in $($limit getent ahosts "$n" 2>/dev/null | sed 's/ .*//' | sort -u); do echo "resolves $n $a"; done
done
for f in ca.crt ca.key etcd/ca.crt etcd/ca.key front-proxy-ca.crt front-proxy-ca.key sa.key sa.pub; do
  [ -s $K/pki/$f ] || echo "lacks $f"
done
for f in ca.crt etcd/ca.crt front-proxy-ca.crt; do
  [ -r $K/pki/$f ] && echo "authority $f $(sed -n '/-BEGIN CERTIFICATE-/,/-END CERTIFICATE-/p' $K/pki/$f | grep -v -e '-----' | tr -d '\n')"
done
