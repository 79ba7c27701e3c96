# kubelet's client certificate on a worker, signed anew by a control plane. The key is made on the worker and stays
# there: only the request goes away, and only the certificate comes back.

# of_node NODE FILE: is there a client certificate of this node's kubelet in FILE?
of_node() {
  on_subject=$(openssl x509 -noout -subject -nameopt RFC2253 -in "$2" 2>/dev/null) || return 1
  # `subject=` is followed by a blank in openssl before 1.1
  on_subject=${on_subject#subject=}
  case ",${on_subject# }," in *",CN=system:node:$1,"*) return 0 ;; *) return 1 ;; esac
}

# cert_over FILE: is the certificate in it over, or is there none that can be read? By words, since openssl fails for
# both.
cert_over() {
  case $(openssl x509 -noout -checkend 0 -in "$1" 2>/dev/null) in *"will not expire"*) return 1 ;; *) return 0 ;; esac
}

# new_key FILE: make a key for the curve P-256 that names it. OpenSSL 1.0.2 writes the curve's parameters out unless it is
# told not to, and Go refuses such a key ("failed to parse ECDSA parameters as named curve"): kubelet would not start. 3
# where the curve is not named all the same.
new_key() {
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:named_curve -out "$1"
  openssl ec -noout -text -in "$1" 2>/dev/null | grep -q 'ASN1 OID' ||
    refuse "openssl here ($(openssl version)) makes no key that names its curve, and kubelet would not take another"
}

# client_request NODE KEY: make a key in the file KEY, and print the request for a client certificate of NODE's kubelet.
client_request() {
  new_key "$2"
  openssl req -new -key "$2" -subj "/O=system:nodes/CN=system:node:$1"
}

# sign_client DIRECTORY KUBERNETES: print the certificate that the CA makes of the request in DIRECTORY/csr.
sign_client() {
  # by the issuer's name where it has no key identifier: kubeadm before 1.19 made such CAs, and openssl 3 ends for keyid
  # alone
  printf '%s\n' basicConstraints=critical,CA:FALSE keyUsage=critical,digitalSignature,keyEncipherment \
    extendedKeyUsage=clientAuth authorityKeyIdentifier=keyid,issuer >"$1/ext"
  openssl x509 -req -in "$1/csr" -CA "$2/pki/ca.crt" -CAkey "$2/pki/ca.key" -set_serial "0x$(openssl rand -hex 8)" \
    -days 365 -sha256 -extfile "$1/ext"
}

# use_client DIRECTORY KUBELET_PKI: put DIRECTORY/crt and DIRECTORY/key in place as kubelet-client-current.pem.
use_client() {
  uc_own=$2/kubelet-client-recoverd.pem uc_current=$2/kubelet-client-current.pem
  cat "$1/crt" "$1/key" >"$uc_own.new"
  mv -f "$uc_own.new" "$uc_own"
  rm -f "$uc_current.new"
  ln -s "$uc_own" "$uc_current.new"
  mv -f "$uc_current.new" "$uc_current"
}

# request_kubelet_client NODE WORK KUBERNETES KUBELET_PKI: make a new key in WORK, a directory for root alone, and print
# the request for a client certificate of this machine's kubelet. 3 without openssl, where kubelet.conf does not name
# kubelet-client-current.pem, where the certificate there is not over, and where none that kubelet has left here is of
# the node NODE.
request_kubelet_client() {
  set -eu
  umask 077
  command -v openssl >/dev/null || refuse "there is no openssl here"
  rq_current=$4/kubelet-client-current.pem
  grep -qF "$rq_current" "$3/kubelet.conf" || refuse "$3/kubelet.conf does not name $rq_current, so a new one would change nothing"
  cert_over "$rq_current" || refuse "the certificate in $rq_current is valid: it was renewed meanwhile"
  rq_found=no
  for f in "$rq_current" "$4"/kubelet-client-*.pem; do ! of_node "$1" "$f" || rq_found=yes; done
  [ "$rq_found" = yes ] || refuse "no certificate in $4 is of the node $1: this machine was not that node"
  rm -rf "$2"
  mkdir -p "${2%/*}"
  mkdir -m 700 "$2"
  client_request "$1" "$2/key"
}

# sign_kubelet_client NODE REQUEST KUBERNETES: print the certificate that the CA of this control plane makes of the
# request; nothing is kept. 3 without openssl or the CA's key, where the CA is over, and where the request is for
# anything but this node's kubelet.
sign_kubelet_client() {
  set -eu
  umask 077
  command -v openssl >/dev/null || refuse "there is no openssl here"
  [ -s "$3/pki/ca.key" ] || refuse "the key of the CA ($3/pki/ca.key) is not on this machine"
  ! cert_over "$3/pki/ca.crt" || refuse "the CA itself ($3/pki/ca.crt) is over"
  sk_dir=$(mktemp -d)
  trap 'rm -rf "$sk_dir"' EXIT
  printf '%s\n' "$2" >"$sk_dir/csr"
  sk_subject=$(openssl req -noout -subject -nameopt RFC2253 -in "$sk_dir/csr") || refuse "what was sent is no request for a certificate"
  sk_subject=${sk_subject#subject=}
  [ "${sk_subject# }" = "CN=system:node:$1,O=system:nodes" ] || refuse "the request is for $sk_subject, and not for the kubelet of $1"
  sign_client "$sk_dir" "$3"
}

# put_kubelet_client CERTIFICATE WORK KEPT KUBERNETES KUBELET_PKI: put the certificate and the key of WORK in place as
# kubelet-client-current.pem, and copy what was there to KEPT, for root alone. KEPT/kubelet-client-renewed says that it
# is done. 3 without that key, or where the certificate is not of it, or not of the CA that this machine trusts.
put_kubelet_client() {
  set -eu
  umask 077
  [ -s "$2/key" ] || refuse "there is no key in $2: the request is to be made first"
  printf '%s\n' "$1" >"$2/crt"
  pk_theirs=$(openssl x509 -noout -pubkey -in "$2/crt") || refuse "what was signed is no certificate"
  [ "$pk_theirs" = "$(openssl pkey -pubout -in "$2/key")" ] || refuse "the certificate is not of the key that was made here"
  if [ -s "$4/pki/ca.crt" ]; then
    openssl verify -purpose sslclient -CAfile "$4/pki/ca.crt" "$2/crt" >/dev/null 2>&1 ||
      refuse "the certificate is not of the CA that this machine trusts ($4/pki/ca.crt)"
  fi
  pk_current=$5/kubelet-client-current.pem
  make_private "$3"
  if [ -e "$pk_current" ] && [ ! -e "$3/kubelet-client-current.pem" ]; then
    cp -pL "$pk_current" "$3/kubelet-client-current.pem.part"
    chmod 600 "$3/kubelet-client-current.pem.part"
    mv "$3/kubelet-client-current.pem.part" "$3/kubelet-client-current.pem"
  fi
  use_client "$2" "$5"
  sync
  : >"$3/kubelet-client-renewed"
  rm -rf "$2"
}
