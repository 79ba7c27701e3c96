# Before a control plane joins: whether the machines reach each other on the ports that count.

# join_configuration: kubeadm's ClusterConfiguration, as the cluster has it.
join_configuration() {
  timeout 15 kubectl --kubeconfig /etc/kubernetes/admin.conf -n kube-system get configmap kubeadm-config -o 'jsonpath={.data.ClusterConfiguration}'
}

# join_listen SECONDS ADDRESS PYTHON PERL PORT...: let what is there listen on these ports in the background, and return
# when it does: python3 or perl, with the program given for it, or systemd's own socket activation. 3 where none of them
# is there, 4 when it ends, with its last words, 5 after 6 s.
join_listen() {
  umask 077
  jl_seconds=$1 jl_address=$2 jl_python=$3 jl_perl=$4; shift 4
  mkdir -p /run/recoverd/listen
  rm -f /run/recoverd/listen/said
  if command -v python3 >/dev/null; then
    set -- python3 -c "$jl_python" "$jl_seconds" "$jl_address" "$@"
  elif command -v perl >/dev/null && perl -MIO::Socket::INET -e1 2>/dev/null; then
    set -- perl -e "$jl_perl" "$jl_seconds" "$jl_address" "$@"
  elif command -v systemd-socket-activate >/dev/null; then
    case $jl_address in *:*) jl_address="[$jl_address]" ;; esac
    jl_count=$#
    for port in "$@"; do set -- "$@" -l "$jl_address:$port"; done
    shift "$jl_count"
    set -- systemd-socket-activate -a "$@" true
  else
    refuse "none of python3, perl and systemd-socket-activate is there to listen with"
  fi
  setsid timeout -k 1 "$jl_seconds" "$@" </dev/null >/run/recoverd/listen/said 2>&1 &
  echo $! >/run/recoverd/listen/pid
  jl_i=0
  while [ $jl_i -lt 30 ]; do
    ! grep -qi listening /run/recoverd/listen/said || return 0
    kill -0 "$(cat /run/recoverd/listen/pid)" 2>/dev/null || { tail -n 1 /run/recoverd/listen/said >&2; exit 4; }
    jl_i=$((jl_i + 1)); sleep 0.2
  done
  echo "nothing listened within 6 s" >&2
  exit 5
}

# join_listen_end: end the listener; it ends by itself, too.
join_listen_end() {
  je_pid=$(cat /run/recoverd/listen/pid 2>/dev/null) || return 0
  if grep -qa timeout "/proc/$je_pid/cmdline" 2>/dev/null; then kill -- "-$je_pid" 2>/dev/null; fi
  je_i=0
  while kill -0 "$je_pid" 2>/dev/null && [ $je_i -lt 20 ]; do je_i=$((je_i + 1)); sleep 0.1; done
  rm -rf /run/recoverd/listen
}

# join_reach SECONDS PYTHON [NAME ADDRESS PORT]...: connect to all of them at the same time, and print a line NAME PORT
# STATUS WORDS each, with the exit status (124: no answer in SECONDS, twice) and the words of the error. By bash where
# it is, as on Debian and RHEL, else by python3 with that program.
join_reach() {
  LC_ALL=C; export LC_ALL
  jr_seconds=$1 jr_python=$2; shift 2
  while [ $# -ge 3 ]; do
    join_reach_one "$jr_seconds" "$jr_python" "$1" "$2" "$3" &
    shift 3
  done
  wait
}

# join_reach_one SECONDS PYTHON NAME ADDRESS PORT: one of them.
join_reach_one() {
  for _ in 1 2; do
    # shellcheck disable=SC2016 # bash's own
    if command -v bash >/dev/null; then jo_said=$(timeout "$1" bash -c 'exec 3<>/dev/tcp/$0/$1' "$4" "$5" 2>&1)
    else jo_said=$(timeout "$1" python3 -c "$2" "$4" "$5" "$1" 2>&1); fi
    jo_status=$?
    [ $jo_status = 124 ] || break
  done
  echo "$3 $5 $jo_status $(printf '%s' "$jo_said" | tr -s '\n' ' ')"
}
