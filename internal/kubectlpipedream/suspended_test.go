// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"strings"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

func suspend(p *v1alpha1.PipedreamToken) { p.Spec.Suspend = true }

// TestSuspended asks each command about a PipedreamToken that is suspended.
func TestSuspended(t *testing.T) {
	w := newWorld(t, "suspended")
	w.letLook()
	w.issued("orders")
	w.create("empty", suspend)
	w.visit("empty")
	change(w, w.token("orders"), suspend)
	w.visit("orders")
	held := w.heldToken("orders")
	w.wantGolden("status-suspended", w.run("status"))
	w.wantGolden("inspect-suspended", w.run("inspect", "orders"))
	w.examine("doctor-suspended", 0, "--namespace=suspended", "--as=looker")

	// To wait for it would be in vain, and the request stays for later.
	got := w.run("renew", "orders", "--wait", "--timeout=1h")
	if got.code != exitNo || !strings.Contains(got.errOut, "orders not renewed: Suspended: `spec.suspend` is true") {
		t.Errorf("renew says\n%v", got)
	}
	w.pass(time.Minute)
	w.visit("orders")
	if w.heldToken("orders") != held {
		t.Error("a suspended token was renewed")
	}
	change(w, w.token("orders"), func(p *v1alpha1.PipedreamToken) { p.Spec.Suspend = false })
	w.visit("orders")
	if w.heldToken("orders") == held {
		t.Error("the request was forgotten")
	}

	change(w, w.token("orders"), suspend)
	w.visit("orders")
	w.pass(2 * time.Hour)
	w.wantGolden("status-suspended-outdated", w.run("status", "--output=wide"))
	w.visit("orders")
	w.wantGolden("status-suspended-expired", w.run("status", "--exit-code"))
}

// TestSuspendedAccounts asks each command about PipedreamAccounts that are suspended.
func TestSuspendedAccounts(t *testing.T) {
	w := newWorld(t, "suspended-accounts")
	suspend := func(account *v1alpha1.PipedreamAccount) { account.Spec.Suspend = true }
	w.fetched("acme")
	w.connect("apn_keys", isKeys)
	w.createAccount("keys")
	w.visitAccount("keys")
	w.createAccount("empty", suspend)
	w.visitAccount("empty")
	for _, name := range []string{"acme", "keys"} {
		change(w, w.account(name), suspend)
		w.visitAccount(name)
	}
	w.wantGolden("status-suspended-accounts", w.run("status"))
	w.wantGolden("inspect-suspended-account", w.run("inspect", "pda/acme"))
	w.letLook()
	w.examine("doctor-suspended-accounts", 0, "--namespace=suspended-accounts", "--as=looker")
	got := w.run("renew", "pda/acme", "--wait", "--timeout=1h")
	if got.code != exitNo || !strings.Contains(got.errOut, "acme not fetched: Suspended: `spec.suspend` is true") {
		t.Errorf("renew says\n%v", got)
	}
}
