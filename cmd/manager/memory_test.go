// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

const (
	// searchedAccounts is how many accounts have credentials that the test searches for. Half of them are asked for
	// with API keys.
	searchedAccounts = 10
	// harmlessAccounts is how many accounts have large credentials that pass through the same buffers later.
	// Each is larger than the one before by some bytes in each field, so that they end at ever other places in
	// the buffers: otherwise the last bytes of a buffer might never be overwritten.
	harmlessAccounts, harmlessFields, harmlessSize, harmlessStep = 30, 50, 1200, 61
)

// TestCredentialsOfAccountsDoNotStayInMemory searches all memory of the built manager for credentials that it has
// fetched and written, and for the API keys that it has sent. They pass through its memory, and must not stay there. So the garbage collector
// overwrites what it frees, and after the fetches harmless credentials pass through the same buffers.
func TestCredentialsOfAccountsDoNotStayInMemory(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	// Not this test's own binary: with the race detector its memory is too large to be searched.
	path := filepath.Join(t.TempDir(), "manager")
	harness.MustBuildManager(t, harness.Root(), path)
	profiles := harness.MustFreeAddress(t)
	command := harness.Manager{Path: path, Kubeconfig: adminKubeconfig(t, ""), Pipedream: s.apiURL, Flags: []string{
		"--namespaces=" + s.namespace, "--account-requests-per-second=100", "--token-requests-per-second=100", "--pprof-bind-address=" + profiles,
	}}.Command()
	command.Environment = append(command.Environment, "GODEBUG=clobberfree=1")
	manager := command.MustStart(t)

	credentials := s.fetchSearched()
	planted := "sim_planted-" + strings.Repeat("p", 40)
	s.plant(planted)
	s.fetchHarmless()
	for range 3 { // What is in a pool is freed by the second collection.
		_, err := harness.CollectGarbage(t.Context(), profiles)
		harness.Must(t, err)
	}

	found := map[string]int{}
	texts := bothForms(planted)
	for text := range credentials {
		texts = append(texts, bothForms(text)...)
	}
	harness.Must(t, manager.Signal(syscall.SIGSTOP))
	err := manager.FindInMemory(texts, func(text string, _ []byte) { found[text]++ })
	harness.Must(t, manager.Signal(syscall.SIGCONT))
	harness.Must(t, err)

	for _, form := range bothForms(planted) {
		if found[form] == 0 {
			t.Error("the search has not found a text that the manager keeps: it proves nothing")
		}
	}
	for text, what := range credentials {
		for i, form := range bothForms(text) {
			if found[form] > 0 {
				t.Errorf("%s is in the memory of the manager %d times, in form %d", what, found[form], i)
			}
		}
	}
}

// bothForms returns a text as Pipedream's answer has it, and as a Secret in JSON has it.
func bothForms(text string) []string {
	return []string{text, strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(text)), "=")}
}

// fetchSearched has the credentials of some accounts fetched, and fetched again after Pipedream has refreshed
// them. It returns all of these credentials, and describes each.
func (s *site) fetchSearched() map[string]string {
	s.Helper()
	credentials := map[string]string{}
	first := map[string]string{}
	for i := range searchedAccounts {
		name := fmt.Sprintf("searched-%d", i)
		refreshToken := fmt.Sprintf("sim_refresh-%d-%s", i, strings.Repeat("r", 40))
		credentials[refreshToken] = "the refresh token of " + name
		key := fmt.Sprintf("sim_key-%d-%s", i, strings.Repeat("k", 40))
		credentials[key] = "a key of " + name
		fields := map[string]any{"oauth_refresh_token": refreshToken, "api_key": key}
		if i%2 == 1 {
			userKey := fmt.Sprintf("user-key-%d-%s", i, strings.Repeat("u", 40))
			credentials[userKey] = "the API key that is sent for " + name
			s.setKey(name, userKey)
			s.createAccountWithKey(name, userKey, fields)
			continue
		}
		s.register(name, goodSecret)
		connected := simulator.NewAccount(connectedProject, "user-"+name, "slack")
		connected.Fields = fields
		harness.Must(s.T, s.pipedream.Accounts.Set("apn_"+name, connected))
		s.createAccount(name)
	}
	for i := range searchedAccounts {
		name := fmt.Sprintf("searched-%d", i)
		first[name] = s.awaitFetched(name, "")
		credentials[first[name]] = "the first access token of " + name
		harness.Must(s.T, s.pipedream.Accounts.Refresh("apn_"+name))
		change(s, s.account(name), func(p *v1alpha1.PipedreamAccount) {
			p.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "please"}
		})
	}
	for name, before := range first {
		credentials[s.awaitFetched(name, before)] = "the second access token of " + name
	}
	return credentials
}

// plant puts a text into the spec of a PipedreamAccount, which the manager keeps in its cache, in both forms.
func (s *site) plant(text string) {
	s.Helper()
	forms := bothForms(text)
	harness.Must(s.T, s.admin.Create(s.Context(), &v1alpha1.PipedreamAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "planted"},
		Spec: v1alpha1.PipedreamAccountSpec{
			ClientSecretRef: v1alpha1.ClientSecretReference{Name: "searched-0-client"},
			ProjectID:       connectedProject, AccountID: "apn_searched-0",
			Secret: v1alpha1.AccountSecretTemplate{Annotations: map[string]v1alpha1.AnnotationValue{
				"example.com/plain": v1alpha1.AnnotationValue(forms[0]), "example.com/encoded": v1alpha1.AnnotationValue(forms[1]),
			}},
			Suspend: true,
		},
	}))
}

// fetchHarmless has large credentials fetched that nobody searches for.
func (s *site) fetchHarmless() {
	s.Helper()
	for i := range harmlessAccounts {
		name := fmt.Sprintf("harmless-%d", i)
		s.register(name, goodSecret)
		connected := simulator.NewAccount(connectedProject, "user-"+name, "slack")
		connected.Fields = map[string]any{}
		for field := range harmlessFields {
			connected.Fields[fmt.Sprintf("field_%d", field)] = strings.Repeat("h", harmlessSize+i*harmlessStep)
		}
		harness.Must(s.T, s.pipedream.Accounts.Set("apn_"+name, connected))
		s.createAccount(name)
	}
	for i := range harmlessAccounts {
		s.awaitFetched(fmt.Sprintf("harmless-%d", i), "")
	}
}
