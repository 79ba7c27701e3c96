"""What kubelet, which runs, says of why it cannot tell the API server how its node is. Pure."""

from __future__ import annotations

from recoverd.diagnose.cause import ANOTHER_NAME, KUBELET, row

CAUSES_OF_REPORTS = (
    row(
        ANOTHER_NAME,
        (KUBELET,),
        r"nodes? \\*\"?([\w.-]+)\\*\"? is forbidden: (?:User \\*\"?system:)?node[ :]\\*\"?([\w.-]+)\\*\"? (?:is not "
        r"allowed|cannot)",
        "it calls itself {0}, and its certificate is that of {1}: the machine's name was changed",
        "`hostnamectl set-hostname {1}`, and restart kubelet",
    ),
    row(
        "proxy",
        (KUBELET,),
        r"proxyconnect tcp: dial tcp:? (?:lookup )?([\w.-]+(?::\d+)?)"
        r"|(?:Get|Post|Put|Patch|Delete) \\*\"https://[^\"\s]+\": (Forbidden|Service Unavailable|Bad Gateway|Gateway "
        r"Time-?[Oo]ut|Proxy Authentication Required)",
        "it goes to the API server through a proxy ({0}), which it does not reach or which does not let it through",
        "take HTTPS_PROXY out of what it is started with (`systemctl show kubelet -p Environment`), "
        "or put the API server's name and address into NO_PROXY there; `systemctl daemon-reload`, and restart kubelet",
    ),
    row(
        "webhook",
        (KUBELET,),
        r"failed (?:calling|to call) webhook \\*\"([^\"\\]+)",
        "the admission webhook {0} is not reached and fails closed, and its node is not written for it",
        "see to that webhook's pods; or its failurePolicy to Ignore (`kubectl get "
        "validatingwebhookconfigurations,mutatingwebhookconfigurations`)",
    ),
    row(
        "report-refused",
        (KUBELET,),
        # whoever tells of the node, in 1.17's words and in 1.31's, and what an API server that works answers with
        r"(?:node .*?with API server|[Ee]rror updating node status, will retry|[Ff]ailed to (?:ensure|update) "
        r"(?:node )?lease(?: exists)?,?(?: will retry)?(?: in \S+)?"
        r"|Failed to initialize CSINode.*caused by)\\*\"?,? ?(?:err=\\*\"|error: |: )"
        r"(?=.*(?:is forbidden: |is invalid: |namespaces \S+ not found|could not find the requested resource|denied "
        r"the request|exceeded quota|received too many requests|rejected our request))(.{1,200})",
        "the API server answers it and refuses what it tells of its node ({0})",
        "see to what that names: the rights of nodes (`kubectl get clusterrole,clusterrolebinding | grep system:node`, "
        "--authorization-mode=Node,RBAC of the API servers), an admission policy or webhook, a quota, or who sends it "
        "so many requests; no restart of kubelet changes it",
        weak=True,
    ),
    row(
        "not-an-api-server",
        (KUBELET,),
        r"https://([^/\s\"\\]+)[^:]*: (?:http: server gave HTTP response to HTTPS client|remote error: tls: (?!bad "
        r"cert)|malformed HTTP (?:response|status)|tls: first record does not look like a TLS handshake)",
        "what answers at {0} speaks no TLS with it as an API server does",
        "see what listens there (`curl -vk https://{0}/readyz` on the node): a balancer that ends TLS or checks with "
        "plain HTTP, a proxy, another program; its `server:` is in /etc/kubernetes/kubelet.conf",
        weak=True,
    ),
    row(
        "not-accepted",
        (KUBELET,),
        r"\bUnauthorized\b",
        "the API server does not accept its client certificate",
        "see whether it is over, whether the clocks agree, and whether the CA in place has signed it (`openssl x509 "
        "-in "
        "/var/lib/kubelet/pki/kubelet-client-current.pem -noout -dates -issuer`)",
        weak=True,
    ),
    row(
        "dead-connection",
        (KUBELET,),
        r"use of closed network connection",
        "it keeps to a connection to the API server that is dead",
        "restart kubelet",
        restart=True,
        weak=True,
    ),
)
