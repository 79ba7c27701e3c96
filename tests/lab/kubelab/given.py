"""What a cluster is given: kubeadm's configuration, and the workload."""

from __future__ import annotations

INIT = """apiVersion: kubeadm.k8s.io/v1beta2
kind: InitConfiguration
nodeRegistration: {{criSocket: "{socket}"}}
localAPIEndpoint: {{advertiseAddress: {address}, bindPort: {port}}}
---
apiVersion: kubeadm.k8s.io/v1beta2
kind: ClusterConfiguration
clusterName: lab{cluster}
kubernetesVersion: v{version}
controlPlaneEndpoint: k8s-api:6443
networking: {{podSubnet: "{pods}", serviceSubnet: "{services}"}}
apiServer: {{certSANs: [k8s-api, 10.99.{cluster}.10]}}
{etcd}{gates}---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
failSwapOn: false
evictionHard: {{nodefs.available: "1%", imagefs.available: "1%", memory.available: "50Mi"}}
# nodes share the disk of the machine that they run on, and no registry is there to pull from again what was collected
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
{gates}---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
conntrack: {{maxPerCore: 0}}
{gates}"""

PODS = """apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - name: web
        image: docker.io/lab/busybox:1
        command: [/bin/busybox, sh, -c]
        args:
        - mkdir /tmp/www; /bin/busybox hostname > /tmp/www/index.html; exec /bin/busybox httpd -f -p 8080 -h /tmp/www
        readinessProbe: {httpGet: {port: 8080, path: /}, periodSeconds: 2}
"""
WEB = """---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}], clusterIP: 10.96.0.80}
"""

WORKLOAD = PODS + WEB

JOIN = "--skip-phases=preflight"
KUBECTL_HOME = "mkdir -p /root/.kube; cp /etc/kubernetes/admin.conf /root/.kube/config"
