# Why a machine's node may not be Ready, as root, in POSIX sh; a function that look.sh calls, with its `s` and `limit`.
# Nothing is changed, and a file in which a password or a token may stand is left out whole, here on the machine.
# shellcheck disable=SC2154,SC2016,SC2012 # $limit is look.sh's; what bash is given is for it to expand; kubelet names the pods' folders
node_file() { # PATH
  [ -f "$1" ] && [ -r "$1" ] || return 0
  size=$(wc -c 2>/dev/null <"$1") || return 0
  [ "$size" -le 32768 ] || return 0
  # a proxy's URL may have one, as //user:word@
  grep -qiE -e '(password|passwd|secret|token|auth|key-data) *"?[]:=]+ *"?[^] "{[]' -e 'PRIVATE KEY' -e '://[^/@[:space:]]*:[^/@[:space:]]*@' "$1" && return 0
  s node-file "$1"; echo "$size $(stat -c %Y "$1" 2>/dev/null)"; base64 <"$1"
}
late() { case $1 in 124|137|143) return 0 ;; esac; return 1; } # what timeout ends with; busybox's own with 143
# A connection to HOST PORT within two seconds: "connected", then the first line of the answer to what was asked, if
# anything
node_dial() { # HOST PORT [REQUEST]
  if command -v bash >/dev/null && command -v timeout >/dev/null; then
    timeout 2 bash -c 'exec 3<>"/dev/tcp/$0/$1" || exit 1
      echo connected
      [ -z "$2" ] || { printf "$2" >&3; IFS= read -r -u 3 line && echo "said $line"; }' "$1" "$2" "${3-}" 2>&1
    late $? && echo over
  elif command -v curl >/dev/null; then
    scheme=https; [ -z "${3-}" ] || scheme=http
    case $1 in *:*) set -- "[$1]" "$2" "${3-}" ;; esac
    curl -sSk --noproxy '*' -m 2 -o /dev/null -w 'connects=%{num_connects} said=%{http_code}\n' "$scheme://$1:$2/healthz" 2>&1 | sed \
      -e 's/^connects=1 said=000$/connected/' -e "s/^connects=1 said=/connected\nsaid HTTP /" -e 's/^connects=0.*//'
  else
    echo unknown
  fi
}
node_runtime() { # SOCKET, or '' and docker's; within two seconds
  if command -v timeout >/dev/null; then
    if [ -n "$2" ]; then
      command -v docker >/dev/null || { echo unknown; return; }
      { timeout 2 docker -H "unix://$2" version >/dev/null; } 2>&1
    elif command -v crictl >/dev/null; then timeout 2 crictl --runtime-endpoint "unix://$1" version 2>&1
    elif command -v ctr >/dev/null && [ -S "$1" ]; then timeout 2 ctr --address "$1" version 2>&1
    else echo unknown; return; fi
    r=$?
    if late $r; then echo over; elif [ $r -eq 0 ]; then echo answered; fi
  else
    echo unknown
  fi
}
# HOST:PORT of the API server that a kubeconfig names; 443 where it names no port
node_server() { # PATH
  where=$(sed -n 's/^ *server: *//p' "$1" 2>/dev/null | head -n 1 | tr -d "\"'"); where=${where#*://}; where=${where%%/*}
  case $where in ''|\[*\]:*) echo "$where" ;; \[*) echo "$where:443" ;; *:[0-9]*) echo "$where" ;; *) echo "$where:443" ;; esac
}
node_host() { # HOST:PORT; without the brackets that an address of IPv6 has there
  host=${1%:*}; host=${host#\[}; echo "${host%\]}"
}
# What kube-proxy, the CNI's agents and the cluster's DNS say, but for what is said while all is well and for traces: of
# each pod the newest log and the one before, as one that has just been started anew has said nothing yet
node_logs() {
  for d in /var/log/pods/*_kube-proxy-*_*/kube-proxy /var/log/pods/*_kube-flannel-*_*/kube-flannel /var/log/pods/*_calico-node-*_*/calico-node \
    /var/log/pods/*_canal-*_*/calico-node /var/log/pods/*_canal-*_*/kube-flannel \
    /var/log/pods/*_cilium-*_*/config /var/log/pods/*_cilium-*_*/cilium-agent \
    /var/log/pods/*_weave-net-*_*/weave /var/log/pods/*_kube-router-*_*/kube-router /var/log/pods/*_coredns-*_*/coredns; do
    [ -d "$d" ] || continue
    pod=${d%/*}; pod=${pod##*/}; namespace=${pod%%_*}; pod=${pod#*_}
    s pod-log "${d##*/} $namespace/${pod%_*}"
    ls -tr "$d"/*.log 2>/dev/null | tail -n 2 | while read -r log; do
      tail -n 200 "$log" 2>/dev/null |
        grep -avE -e '[ "][ID][0-9][0-9][0-9][0-9] |level=(info|debug)|\[(INFO|DEBUG)\]' -e '\.go:[0-9]+ \+0x|goroutine [0-9]|\((\{?0x|\.\.\.)' |
        tail -n 12 | cut -c1-700
    done
  done
}
# Which of these addresses are on an interface here that answers for them (neither LOOPBACK nor NOARP, as a dummy is)
node_held() { # ADDRESS...
  command -v ip >/dev/null && ip -o link show >/dev/null 2>&1 || return 0
  for a; do
    # shellcheck disable=SC2046 # its columns
    set -- $(ip -o addr show to "$a" 2>/dev/null | head -n 1)
    [ $# -lt 2 ] || ip -o link show dev "${2%@*}" 2>/dev/null | grep -qE '<[^>]*(LOOPBACK|NOARP)' || echo "held $a"
  done
  echo "asked held"
}
# With whom there is a connection (01) by BGP's port, or a call without an answer (02), where somebody listens on it
node_sessions() {
  grep -qsE '^ *[0-9]+: [0-9A-F]+:00B3 [0-9A-F]+:0000 0A ' /proc/net/tcp /proc/net/tcp6 || return 0
  sed -n -E -e 's/^ *[0-9]+: [0-9A-F]+:00B3 ([0-9A-F]+:[0-9A-F]+) (0[12]) .*/bgp \1 \2/p' -e t \
    -e 's/^ *[0-9]+: [0-9A-F]+:[0-9A-F]+ ([0-9A-F]+:00B3) (0[12]) .*/bgp \1 \2/p' /proc/net/tcp /proc/net/tcp6 2>/dev/null
  echo "asked bgp"
}
node_look() {
  where=$(node_server /etc/kubernetes/kubelet.conf); name=$(node_host "$where"); port=${where##*:}
  # kubeadm's kube-proxy has its own in a ConfigMap; as the newest pod has it mounted, and the API may be away
  proxy=$(ls -td /var/lib/kubelet/pods/*/volumes/kubernetes.io~configmap/kube-proxy/kubeconfig.conf 2>/dev/null | head -n 1)
  [ -z "$proxy" ] || proxy=$(node_server "$proxy")
  # look.sh has asked for the flags of a kubelet that runs
  [ -n "${kc_drops+set}" ] || kubelet_flags ''
  kubelet_runtime; sock=${kc_said#unix://}
  # without a word of it kubelet takes docker where that is (before 1.24), which brings a containerd with it
  docker=''; [ -n "$sock" ] || [ ! -S /run/docker.sock ] || docker=/run/docker.sock
  [ -n "$sock$docker" ] || for sock in /run/containerd/containerd.sock /var/run/crio/crio.sock ''; do [ -S "$sock" ] && break; done
  kubelet_says healthzPort; healthz=$kc_said
  s node
  [ -z "$name" ] || {
    echo "server $name $port"
    case $name in
      *:*) echo "address $name"; echo "asked name"; node_held "$name" ;;
      *[!0-9.]*)
        if command -v getent >/dev/null; then
          # shellcheck disable=SC2046 # an address each
          set -- $(for family in 4 6; do $limit getent "ahostsv$family" "$name" 2>/dev/null | grep . && break; done | sed 's/ .*//' | sort -u)
          for a; do echo "address $a"; done; echo "asked name"; node_held "$@"
        fi
        grep -E "^[^#]*[[:space:]]$(echo "$name" | sed 's/[.]/[.]/g')([[:space:]]|\$)" /etc/hosts 2>/dev/null | head -n 4 | sed 's/^/hosts /' ;;
      *) echo "address $name"; echo "asked name"; node_held "$name" ;;
    esac
  }
  [ -z "$proxy" ] || echo "proxy $(node_host "$proxy") ${proxy##*:}"
  kubelet_says resolvConf "$kc_resolv"; resolv=$kc_said
  # a name that no shell reads anything into, or none
  case $resolv in '') resolv=/etc/resolv.conf ;; *[!A-Za-z0-9._/@+-]*|[!/]*) resolv='' ;; esac
  [ -z "$resolv" ] || echo "resolv $resolv"
  [ -z "$kc_parts" ] || echo "parts $kc_parts"
  {
    { [ -z "$proxy" ] || [ "$proxy" = "$where" ] || node_dial "$(node_host "$proxy")" "${proxy##*:}" | sed 's/^/proxied /'; } &
    { [ -z "$name" ] || node_dial "$name" "$port" | sed 's/^/reach /'; } &
    { [ "$healthz" = 0 ] || node_dial 127.0.0.1 "${healthz:-10248}" 'GET /healthz HTTP/1.0\r\n\r\n' | sed 's/^/kubelet /'; } &
    { [ -z "$sock$docker" ] || node_runtime "$sock" "$docker" | sed 's/^/runtime /'; } &
    wait
  } 2>&1 | cut -c1-300
  if [ ! -e /etc/cni/net.d ] || ls /etc/cni/net.d >/dev/null 2>&1; then
    for f in /etc/cni/net.d/*.conf /etc/cni/net.d/*.conflist /etc/cni/net.d/*.json; do [ -e "$f" ] && echo "cni ${f##*/}"; done
    echo "asked cni"
  fi
  node_sessions
  for d in /var/lib/cni/networks/*; do
    [ -d "$d" ] && echo "pool $(given_out "$d" | wc -l) $(leaked "$d" | wc -l) $d"
  done
  for f in $resolv /var/lib/kubelet/config.yaml /var/lib/kubelet/kubeadm-flags.env /var/lib/kubelet/instance-config.yaml /etc/default/kubelet /etc/sysconfig/kubelet \
    /etc/systemd/system/kubelet.service.d/*.conf $kc_drops \
    /etc/systemd/system/containerd.service.d/*.conf /etc/systemd/system/crio.service.d/*.conf /etc/systemd/system/docker.service.d/*.conf \
    /etc/containerd/config.toml /etc/containerd/*.d/*.toml /etc/crio/crio.conf /etc/crio/crio.conf.d/* /etc/docker/daemon.json \
    /etc/cni/net.d/*.conf /etc/cni/net.d/*.conflist /etc/cni/net.d/*.json; do
    node_file "$f"
  done
  node_logs
}
