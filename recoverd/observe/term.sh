# Which owner of this cluster this machine has seen, of bastions that take over from each other. term_seen ID TERM: TERM
# grows from one owner to the next; whoever comes with a lower one than was here already is late, and is told so (1).
# term_guard (shell/guards.sh) holds what an owner does to it.
term_seen() {
  ts_dir=/run/recoverd-lease ts_id='' ts_term=0
  { read -r ts_id ts_term _ <$ts_dir/term; } 2>/dev/null
  case $ts_term in ''|*[!0-9]*|????????????????*) ts_id='' ts_term=0 ;; esac
  [ "$ts_id" != "$1" ] || [ "$ts_term" -le "$2" ] || return 1
  [ "$ts_id $ts_term" != "$1 $2" ] || return 0
  { mkdir -p $ts_dir && chmod 700 $ts_dir && printf '%s %s\n' "$1" "$2" >$ts_dir/term.new && mv -f $ts_dir/term.new $ts_dir/term; } 2>/dev/null
  return 0
}
