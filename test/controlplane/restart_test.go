// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/test/controlplane"
)

func TestARestartKeepsAddressDataAndCertificates(t *testing.T) {
	cluster, err := controlplane.Start(controlplane.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	admin, err := client.New(cluster.Config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	kept := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kept"}}
	if err := admin.Create(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	for name, part := range map[string]struct{ stop, start func() error }{
		"kube-apiserver": {cluster.StopAPIServer, cluster.StartAPIServer},
		"etcd":           {cluster.StopEtcd, cluster.StartEtcd},
	} {
		if err := part.stop(); err != nil {
			t.Fatal(err)
		}
		if err := part.start(); err != nil {
			t.Fatal(err)
		}
		found := &corev1.ConfigMap{}
		deadline := time.Now().Add(time.Minute)
		for err = admin.Get(t.Context(), client.ObjectKeyFromObject(kept), found); err != nil; {
			if time.Now().After(deadline) {
				t.Fatalf("a minute after %s was started again: %v", name, err)
			}
			time.Sleep(100 * time.Millisecond)
			err = admin.Get(t.Context(), client.ObjectKeyFromObject(kept), found)
		}
		if found.UID != kept.UID {
			t.Errorf("after a restart of %s there is another ConfigMap", name)
		}
	}
}
