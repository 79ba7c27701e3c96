# How a function of the library ends when it does not do what it is for. Exit codes: 3 refused, nothing was changed; 4
# waited for in vain.

# refuse TEXT: say why nothing is done, and end with 3. It stands before the first change.
refuse() { printf '%s\n' "$1" >&2; exit 3; }

# give_up TEXT: say what did not come about, and end with 4.
give_up() { printf '%s\n' "$1" >&2; exit 4; }

# await SECONDS FUNCTION [ARGUMENT...]: ask it three times a second until it says yes. 1 when about so many seconds are
# over; it says nothing.
await() {
  await_left=$((3 * $1)); shift
  until "$@"; do
    await_left=$((await_left - 1))
    [ "$await_left" -gt 0 ] || return 1
    sleep 0.3 2>/dev/null || sleep 1
  done
}

# any_shell TEXT: what no function is for, as it stands.
any_shell() { eval "$1"; }
