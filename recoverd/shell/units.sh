# systemd units.

# unit_guard UNIT: before a unit is started, which may start what is in place. A runtime that is restarted may end what
# runs, and kubelet does not.
unit_guard() {
  if [ "$1" = kubelet ]; then not_anew "$1" beside; else not_anew "$1"; fi
}

# unit_active UNIT: is it?
unit_active() { systemctl is-active --quiet "$1"; }

# start_unit start|restart UNIT: do that, and see it active. 3 where etcd would begin anew.
start_unit() {
  set -eu
  unit_guard "$2"
  systemctl reset-failed "$2" 2>/dev/null || true
  systemctl "$1" "$2"
  systemctl is-active "$2"
}

# restart_unit UNIT: whether it is active or not. 3 where etcd would begin anew.
restart_unit() {
  set -eu
  unit_guard "$1"
  systemctl reset-failed "$1" 2>/dev/null || true
  systemctl restart "$1"
}

# stays_up UNIT SECONDS: has it been active for so long without a break? systemd counts in microseconds of the monotonic
# clock since the boot, /proc/uptime in seconds.
stays_up() {
  unit_active "$1" || return 1
  read -r su_up _ </proc/uptime
  su_entered=$(systemctl show --property=ActiveEnterTimestampMonotonic "$1" | cut -d= -f2)
  case $su_entered in ''|*[!0-9]*) return 1 ;; esac
  [ $((${su_up%%.*} - su_entered / 1000000)) -ge "$2" ]
}

# await_unit UNIT STABLE SECONDS: wait until it has been active for STABLE seconds without a break. 4 when it has not,
# with what systemd says of it.
await_unit() {
  await "$3" stays_up "$1" "$2" || {
    systemctl status --no-pager -n 3 "$1" 2>&1 | tail -n 3 >&2
    give_up "$1 has not been active for $2 s"
  }
}

# stop_kubelet: within 20 s.
stop_kubelet() { timeout 20 systemctl stop kubelet; }
