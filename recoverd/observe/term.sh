# Which owner of this cluster this machine has seen, of bastions that take over from each other. term_seen ID TERM: TERM
# grows from one owner to the next; whoever comes with a lower one than was here already is late, and is told so (1).
# term_guard (shell/guards.sh) holds what an owner does to it, and term_there, from there as well, reads it.
# shellcheck disable=SC2154 # tm_id and tm_term are what term_there sets
term_seen() {
  ts_dir=/run/recoverd-lease
  term_there
  [ "$tm_id" != "$1" ] || [ "$tm_term" -le "$2" ] || return 1
  [ "$tm_id $tm_term" != "$1 $2" ] || return 0
  { mkdir -p $ts_dir && chmod 700 $ts_dir && printf '%s %s\n' "$1" "$2" >$ts_dir/term.new && mv -f $ts_dir/term.new $ts_dir/term; } 2>/dev/null
  return 0
}
