# How kubelet is configured, as it puts that together: its command line counts before the drop-ins of its configuration
# (--config-dir, from 1.28 on), the last of which counts before those before it, and these before its own file.

# kubelet_flags ARGUMENTS: what kubelet is told on its command line: by ARGUMENTS, with which it was started, one a line;
# without them by what its unit and the files that this reads say. Sets kc_file, where its configuration is; kc_parts,
# the directory with that one's drop-ins; kc_drops, these, the last of which counts; kc_socket, kc_static and kc_resolv: the runtime's socket, where its static pods
# are, and the name servers' file of pods. Each is empty where nothing is said.
kubelet_flags() {
  kc_file='' kc_parts='' kc_socket='' kc_static='' kc_resolv='' kc_flag=''
  kc_words=$1
  [ -n "$kc_words" ] || kc_words=$(sed -e '/^[[:space:]]*[#;]/d' -e "s/[\"']/ /g" -e 's/=--/ --/g' \
    /usr/lib/systemd/system/kubelet.service /lib/systemd/system/kubelet.service /etc/systemd/system/kubelet.service \
    /usr/lib/systemd/system/kubelet.service.d/*.conf /lib/systemd/system/kubelet.service.d/*.conf \
    /etc/systemd/system/kubelet.service.d/*.conf /var/lib/kubelet/kubeadm-flags.env /etc/sysconfig/kubelet /etc/default/kubelet 2>/dev/null)
  set -f
  # shellcheck disable=SC2086,SC2034 # its words; whoever calls this reads what is set
  for kc_word in $kc_words; do
    case $kc_word in
      --*=*) kc_flag=${kc_word%%=*} kc_word=${kc_word#*=} ;;
      -*) kc_flag=$kc_word; continue ;;
    esac
    case $kc_flag in
      --config) kc_file=$kc_word ;;
      --config-dir) kc_parts=${kc_word%/} ;;
      --container-runtime-endpoint) kc_socket=$kc_word ;;
      --pod-manifest-path) kc_static=$kc_word ;;
      --resolv-conf) kc_resolv=$kc_word ;;
    esac
    kc_flag=''
  done
  set +f
  kc_drops=''
  # kubelet walks the whole tree by name, a directory where its name is, and follows no link to one (mergeKubeletConfigurations)
  [ -z "$kc_parts" ] || kc_drops=$(find "$kc_parts" -name '*.conf' ! -type d ! -name '*[[:space:]]*' 2>/dev/null |
    head -n 200 | tr / '\001' | LC_ALL=C sort | tr '\001' /)
}

# kubelet_says KEY [FLAG [FILE]]: after kubelet_flags, sets kc_said to FLAG, or where that is empty to what kubelet's
# configuration has at KEY; empty where it has nothing there. FILE counts before kubelet's own, and after its drop-ins.
kubelet_says() {
  kc_key=$1 kc_said=${2-} kc_more=${3-} kc_newline='
'
  [ -z "$kc_said" ] || return 0
  # shellcheck disable=SC2086 # a word each
  set -- "${kc_file:-/var/lib/kubelet/config.yaml}" ${kc_more:+"$kc_more"} $kc_drops
  # what is empty is a value, too, and takes the one before it away
  kc_said=$(sed -e "s/^[\"{ ]*${kc_key}[\"]*: */=/" -e 't value' -e d -e ':value' -e 's/[[:space:]]#.*//' \
    -e "s/[\"', [:cntrl:]]//g" -e 's/^=null$/=/' "$@" 2>/dev/null)
  kc_said=${kc_said##*"$kc_newline"}; kc_said=${kc_said#=}
}

# kubelet_runtime: after kubelet_flags, sets kc_said to the socket of the container runtime. Where neither its command
# line nor its configuration names one, it is the one that its next start is told of in the files that kubelet_flags reads.
kubelet_runtime() {
  kubelet_says containerRuntimeEndpoint "$kc_socket" /var/lib/kubelet/instance-config.yaml
  [ -n "$kc_said" ] || kc_said=$(kubelet_flags ''; printf '%s' "$kc_socket")
}
