# Which public key belongs to each private key, as root, in POSIX sh: a line "DIGEST PATH" each, with the digest of
# nothing for what openssl cannot read. K and L are set before this text. No private key leaves the machine, and none is
# written anywhere.
# shellcheck disable=SC2231 # $K and $L are paths without blanks
LC_ALL=C; export LC_ALL
command -v openssl >/dev/null || exit 0
d() { openssl pkey -passin pass: -pubout -outform DER 2>/dev/null | sha256sum | cut -c 1-64; }
for f in $K/pki/*.key $K/pki/etcd/*.key $L/pki/kubelet-client-current.pem $L/pki/kubelet.key; do
  [ -r "$f" ] && echo "$(d <"$f") $f"
done
for f in $K/*.conf; do
  [ -r "$f" ] && k=$(sed -n 's/^ *client-key-data: *//p' "$f" | head -n 1) && [ -n "$k" ] && echo "$(printf %s "$k" | base64 -d 2>/dev/null | d) $f"
done
exit 0
