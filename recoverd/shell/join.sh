# A join and its taking back. The job on the new machine outlives the connection and the daemon, and never its own
# deadline. On the new machine: /run/recoverd/join has the job, its output and its exit status; gone with a reboot.
# /var/lib/recoverd/joining has the label of the join that has begun to change it; nothing is cleaned on a machine
# without the right one. /var/lib/recoverd/joining.stopped has the label of the join that was given up last, so that it
# does not begin afterwards.

# join_kubectl WORD...: kubectl of this control plane, in kube-system.
join_kubectl() { kubectl --kubeconfig /etc/kubernetes/admin.conf -n kube-system --request-timeout=5s "$@"; }

# join_secrets LABEL: upload the certificates, make a token, and print the key and the command to join with. Both are
# marked with the label. An upload by somebody else replaces the Secret, its annotations included. One that could not be
# marked is left to end by itself.
join_secrets() {
  set -eu
  js_key=$(kubeadm init phase upload-certs --upload-certs 2>/dev/null | grep -xE '[0-9a-f]{64}' | tail -n 1)
  [ -n "$js_key" ] || { kubeadm init phase upload-certs --upload-certs 2>&1 >/dev/null | tail -n 3 >&2; exit 1; }
  timeout 6 kubectl --kubeconfig /etc/kubernetes/admin.conf -n kube-system --request-timeout=5s annotate secret kubeadm-certs --overwrite \
    "recoverd.io/join=$1" >/dev/null 2>&1 || :
  echo "key $js_key"
  kubeadm token create --ttl 1h --description "recoverd join $1" --print-join-command 2>/dev/null ||
    { echo 'kubeadm token create failed' >&2; exit 1; }
}

# join_forget LABEL: delete what `join_secrets` made for this very join: the token (by what it says of itself, since its
# secret is kept nowhere), the Secret, and the token that kubeadm made to end the Secret; nobody else's.
join_forget() {
  jf_description=$(printf %s "recoverd join $1" | base64 | tr -d '\n')
  jf_tokens=$(join_kubectl get secrets --field-selector type=bootstrap.kubernetes.io/token \
    -o jsonpath='{range .items[*]}{.metadata.name} {.data.description}{"\n"}{end}') || exit 1
  jf_names=$(printf '%s\n' "$jf_tokens" | while read -r n d; do [ "$d" != "$jf_description" ] || echo "$n"; done)
  jf_mark=$(join_kubectl get secret kubeadm-certs --ignore-not-found \
    -o jsonpath='{.metadata.annotations.recoverd\.io/join} {.metadata.ownerReferences[*].name}') || exit 1
  case $jf_mark in
    "$1 "*)
      for n in ${jf_mark#* }; do case $n in bootstrap-token-*) jf_names="$jf_names $n" ;; esac; done
      jf_names="$jf_names kubeadm-certs" ;;
  esac
  # shellcheck disable=SC2086 # a name each
  set -- $jf_names
  [ $# = 0 ] || join_kubectl delete secret --ignore-not-found --wait=false "$@" >/dev/null
}

# join_why: what kubeadm, and etcd here, said last.
join_why() {
  tail -n 4 /run/recoverd/join/log 2>/dev/null
  # shellcheck disable=SC2012 # by time, which find cannot; kubelet names these files
  jw_log=$(ls -t /var/log/pods/kube-system_etcd-*/etcd/*.log 2>/dev/null | head -n 1)
  [ -z "$jw_log" ] || { echo 'etcd there said:'; tail -n 2 "$jw_log" | cut -c1-280; }
}

# join_socket: the runtime's that kubeadm is to be told of; "" where it takes docker by itself, as before 1.24: since
# then a docker there may be for building images alone. Two runtimes make it ask.
join_socket() {
  js_minor=$(kubeadm version -o short 2>/dev/null | sed -n 's/^v1\.\([0-9][0-9]*\).*/\1/p')
  [ ! -S /run/docker.sock ] || [ "${js_minor:-0}" -ge 24 ] || return 0
  for s in /run/cri-dockerd.sock /run/containerd/containerd.sock /run/crio/crio.sock; do
    if [ -S $s ]; then echo unix://$s; return; fi
  done
}

# join_mine LABEL: has the join with this label begun on this machine?
join_mine() { jm_label=''; { read -r jm_label </var/lib/recoverd/joining; } 2>/dev/null && [ "$jm_label" = "$1" ]; }

# join_given_up LABEL: has it been given up?
join_given_up() { jg_label=''; { read -r jg_label </var/lib/recoverd/joining.stopped; } 2>/dev/null && [ "$jg_label" = "$1" ]; }

# join_manifests: the static pods that a join makes, as files; other ones are there before it where one of them is the
# cluster's address (kube-vip, haproxy and keepalived in kubeadm's guide), and kubeadm minds none but its own.
join_manifests() {
  for c in etcd kube-apiserver kube-controller-manager kube-scheduler; do echo "/etc/kubernetes/manifests/$c.yaml"; done
}

# join_start LABEL SECONDS SKIP NAME ADDRESS PORT ENDPOINT TOKEN CA_HASH KEY: mark the machine, which must be clean, and
# begin `kubeadm join` in the background with a deadline of its own. SKIP yes leaves its preflight checks out, and
# unless-crictl does where there is no crictl, without which they fail. 3 where it is not clean, kubeadm tells no
# version, or the join was given up.
join_start() {
  set -eu
  umask 077
  # shellcheck disable=SC2046 # a path each
  for f in /etc/kubernetes/*.conf $(join_manifests) /var/lib/etcd/member; do
    [ ! -e "$f" ] || refuse "$f is there already, so nothing was changed"
  done
  jb_kind=$(kubeadm config print join-defaults 2>/dev/null | sed -n 's/^apiVersion: *//p' | head -n 1)
  [ -n "$jb_kind" ] || refuse 'kubeadm config print join-defaults says nothing'
  jb_socket=$(join_socket)
  jb_cri=''; [ -z "$jb_socket" ] || jb_cri="criSocket: \"$jb_socket\", "
  rm -rf /run/recoverd/join
  mkdir -p /run/recoverd/join /var/lib/recoverd
  cat >/run/recoverd/join/config.yaml <<RECOVERD_END
apiVersion: $jb_kind
kind: JoinConfiguration
discovery: {bootstrapToken: {token: "$8", apiServerEndpoint: "$7", caCertHashes: ["$9"]}}
nodeRegistration: {${jb_cri}name: "$4"}
controlPlane: {certificateKey: "${10}", localAPIEndpoint: {advertiseAddress: "$5", bindPort: $6}}
RECOVERD_END
  printf '%s\n' "$1" >/var/lib/recoverd/joining.new
  # shellcheck disable=SC2012 # a name a line is what `join_clean` looks for
  ls -A /etc/cni/net.d >>/var/lib/recoverd/joining.new 2>/dev/null || true
  mv /var/lib/recoverd/joining.new /var/lib/recoverd/joining
  sync /var/lib/recoverd/joining 2>/dev/null || sync
  if join_given_up "$1"; then
    rm -rf /run/recoverd/join /var/lib/recoverd/joining
    refuse 'the join was given up before it had begun here'
  fi
  jb_skip=''
  case $3 in
    yes) jb_skip=--skip-phases=preflight ;;
    unless-crictl) command -v crictl >/dev/null || [ -S /run/docker.sock ] || jb_skip=--skip-phases=preflight ;;
  esac
  # a session of its own, and a name by which it is known again; what was given up while it was begun, it does not begin
  # either
  # shellcheck disable=SC2016 # its own shell expands that
  setsid sh -c '
    umask 022
    l=""; { read -r l </var/lib/recoverd/joining.stopped; } 2>/dev/null && [ "$l" = "$1" ] && { rm -f /run/recoverd/join/config.yaml; exit; }
    timeout -s KILL "$2" kubeadm join --config /run/recoverd/join/config.yaml $3 >/run/recoverd/join/log 2>&1
    r=$?
    rm -f /run/recoverd/join/config.yaml
    echo $r >/run/recoverd/join/rc.new
    mv /run/recoverd/join/rc.new /run/recoverd/join/rc' recoverd-join "$1" "$2" "$jb_skip" </dev/null >/dev/null 2>&1 &
  echo $! >/run/recoverd/join/pid
}

# join_pid: the job's process; 1 where it does not run.
join_pid() {
  jp_pid=$(cat /run/recoverd/join/pid 2>/dev/null) && grep -qa recoverd-join "/proc/$jp_pid/cmdline" 2>/dev/null && echo "$jp_pid"
}

# join_result: its exit status, in a word; 1 where it has left none.
join_result() {
  [ -e /run/recoverd/join/rc ] || return 1
  if [ "$(cat /run/recoverd/join/rc)" = 0 ]; then echo ended; else echo failed; fi
}

# join_state LABEL: how the job stands: none, running, ended, failed, or lost: it had begun, does not run, and has left
# no exit status.
join_state() {
  join_mine "$1" || { echo none; return; }
  join_result && return
  if join_pid >/dev/null; then echo running; return; fi
  # it may have ended in between
  join_result || echo lost
}

# join_stop LABEL: end the job, whatever it is at, and let none begin any more; say `begun` where it had begun on this
# machine, else `none`. A start whose connection was lost may still be at work, before its mark: it looks at what is
# left here after it has made that.
join_stop() {
  umask 077
  mkdir -p /var/lib/recoverd
  printf '%s\n' "$1" >/var/lib/recoverd/joining.stopped.new
  mv /var/lib/recoverd/joining.stopped.new /var/lib/recoverd/joining.stopped
  join_mine "$1" || { echo none; return; }
  jt_pid=$(join_pid) && kill -s KILL "$jt_pid"
  for c in /proc/[0-9]*/comm; do
    n=''
    if { read -r n <"$c"; } 2>/dev/null && [ "$n" = kubeadm ] && tr '\0' ' ' 2>/dev/null <"${c%comm}cmdline" | grep -q /run/recoverd/join/config; then
      c=${c%/comm}; kill -s KILL "${c##*/}"
    fi
  done
  rm -f /run/recoverd/join/config.yaml
  echo begun
}

# join_silence LABEL: end etcd and the API server that the join has begun, at once: their data are of no use to anybody.
# Only on the marked machine. 1 when one still runs after 9 s.
join_silence() {
  join_mine "$1" || return 0
  mkdir -p /etc/kubernetes/recoverd
  for c in etcd kube-apiserver kube-controller-manager kube-scheduler; do
    [ ! -e "/etc/kubernetes/manifests/$c.yaml" ] || mv -f "/etc/kubernetes/manifests/$c.yaml" "/etc/kubernetes/recoverd/joining-$c.yaml"
  done
  jq_i=0
  while [ $jq_i -lt 30 ]; do
    jq_found="$(pids etcd) $(pids kube-apiserver)"
    [ "$jq_found" != ' ' ] || return 0
    for p in $jq_found; do kill -s KILL "${p##*/}" 2>/dev/null; done
    jq_i=$((jq_i + 1)); sleep 0.3
  done
  echo "etcd or the API server still runs after 9 s" >&2
  return 1
}

# join_end_pods: whatever runs in a pod here, for 9 s at most. It is asked first, and made to after 3 s: keepalived and
# kube-vip take the cluster's address off the machine only when they end by themselves, and one that is left there draws
# whoever wants an API server to a machine without any (observed with keepalived 2.2.7).
join_end_pods() {
  je_i=0
  while [ $je_i -lt 30 ]; do
    je_left=''
    for c in /proc/[0-9]*/cgroup; do
      if grep -q kubepods "$c" 2>/dev/null; then c=${c%/cgroup}; je_left="$je_left ${c##*/}"; fi
    done
    [ -n "$je_left" ] || break
    # shellcheck disable=SC2086 # a process each
    case $je_i in
      0) kill -s TERM $je_left 2>/dev/null ;;
      ?) : ;;
      *) kill -s KILL $je_left 2>/dev/null ;;
    esac
    je_i=$((je_i + 1)); sleep 0.3
  done
}

# join_end_containers SOCKET: what the runtime still has of them.
join_end_containers() {
  if command -v crictl >/dev/null; then
    jc_crictl="timeout 10 crictl ${1:+--runtime-endpoint=$1}"
    for p in $($jc_crictl pods -q 2>/dev/null); do $jc_crictl rmp -f "$p"; done >/dev/null 2>&1
  elif [ "$1" = unix:///run/containerd/containerd.sock ] && command -v ctr >/dev/null; then
    for c in $(timeout 5 ctr -n k8s.io containers ls -q 2>/dev/null); do
      timeout 5 ctr -n k8s.io tasks rm -f "$c"; timeout 5 ctr -n k8s.io containers rm "$c"
    done >/dev/null 2>&1
  fi
}

# join_none_left: does nothing run in a pod here?
join_none_left() {
  for c in /proc/[0-9]*/cgroup; do
    if grep -q kubepods "$c" 2>/dev/null; then return 1; fi
  done
}

# join_end_left: end what still runs in pods on a machine that was reset. 3 where it is a node, or has etcd's data; 1 when
# something runs on.
join_end_left() {
  # shellcheck disable=SC2046 # a path each
  for f in /etc/kubernetes/kubelet.conf $(join_manifests) /var/lib/etcd/member; do
    [ ! -e "$f" ] || refuse "$f is there, so what runs here is left alone"
  done
  timeout 20 systemctl stop kubelet 2>/dev/null || :
  join_end_pods
  join_end_containers "$(join_socket)"
  join_none_left || { echo 'something still runs in a pod here' >&2; return 1; }
}

# join_keep_others: copy the static pods that are not the join's to /var/lib/recoverd, since `kubeadm reset` empties
# their directory. What has been kept before is not touched.
join_keep_others() {
  for f in /etc/kubernetes/manifests/*; do
    if ! [ -e "$f" ] || join_manifests | grep -qxF -- "$f"; then continue; fi
    mkdir -p /var/lib/recoverd/joining-others
    [ -e "/var/lib/recoverd/joining-others/${f##*/}" ] || cp -p "$f" /var/lib/recoverd/joining-others/
  done
}

# join_put_others_back: those that are gone.
join_put_others_back() {
  for f in /var/lib/recoverd/joining-others/*; do
    [ -e "$f" ] || continue
    [ -e "/etc/kubernetes/manifests/${f##*/}" ] || cp -p "$f" /etc/kubernetes/manifests/
  done
  rm -rf /var/lib/recoverd/joining-others
}

# join_clean LABEL: make the machine as it was: kubeadm reset with a deadline, then by hand whatever it left. The mark
# goes last, so it can be repeated. 1 when something is left.
join_clean() {
  join_mine "$1" || { echo 'nothing was begun there'; return 0; }
  jd_socket=$(join_socket)
  mkdir -p /run/recoverd/join
  join_keep_others
  # before `kubeadm reset`, which gives no container the time to end by itself
  timeout 20 systemctl stop kubelet 2>/dev/null
  join_end_pods
  if timeout -k 1 60 kubeadm reset -f ${jd_socket:+"--cri-socket=$jd_socket"} >/run/recoverd/join/reset.log 2>&1 </dev/null
  then jd_how='kubeadm reset ended well'; else jd_how="kubeadm reset failed or hung (status $?), cleaned by hand"; fi
  # shellcheck disable=SC2046 # a path each
  rm -f $(join_manifests) /etc/kubernetes/recoverd/joining-*.yaml
  join_end_pods
  join_end_containers "$jd_socket"
  sed -n 's|^[^ ]* \(/var/lib/kubelet/[^ ]*\) .*|\1|p' /proc/mounts | sort -r | while read -r m; do umount -l "$m"; done 2>/dev/null
  rm -rf /etc/kubernetes/*.conf /etc/kubernetes/pki /etc/kubernetes/recoverd /var/lib/etcd/member /var/lib/kubelet/pki /var/lib/kubelet/pods
  rm -rf /var/lib/kubelet/config.yaml /var/lib/kubelet/kubeadm-flags.env /var/lib/kubelet/*_manager_state
  rm -rf /var/log/pods/kube-system_* /var/lib/cni/networks /var/lib/cni/results
  for f in /etc/cni/net.d/*; do
    if [ -e "$f" ] && ! sed 1d /var/lib/recoverd/joining | grep -qxF "${f##*/}"; then rm -rf "$f"; fi
  done
  mkdir -p /etc/kubernetes/manifests
  # shellcheck disable=SC2046 # a path each
  for f in /etc/kubernetes/*.conf $(join_manifests) /etc/kubernetes/pki /var/lib/etcd/member; do
    [ ! -e "$f" ] || { echo "$f is still there ($jd_how)" >&2; return 1; }
  done
  join_put_others_back
  rm -rf /run/recoverd/join /var/lib/recoverd/joining
  echo "$jd_how"
}

# join_delete_node NAME: delete the Node object that the join has made, from a control plane. A load balancer before it
# may find it ready later.
join_delete_node() {
  jn_i=0
  until timeout 10 kubectl --kubeconfig /etc/kubernetes/admin.conf delete node "$1" --ignore-not-found --wait=false; do
    jn_i=$((jn_i + 1)); [ $jn_i -lt 5 ] || return 1
    sleep 3
  done
}
