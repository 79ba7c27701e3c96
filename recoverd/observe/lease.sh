# Who may act on this cluster, as this control plane has it (recoverd.model.lease). Renews, takes or lets go of the
# lease, and prints what is then so. One line in /run/recoverd-lease/lease: ID FENCE UNTIL NAME PROCESS; UNTIL is in
# seconds since the boot, which no clock that is set can move. lease ID NAME SECONDS FENCE WANT PROCESS: FENCE is the
# number this process knows its lease by, 0 for none; WANT 1 takes or renews, 0 lets go. PROCESS tells it from a copy
# with the same ID: where the answer to a look was lost that took the lease, its number is not known yet
lease_read() {
  lh='' lf=0 lu=0 ln='' lp=''
  [ ! -r "$ld/lease" ] || read -r lh lf lu ln lp <"$ld/lease"
  for word in "$lf" "$lu"; do
    case $word in ''|*[!0-9]*|????????????????*) lh='' lf=0 lu=0 ln='' lp='' ;; esac
  done
}
lease_turn() {
  lease_read
  give=
  if [ "$lh" = "$1" ] && { [ "$lp" = "$6" ] || { [ "$4" != 0 ] && [ "$lf" = "$4" ]; }; }; then
    if [ "$5" = 1 ]; then give=$lf; until=$((now + $3)); else give=$lf; until=0; fi
  elif [ "$5" = 1 ] && { [ -z "$lh" ] || [ "$lu" -le "$now" ] || { [ "$lh" = "$1" ] && [ "$4" = 0 ]; }; }; then
    # it only grows, after a boot too, which empties /run
    give=$(date +%s); [ "$give" -gt "$lf" ] || give=$((lf + 1)); until=$((now + $3))
  fi
  if [ -n "$give" ]; then
    if why=$( { printf '%s %s %s %s %s\n' "$1" "$give" "$until" "$2" "$6" >"$ld/lease.new" && mv -f "$ld/lease.new" "$ld/lease"; } 2>&1 ); then
      lh=$1 lf=$give lu=$until ln=$2; [ "$until" = 0 ] || echo mine
    else
      echo "problem $why"; rm -f "$ld/lease.new" 2>/dev/null
    fi
  fi
  echo "holder ${lh:--} $lf $((lu - now)) $ln"
}
lease() {
  ld=/run/recoverd-lease
  read -r now _ </proc/uptime; now=${now%%.*}
  if why=$( { mkdir -p $ld && chmod 700 $ld && : >>$ld/lock; } 2>&1 ); then
    (
      ! command -v flock >/dev/null || flock -w 2 9 || { echo 'problem its lock is held by another program'; exit; }
      lease_turn "$@"
    ) 9>>$ld/lock
    { printf '%s %s\n' "$now" "$2" >"$ld/seen.$1"; } 2>/dev/null
  else
    echo "problem $why"
    lease_read
    echo "holder ${lh:--} $lf $((lu - now)) $ln"
  fi
  for f in "$ld"/seen.*; do
    [ "$f" != "$ld/seen.$1" ] && [ -r "$f" ] && read -r at who <"$f" && echo "other $((now - at)) $who"
  done
}
