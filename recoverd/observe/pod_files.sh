# The files that static pods name, as root, in POSIX sh; a function that look.sh calls, with its `s` and `there`. What
# they hold stays on the machine: a digest, a size and a mode are all that is printed.
# shellcheck disable=SC2086 # paths without blanks, as the bastion has seen to
# E are those of them that configure encryption at rest.
pod_files() { # PATH...
  s pod-files
  files=''
  for f in "$@"; do
    if [ -d "$f" ]; then echo "directory $f"
    elif [ -f "$f" ]; then files="$files $f"
    elif [ -e "$f" ]; then echo "other $f"
    else echo "$(there "$f") $f"; fi
  done
  [ -n "$files" ] || return 0
  stat -L -c 'file %s %a %u:%g %Y %Z %n' $files 2>/dev/null
  # no more than 256 KiB of each are read
  find -L $files -maxdepth 0 -type f -size -262145c -exec sha256sum {} + 2>/dev/null | while read -r digest f; do echo "sha256 $digest $f"; done
  for f in ${E-}; do
    [ -f "$f" ] && head -c 262144 "$f" 2>/dev/null | grep -qE "(^|[^A-Za-z_])secret[\"']?[[:space:]]*:" && echo "keyed $f"
  done
  return 0
}
