//go:build upgrade

// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package upgrade_test

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

const (
	// accountsNamespace is the namespace of the PipedreamAccounts, and reader the OAuth client with which the operator reads
	// all of them.
	accountsNamespace = "accounts"
	reader            = accountsNamespace + ".reader"
	readerCredentials = "reader-credentials"
	// lookEach is how often the operator looks at a watched account, and deadLook how soon after its last look it looks at
	// a dead account at the earliest.
	lookEach = time.Minute
	deadLook = time.Minute
	// looksAtSwitch is how many looks a switch may add to the ones that were due: a manager that starts forgets the last one.
	looksAtSwitch = 1
)

// connected is a PipedreamAccount of the test. The previous version does not know this kind.
type connected struct {
	name string
	// account is the account at Pipedream.
	account func(*simulator.Account)
	spec    func(*v1alpha1.PipedreamAccountSpec)
	// isDead tells that the account dies when its credentials were fetched.
	isDead         bool
	ready, fetched string
	// each is how often the operator looks at the account; 0 if it does not within this test.
	each time.Duration

	// before is how it was when the last manager was stopped.
	before *accountSight
}

// accountSight is a PipedreamAccount as it was seen at a time.
type accountSight struct {
	at      time.Time
	object  *v1alpha1.PipedreamAccount
	secret  *corev1.Secret
	fetches int
}

func (c *connected) id() string { return "apn_" + c.name }
func (c *connected) user() string {
	return "user-of-" + c.name
}

// connectedStates returns each state that a PipedreamAccount stays in.
func connectedStates() []*connected {
	const valid, good = v1alpha1.ReasonCredentialsValid, v1alpha1.ReasonAccountFetched
	return []*connected{
		{name: "expiring", ready: valid, fetched: good},
		{
			name: "by-user", ready: valid, fetched: good,
			account: func(a *simulator.Account) { a.AuthType = simulator.AuthKeys },
			spec:    func(spec *v1alpha1.PipedreamAccountSpec) { spec.AccountID = "" },
		},
		{
			name: "watched", ready: valid, fetched: good, each: lookEach,
			spec: func(spec *v1alpha1.PipedreamAccountSpec) { spec.FetchIntervalSeconds = int32(lookEach / time.Second) },
		},
		{name: "dead", isDead: true, ready: v1alpha1.ReasonAccountDead, fetched: v1alpha1.ReasonAccountDead, each: deadLook},
	}
}

// populateAccounts creates a PipedreamAccount of each state, and returns when all of them are in their states. From then on
// each request about them must have a reason.
func (s *site) populateAccounts() {
	s.Helper()
	s.createNamespace(accountsNamespace)
	harness.Must(s.T, s.pipedream.SetClient(reader, clientSecret))
	harness.Must(s.T, s.admin.Create(s.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: accountsNamespace, Name: readerCredentials},
		StringData: map[string]string{"client_id": reader, "client_secret": clientSecret},
	}))
	s.accounts = connectedStates()
	for _, c := range s.accounts {
		s.connect(c)
	}
	for _, c := range s.accounts {
		if !c.isDead {
			s.awaitAccount(c, c.ready, c.fetched)
			continue
		}
		s.awaitAccount(c, v1alpha1.ReasonCredentialsValid, v1alpha1.ReasonAccountFetched)
		harness.Must(s.T, s.pipedream.Accounts.Change(c.id(), func(a *simulator.Account) { a.Dead = new(true) }))
		patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:"now"}}}`, v1alpha1.RenewRequestAnnotation)
		object := &v1alpha1.PipedreamAccount{ObjectMeta: metav1.ObjectMeta{Namespace: accountsNamespace, Name: c.name}}
		harness.Must(s.T, s.admin.Patch(s.Context(), object, client.RawPatch(types.MergePatchType, []byte(patch))))
		s.awaitAccount(c, c.ready, c.fetched)
	}
	time.Sleep(rounding) // A status may still be followed by an Event.
	s.accountsFrom = time.Now()
	s.Logf("%s: %d PipedreamAccounts are in their states", time.Now().Format(time.TimeOnly), len(s.accounts))
}

// connect connects an account at Pipedream, and creates its PipedreamAccount.
func (s *site) connect(c *connected) {
	s.Helper()
	account := simulator.NewAccount("proj_upgrade", c.user(), "slack")
	if c.account != nil {
		c.account(&account)
	}
	harness.Must(s.T, s.pipedream.Accounts.Set(c.id(), account))
	object := &v1alpha1.PipedreamAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: accountsNamespace, Name: c.name},
		Spec: v1alpha1.PipedreamAccountSpec{
			ClientSecretRef: v1alpha1.ClientSecretReference{Name: readerCredentials}, ProjectID: "proj_upgrade", AccountID: c.id(),
		},
	}
	if c.spec != nil {
		c.spec(&object.Spec)
	}
	if object.Spec.AccountID == "" {
		object.Spec.ExternalUserID, object.Spec.App = c.user(), "slack"
	}
	harness.Must(s.T, s.admin.Create(s.Context(), object))
}

// seeAccount returns a PipedreamAccount as it is now. The Secret is nil if there is none.
func (s *site) seeAccount(c *connected) *accountSight {
	s.Helper()
	seen := &accountSight{at: time.Now(), object: &v1alpha1.PipedreamAccount{}, secret: &corev1.Secret{}}
	key := client.ObjectKey{Namespace: accountsNamespace, Name: c.name}
	harness.Must(s.T, s.admin.Get(s.Context(), key, seen.object))
	err := s.admin.Get(s.Context(), key, seen.secret)
	harness.Must(s.T, client.IgnoreNotFound(err))
	if err != nil {
		seen.secret = nil
	}
	seen.fetches = s.pipedream.Accounts.Counters().Accounts[c.id()].Fetches
	return seen
}

// awaitAccount waits until the conditions Ready and Fetched of a PipedreamAccount have these reasons.
func (s *site) awaitAccount(c *connected, ready, fetched string) {
	s.Helper()
	s.eventually("the PipedreamAccount "+c.name+" is "+fetched, func() string {
		seen := s.seeAccount(c)
		is := func(kind string) string {
			if found := meta.FindStatusCondition(seen.object.Status.Conditions, kind); found != nil {
				return found.Reason
			}
			return ""
		}
		if is(v1alpha1.ConditionReady) != ready || is(v1alpha1.ConditionFetched) != fetched {
			return fmt.Sprintf("its conditions are %+v", seen.object.Status.Conditions)
		}
		return ""
	})
}

// rememberAccounts remembers how all PipedreamAccounts are. No manager of this tree runs then.
func (s *site) rememberAccounts() {
	s.Helper()
	for _, c := range s.accounts {
		c.before = s.seeAccount(c)
	}
	s.readerExchanges = len(s.pipedream.exchangesOf(reader, time.Time{}))
}

// wantAccountsUntouched checks that nobody has changed a PipedreamAccount, its Secret or the CRD since the last manager of
// this tree was stopped, and that Pipedream was not asked for an account.
func (s *site) wantAccountsUntouched(during string) {
	s.Helper()
	s.kubectl("get", "crd", "pipedreamaccounts.pipedream-operator.io")
	for _, c := range s.accounts {
		now := s.seeAccount(c)
		switch {
		case versionOf(now.object) != versionOf(c.before.object):
			s.Errorf("%s: the PipedreamAccount %s was changed", during, c.name)
		case versionOf(now.secret) != versionOf(c.before.secret):
			s.Errorf("%s: the Secret of the PipedreamAccount %s was changed", during, c.name)
		case now.fetches != c.before.fetches:
			s.Errorf("%s: Pipedream was asked for the account %s %d times", during, c.name, now.fetches-c.before.fetches)
		}
	}
	if made := len(s.pipedream.exchangesOf(reader, time.Time{})); made != s.readerExchanges {
		s.Errorf("%s: a version that does not know PipedreamAccounts has asked for %d tokens for them", during, made-s.readerExchanges)
	}
}

// wantAccountsResumed checks that a manager of this tree goes on where the one before has ended: it looks at no account that
// is not due, writes no Secret, and loses nothing of a status.
func (s *site) wantAccountsResumed(during string) {
	s.Helper()
	for _, c := range s.accounts {
		s.awaitAccount(c, c.ready, c.fetched)
		if c.each > 0 {
			s.eventually("the PipedreamAccount "+c.name+" is looked at again", func() string {
				if now := s.seeAccount(c); now.fetches == c.before.fetches {
					return fmt.Sprintf("its next attempt is due at %s", now.object.Status.NextAttemptTime)
				}
				return ""
			})
		}
		now, most := s.seeAccount(c), 0
		if c.each > 0 {
			most = int(now.at.Sub(c.before.at)/c.each) + looksAtSwitch
		}
		if made := now.fetches - c.before.fetches; made > most {
			s.Errorf("%s: Pipedream was asked for the account %s %d times, want at most %d", during, c.name, made, most)
		}
		if versionOf(now.secret) != versionOf(c.before.secret) {
			s.Errorf("%s: the Secret of the PipedreamAccount %s was written", during, c.name)
		}
		before := c.before.object.Status.DeepCopy()
		if c.isDead { // Each look at a dead account puts off the next one.
			before.NextAttemptTime = now.object.Status.NextAttemptTime
		}
		if !equality.Semantic.DeepEqual(*before, now.object.Status) {
			s.Errorf("%s: the status of the PipedreamAccount %s has changed; before:\n%+v\nafter:\n%+v", during, c.name, *before, now.object.Status)
		}
	}
	if made := len(s.pipedream.exchangesOf(reader, time.Time{})); made > s.readerExchanges+1 {
		s.Errorf("%s: %d tokens were asked for to read accounts, want one for the manager that has started", during, made-s.readerExchanges)
	}
}

// judgeAccountRequest returns what is wrong with a request of a manager about a PipedreamAccount; nothing if it was needed.
func (s *site) judgeAccountRequest(r *request) string {
	c := s.accountOf(r)
	switch {
	case s.accountsFrom.IsZero() || r.At.Before(s.accountsFrom):
		return ""
	case r.version() != "tree":
		return "a version that does not know PipedreamAccounts has made a request about one"
	case r.Object.Resource == "secrets" && r.Object.Name == readerCredentials && r.Verb == "get":
		return "" // For the first look of each process.
	case c != nil && c.isDead && r.Object.Resource != "secrets":
		return "" // Each look at a dead account puts off the next one.
	}
	return "a PipedreamAccount for which there was nothing new was read or written"
}

// accountOf returns the PipedreamAccount that a request is about; nil if it is about none.
func (s *site) accountOf(r *request) *connected {
	name := r.Object.Name
	if r.Object.Resource == "events" {
		name = r.Body.Regarding.Name
	}
	i := slices.IndexFunc(s.accounts, func(c *connected) bool { return c.name == name })
	if i < 0 {
		return nil
	}
	return s.accounts[i]
}

// isAboutAccounts tells whether a request is about a PipedreamAccount or its Secrets.
func (r *request) isAboutAccounts() bool {
	return r.Object.Namespace == accountsNamespace || r.Body.Regarding.Namespace == accountsNamespace
}

// keepAccountsQuiet deletes each PipedreamAccount that something is due for within the next minutes, and remembers the
// others.
func (s *site) keepAccountsQuiet() {
	s.Helper()
	s.accountsFrom = time.Now().Add(time.Hour) // What follows from the deletions needs no other reason.
	for _, c := range s.accounts {
		if c.each > 0 {
			object := &v1alpha1.PipedreamAccount{ObjectMeta: metav1.ObjectMeta{Namespace: accountsNamespace, Name: c.name}}
			harness.Must(s.T, s.admin.Delete(s.Context(), object))
		}
	}
	s.accounts = slices.DeleteFunc(s.accounts, func(c *connected) bool { return c.each > 0 })
	s.rememberAccounts()
}

// wantCredentialsThatWork checks that the app accepts the credentials in the Secrets of all PipedreamAccounts.
func (s *site) wantCredentialsThatWork(during string) {
	s.Helper()
	for _, c := range s.accounts {
		secret := s.seeAccount(c).secret
		if secret == nil {
			s.Errorf("%s: the PipedreamAccount %s has no Secret", during, c.name)
			continue
		}
		credentials := string(secret.Data["oauth_access_token"]) + string(secret.Data["api_key"])
		if status := s.pipedream.useApp(s.Context(), credentials); status != http.StatusOK {
			s.Errorf("%s: the app answers %d to the credentials in the Secret of the PipedreamAccount %s", during, status, c.name)
		}
	}
}
