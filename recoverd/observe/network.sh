# The pod network as one machine sees it, as root, in POSIX sh. Changes nothing. Sections begin with "$M NAME [WORD]";
# set before this text: M marker; P probes, a line "ID IP PORT" each ("u" before the ID: a DNS query over UDP); V wanted
# services, words IP:PORT; VX the same in /proc/net/ip_vs's hexadecimal; V6 those of IPv6, words [IP]:PORT; T seconds
# for all probes; R the sha256 of the routes that are known, or nothing.
LC_ALL=C; export LC_ALL; PATH=$PATH:/usr/sbin:/sbin:/usr/local/sbin
s() { echo "$M $*"; }
have() { command -v "$1" >/dev/null 2>&1; }
s forwarding; cat /proc/sys/net/ipv4/ip_forward
s forwarding6; cat /proc/sys/net/ipv6/conf/all/forwarding 2>/dev/null
for t in '' 6; do
  s "bridge-nf$t"; cat "/proc/sys/net/bridge/bridge-nf-call-ip${t}tables" 2>/dev/null || { [ -d /proc/sys/net/bridge ] || echo absent; }
done
# the devices, with their kinds, which busybox's `ip` does not tell. `ip` shows the network namespace that counts, /sys may
# be mounted from another
tunnels='' links=''
if have ip; then
  if links=$(ip -o -d link show 2>/dev/null); then
    case $links in *' vxlan '*|*' geneve '*|*' wireguard '*|*' ipip '*) tunnels=some ;; *) tunnels=none ;; esac
  else links=$(ip -o link show 2>/dev/null)
  fi
fi
# chains that packets on their way through pass and that drop what none of their rules lets through: "FAMILY TABLE CHAIN"
# by their policy, and with the word `reject` where a rule without a condition does it, as firewalld's do
ends() { # of nft's list of chains
  awk '$1 == "table" { t = $2 " " $3 } $1 == "chain" { c = $2 } / hook forward / { print (/policy drop/ ? "drop" : "accept"), t, c }' |
    while read -r policy family of chain; do
      case $policy-$family in
        drop-*) echo "$family $of $chain" ;;
        accept-ip|accept-ip6|accept-inet)
          rules=$($brief nft list chain "$family" "$of" "$chain" 2>/dev/null) || { echo unread; continue; }
          printf '%s\n' "$rules" |
            grep -qE '^[[:space:]]*(counter packets [0-9]+ bytes [0-9]+ )?(log [^{}]* )?(drop|reject( with [a-z0-9 -]+)?)( comment "[^"]*")?$' &&
            echo "$family $of $chain reject" ;;
      esac
    done
}
brief=''; have timeout && brief='timeout 2'
# rules of those chains that what comes to the machine itself passes, and of whom these call, that drop what comes by UDP
# or as IP in IP: so come the packets of other nodes' pods, where there is a device for them; elsewhere that is not read, since
# it takes a quarter of all the time. With those that let something pass before, in their order. "FAMILY TABLE CHAIN: RULE".
# kube-proxy's and CNIs' own are passed over
follow() { # FIRST FAMILY-AND-TABLE COMMAND..., which lists the chain that is named after it
  ahead="$1 " where=$2 passed=' ' whole=''; shift 2
  while [ -n "$ahead" ] && [ ${#passed} -le 600 ]; do
    c=${ahead%% *}; ahead=${ahead#* }
    case $passed in *" $c "*) continue ;; esac
    # shellcheck disable=SC2086 # `timeout` and its seconds, or nothing
    rules=$($brief "$@" "$c" 2>/dev/null) || { [ "$passed" != ' ' ] || echo unread; passed="$passed$c "; continue; }
    passed="$passed$c "
    told=$(printf '%s\n' "$rules" | sed -E -e '/udp/b' -e '/(^|[^a-z])(tcp|icmp).* (accept|-j ACCEPT)( |$)/d' |
      grep -E '(udp|(protocol|l4proto|-p) (4|ipv4|ipip|ipencap)) .*(drop|reject|-j DROP|-j REJECT)( |$)|(^| )(accept|-j ACCEPT)( |$)' | head -n 40)
    [ -z "$told" ] || whole="$whole
$(printf '%s\n' "$told" | while read -r rule; do printf '%.400s\n' "$where $c: $rule"; done)"
    ahead="$ahead$(printf '%s\n' "$rules" | sed -n -E 's/(^|.*[[:space:]])(jump|goto|-j|-g) ([A-Za-z0-9_-]+).*/\3/p' |
      grep -vE '^(KUBE-|cali-|CILIUM_|ts-|(ACCEPT|DROP|REJECT|RETURN|LOG|MARK|CONNMARK)$)' | tr '\n' ' ')"
  done
  case $whole in *drop*|*reject*|*DROP*|*REJECT*) printf '%s\n' "$whole" ;; esac
}
if have nft && chains=$(nft list chains 2>/dev/null); then
  s dropping; printf '%s\n' "$chains" | ends
  if [ "$tunnels" = some ]; then
    s refusing; printf '%s\n' "$chains" | awk '$1 == "table" { t = $2 " " $3 } $1 == "chain" { c = $2 } / hook input / { print t, c }' |
      while read -r family of chain; do follow "$chain" "$family $of" nft list chain "$family" "$of"; done
  fi
fi
# reading the legacy table would create it where it is not in use
if have iptables-legacy && grep -qsx filter /proc/net/ip_tables_names; then iptables='iptables-legacy'
elif ! have nft && have iptables; then iptables='iptables'
else iptables=; fi
if [ -n "$iptables" ] && forward=$($iptables -S FORWARD 2>/dev/null); then
  s dropping-of-iptables
  printf '%s\n' "$forward" | sed -n -E -e 's/^-P FORWARD DROP$/ip filter FORWARD/p' \
    -e 's/^-A FORWARD( -m comment --comment ("[^"]*"|[^ ]*))? -j (DROP|REJECT)( --reject-with [a-z-]*)?$/ip filter FORWARD reject/p'
  if [ "$tunnels" = some ]; then s refusing-of-iptables; follow INPUT 'ip filter' "$iptables" -v -S; fi
fi
[ "$tunnels" != none ] || s refusing
s clock; cat /proc/uptime

# how full the kernel's tables are, and what it has counted since its boot. Where there is no connection tracking its
# files are not there, nor are neighbours' limits in a container. A sysctl has to be read in one go: `read` of dash and
# busybox takes byte by byte, and gets the first alone
sysctls='/proc/sys/net/netfilter/nf_conntrack_count /proc/sys/net/netfilter/nf_conntrack_max'
sysctls="$sysctls /proc/sys/net/ipv4/neigh/default/gc_thresh3 /proc/sys/net/ipv6/neigh/default/gc_thresh3"
for f in /proc/sys/net/ipv4/conf/*/rp_filter; do
  d=${f%/*}
  case ${d##*/} in default|lo|veth*|cali*|lxc*|eni*|azv*|gke[0-9a-f]*) ;; *) sysctls="$sysctls $f $d/forwarding" ;; esac
done
s sysctls
# shellcheck disable=SC2086 # paths of sysctls have no blanks
grep -Hs '' $sysctls
column() { # COLUMN [0x]: of $table, whose first line names its columns, `sum` is that of one over the rows, one a processor,
  # and `last` what the last row has; both empty where there is no such column
  column=$1 base=${2-} at='' sum='' last='' IFS='
'
  # shellcheck disable=SC2086 # its lines, and then the words of each
  set -- $table
  unset IFS
  for row in "$@"; do
    case $row in IpExt:*) break ;; esac
    # shellcheck disable=SC2086
    set -- $row
    if [ -z "$at" ]; then
      n=0; for w in "$@"; do n=$((n + 1)); [ "$w" != "$column" ] || at=$n; done
      [ -n "$at" ] || break
    elif [ $# -ge "$at" ]; then
      shift $((at - 1))
      case $1 in *[!0-9a-fA-F]*) ;; *) last=$(($base$1)) sum=$((${sum:-0} + $base$1)) ;; esac
    fi
  done
}
s tables
table=$(cat /proc/net/stat/nf_conntrack 2>/dev/null)
column drop 0x; echo "conntrack $sum"
for t in 'neighbours arp_cache' 'neighbours6 ndisc_cache'; do
  table=$(cat "/proc/net/stat/${t#* }" 2>/dev/null)
  column table_fulls 0x; full=$sum
  column forced_gc_runs 0x; forced=$sum
  column entries 0x; echo "${t% *} ${last:-?} ${full:-?} ${forced:-?}"
done
table=$(cat /proc/net/netstat 2>/dev/null)
column IPReversePathFilter; echo "reverse-path $sum"

if have ip; then
  # the ends of pods are left out where their names tell, and short where they do not (antrea's, kube-ovn's). One line
  # more than are taken, so that it shows when there are more. kube-ipvs0 has an address for every service
  s links; printf '%s\n' "$links" | grep -Ev '^[0-9]+: (lo|veth|lxc|cali|eni|azv|gke[0-9a-f])' |
    sed -e 's/\(@if[0-9]*: <[^>]*> mtu [0-9]*\) .* veth .*/\1/' -e 's/^\(.\{600\}\).*/\1/' | head -n 513
  s addresses; { ip -o -4 addr show; ip -o -6 addr show scope global; } 2>/dev/null | grep -Ev '^[0-9]+: (lo|veth|lxc|cali|eni|azv|gke[0-9a-f]|kube-ipvs0 )' | head -n 513
  # on a bridge every pod's end hangs on it; on routed networks none does
  s veths; ip -o link show type veth 2>/dev/null | grep -E '^[0-9]+: veth' | awk '{ n++; for (i = 1; i < NF; i++) if ($i == "master") m++ } END { print n + 0, m + 0 }'
  # on one line also what has several next hops; one line more than are taken, so that it shows when there are more.
  # What an interface has of IPv6 by itself is left out, and the default route of IPv6 does not pass for that of IPv4
  routes=$(for t in 4 6; do
    ip -o -$t route show 2>/dev/null | grep -Ev ' dev (veth|cali|lxc|eni|azv|gke[0-9a-f])' | head -n 2049 |
      if [ $t = 4 ]; then cat; else sed -E -e '/^([a-z]+ )?(fe80|ff00):/d' -e 's/^([a-z]+ )?default /\1::\/0 /'; fi
  done)
  # hundreds of lines, which hardly ever change: what is known already is not sent again
  digest=$(printf '%s\n' "$routes" | sha256sum 2>/dev/null); digest=${digest%% *}
  if [ -n "$digest" ] && [ "$digest" = "${R-}" ]; then s routes-same "$digest"
  else s routes "$digest"; printf '%s\n' "$routes"; fi
fi

s processes
proxy='' config='' pods=/var/lib/kubelet
for p in /proc/[0-9]*/comm; do
  n=; read -r n 2>/dev/null <"$p" || continue
  case $n in
    kubelet) # where it keeps its pods: a directory that was moved leaves the old one's behind
      r=$(tr '\000' '\n' 2>/dev/null <"${p%comm}cmdline" | sed -n -e 's/^--root-dir=//p' -e '/^--root-dir$/{n;p;}' | tail -n 1)
      pods=${r:-$pods} ;;
    kube-proxy|flanneld|calico-node|cilium-agent|weaver|kube-router|antrea-agent|kindnetd)
      stat=; read -r stat 2>/dev/null <"${p%comm}stat" && echo "$n $stat"
      # one that is stopped answers nobody
      case $n-$stat in kube-proxy-*') '[SRDI]' '*) proxy=yes; config=${p%comm}root/var/lib/kube-proxy/config.conf ;; esac ;;
  esac
done
# what it takes for the range of pods, as kubeadm's ConfigMap has given it to the pod
[ ! -f "$config" ] || s cluster-cidr "$(sed -n -e '/^clusterCIDR: */{' -e 's///p' -e q -e '}' "$config" 2>/dev/null | tr -d "\"' " | cut -c1-200)"
# shellcheck disable=SC2012 # kubelet names them by their UIDs
if [ -d "$pods/pods" ]; then s pods; ls "$pods/pods" | head -n 2048; fi

# For the wanted services "svc IP:PORT CHAIN" and "ep CHAIN IP:PORT"; "chain" when kube-proxy's own chain is there.
# shellcheck disable=SC2016 # awk's own
CHAINS='
BEGIN { n = split(V, w, " "); for (i = 1; i <= n; i++) want[w[i]] = 1 }
/^:KUBE-SERVICES / { found = 1; next }
/^!failed/ || /is incompatible/ { odd = 1; next }
/^-A KUBE-SEP-/ { for (i = 3; i < NF; i++) if ($i == "--to-destination") sep[$2] = $(i + 1); next }
/^-A KUBE-SERVICES / {
  d = p = j = t = ""
  for (i = 3; i < NF; i++) { if ($i == "-d") d = $(i + 1); if ($i == "--dport") p = $(i + 1); if ($i == "-j") j = $(i + 1); if ($i == "-p") t = $(i + 1) }
  if (d ~ /:/) { sub("/128$", "", d); d = "[" d "]" } else sub("/32$", "", d)
  if (t == "tcp" && (d ":" p) in want && j ~ /^KUBE-SV/) { print "svc", d ":" p, j; used[j] = 1 }
  next
}
/^-A KUBE-SV/ { for (i = 3; i < NF; i++) if ($i == "-j" && $(i + 1) ~ /^KUBE-SEP-/) eps[$2] = eps[$2] " " $(i + 1); next }
END {
  if (found) print "chain"; else if (odd) print "unread"
  for (c in used) { m = split(eps[c], e, " "); for (i = 1; i <= m; i++) print "ep", c, (e[i] in sep ? sep[e[i]] : "?") }
}'
# An older iptables ends well and says "Table `nat' is incompatible, use 'nft' tool." of rules that a newer one has made.
saved() {
  if have "ip$1tables-nft-save"; then
    "ip$1tables-nft-save" -t nat || echo '!failed'
    # reading the legacy table would create it where it is not in use
    if have "ip$1tables-legacy-save" && grep -q nat "/proc/net/ip$1_tables_names"; then "ip$1tables-legacy-save" -t nat || echo '!failed'; fi
  elif [ -z "$1" ] || grep -q nat /proc/net/ip6_tables_names || "ip$1tables-save" -V | grep -q nf_tables; then
    # kube-proxy has made IPv4's itself; of IPv6 there may be none yet, which the older tool would make
    "ip$1tables-save" -t nat || echo '!failed'
  fi 2>/dev/null
}

# Each way to read kube-proxy's rules prints what it found, and ends with 1 where they are not there, and with 2 where
# that cannot be told: its tool is missing, fails, or is too old for what kube-proxy has written. Those of IPv6, which
# lie beside them, are read with the word 6; W has the wanted services of the family.
in_iptables() {
  have awk && { have "ip$1tables-save" || have "ip$1tables-nft-save"; } || return 2
  found=$(saved "$1" | awk -v V="$W" "$CHAINS")
  case $found in unread*) return 2 ;; *chain*) printf '%s\n' "$found" ;; *) return 1 ;; esac
}
# The names of nftables' endpoint chains end in __IP/PORT, unless they were too long; how with IPv6 was not seen.
in_nftables() {
  have nft && have awk && tables=$(nft list tables 2>/dev/null) || return 2
  case $tables in *"table ip$1 kube-proxy"*) ;; *) return 1 ;; esac
  map=$(nft list map "ip$1" kube-proxy service-ips 2>/dev/null) || return 2
  case $map in *"type ipv${1:-4}_addr . inet_proto . inet_service"*) ;; *) return 2 ;; esac
  printf '%s\n' "$map" | tr ',' '\n' | sed 's/.*elements = {//' | awk -v V="$W" '
    BEGIN { n = split(V, w, " "); for (i = 1; i <= n; i++) want[w[i]] = 1 }
    { a = ($1 ~ /:/ ? "[" $1 "]" : $1) ":" $5 }
    $2 == "." && $3 == "tcp" && a in want { print a, $8 }' | head -n 64 | while read -r a c; do
      echo "svc $a $c"
      if [ -n "$1" ] || ! chain=$(nft list chain ip kube-proxy "$c" 2>/dev/null); then echo "ep $c ?"; continue; fi
      printf '%s\n' "$chain" | tr ',' '\n' | sed -n -e "s|.*goto endpoint-.*__\([0-9.]*\)/\([0-9][0-9]*\).*|ep $c \1:\2|p" -e t -e "s|.*goto endpoint-.*|ep $c ?|p"
    done
}
# Others use IPVS as well (kube-vip, keepalived, lvscare); the device is kube-proxy's own.
in_ipvs() {
  [ -z "$1" ] && have ip || return 2
  ip link show dev kube-ipvs0 >/dev/null 2>&1 || return 1
  [ -r /proc/net/ip_vs ] && have awk || return 2
  awk -v V="$VX" 'BEGIN { n = split(V, w, " "); for (i = 1; i <= n; i++) want[w[i]] = 1 }
    /^(TCP|UDP)/ { on = $1 == "TCP" && $2 in want; if (on) print "svc", $2, $2; c = $2; next }
    on && $1 == "->" && $4 > 0 { print "ep", c, $2 }' /proc/net/ip_vs
}
# asked ADDRESS HOST: what kube-proxy itself says that it uses.
asked() {
  if have curl; then curl -s --noproxy '*' -m 1 "http://$2:10249/proxyMode"
  elif have bash && have timeout; then
    # shellcheck disable=SC2016 # bash's own
    timeout 1 bash -c 'exec 3<>"/dev/tcp/$0/10249" && printf "GET /proxyMode HTTP/1.0\r\n\r\n" >&3 && tail -n 1 <&3' "$1"
  fi 2>/dev/null
}
told=
if [ -n "$proxy" ]; then
  told=$(asked 127.0.0.1 127.0.0.1)
  [ -n "$told" ] || told=$(asked ::1 '[::1]')
  case $told in iptables|ipvs|nftables) ;; *) told= ;; esac
fi
# In IPVS mode kube-proxy has chains of its own, too.
mode='' unread='' text='' W=$V
for m in ${told:-nftables ipvs iptables}; do
  text=$("in_$m" ''); said=$?
  if [ $said = 0 ]; then mode=$m; break; fi
  [ $said = 1 ] || unread="$unread $m"
done
s told "$told"
s unread "$unread"
s rules "$mode"; [ -z "$text" ] || printf '%s\n' "$text"
if [ -n "${V6-}" ]; then
  used=${mode:-${told:-nftables iptables}} mode='' unread='' text='' W=$V6
  for m in $used; do
    text=$("in_$m" 6); said=$?
    if [ $said = 0 ]; then mode=$m; break; fi
    [ $said = 1 ] || unread=unread
  done
  s rules6 "${mode:-$unread}"; [ -z "$mode" ] || [ -z "$text" ] || printf '%s\n' "$text"
fi

# One line "$M probe ID ok" for what was reached, or a message with /dev/tcp/IP/PORT in it; nothing for what nobody
# answered.
if [ -n "$P" ]; then
  if have bash && have timeout; then
    s tool bash
    # shellcheck disable=SC2016 # bash's own
    printf '%s\n' "$P" | timeout "$T" bash -c 'while read -r id ip port; do
      case $id in
        u*) ( exec 3<>"/dev/udp/$ip/$port" && printf "\x55\x55\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01" >&3 &&
              IFS= read -r -n 1 -u 3 c && echo "$0 probe $id ok" ) & ;;
        *) ( : 3<>"/dev/tcp/$ip/$port" && echo "$0 probe $id ok" ) & ;;
      esac
    done; wait' "$M" 2>&1
  elif have curl; then
    s tool curl
    host() { case $1 in *:*) echo "[$1]" ;; *) echo "$1" ;; esac; }
    # why a connection fails stands in what -v tells alone: the message is the same for all of it (7.88, 8.14)
    printf '%s\n' "$P" | grep -v ^u | { while read -r id ip port; do
      ( r=$(curl -sSv -o /dev/null --noproxy '*' --connect-timeout "$T" -m "$T" -w ' connects=%{num_connects}' "http://$(host "$ip"):$port/" 2>&1)
        case $r in *connects=1*) echo "$M probe $id ok" ;; *refused*) echo "$M probe $id refused" ;; *' route'*|*unreachable*) echo "$M probe $id unreachable" ;;
          *'timed out'*|*timeout*) ;; *) echo "$M probe $id unseen" ;; esac ) &
    done; wait; }
  elif have nc; then
    s tool nc
    printf '%s\n' "$P" | grep -v ^u | { while read -r id ip port; do
      ( r=$(nc -v -z -w "$T" "$ip" "$port" 2>&1 </dev/null) && echo "$M probe $id ok" && exit
        case $r in *refused*) echo "$M probe $id refused" ;; *' route'*|*unreachable*) echo "$M probe $id unreachable" ;;
          *'timed out'*|*timeout*) ;; *) echo "$M probe $id unseen" ;; esac ) &
    done; wait; }
  else
    s tool
  fi
fi
s end
