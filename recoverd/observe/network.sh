# The pod network as one machine sees it, as root, in POSIX sh. Changes nothing. Sections begin with "$M NAME [WORD]";
# set before this text: M marker; P probes, a line "ID IP PORT" each ("u" before the ID: a DNS query over UDP); V wanted
# services, words IP:PORT; VX the same in /proc/net/ip_vs's hexadecimal; T seconds for all probes.
LC_ALL=C; export LC_ALL; PATH=$PATH:/usr/sbin:/sbin:/usr/local/sbin
s() { echo "$M $*"; }
have() { command -v "$1" >/dev/null 2>&1; }
s forwarding; cat /proc/sys/net/ipv4/ip_forward
s clock; cat /proc/uptime

# `ip` shows the network namespace that counts; /sys may be mounted from another.
if have ip; then
  s links; { ip -o -d link show || ip -o link show; } 2>/dev/null | grep -Ev '^[0-9]+: (lo|veth|lxc|cali)' | cut -c1-600 | head -n 64
  s addresses; ip -o -4 addr show 2>/dev/null | grep -Ev '^[0-9]+: (lo|veth|lxc|cali)' | head -n 64
  # on a bridge every pod's end hangs on it; on routed networks none does
  s veths; ip -o link show type veth 2>/dev/null | grep -E '^[0-9]+: veth' | awk '{ n++; for (i = 1; i < NF; i++) if ($i == "master") m++ } END { print n + 0, m + 0 }'
  # on one line also what has several next hops; one line more than are taken, so that it shows when there are more
  s routes; ip -o -4 route show 2>/dev/null | grep -Ev ' dev (veth|cali|lxc|eni|azv|gke[0-9a-f])' | head -n 2049
fi

s processes
for p in /proc/[0-9]*/comm; do
  n=; read -r n 2>/dev/null <"$p" || continue
  case $n in
    kube-proxy|flanneld|calico-node|cilium-agent|weaver|kube-router|antrea-agent|kindnetd)
      stat=; read -r stat 2>/dev/null <"${p%comm}stat" && echo "$n $stat" ;;
  esac
done
# shellcheck disable=SC2012 # kubelet names them by their UIDs
if [ -d /var/lib/kubelet/pods ]; then s pods; ls /var/lib/kubelet/pods | head -n 2048; fi

# For the wanted services "svc IP:PORT CHAIN" and "ep CHAIN IP:PORT"; "chain" when kube-proxy's own chain is there.
# shellcheck disable=SC2016 # awk's own
CHAINS='
BEGIN { n = split(V, w, " "); for (i = 1; i <= n; i++) want[w[i]] = 1 }
/^:KUBE-SERVICES / { found = 1; next }
/^-A KUBE-SEP-/ { for (i = 3; i < NF; i++) if ($i == "--to-destination") sep[$2] = $(i + 1); next }
/^-A KUBE-SERVICES / {
  d = p = j = t = ""
  for (i = 3; i < NF; i++) { if ($i == "-d") d = $(i + 1); if ($i == "--dport") p = $(i + 1); if ($i == "-j") j = $(i + 1); if ($i == "-p") t = $(i + 1) }
  sub("/32$", "", d)
  if (t == "tcp" && (d ":" p) in want && j ~ /^KUBE-SV/) { print "svc", d ":" p, j; used[j] = 1 }
  next
}
/^-A KUBE-SV/ { for (i = 3; i < NF; i++) if ($i == "-j" && $(i + 1) ~ /^KUBE-SEP-/) eps[$2] = eps[$2] " " $(i + 1); next }
END {
  if (found) print "chain"
  for (c in used) { m = split(eps[c], e, " "); for (i = 1; i <= m; i++) print "ep", c, (e[i] in sep ? sep[e[i]] : "?") }
}'
saved() {
  if have iptables-nft-save; then
    iptables-nft-save -t nat
    # reading the legacy table would create it where it is not in use
    if have iptables-legacy-save && grep -q nat /proc/net/ip_tables_names; then iptables-legacy-save -t nat; fi
  else
    iptables-save -t nat
  fi 2>/dev/null
}
# The names of nftables' endpoint chains end in __IP/PORT, unless they were too long.
if have nft && nft list map ip kube-proxy service-ips >/dev/null 2>&1; then
  s rules nftables
  nft list map ip kube-proxy service-ips | tr ',' '\n' | sed 's/.*elements = {//' | awk -v V="$V" '
    BEGIN { n = split(V, w, " "); for (i = 1; i <= n; i++) want[w[i]] = 1 }
    $2 == "." && $3 == "tcp" && ($1 ":" $5) in want { print $1 ":" $5, $8 }' | head -n 64 | while read -r a c; do
      echo "svc $a $c"; nft list chain ip kube-proxy "$c" 2>/dev/null | tr ',' '\n' | sed -n -e "s|.*goto endpoint-.*__\([0-9.]*\)/\([0-9][0-9]*\).*|ep $c \1:\2|p" -e t -e "s|.*goto endpoint-.*|ep $c ?|p"
    done
elif grep -q '^TCP' /proc/net/ip_vs 2>/dev/null; then
  s rules ipvs
  awk -v V="$VX" 'BEGIN { n = split(V, w, " "); for (i = 1; i <= n; i++) want[w[i]] = 1 }
    /^(TCP|UDP)/ { on = $1 == "TCP" && $2 in want; if (on) print "svc", $2, $2; c = $2; next }
    on && $1 == "->" && $4 > 0 { print "ep", c, $2 }' /proc/net/ip_vs
elif have iptables-save || have iptables-nft-save; then
  if have awk; then s rules iptables; saved | awk -v V="$V" "$CHAINS"; else s rules no-awk; fi
else
  s rules no-tool
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
    printf '%s\n' "$P" | grep -v ^u | { while read -r id ip port; do
      ( r=$(curl -sS -o /dev/null --noproxy '*' --connect-timeout "$T" -m "$T" -w ' connects=%{num_connects}' "http://$ip:$port/" 2>&1)
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
