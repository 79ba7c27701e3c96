# One look at a machine, as root, in POSIX sh (dash and busybox too). Each section begins with a line "$M NAME [WORD]";
# M is set before this text, D to where etcd's data was when the machine was healthy, and `pids`, `kubelet_flags` and
# `etcd_tool` (recoverd.shell) are defined. Nothing here changes anything but the lease and the term below, and no private key is printed.
# shellcheck disable=SC2231,SC2086 # $K and $L are paths without blanks, as in $P; $O, $R, $limit and $size are words or a number
# shellcheck disable=SC2046,SC2012 # a word for each terminal and for what stat prints; kubelet names the logs, and find
# cannot sort by time
# shellcheck disable=SC2034,SC2154 # read needs names for what is passed over; kubelet_flags and kubelet_says set theirs
# shellcheck disable=SC2015 # an assignment does not fail, so `A && B || C` is what it looks like
# Each program that is started costs the machine a millisecond, and a look is made every few seconds: what the shell can
# do by itself it does.
LC_ALL=C; export LC_ALL
K=/etc/kubernetes nl='
'
s() { printf '\n%s\n' "$M $*"; } # on a line of its own, even after a file whose last line has no end
# Absence has to be said by the system itself: a disk that errors must not pass for a file that is not there.
there() {
  if [ -e "$1" ]; then echo yes; return; fi
  case $(ls -dL "$1" 2>&1) in *'No such file'*|*'Not a directory'*) echo no ;; *) echo unseen ;; esac
}
# a sysctl in one go: the shell's own `read` takes byte by byte, and of some that is the first one alone
s boot; cat /proc/sys/kernel/random/boot_id
s clock; date +%s.%N
s uptime; cat /proc/self/stat /proc/1/stat
# kubeadm writes these three, and `kubeadm reset` takes them all: one that has lost kubelet.conf alone is a node all the same
joined=$(there $K/kubelet.conf)
if [ "$joined" = no ] && [ -e $K/pki/ca.crt ] && [ -e /var/lib/kubelet/config.yaml ]; then joined=yes; fi
s joined; echo "$joined"
s units
limit='' brief=''; command -v timeout >/dev/null && { limit='timeout 2'; brief='timeout 1'; }
units=$($limit systemctl show --property=Id,LoadState,ActiveState,SubState,Result,StateChangeTimestampMonotonic,ActiveEnterTimestampMonotonic,NRestarts \
  kubelet.service containerd.service docker.service crio.service 2>&1)
printf '%s\n' "$units"
# why a unit of a node fails stands in its journal: of one that fails now, and of those that J names, since something
# looked wrong there. What kubelet says ten times a second while it has no API server, and what it and containerd say
# while all is well (1.20, 1.6), is left out: there has to be room for what is said once
# and what it said last before it ended, in whatever words, but for a trace
telling() {
  words=': [EF][0-9][0-9][0-9][0-9] |[Ee]rror|[Ff]ail|fatal|panic|[Ee]xited|[Uu]nable|Refusing|oom|denied|evicted'
  if command -v awk >/dev/null; then
    awk -v W="$words" '/Main process exited/ { if (b != "") print b; if (a != "") print a }
      $0 ~ W { print; a = b = ""; next }
      !/ systemd\[[0-9]+\]: |: [IW][0-9][0-9][0-9][0-9] |\(0x|\(\.\.\.\)|\.go:[0-9]+|goroutine [0-9]/ { b = a; a = $0 }'
  else grep -aE "$words"; fi
}
journal() { # UNIT
  s journal "$1"
  $brief journalctl -u "$1.service" -n 3000 -o short-unix -q --no-pager 2>/dev/null | telling |
    grep -avE 'node .*not found|[Ee]rror getting node|([^p]|[^c]p): dial tcp [^ ]*: connect: connection refused|Unable to read config path|perf_event|level=info' |
    tail -n 60 | cut -c1-700
}
while IFS='=' read -r k v; do
  case $k in
    Id) unit=${v%.service} ;;
    LoadState) load=$v ;;
    ActiveState) active=$v ;;
    '')
      case " ${J-} ,$active,$load," in *" $unit "*|*,failed,*|*,activating,*|*,bad-setting,*|*,error,*)
        case $load$joined in loadedyes|bad-settingyes|erroryes) journal "$unit" ;; esac ;; esac
      unit=- load='' active='' ;;
  esac
done <<EOF
$units

EOF
# what the kernel has done to a static pod that does not run: it leaves no word of its own
case " ${J-} " in *' kernel '*)
  s journal kernel
  $brief journalctl -k -n 3000 -o short-unix -q --no-pager 2>/dev/null |
    grep -aE '[Oo]ut of memory: Kill|I/O error|blocked for more than|nvme.* (timeout|is down)|EXT4-fs.*(error|read-only)|BTRFS (error|critical)|XFS .*([Cc]orruption|I/O [Ee]rror|shut down)' | tail -n 20 | cut -c1-700 ;;
esac
# O is set where several bastions take over from each other: what `term_seen` (term.sh) is told. One that comes late gets
# no lease. R is set for control planes where a lease is kept: what `lease` (lease.sh) is told
[ -z "${O-}" ] || term_seen $O || R=''
[ -z "${R-}" ] || { s lease; lease $R; }
# terminals, whoever opened them (recoverd opens none); utmp adds those that are no pseudo-terminals, and logind where
# nothing writes utmp (Debian 13): its list has had four sets of columns, so whatever names a terminal counts. What was
# typed last shows in the access time
consoles() {
  who 2>/dev/null | while read -r u t rest; do echo "$t"; done
  $limit loginctl list-sessions --no-legend --no-pager 2>/dev/null | while read -r id uid u rest; do
    case " $rest " in *' greeter '*) continue ;; esac
    for t in $rest; do
      case $t in tty*|console|hvc*|xvc*) $limit loginctl show-session "$id" --property=State 2>/dev/null | grep -q closing || echo "$t" ;; esac
    done
  done
}
s people; date +%s
[ -d /dev/pts ] && echo scanned
stat -c 'login %n %U %Z %X' /dev/pts/[0-9]* $(consoles | sort -u | while read -r t; do
  case $t in tty*|console|hvc*|xvc*) echo "/dev/$t" ;; esac
done) 2>/dev/null
# a terminal of a container's, from which somebody has come out to the machine itself, as with `kubectl debug node` and
# chroot or nsenter: it is in no list, since it belongs to another /dev/pts. One is enough
come_out() { # /proc/PID/
  [ -c "$1fd/0" ] && ! [ "$1fd/0" -ef /dev/null ] || return 0
  for t in /dev/pts/[0-9]*; do ! [ "$1fd/0" -ef "$t" ] || return 0; done
  stat=; read -r stat 2>/dev/null <"$1stat" || return 0
  set -- "$1" ${stat##*) } # its controlling terminal is field 7 (proc(5)): of a pseudo-terminal the major number is 136 to 143
  case $(( (${6:-0} >> 8) & 4095 )) in 13[6-9]|14[0-3]) out=$(stat -L -c 'login %n %U %Z %X' "$1fd/0" 2>/dev/null) ;; esac
}
# what runs, and since when, in the kernel's ticks
tool() { # /proc/PID/
  stat=; read -r stat 2>/dev/null <"$1stat"
  set -- "$1" ${stat##*) }; at=$1; [ $# -lt 21 ] && set -- -; [ $# -lt 21 ] || shift 20
  echo "tool $1 $(tr '\000\n' '  ' 2>/dev/null <"${at}cmdline" | cut -c1-300)"
}
# every process is asked for its name once: `pids` asks those that may be of static pods
started='' among=' ' out=''
for c in /proc/[0-9]*/comm; do
  n=; read -r n 2>/dev/null <$c
  case $n in
    # that of a container (kind, a machine in a container) has another root
    kubelet) [ ${c%comm}root -ef / ] && started=$(tr '\000' '\n' 2>/dev/null <${c%comm}cmdline) ;;
    kubeadm|etcdctl|etcdutl) tool ${c%comm} ;;
    # 15 characters of a name are kept, and zypper's library gives itself another one; a pod's own is no business of the machine's
    dpkg|apt|apt-get|aptitude|unattended-upgr|rpm|yum|yum-cron|dnf|dnf-[0-9]|dnf5|dnf-automatic|microdnf|tdnf|zypper|Zypp-main|transactional-u|rpm-ostree|snap|apk|pacman)
      [ ${c%comm}root -ef / ] && tool ${c%comm} ;;
    sh|bash|dash|ash|zsh|ksh|fish|busybox) [ -z "$out" ] && [ ${c%comm}root -ef / ] && come_out ${c%comm} ;;
    etcd|kube-apiserver|kube-controller|kube-scheduler) among="$among $c" ;;
    *) case " ${S-} " in *"=$n "*) among="$among $c" ;; esac ;;
  esac
done
[ -z "$out" ] || printf '%s\n' "$out"
f=/run/recoverd/hands-off; [ -e $f ] && echo "hands-off $(stat -c %U $f 2>/dev/null): $(head -n 1 $f 2>/dev/null | cut -c1-200)"
# by its command line while it runs, else by the files that its unit and it read
s endpoint; kubelet_flags "$started"
kubelet_runtime; printf '%s\n' "$kc_said"
left() { df "$1" / /var/lib/etcd ${D:+"$D"} /var/lib/kubelet /var/lib/containerd /var/lib/docker /var/lib/containers /var/log 2>/dev/null; }
s disks; left -Pk
s inodes; left -Pi
s read-only; grep -aE '^[^ ]+ [^ ]+ [^ ]+ ro[, ]' /proc/mounts 2>/dev/null | cut -d ' ' -f 2 | head -n 100
# what /etc/fstab has mounted where Kubernetes keeps something, or was mounted while all was well (B), and is not: a file
# that is not there proves nothing then
s unmounted
[ -r /proc/mounts ] && for at in ${B-}; do grep -qsF " $at " /proc/mounts || echo "$at"; done
[ -r /etc/fstab ] && while read -r dev at kind options rest; do
  case $dev in ''|'#'*) continue ;; esac
  case ",$options," in *,noauto,*) continue ;; esac
  at=${at%/}
  for p in /var/lib/etcd ${D:+"$D"} /var/lib/kubelet /var/lib/containerd /var/lib/docker /var/lib/containers; do
    case $at in /*) case $p/ in "$at"/*) grep -qsF " $at " /proc/mounts || echo "$at"; break ;; esac ;; esac
  done
done </etc/fstab
# F is set now and then while a disk is full
[ -z "${F-}" ] || { s largest; $brief find /var/log /var/lib/etcd ${D:+"$D"} -xdev -type f -size +20000k -exec ls -sk {} + 2>/dev/null | sort -rn | head -n 6; }

# where kubelet looks for its static pods, by how it was started and by its configuration
kubelet_says staticPodPath "$kc_static"; static=$kc_said
[ -z "$static" ] || [ "${static%/}" = $K/manifests ] || [ "$static" -ef $K/manifests ] ||
  { [ ! -e "$static" ] && [ ! -e $K/manifests ]; } || s static-pods "$static"
s manifests; there $K/manifests
if [ -d $K/manifests ]; then
  ls -A $K/manifests >/dev/null 2>&1 || s unreadable $K/manifests
  for f in $K/manifests/*; do
    [ -d "$f" ] && continue
    [ -f "$f" ] && { about=$(stat -L -c '%s %Y' "$f" 2>/dev/null) || about=$(wc -c 2>/dev/null <"$f"); } ||
      { [ "$(there "$f")" = no ] || s unreadable "$f"; continue; }
    [ ! -L "$f" ] || about="${about%% *} $(stat -c %Y "$f" 2>/dev/null)"
    if [ "${about%% *}" -gt 65537 ]; then text=$(head -c 65537 "$f" 2>/dev/null | base64); else text=$(base64 "$f" 2>/dev/null); fi ||
      { s unreadable "$f"; continue; }
    s manifest "$f"; printf '%s\n' "$about" "$text"
  done
elif [ -e $K/manifests ]; then
  s unreadable $K/manifests
fi

# A manifest that was moved away lies where people put things; looked for where kubelet finds none alone. A file system of
# another machine is left out, since it may never answer. kubelet sees no hidden file, and none in a directory below its own
lacking=''
for c in etcd kube-apiserver kube-controller-manager kube-scheduler; do
  case $c in etcd) set -- $K/pki/etcd/server.crt ;; *) set -- $K/pki/apiserver.crt ;; esac
  [ -e $K/manifests/$c.yaml ] || [ ! -e "$1" ] || lacking="$lacking${lacking:+|}$c"
done
aside() {
  remote=" $(grep -E ' (nfs4?|cifs|smb3|ceph|glusterfs|lustre|9p|autofs|fuse[^ ]*) ' /proc/mounts 2>/dev/null | while read -r d at rest; do printf '%s ' "$at"; done)"
  set --
  for p in $K /root /home /tmp /var/tmp /var/backups /opt /srv /mnt; do
    case $remote in *" $p "*|*" $p/"*) ;; *) [ ! -d $p ] || set -- "$@" $p ;; esac
  done
  $brief find "$@" -xdev -maxdepth 3 -path $K/recoverd -prune -o -type f -size -128 \( -name '*etcd*' -o -name '*kube-*' \) \
    -exec grep -HoE "^  name: [\"']?($lacking)[\"']?[[:blank:]]*$" {} + 2>/dev/null | head -n 50 | while IFS= read -r said; do
    f=${said%%:  name: *} c=${said##*:  name: }
    case $f in $K/manifests/*/*|$K/manifests/.*) ;; $K/manifests/*) continue ;; esac
    stat -c "$(printf %s "$c" | tr -d "\"' \011") %Z %n" "$f" 2>/dev/null
  done
}
[ -z "$lacking" ] || { s aside; aside; }

# a Go program that panics writes where it was after why, of a panic within a panic as well: the why has to stay. And
# etcd writes a line for each question that recoverd asks of it (3.4, 3.5), two a second on the lab
untraced() {
  line='(^|^[^ ]+ std(out|err) [FP] |^\{"log":")'
  grep -avE -e "$line"'([[:blank:]]*(\\t)?[^ "]*\.(go|s):[0-9]+( \+0x[0-9a-f]+)?|[^ "]+\((\.\.\.|\{?0x.*|\{[{}].*|)\))(\\n|$)' \
    -e "$line"'(goroutine [0-9]+ \[|created by |\[signal )' -e 'ignoring common name in gRPC-gateway proxy request' \
    -e "$line"'(\\n"|$)' -e '^[^ ]+ std(out|err) P [^ ]+$'
}
processes=$among
for c in etcd kube-apiserver kube-controller-manager kube-scheduler; do
  # the UID of a static pod is a hash, 32 characters without dashes (kubelet's config.go), which no other pod has
  set -- /var/log/pods/kube-system_$c-*_????????????????????????????????
  [ -e $K/manifests/$c.yaml ] || [ -e "$1" ] || continue
  s container $c
  for p in $(pids $c); do
    stat=; read -r stat 2>/dev/null <"$p/stat" && printf '%s\n' "stat $stat"
  done
  [ -r /proc/$$/comm ] && echo scanned
  log=$(ls -t /var/log/pods/kube-system_$c-*_????????????????????????????????/$c/*.log 2>/dev/null); log=${log%%"$nl"*}
  first=; [ -n "$log" ] && { IFS= read -r first 2>/dev/null <"$log"; printf 'log %s\nfirst %.40s\n' "$log" "$first"; }
  [ -n "$log" ] && [ $c = etcd ] && tail -n 400 "$log" 2>/dev/null | untraced | grep -iE 'panic|fatal|corrupt|crc mismatch|inconsistency|no space left|read-only file|provided but not defined' | tail -n 3 | cut -c1-600
  [ -n "$log" ] && {
    said=$(tail -n 400 "$log" 2>/dev/null | untraced | tail -n 10 | cut -c1-600)
    # klog's Fatal writes where every goroutine was after why: 17000 lines and 1.8 MB of an API server (1.20.2)
    printf '%s\n' "${said:-"$(tail -c 4194304 "$log" 2>/dev/null | untraced | tail -n 10 | cut -c1-600)"}"
  }
done
# S has NAME=PROGRAM of static pods that are none of kubeadm's, those of one after each other: a file, and what its
# processes may be called
of=
for w in ${S-}; do
  [ "${w%%=*}" = "$of" ] || { of=${w%%=*}; s container "$of"; [ -r /proc/$$/comm ] && echo scanned; }
  for p in $(pids "${w#*=}"); do
    stat=; read -r stat 2>/dev/null <"$p/stat" && printf '%s\n' "stat $stat"
  done
done

# whom etcd is connected to on the others' port, and whom it calls: 01 is a connection, 02 a call without an answer
port='' d='' w=''
if [ -e $K/manifests/etcd.yaml ]; then
  while IFS='=' read -r k v; do
    case $k in
      listen-peer-urls) [ -n "$port" ] || port=$v ;;
      data-dir) [ -n "$d" ] || d=$v ;;
      wal-dir) [ -n "$w" ] || w=$v ;;
    esac
  done <<EOF
$(sed -n -e 's/ \{1,\}#.*$//' -e 's/^\( *- \)[^-]\(--.*\)[^[:alnum:]]$/\1\2/' -e 's/^ *- --\(listen-peer-urls=\).*:\([0-9][0-9]*\)[",]*$/\1\2/p' \
    -e 's/^ *- --\(data-dir=\)/\1/p' -e 's/^ *- --\(wal-dir=\)/\1/p' \
    $K/manifests/etcd.yaml 2>/dev/null)
EOF
fi
if [ -e $K/manifests/etcd.yaml ] && [ -r /proc/net/tcp ]; then
  s peers; grep -ohE "[0-9A-F]+:$(printf %04X "${port:-2380}") 0[12] " /proc/net/tcp /proc/net/tcp6 2>/dev/null
fi

L=/var/lib/kubelet
s pki-files; there $K/pki; ls -d $K/pki/*.crt $K/pki/etcd/*.crt $K/*.conf 2>/dev/null
for f in $K/pki/*.crt $K/pki/etcd/*.crt $L/pki/kubelet.crt $L/pki/kubelet-client-current.pem $L/pki/kubelet-server-current.pem; do
  [ -r "$f" ] && { s cert "$f"; sed -n '/-BEGIN CERTIFICATE-/,/-END CERTIFICATE-/p' "$f"; }
done
for f in $K/*.conf; do
  [ -r "$f" ] && { s kubeconfig "$f"; sed -n -e '/^ *client-certificate-data: */{' -e 's///p' -e q -e '}' "$f"; }
  [ -r "$f" ] && { s kubeconfig-ca "$f"; sed -n -e '/^ *certificate-authority-data: */{' -e 's///p' -e q -e '}' "$f"; }
done
# when each file with a private key was changed, so that keys.sh is run only then
s keys; stat -L -c '%n %Z %Y %i %s' $K/pki/*.key $K/pki/etcd/*.key $K/*.conf $L/pki/kubelet-client-current.pem 2>/dev/null

d=${d:-${D:-/var/lib/etcd}}
data() { # SECTION DIRECTORY DIRECTORY-OF-ITS-LOG
  s "$1" "$2"; at=$2; set -- "$3"/*.wal
  there "$at"; there "$at/member/snap/db"; there "$1"; [ ! -e "$at/member/snap/db" ] || stat -L -c '%b %B %d:%i' "$at/member/snap/db"
}
[ "${D:-$d}" = "$d" ] || data etcd-before "$D" "${w:-$D/member/wal}" # the manifest names another directory than it did
data etcd-data "$d" "${w:-$d/member/wal}"
# V is the minor version of the etcd that belongs here, I its image; set for control planes only, and not in every sweep
# C is set now and then: it starts systemd-timedated. Before systemd 239 there is no `show`, and without systemd
# nothing. A container has its host's clock, which is not for it to keep
[ -z "${C-}" ] || [ -e /run/systemd/container ] || { s synchronised; $limit timedatectl show --property=NTPSynchronized 2>/dev/null; }
# P are the files that static pods name, E those of them that configure encryption at rest (pod_files.sh)
[ -z "${P-}" ] || pod_files $P
# N is set where the node is not well, and now and then (node.sh)
[ -z "${N-}" ] || node_look
[ -z "${V-}" ] || { s etcd-tool; etcd_tool "${V#any}" "${I-}"; etcd_tool_done; }
s end
