// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Names and addresses. The two addresses of the node's connection to the machine are in a range for benchmarks, which
// no real network uses. All other addresses exist only inside the node.
const (
	nodeName         = "node"
	hostAddress      = "198.18.77.1"
	nodeAddress      = "198.18.77.2"
	apiServerAddress = "10.96.0.1"
	services         = "10.96.0.0/16"
	pods             = "10.88.0.0/16"
	pauseImage       = "pipedream-operator.test/pause:dev"
	containerd       = "/run/containerd/containerd.sock"
)

// component is a program of the node. The supervisor starts it again whenever it ends.
type component struct {
	name string
	// path is the path of the program, and arguments are its arguments.
	path      string
	arguments []string
	// after is a network and an address that must answer before the component starts.
	after [2]string
}

// components returns all components, in the order in which they start.
func (n node) components() []component {
	credential := func(name string) string { return n.path("credentials", name) }
	etcd, apiServer := [2]string{"tcp", "127.0.0.1:2379"}, [2]string{"tcp", nodeAddress + ":6443"}
	return []component{
		{name: "etcd", path: filepath.Join(n.controlPlane, "etcd"), arguments: []string{
			"--data-dir=/var/lib/etcd",
			"--listen-client-urls=http://127.0.0.1:2379",
			"--advertise-client-urls=http://127.0.0.1:2379",
			"--listen-peer-urls=http://127.0.0.1:2380",
			"--initial-advertise-peer-urls=http://127.0.0.1:2380",
			"--initial-cluster=default=http://127.0.0.1:2380",
			"--unsafe-no-fsync",
		}},
		{name: "containerd", path: n.debian("usr", "bin", "containerd"), arguments: []string{
			"--config=" + n.path("config", "containerd.toml"),
		}},
		{name: "kube-apiserver", path: filepath.Join(n.controlPlane, "kube-apiserver"), after: etcd, arguments: []string{
			"--etcd-servers=http://127.0.0.1:2379",
			"--encryption-provider-config=" + credential("encryption.yaml"),
			"--bind-address=0.0.0.0",
			"--advertise-address=" + nodeAddress,
			"--secure-port=6443",
			"--tls-cert-file=" + credential("kube-apiserver.crt"),
			"--tls-private-key-file=" + credential("kube-apiserver.key"),
			"--client-ca-file=" + credential("ca.crt"),
			"--kubelet-certificate-authority=" + credential("ca.crt"),
			"--kubelet-client-certificate=" + credential("kube-apiserver.crt"),
			"--kubelet-client-key=" + credential("kube-apiserver.key"),
			"--kubelet-preferred-address-types=InternalIP",
			"--service-account-key-file=" + credential("service-accounts.key"),
			"--service-account-signing-key-file=" + credential("service-accounts.key"),
			"--service-account-issuer=https://kubernetes.default.svc",
			"--service-cluster-ip-range=" + services,
			"--authorization-mode=Node,RBAC",
			"--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement",
		}},
		{name: "kube-controller-manager", path: filepath.Join(n.controlPlane, "kube-controller-manager"), after: apiServer, arguments: []string{
			"--kubeconfig=" + credential("kube-controller-manager.kubeconfig"),
			"--service-account-private-key-file=" + credential("service-accounts.key"),
			"--root-ca-file=" + credential("ca.crt"),
			"--use-service-account-credentials",
			"--leader-elect=false",
			"--bind-address=127.0.0.1",
			"--flex-volume-plugin-dir=/var/lib/kubelet/volume-plugins",
		}},
		{name: "kube-scheduler", path: filepath.Join(n.binaries, "kube-scheduler"), after: apiServer, arguments: []string{
			"--kubeconfig=" + credential("kube-scheduler.kubeconfig"),
			"--leader-elect=false",
			"--bind-address=127.0.0.1",
		}},
		{name: "kube-proxy", path: filepath.Join(n.binaries, "kube-proxy"), after: apiServer, arguments: []string{
			"--kubeconfig=" + credential("kube-proxy.kubeconfig"),
			"--hostname-override=" + nodeName,
			"--proxy-mode=nftables",
			"--cluster-cidr=" + pods,
			// All pods are on one bridge. Without this flag, a pod would answer another pod directly, and nothing would
			// replace the pod's address by the address of the Service.
			"--masquerade-all",
			// These settings belong to the machine.
			"--conntrack-max-per-core=0",
			"--conntrack-tcp-timeout-established=0",
			"--conntrack-tcp-timeout-close-wait=0",
		}},
		{name: "kubelet", path: filepath.Join(n.binaries, "kubelet"), after: [2]string{"unix", containerd}, arguments: []string{
			"--kubeconfig=" + credential("kubelet.kubeconfig"),
			"--config=" + n.path("config", "kubelet.yaml"),
			"--hostname-override=" + nodeName,
			"--node-ip=" + nodeAddress,
		}},
	}
}

// configuration writes the configuration files of the components.
func (n node) configuration() error {
	plugins := n.path("config", "cni")
	if err := os.MkdirAll(plugins, 0o700); err != nil {
		return err
	}
	var failed []error
	for path, content := range map[string]string{
		n.path("config", "containerd.toml"):       fmt.Sprintf(containerdConfiguration, containerd, pauseImage, n.debian("usr", "lib", "cni"), plugins),
		n.path("config", "kubelet.yaml"):          fmt.Sprintf(kubeletConfiguration, containerd, n.path("credentials"), n.path("config", "resolv.conf")),
		filepath.Join(plugins, "bridge.conflist"): fmt.Sprintf(networkConfiguration, pods),
		// Pods cannot resolve names, because no network outside the node can be reached.
		n.path("config", "resolv.conf"): "",
	} {
		failed = append(failed, os.WriteFile(path, []byte(content), 0o600))
	}
	return errors.Join(failed...)
}

// The OOM score is restricted, because root in a container may not lower it.
const containerdConfiguration = `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = %q
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = %q
  conf_dir = %q
`

// The kubelet's defaults decide how soon a pod sees a changed Secret.
const kubeletConfiguration = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://%[1]s
authentication:
  anonymous:
    enabled: false
  x509:
    clientCAFile: %[2]s/ca.crt
tlsCertFile: %[2]s/kubelet.crt
tlsPrivateKeyFile: %[2]s/kubelet.key
resolvConf: %[3]s
volumePluginDir: /var/lib/kubelet/volume-plugins
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failSwapOn: false
localStorageCapacityIsolation: false
imageGCHighThresholdPercent: 100
evictionHard:
  memory.available: 0%%
  nodefs.available: 0%%
  nodefs.inodesFree: 0%%
  imagefs.available: 0%%
`

const networkConfiguration = `{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {
      "type": "bridge",
      "bridge": "cni0",
      "isGateway": true,
      "hairpinMode": true,
      "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": %q}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    }
  ]
}
`
