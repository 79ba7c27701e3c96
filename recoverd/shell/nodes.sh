# A machine as a node: its reboot, and kube-proxy's rules.

# boot_id: of this boot.
boot_id() { cat /proc/sys/kernel/random/boot_id; }

# ask_to_reboot BOOT_ID: once: not in another boot than that, and not when it was asked before in this one. Says so
# then. 4 when it does not go.
ask_to_reboot() {
  [ "$(boot_id)" = "$1" ] || { echo "has been rebooted already"; exit 0; }
  mkdir -p /run/recoverd
  # gone after the reboot, as the mark must be
  ( set -C; : >/run/recoverd/reboot-asked ) 2>/dev/null || { echo "was asked to reboot before"; exit 0; }
  systemctl --no-block reboot || { rm -f /run/recoverd/reboot-asked; exit 4; }
}

# asked_to_reboot BOOT_ID: was it asked in that boot, or is this another?
asked_to_reboot() { [ "$(boot_id)" != "$1" ] || [ -e /run/recoverd/reboot-asked ]; }

# proxy_metrics: kube-proxy's own, at the address that kubeadm leaves as it is by default.
proxy_metrics() { curl -s -m 1 http://127.0.0.1:10249/metrics || wget -q -T 1 -O - http://127.0.0.1:10249/metrics; }

# rules_written: wait until a kube-proxy that has just been started has written its rules, 9 s at most, and say
# `written` when it has. Nothing at its address for 3 s: it is switched off or elsewhere. Then what was begun under the
# old rules and never answered is forgotten: for 120 s the kernel sends whoever gets the same source port to where the
# first one went, a pod that is gone or nowhere, and kube-proxy clears UDP only (observed on 1.20.2 with Linux 6.18: one
# connection to a healthy service in some hundred was silent for its 5 s). Who asks just then sends his SYN again after
# 1 s. kubeadm's preflight wants conntrack on every node.
rules_written() {
  rw_i=0 rw_mute=0
  while [ $rw_i -lt 30 ] && [ $rw_mute -lt 10 ]; do
    # from 1.33 on one for each address family; 0 is not written yet, and sorts first
    rw_at=$(proxy_metrics 2>/dev/null | sed -n 's/^kubeproxy_sync_proxy_rules_last_timestamp_seconds\({[^}]*}\)\{0,1\} //p' | sort | tail -n 1)
    case $rw_at in '') rw_mute=$((rw_mute + 1)) ;; 0) rw_mute=0 ;; *) echo written; break ;; esac
    sleep 0.3; rw_i=$((rw_i + 1))
  done
  for family in ipv4 ipv6; do timeout 5 conntrack -D -f $family -p tcp --state SYN_SENT; done >/dev/null 2>&1 || true
}
