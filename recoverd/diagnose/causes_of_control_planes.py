"""What etcd and the API server say of what stops them. Pure."""

from __future__ import annotations

from recoverd.diagnose.cause import API, BY_ITSELF, BY_SIGNAL, CONTROLLERS, ETCD, KUBELET, PROGRAMS, row

_CONTROL_PLANE = (
    row(
        "entries-lost",
        (ETCD,),
        r"tocommit\(\d+\) is out of range",
        "its log lacks entries that it has acknowledged, as after the machine was put back to "
        "a snapshot or a power cut",
        "it has to be rebuilt from its peers (`rebuild-member`); its directory must not be emptied by hand before",
    ),
    row(
        "snapshot-file-lost",
        (ETCD,),
        r"snapshot file doesn't exist|failed to find database snapshot file",
        "its database is older than its log, as after a power cut",
        "rebuild it from its peers; without peers restore a snapshot, and never move member/ away and start it: it "
        "would begin an empty cluster",
    ),
    row(
        "log-broken",
        (ETCD,),
        r"wal: .*(?:unexpected EOF|file not found|crc mismatch|max entry size|slice bounds out of range|snapshot "
        r"(?:not found|mismatch)|conflicting metadata)|walpb: crc mismatch|\bwal\b.*crc mismatch",
        "its write-ahead log is damaged or lacks a file",
        "rebuild it from its peers; without peers restore a snapshot",
    ),
    row(
        "too-many-learners",
        (ETCD,),
        r"too many learner",
        "the member list that it holds has more learners than this version allows, as after an upgrade from a version "
        "that did not store promotions",
        "put the image of the version before back into its manifest; upgrade by way of 3.5.20 or later",
    ),
    row(
        "content-of-v2",
        (ETCD,),
        r"detected disallowed (?:v2 WAL|custom) content",
        "its data holds what was written by etcd's old API (v2), which 3.6 refuses",
        "put the image of before (3.5) back into its manifest, and see with `etcdutl check v2store` what that is",
    ),
    row(
        "older-than-its-data",
        (ETCD,),
        r"(?:cannot be downgraded \(current version: |lower than determined cluster "
        r"version\",\"current-server-version\":\")"
        r"([\w.]+)(?: is lower than determined cluster version: |\",\"determined-cluster-version\":\")([\w.]+)",
        "it is {0}, and its data are of {1}: an older program refuses them",
        "put the image of {1} back into its manifest",
    ),
    row(
        "removed",
        (ETCD,),
        r"the member has been permanently removed from the cluster",
        "the others have removed it from the member list",
        "reset the machine and join it again",
    ),
    row(
        "other-members",
        (ETCD,),
        r"member count is unequal|couldn't find local name|has already been bootstrapped|cluster ID mismatch|unmatched "
        r"member while checking PeerURLs|missing from --initial-advertise-peer-urls",
        "its manifest or its data are of another member list than the others'",
        "which is right is for a person to say; where it is the others', and they serve: reset the "
        "machine and join it again",
    ),
    row(
        "database-in-use",
        (ETCD,),
        r"holds the file lock|db file is flocked by another process|failed to open database\".*\"error\":\"timeout",
        "another process has its database open",
        "see which with `fuser -v /var/lib/etcd/member/snap/db` (a second etcd, a backup), and end it" + BY_ITSELF,
    ),
    row(
        "data-directory-mode",
        (ETCD,),
        r"exist without desired file permission",
        "its data directory has another mode than 0700, on which this version insists",
        "`chmod 700 /var/lib/etcd`" + BY_ITSELF,
    ),
    row(
        "broken-key",
        (ETCD, API, *CONTROLLERS),
        r"(?:error reading (?:public|private) key file (\S+?): )?(?:data does not contain (?:any|a) valid|tls: failed "
        r"to find "
        r"any PEM data|tls: private key does not match public key)",
        "a certificate or key that it is told to use is empty or does not fit",
        "see which is, with `ls -l` of /etc/kubernetes/pki and /etc/kubernetes/pki/etcd (0 bytes after a power cut?), "
        "and put "
        "it back from a copy or from another control plane",
    ),
    row(
        "another-address",
        (ETCD, API),
        r"listen tcp (\S+?): bind: cannot assign requested address",
        "the machine does not have the address {0} any more",
        "give the machine its address back (DHCP? a snapshot of another one?)",
    ),
    row(
        "port-in-use",
        (KUBELET, ETCD, API, *CONTROLLERS),
        r"listen tcp\d? \S*?:(\d+): bind: address already in use",
        "another process has its port {0}",
        "see which with `ss -ltnp 'sport = :{0}'`, and end it",
    ),
    row(
        "encryption-configuration",
        (API,),
        r"(?:error opening|failed to read) encryption provider configuration file \\?\"?([^\s\"\\]+)",
        "the encryption configuration {0} is not there, without which no secret can be read",
        "put the very file back from a backup or another control plane; a new one cannot read what is stored",
    ),
    row(
        "broken-encryption-configuration",
        (API,),
        r"error while parsing encryption provider configuration file \\?\"?([^\s\"\\:]+)",
        "the encryption configuration {0} cannot be read, without which no secret can be",
        "put the very file back from a backup or another control plane; a new key cannot read what is stored",
    ),
    row(
        "audit-policy",
        (API,),
        r"(?:loading audit policy file|failed to read (?:audit policy )?file path) ?.*?\"?(/[^\s\":]+)",
        "the audit policy {0} is not there or cannot be read",
        "put it back, or take --audit-policy-file out of the manifest",
    ),
    row(
        "wrong-flags",
        (API,),
        r"(oidc-issuer-url and oidc-client-id (?:should|must) be specified together|authentication-config file and "
        r"oidc-\* flags are mutually exclusive|set --feature-gates=\w+=true to use authentication-config file"
        r"|authorization-mode [^\]\"]*?(?:is not a valid mode|file not passed)|cannot specify --authorization-[\w-]+ "
        r"without mode \w+|--[\w-]+ can not be specified when [^\]\"]+?are defined)",
        "its flags do not go together: {0}",
        "put them right in its manifest in /etc/kubernetes/manifests, and in kubeadm-config",
    ),
    row(
        "authentication-configuration",
        (API,),
        r"AuthenticationConfiguration\\*\" is registered|expected AuthenticationConfiguration|\bjwt\[\d+\]\."
        r"|\bissuer\.url: Invalid value",
        "its authentication configuration (--authentication-config, or the --oidc- flags) is not as this version "
        "takes it",
        "put the file that --authentication-config names right, in what is named and in its apiVersion, or the one of "
        "before back",
    ),
    row(
        "authorization-configuration",
        (API,),
        r"failed to load AuthorizationConfiguration from file|\bauthorizers\[\d+\]\.|missing required types: ",
        "its authorization configuration (--authorization-config) is not as this version takes it",
        "put the file that --authorization-config names right, in what is named and in its apiVersion, or the one of "
        "before back",
    ),
    row(
        "admission-configuration",
        (API,),
        r"[Cc]ouldn't init admission plugin \\*\"(\w+)(?!.*no such file)",
        "its admission plugin {0} cannot begin with the configuration that it is given",
        "put what the file of --admission-control-config-file says of {0} right, or take {0} out of "
        "--enable-admission-plugins in its manifest and in kubeadm-config",
    ),
    row(
        "service-addresses",
        (API,),
        r"cluster IP ([\d.:a-fA-F]+).* is not within the service CIDR ([\d.:a-fA-F/]+)",
        "its --service-cluster-ip-range is {1}, and services have addresses of another one, as {0}",
        "put the range of before back into its manifest, into kube-controller-manager's and into kubeadm-config; a "
        "range is not changed by a flag",
    ),
    row(
        "unknown-api",
        (API,),
        r"unknown api groups? ([\w./,-]+)|group version ([\w./-]+) that has not been registered",
        "it is told to serve {0} (--runtime-config), which this version does not have, as after an upgrade",
        "take it out of --runtime-config in its manifest, and out of kubeadm-config",
    ),
    row(
        "no-default-route",
        (API,),
        r"no default routes found",
        "the machine has no default route",
        "put it back (`ip route`), and see to the network's configuration",
    ),
    row(
        "file-not-readable",
        (ETCD, API, *CONTROLLERS),
        r"(?:open|stat|lstat|mkdir) (/[^\s:]+): permission denied",
        "it may not use {0}",
        "put the owner and the mode of {0} right; where they are, SELinux or AppArmor keeps it from root, too "
        "(`ausearch -m avc -ts recent`, `restorecon -Rv {0}`)",
    ),
    row(
        "file-missing",
        (KUBELET,),
        r"(?:failed to run Kubelet|command failed|failed to construct kubelet)(?!.*bootstrap-kubelet).*"
        r"(?:open|stat) (/[^\s:\"]+): no such file or directory",
        "{0}, which it is told to use, is not there",
        "put {0} back, or take out what names it (/var/lib/kubelet/config.yaml, kubeadm-flags.env, kubelet.conf)"
        + BY_ITSELF,
    ),
    row(
        "file-missing",
        (ETCD, API, *CONTROLLERS),
        r"(?:open|stat) (/[^\s:]+): no such file or directory",
        "{0}, which it is told to use, is not there",
        "put {0} back from a backup, or from another control plane",
    ),
)
_TRUST = (
    row(
        "taken-for-nobody",
        (KUBELET,),
        r"User \\*\"system:anonymous\\*\" cannot",
        "the API server takes it for nobody (system:anonymous): it shows no client certificate, or none arrives, as "
        "where a load balancer ends TLS or --client-ca-file was taken out of the API server's manifest",
        "see that /etc/kubernetes/kubelet.conf names /var/lib/kubelet/pki/kubelet-client-current.pem, and that its "
        "`server:` leads to an API server without anything that ends TLS in between",
    ),
    row(
        "certificate-over",
        PROGRAMS,
        r"x509: certificate has expired or is not yet valid(?:: current time (\S+) is (?:after|before) (\S+))?",
        "a certificate is over or not valid yet",
        "see the clock and `kubeadm certs check-expiration`; recoverd offers "
        "`renew-certificates` for a control plane's",
        weak=True,
    ),
    row(
        "certificate-of-another-name",
        PROGRAMS,
        r"x509: (?:certificate is valid for .+?, not|certificate is not valid for any names, but wanted to match|"
        r"cannot validate certificate for) ([\w.:-]+)",
        "the certificate that it is shown is not for {0}",
        "make that certificate anew with {0} in it (`kubeadm init phase certs`), or use a name that it has",
        weak=True,
    ),
    row(
        "certificate-of-another-authority",
        PROGRAMS,
        r"x509: certificate signed by unknown authority",
        "what it talks to shows a certificate of another CA than it trusts",
        "see whether the CA was made anew; recoverd offers `restore-pki` where it knows the one of before",
        weak=True,
    ),
    row(
        "certificate-of-another-address",
        (ETCD,),
        r"tls: \\*\"([\da-fA-F.:]+)\\*\" does not match any of DNSNames",
        "a member that calls it from {0} shows a certificate that is not for that address, as after its machine was "
        "given another one, or where a gateway between them puts its own there (NAT)",
        "give that machine its address back, and let members reach each other without NAT; or make its certificates "
        "anew (`kubeadm init phase certs etcd-peer` and `etcd-server` there, the old ones moved away) and correct its "
        "peer URL with `etcdctl member update`",
        weak=True,
    ),
    row(
        "client-certificate-refused",
        (API,),
        r"authentication handshake failed: remote error: tls: bad certificate",
        "etcd does not accept its client certificate (/etc/kubernetes/pki/apiserver-etcd-client.crt)",
        "see whether etcd's CA (/etc/kubernetes/pki/etcd/ca.crt) has signed it, and whether it is over (`openssl "
        "verify`, `kubeadm certs check-expiration`)",
        weak=True,
    ),
    row(
        "peer-not-trusted",
        (ETCD,),
        r"(?:tls: bad certificate|remote error: tls: |first record does not look like a TLS handshake)",
        "it and who talks to it do not trust each other's certificates, or one of them speaks without TLS",
        "see whether all members have the same CA (/etc/kubernetes/pki/etcd/ca.crt), which has signed their peer.crt, "
        "and https:// in all their URLs",
        weak=True,
    ),
    row(
        "name-not-resolved",
        (KUBELET, API, *CONTROLLERS),
        r"lookup ([\w.-]+)(?: on \S+)?: (?:no such host|server misbehaving|Temporary failure)",
        "the name {0} cannot be resolved on this machine",
        "put its line back into /etc/hosts (and into cloud-init's template, which writes it at "
        "each boot), or see to DNS",
        weak=True,
    ),
    row(
        "another-encryption-key",
        (API,),
        r"no matching (?:prefix|key was) found|identity transformer tried to read encrypted data|invalid padding on "
        r"input",
        "something in etcd was encrypted with a key that its encryption configuration does not hold",
        "make the file of --encryption-provider-config the same on every control plane; a key that is gone is in a "
        "backup "
        "only",
        weak=True,
    ),
    row(
        "no-etcd",
        (API,),
        r"dial tcp \S+:2379: connect: connection refused|context deadline exceeded.*2379|dial tcp \S+:2379: i/o "
        r"timeout|(?:^Error: |err=\")context deadline exceeded|etcdserver: (?:no leader|request timed out)"
        r"|creating storage factory: context deadline exceeded",
        "it does not reach an etcd that serves",
        "see to etcd",
        weak=True,
    ),
    row(
        "no-api-server",
        CONTROLLERS,
        r"dial tcp (\S+?): (?:connect: (?:connection refused|no route to host)|i/o timeout)",
        "it does not reach an API server ({0})",
        "see which one its kubeconfig in /etc/kubernetes names, and to that",
        weak=True,
    ),
    row(
        "api-handshake",
        (KUBELET,),
        r"TLS handshake timeout",
        "what it calls takes its connection, and no TLS comes of it: large packets are lost on the way, or the load "
        "balancer or the API server is overloaded",
        "see whether large packets arrive (`ping -M do -s 1472 ADDRESS`; a tunnel or VPN takes less), and to the load "
        "balancer",
        weak=True,
    ),
    row(
        BY_SIGNAL,
        (ETCD, API),
        r"received (?:signal; shutting down|terminated signal)|name=\\*\"ShutdownInitiated",
        "it is ended by a signal again and again and does not end itself: by kubelet for its probe, or as where "
        "kubelet and the container runtime have different cgroup drivers",
        "see what kubelet says of it (`journalctl -u kubelet`), and that cgroupDriver in /var/lib/kubelet/config.yaml "
        "and SystemdCgroup in /etc/containerd/config.toml go together (systemd and true), which an upgrade of "
        "containerd or a system with control groups of version 2 may have changed; then restart both",
        weak=True,
    ),
)
CAUSES_OF_CONTROL_PLANES = (*_CONTROL_PLANE, *_TRUST)
