# Static pods: their processes, ended, awaited and started again.

# pids COMPONENT [any]: the /proc/PID of a static pod's processes, in one line. /proc is everywhere, pidof and the
# runtime's own tool are not. A static pod's UID is a hash without dashes (kubelet's pkg/kubelet/config), and kubelet
# names the cgroup after it; so somebody's own etcd, in another pod, in a container of docker or podman, or started on
# the machine, is told apart; with `any` other pods count as well. Where cgroups say nothing, the name (of which the
# kernel keeps 15 characters) has to do. `processes`, where it is set: the files of the only ones that can be meant.
pids() {
  name=$1 hex='[0-9a-f]' ours='' other='' unknown='' nl='
'
  while [ ${#name} -gt 15 ]; do name=${name%?}; done
  hex=$hex$hex$hex$hex; hex=$hex$hex$hex$hex; hex=$hex$hex
  for c in ${processes:-/proc/[0-9]*/comm}; do
    n=''; { read -r n 2>/dev/null <"$c" && [ "$n" = "$name" ]; } || continue
    groups=''; { while read -r n; do groups=$groups$n$nl; done <"${c%comm}cgroup"; } 2>/dev/null
    # shellcheck disable=SC2254 # $hex is a pattern
    case $groups in
      *kubepods*pod$hex*) of_another "$1" "$groups" || ours="$ours ${c%/comm}" ;;
      *kubepods*) other="$other ${c%/comm}" ;;
      */user.slice/*|*.service|*.service"$nl"*) ;;
      # somebody's own container, unless kubelet gives pods no cgroups of their own
      */docker/*|*/docker-*|*libpod*|*/machine.slice/*|*/lxc/*|*/lxc.payload*|*/default/*|*/nerdctl-*)
        [ -n "${kc_drops+set}" ] || kubelet_flags ''
        # shellcheck disable=SC2086 # a word each
        ! grep -qsE 'cgroups-per-qos=false|cgroupsPerQOS: *false' /var/lib/kubelet/config.yaml \
          /var/lib/kubelet/kubeadm-flags.env $kc_drops ||
          unknown="$unknown ${c%/comm}" ;;
      *) unknown="$unknown ${c%/comm}" ;;
    esac
  done
  [ -z "${2-}" ] || unknown=${other:-$unknown}
  # shellcheck disable=SC2086 # without the space before the first
  echo ${ours:-$unknown}
}

# of_another COMPONENT CGROUPS: is a process with these cgroups of another static pod than the control plane's own, as a
# second etcd for events, or a second scheduler? By the directory that kubelet keeps for a pod's logs, which has its
# name, NAME-NODE, and its UID: the node is that of the other components. Where there is none, it is not.
of_another() {
  case $1 in etcd|kube-apiserver|kube-controller-manager|kube-scheduler) ;; *) return 1 ;; esac
  oa_uid=${2##*pod}; oa_uid=${oa_uid%"${oa_uid#????????????????????????????????}"}
  for oa_log in /var/log/pods/kube-system_*_"$oa_uid"; do
    [ -e "$oa_log" ] || return 1
    oa_node=${oa_log##*/kube-system_}; oa_node=${oa_node%_*}
    case $oa_node in "$1"-*) oa_node=${oa_node#"$1"-} ;; *) return 0 ;; esac
    oa_else=''
    for oa_other in /var/log/pods/kube-system_etcd-*_* /var/log/pods/kube-system_kube-apiserver-*_* \
      /var/log/pods/kube-system_kube-controller-manager-*_* /var/log/pods/kube-system_kube-scheduler-*_*; do
      case $oa_other in
        */kube-system_"$1"-*|*'*_*') ;;
        */kube-system_etcd-"$oa_node"_*|*/kube-system_kube-apiserver-"$oa_node"_*|\
        */kube-system_kube-controller-manager-"$oa_node"_*|*/kube-system_kube-scheduler-"$oa_node"_*) return 1 ;;
        *) oa_else=yes ;;
      esac
    done
    [ -n "$oa_else" ]; return
  done
}

# running COMPONENT: does a process of it run?
running() { [ -n "$(pids "$1")" ]; }

# nobody COMPONENT: does none?
nobody() { ! running "$1"; }

# gone COMPONENT SECONDS: wait until no process of it runs here. 4 when one still does.
gone() {
  gn_asked=0
  await "$2" let_go "$1" || give_up "$1 still runs after $2 s"
}

# let_go COMPONENT: does none of it run? What kubelet has never known it does not end before it has heard of an API
# server (observed on 1.20.2): a process that is older than it, and whose manifest is gone, as after `kubeadm reset`.
# Such a one is told to end after 25 s, in which kubelet would have seen a manifest go, and once more after 35.
let_go() {
  nobody "$1" && return 0
  gn_asked=$((gn_asked + 1)) gn_told=''
  [ ! -e "/etc/kubernetes/manifests/$1.yaml" ] || return 1
  # asked three times a second
  [ $gn_asked -eq 75 ] || [ $gn_asked -eq 105 ] || return 1
  gn_kubelet=$(systemctl show --property=MainPID --value kubelet 2>/dev/null) || return 1
  for gn_p in $(pids "$1"); do
    older "$gn_p" "/proc/${gn_kubelet:-0}" || continue
    gn_told="$gn_told ${gn_p#/proc/}"
  done
  # shellcheck disable=SC2086 # one word each
  [ -z "$gn_told" ] || kill -s TERM $gn_told 2>/dev/null
  return 1
}

# older PROC OTHER: was the process of the directory PROC started before that of OTHER? No where one of them is gone.
older() {
  od_first=$(cut -d ' ' -f 22 "$1/stat" 2>/dev/null) od_other=$(cut -d ' ' -f 22 "$2/stat" 2>/dev/null)
  [ -n "$od_first" ] && [ -n "$od_other" ] && [ "$od_first" -lt "$od_other" ]
}

# runs_flag COMPONENT FLAG with|without: does at least one process of it run, and every one with (without) that flag?
# One that is ending has no command line any more and does not count.
runs_flag() {
  rf_found=1
  for p in $(pids "$1"); do
    { rf_line=$(tr '\0' '\n' 2>/dev/null <"$p/cmdline") && [ -n "$rf_line" ]; } || continue
    if printf '%s\n' "$rf_line" | grep -qxF -e "$2" -e "$2=true"; then rf_has=with; else rf_has=without; fi
    [ "$rf_has" = "$3" ] || return 1
    rf_found=0
  done
  return $rf_found
}

# await_flag COMPONENT FLAG with|without SECONDS: wait until it runs so. 4 when it does not.
await_flag() { await "$4" runs_flag "$1" "$2" "$3" || give_up "$1 does not run $3 $2 after $4 s"; }

# another_runs COMPONENT any|'' yes|no: is there a process of it, and none of those in $rp_old? Where there has been
# none for 15 s and the third is yes, kubelet is restarted, once.
another_runs() {
  rp_now=$(pids "$1" "$2")
  if [ -z "$rp_now" ]; then
    rp_none=$((rp_none + 1))
    # asked three times a second
    if [ "$3" = yes ] && [ $rp_none -eq 45 ]; then systemctl restart kubelet; fi
    return 1
  fi
  rp_none=0
  for p in $rp_now; do for o in $rp_old; do [ "$p" != "$o" ] || return 1; done; done
}

# restart_pod COMPONENT SECONDS SIGNAL any|'' yes|no: end its processes and wait until kubelet has started another. The
# last: where none runs, kubelet is restarted. 3 where none runs and that may not be, or where etcd would begin anew; 4
# when no other one comes.
restart_pod() {
  set -eu
  if [ "$1" = etcd ]; then not_anew "a restart of etcd"; elif [ "$5" = yes ]; then not_anew "a restart of $1" beside; fi
  rp_old=$(pids "$1" "$4") rp_none=0
  if [ -z "$rp_old" ]; then
    [ "$5" = yes ] || refuse "no $1 runs here"
    systemctl restart kubelet
  fi
  for p in $rp_old; do kill -s "$3" "${p##*/}"; done
  await "$2" another_runs "$1" "$4" "$5" || give_up "kubelet has started no new $1 within $2 s"
}

# restart_kubelet: which starts whatever manifests are in place. 3 where etcd would begin anew.
restart_kubelet() { not_anew kubelet beside; systemctl restart kubelet; }

# unstick COMPONENT SECONDS: when no process of it runs, restart kubelet. With SECONDS that long without one is waited
# for, and 5 s with one end the waiting. 3 where etcd would begin anew.
unstick() {
  if [ "$2" = 0 ]; then running "$1" || restart_kubelet; return; fi
  us_with=0 us_without=0 us_i=0
  while [ $us_with -lt 5 ] && [ $us_i -lt $(($2 + 30)) ]; do
    if running "$1"; then us_with=$((us_with + 1)) us_without=0; else us_with=0 us_without=$((us_without + 1)); fi
    [ $us_without -lt "$2" ] || { restart_kubelet; return; }
    us_i=$((us_i + 1)); sleep 1
  done
}
