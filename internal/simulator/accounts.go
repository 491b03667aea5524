// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sync"
	"time"
)

var (
	accountID = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	appSlug   = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)
)

// The kinds of accounts, by how the app authenticates.
const (
	AuthOAuth = "oauth" // an access token that expires and is refreshed, and a refresh token
	AuthKeys  = "keys"  // an API key
	AuthNone  = "none"  // no credentials
)

// The ways to answer for the credentials of an account.
const (
	CredentialsPresent = "present"
	CredentialsNull    = "null"
	CredentialsEmpty   = "empty"
	CredentialsAbsent  = "absent"
)

// Account is a connected account. Use NewAccount or NewUserAccount to make one.
type Account struct {
	// ProjectID and Environment say where the Connect API has the account. They are optional if there is a
	// UserID.
	ProjectID   string `json:"project_id"`
	Environment string `json:"environment"`
	// ExternalUserID is the end user who has connected the account in the project.
	ExternalUserID string `json:"external_user_id"`
	// UserID is the user of Pipedream who has connected the account. With the API key of this user, the REST
	// API returns the account. It is empty if an end user has connected the account.
	UserID string `json:"user_id"`
	// WorkspaceID is the workspace of the account.
	WorkspaceID string `json:"workspace_id"`
	// Shared lets all users of the workspace see an account with a UserID.
	Shared bool `json:"shared"`
	// App is the name slug of the app.
	App string `json:"app"`
	// AuthType is AuthOAuth, AuthKeys or AuthNone.
	AuthType string `json:"auth_type"`
	// Life is how long the credentials live after a refresh; 0 if they do not expire.
	Life time.Duration `json:"-"`
	// Refresh says when Pipedream refreshes the credentials: "background:13m30s" (each 13.5 minutes),
	// "lead:5m" (five minutes before they expire), "lazy" (when expired ones are asked for), "force"
	// (whenever they are asked for), or "never".
	Refresh string `json:"refresh"`
	// Rotating makes the app refuse an access token or an API key as soon as there is a newer one, or Grace
	// later. Without Rotating, the app accepts it until it expires.
	Rotating bool `json:"rotating"`
	// Grace is how long an app with Rotating accepts a token after the refresh that has replaced it.
	Grace time.Duration `json:"-"`
	// NextRefresh says what the answer says about the next refresh: "true" (the time, if there is one),
	// "absent" (nothing), "unreadable" (not a time), by how much the time is wrong, such as "-10m", or how long after
	// each answer it is, such as "in:1s".
	NextRefresh string `json:"next_refresh"`
	// Credentials is one of the ways to answer for the credentials.
	Credentials string `json:"credentials"`
	// Fields are further fields of the credentials. They replace the usual ones of the same name.
	Fields map[string]any `json:"fields"`
	// Healthy and Dead are what the answer says; nil for null. An account that is dead or not healthy is
	// not refreshed.
	Healthy *bool `json:"healthy"`
	Dead    *bool `json:"dead"`
}

// NewAccount returns a healthy account in production whose credentials live an hour and are refreshed when
// expired ones are asked for.
func NewAccount(projectID, externalUserID, app string) Account {
	return Account{
		ProjectID: projectID, Environment: "production", ExternalUserID: externalUserID, WorkspaceID: DefaultWorkspaceID,
		App: app, AuthType: AuthOAuth, Life: time.Hour, Refresh: "lazy", NextRefresh: "true", Credentials: CredentialsPresent,
		Healthy: new(true), Dead: new(false),
	}
}

// NewUserAccount returns an account like NewAccount, which a user of Pipedream has connected. It is in no
// project.
func NewUserAccount(userID, app string) Account {
	account := NewAccount("", "", app)
	account.UserID = userID
	return account
}

// check returns an error that says what is wrong with the account.
func (a Account) check() error {
	one := func(name, value string, values ...string) error {
		if slices.Contains(values, value) {
			return nil
		}
		return fmt.Errorf("%s must be one of %q, not %q", name, values, value)
	}
	if err := a.checkPlace(); err != nil {
		return err
	}
	switch {
	case !appSlug.MatchString(a.App):
		return errors.New("app must be like slack or google_sheets")
	case a.Life < 0 || a.Life%time.Second != 0:
		return fmt.Errorf("life must be whole seconds, or 0s for credentials that do not expire, and is %s", a.Life)
	case a.Grace < 0 || a.Grace > 0 && !a.Rotating:
		return fmt.Errorf("grace must not be negative, and needs rotating, and is %s", a.Grace)
	}
	_, refreshErr := parseRefresh(a)
	_, nextErr := parseNextRefresh(a.NextRefresh)
	return errors.Join(refreshErr, nextErr,
		one("environment", a.Environment, "development", "production"),
		one("auth_type", a.AuthType, AuthOAuth, AuthKeys, AuthNone),
		one("credentials", a.Credentials, CredentialsPresent, CredentialsNull, CredentialsEmpty, CredentialsAbsent))
}

// checkPlace checks who has connected the account, and where it is.
func (a Account) checkPlace() error {
	if a.UserID == "" || a.ProjectID != "" || a.ExternalUserID != "" {
		if err := a.checkProject(); err != nil {
			return err
		}
	}
	switch {
	case a.UserID != "" && !userID.MatchString(a.UserID):
		return errors.New("user_id must be like u_abc123")
	case !workspaceID.MatchString(a.WorkspaceID):
		return errors.New("workspace_id must be like o_abc123")
	case a.Shared && a.UserID == "":
		return errors.New("shared needs a user_id")
	}
	return nil
}

// checkProject checks where the Connect API has the account.
func (a Account) checkProject() error {
	switch {
	case !projectID.MatchString(a.ProjectID):
		return errors.New("project_id must be like proj_abc123")
	case a.ExternalUserID == "":
		return errors.New("external_user_id must not be empty")
	}
	return nil
}

// clone returns a copy that shares nothing with the account but the values of Fields.
func (a Account) clone() Account {
	a.Fields = maps.Clone(a.Fields)
	for _, flag := range []**bool{&a.Healthy, &a.Dead} {
		if *flag != nil {
			*flag = new(**flag)
		}
	}
	return a
}

// Accounts are the connected accounts of a Simulator, with the apps that they are connected to. They are safe
// for concurrent use.
type Accounts struct {
	now func() time.Time
	// key makes the secrets of the accounts, so that no other Simulator has the same.
	key []byte

	mu       sync.Mutex
	accounts map[string]*account
	// order are the IDs of the accounts, the oldest first.
	order   []string
	answers accountAnswers
	limit   limit
	// projects are the projects that a client may ask for accounts; none for a client that may ask all.
	projects map[string][]string
	apps     map[string]*AppCount
}

// account is an account with its state.
type account struct {
	Account
	id string
	// key makes its secrets.
	key []byte
	refreshState
	// tokens are the access tokens that the app accepts, the oldest first.
	tokens []appToken
	count  AccountCount
}

func newAccounts(now func() time.Time) *Accounts {
	return &Accounts{
		now: now, key: []byte(rand.Text()), accounts: map[string]*account{}, answers: defaultAnswers(),
		limit: limit{calls: map[string][]time.Time{}}, projects: map[string][]string{}, apps: map[string]*AppCount{},
	}
}

// Set connects an account, or replaces it. A new one gets its credentials now. One that is replaced keeps its
// credentials, unless its way to authenticate changes. Set returns an error that says what is wrong.
func (a *Accounts) Set(id string, to Account) error {
	if !accountID.MatchString(id) {
		return errors.New("the account's id must have only letters, digits, _ and -")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.set(id, to)
}

// Change changes an account, and keeps its credentials. It returns an error that says what is wrong.
func (a *Accounts) Change(id string, change func(*Account)) error {
	return a.changeWith(id, func(to *Account) error {
		change(to)
		return nil
	})
}

// changeWith is Change with a function that may fail.
func (a *Accounts) changeWith(id string, change func(*Account) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	current := a.accounts[id]
	if current == nil {
		return noAccount(id)
	}
	to := current.clone()
	if err := change(&to); err != nil {
		return err
	}
	return a.set(id, to)
}

func noAccount(id string) error {
	return fmt.Errorf("there is no account %q: connect it with PUT /_sim/accounts/{id}", id)
}

// set connects an account, or replaces it. The caller holds the lock.
func (a *Accounts) set(id string, to Account) error {
	if err := to.check(); err != nil {
		return err
	}
	to = to.clone()
	now := a.now()
	current := a.accounts[id]
	if current == nil {
		current = &account{id: id, key: a.key, refreshState: refreshState{created: now}}
		a.accounts[id] = current
		a.order = append(a.order, id)
	} else {
		current.advance(now) // The refreshes until now were made in the old way.
	}
	isNew := current.version == 0 || current.AuthType != to.AuthType
	current.Account = to
	if isNew {
		current.refresh(now)
	}
	return nil
}

// Delete deletes an account, and reports whether there was one.
func (a *Accounts) Delete(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.accounts[id]
	delete(a.accounts, id)
	a.order = slices.DeleteFunc(a.order, func(other string) bool { return other == id })
	return ok
}

// Refresh refreshes an account now, whatever its way of refreshing is, as when the end user reconnects it.
// It returns an error if there is no such account.
func (a *Accounts) Refresh(id string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	current := a.accounts[id]
	if current == nil {
		return noAccount(id)
	}
	now := a.now()
	current.advance(now)
	current.refresh(now)
	return nil
}

// SetClientProjects limits the projects that a client may ask for accounts, from now on. An empty list removes
// the limit.
func (a *Accounts) SetClientProjects(clientID string, projects []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.projects[clientID] = slices.Clone(projects)
}
