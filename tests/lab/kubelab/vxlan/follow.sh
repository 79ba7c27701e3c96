# A client of the API server for the lab's stand-ins, read by them: what client-go's reflector does, by curl and jq. It
# lists once and watches from the list's revision on; it goes on from the last revision that it was told after the
# connection has ended, and lists anew only where the API server says that this one is gone. Where etcd was put back to
# older data it is as deaf as the real ones are.
API=https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT
SECRET=/var/run/secrets/kubernetes.io/serviceaccount
REVISION=/dev/shm/revision-$$

say() { echo "$*" >&2; }

reach() { # curl's arguments: what the API server answers, an error of its own among it; other ones in client-go's words
  curl -sS --cacert "$SECRET/ca.crt" -H "Authorization: Bearer $(cat "$SECRET/token")" "$@" 2>/dev/shm/said-$$ && return
  case $? in 7) why='connect: connection refused' ;; 28) why='i/o timeout' ;; *) why=$(cat /dev/shm/said-$$) ;; esac
  say "E Get \"$API\": dial tcp $KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT: $why"
  return 1
}

ask() { # the same, once, where an error is one
  answer=$(reach --max-time 20 "$@") || return
  if [ "$(printf '%s' "$answer" | jq -r 'if .kind == "Status" then .status else "" end')" = Failure ]; then
    say "E $(printf '%s' "$answer" | jq -r .message)"
    return 1
  fi
  printf '%s' "$answer"
}

list() { # PATH FILTER: the lines that jq's FILTER makes of each item, after a line "listed"; from there on `watched` goes on
  told=$(ask "$API/$1") || return
  printf '%s' "$told" | jq -r .metadata.resourceVersion >"$REVISION"
  echo listed
  printf '%s' "$told" | jq -r ".items[] | \"ADDED \" + ($2)"
}

watched() { # PATH FILTER: lines as of `list`, each with ADDED, MODIFIED or DELETED before it, until it is to be listed anew
  while :; do
    reach --no-buffer "$API/$1?watch=1&timeoutSeconds=400&resourceVersion=$(cat "$REVISION")" |
      jq --unbuffered -r "if .type == \"ERROR\" or .kind == \"Status\" then \"gone\" else \"at \" + .object.metadata.resourceVersion, .type + \" \" + (.object | $2) end" |
      while read -r line; do
        case $line in gone) echo gone ;; 'at '*) echo "${line#at }" >"$REVISION" ;; *) printf '%s\n' "$line" ;; esac
      done
    sleep 1
  done
}

follow() { # PATH FILTER: both, for ever
  until list "$1" "$2"; do sleep 1; done
  watched "$1" "$2" | while read -r line; do
    if [ "$line" = gone ]; then until list "$1" "$2"; do sleep 1; done; else printf '%s\n' "$line"; fi
  done
}
