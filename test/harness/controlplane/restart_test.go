// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
	"github.com/pipedream-operator/pipedream-operator/test/harness/controlplane"
)

func TestARestartKeepsAddressDataAndCertificates(t *testing.T) {
	cluster := controlplane.MustStart(t, controlplane.Options{})
	admin := cluster.Client
	kept := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kept"}}
	harness.Must(t, admin.Create(t.Context(), kept))
	for name, part := range map[string]struct{ stop, start func() error }{
		"kube-apiserver": {cluster.StopAPIServer, cluster.StartAPIServer},
		"etcd":           {cluster.StopEtcd, cluster.StartEtcd},
	} {
		harness.Must(t, part.stop())
		harness.Must(t, part.start())
		found := &corev1.ConfigMap{}
		harness.Eventually(t, "an answer after "+name+" was started again", harness.NoError(func() error {
			return admin.Get(t.Context(), client.ObjectKeyFromObject(kept), found)
		}))
		if found.UID != kept.UID {
			t.Errorf("after a restart of %s another ConfigMap has replaced the ConfigMap", name)
		}
	}
}
