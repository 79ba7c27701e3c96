# The files that static pods name, as root, in POSIX sh; a function that look.sh calls, with its `s` and `there`. What
# they hold stays on the machine: a digest, a size and a mode are all that is printed.
# shellcheck disable=SC2086 # paths without blanks, as the bastion has seen to
NAMING="(^|[[:space:],{\"'])(path|kubeConfigFile|certificate-authority|client-certificate|client-key|tokenFile|caBundle|clientCert|clientKey)[\"']?[[:space:]]*:[[:space:]]*[\"']?[A-Za-z0-9._/@+-]{1,250}"
# E are those of them that configure encryption at rest; W those that may name further files, of which these names are
# printed and nothing else.
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
  for f in ${W-}; do
    [ -f "$f" ] && head -c 262144 "$f" 2>/dev/null | grep -v '^[[:space:]]*#' | grep -oE "$NAMING" | head -n 40 |
      sed -n "s/[\"']//g; s|^[^A-Za-z]*\([A-Za-z-]*\)[[:space:]]*:[[:space:]]*\(.*\)|names $f \1 \2|p"
  done
  return 0
}
