# What runs of a node's network, put back as it was. None of it outlasts a reboot.

# set_sysctl FILE VALUE: set the kernel parameter whose file below /proc/sys that is.
set_sysctl() {
  # those of bridges come with a module, which nothing may have loaded since the last boot
  case $1 in */net/bridge/*) [ -e "$1" ] || modprobe br_netfilter ;; esac
  printf '%s\n' "$2" >"$1"
}

# accept_forwards: let the filter table's FORWARD chain accept what none of its rules is about, as it does by default.
accept_forwards() { iptables -w 5 -P FORWARD ACCEPT; }

# forwards_are_accepted: is it so?
forwards_are_accepted() { iptables -w 5 -S FORWARD | grep -qx -e '-P FORWARD ACCEPT'; }

# sysctl_is FILE VALUE: is it so?
sysctl_is() { [ "$(cat "$1")" = "$2" ]; }

# family ADDRESS: the one of an address or a network, as `ip` wants it. The default route of IPv6 is called ::/0 here.
family() { case $1 in *:*) echo -6 ;; *) echo -4 ;; esac; }

# put_route DESTINATION WORD...: add a route, given as `ip route` prints it. 3 where one leads to DESTINATION by
# now: it is somebody's, and newer.
put_route() {
  pr_to=$1; shift
  pr_family=$(family "$pr_to")
  if ip "$pr_family" route show exact "$pr_to" | grep -q .; then
    { echo "there is another route to $pr_to by now:"; ip "$pr_family" route show exact "$pr_to"; } >&2
    exit 3
  fi
  ip "$pr_family" route add "$@"
}

# route_is WORD|WORD... LINE: is there such a route, as `ip route` prints it without those words of how it fares?
route_is() {
  { ip -o -4 route show; ip -o -6 route show 2>/dev/null | sed -E 's/^([a-z]+ )?default /\1::\/0 /'; } | tr '\\\t' '  ' |
    sed -E -e :a -e "s/ ($1)( |\$)/ /" -e ta -e 's/  */ /g' -e 's/ *$//' |
    grep -qxF -- "$2"
}

# loose_cables: the pods' cables that hang on no bridge; by `ip`, since /sys/class/net may be another network
# namespace's.
loose_cables() { ip -o link show type veth | grep -v ' master ' | cut -d: -f2 | cut -d@ -f1 | tr -d ' ' | grep '^veth' || true; }

# put_bridge NAME ADDRESS...: make the pod bridge with its addresses, and plug the loose cables into it. The CNI's
# bridge plugin makes a missing bridge only for the next new pod, and never plugs older pods in again.
put_bridge() {
  set -eu
  pb_name=$1; shift
  ip link show dev "$pb_name" >/dev/null 2>&1 || ip link add name "$pb_name" type bridge
  for a in "$@"; do
    case $a in
      *:*) ip addr replace "$a" dev "$pb_name" nodad ;;
      *) ip addr replace "$a" brd + dev "$pb_name" ;;
    esac
  done
  ip link set dev "$pb_name" up
  pb_hairpin=0; ! grep -qsE '"hairpinMode": *true' /etc/cni/net.d/* || pb_hairpin=1
  for v in $(loose_cables); do
    ip link set dev "$v" master "$pb_name"
    ip link set dev "$v" up
    [ $pb_hairpin = 0 ] || ip link set dev "$v" type bridge_slave hairpin on
  done
  announce "$pb_name"
}

# announce BRIDGE: tell the pods on it at which MAC its addresses are now. They have that of the bridge of before, and
# over IPv6 they kept it for minutes and sent everything there (observed on Linux 6.18); over IPv4 the node's own ARP
# tells them. An address that is set, to what it is, is announced by the kernel, and stays when cables come and go.
announce() {
  # what is sent before is lost: the kernel takes up to a second to see that a cable is in
  an_i=0
  while [ $an_i -lt 15 ] && ! ip link show dev "$1" | grep -q 'state UP'; do sleep 0.1 || sleep 1; an_i=$((an_i + 1)); done
  an_mac=$(ip -o link show dev "$1" | sed -n 's|.* link/ether \([0-9a-f:]*\).*|\1|p')
  for an_of in "ipv4/conf/$1/arp_notify" "ipv6/conf/$1/ndisc_notify"; do
    [ ! -e "/proc/sys/net/$an_of" ] || echo 1 >"/proc/sys/net/$an_of"
  done
  [ -z "$an_mac" ] || ip link set dev "$1" address "$an_mac"
}

# bridge_is NAME ADDRESS...: is it up with these, and does no cable hang loose?
bridge_is() {
  bi_name=$1; shift
  link_is_up "$bi_name" || return 1
  for a in "$@"; do ip addr show dev "$bi_name" | grep -qE "inet6? $a " || return 1; done
  [ -z "$(loose_cables)" ]
}

# link_up NAME: switch a network device on.
link_up() { ip link set dev "$1" up; }

# link_is_up NAME: is it?
link_is_up() { ip link show dev "$1" up 2>/dev/null | grep -q .; }
