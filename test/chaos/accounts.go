// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

const (
	accountCount = 100
	projectCount = 5
	// readerCount is the number of OAuth clients with which the operator reads accounts. No PipedreamToken uses them,
	// so that each of their tokens is one of the operator's own.
	readerCount = 4
	// credentialsLife is how long the credentials of an account live after a refresh.
	credentialsLife = 90 * time.Second
	// bearerLifetime is how long the operator's own tokens live. It is longer than a minute, because the operator
	// replaces an own token that was refused only if the token is older than a minute.
	bearerLifetime = 5 * time.Minute
	// watchInterval is the longest time without a look at a watched account.
	watchInterval = 30 * time.Second
	appSlug       = "chaos_app"

	// rotatingEvery is the time between two refreshes of an account whose app refuses the old token then, and
	// rotatingLife is how long its credentials live.
	rotatingEvery, rotatingLife = 140 * time.Second, 5 * time.Minute
	// lateLapse and rotatingLapse are values of refreshing.lapse. Both allow for a write and for two observations.
	lateLapse, rotatingLapse = tolerance, 15*time.Second + tolerance
)

// refreshing is a way in which Pipedream refreshes the credentials of an account.
type refreshing struct {
	authType, refresh, next string
	life                    time.Duration
	// lapse is for how long the app may refuse the credentials in each life: lateLapse if Pipedream refreshes them so late
	// that they are expired for about a second, because the operator looks one second after they have expired; and
	// rotatingLapse if the app refuses them as soon as Pipedream refreshes them, because the operator looks 15 s later.
	lapse time.Duration
	// shortest is the shortest time between two looks that the expiry of the credentials causes; 0 if they do not expire.
	shortest time.Duration
}

var refreshings = []refreshing{
	{"oauth", "background:1m0s", "true", credentialsLife, 0, 50 * time.Second},
	{"oauth", "background:40s", "absent", credentialsLife, 0, 33 * time.Second},
	{"oauth", "lead:25s", "true", credentialsLife, 0, 50 * time.Second},
	{"oauth", "lazy", "true", credentialsLife, lateLapse, 30 * time.Second},
	{"oauth", "force", "true", credentialsLife, 0, 60 * time.Second},
	{"oauth", "background:1m15s", "absent", credentialsLife, lateLapse, 25 * time.Second},
	{"keys", "never", "true", credentialsLife, 0, 0},
	{"oauth", "background:45s", "absent", 0, 0, 0},
}

// rotatingRefreshing is how the accounts are refreshed whose app refuses a token as soon as there is a newer one. The
// operator follows refreshes that are two minutes apart or more.
var rotatingRefreshing = refreshing{"oauth", "background:" + rotatingEvery.String(), "true", rotatingLife, rotatingLapse, 30 * time.Second}

func readerID(reader int) string   { return fmt.Sprintf("chaos-reader-%d", reader) }
func projectOf(account int) int    { return account * projectCount / accountCount }
func projectID(project int) string { return fmt.Sprintf("proj_chaos%d", project) }

// isRotating reports whether the app refuses a token as soon as there is a newer one. The spec then asks for a fetch
// after each refresh.
func isRotating(account int) bool { return account%21 == 1 }

func refreshingOf(account int) refreshing {
	if isRotating(account) {
		return rotatingRefreshing
	}
	return refreshings[account%len(refreshings)]
}

// readerOf returns the number of the OAuth client with which an account is read, or none.
func readerOf(account int) int {
	if isKeyed(account) {
		return none
	}
	return account / namespaceCount % readerCount
}

// isNamedByUser reports whether the spec names the account by its user and app, and not by its ID.
func isNamedByUser(account int) bool { return account/len(refreshings)%2 == 0 && !isKeyed(account) }

// isWatched reports whether the spec asks for a look at the account every watchInterval.
func isWatched(account int) bool {
	return refreshingOf(account).shortest == 0 || account/len(refreshings)%3 == 0
}

// lookInterval returns the longest time without a look at an account.
func lookInterval(account int) time.Duration {
	if isWatched(account) {
		return watchInterval
	}
	return refreshingOf(account).life + time.Second
}

// mostLooks returns how often the operator looks at an account in any minute at most, unless something else than time
// asks for a look.
func mostLooks(account int) int {
	looks := 0
	if shortest := refreshingOf(account).shortest; shortest > 0 {
		looks += int(time.Minute/shortest) + 1
	}
	if isWatched(account) {
		looks += int(time.Minute/watchInterval) + 1
	}
	return looks
}

func accountNameOf(account int) types.NamespacedName {
	return types.NamespacedName{Namespace: namespaceOf(account), Name: fmt.Sprintf("account-%03d", account)}
}

func accountSecretOf(account int) types.NamespacedName {
	name := accountNameOf(account)
	if account%3 == 0 {
		name.Name += "-secret"
	}
	return name
}

// connectedID returns the ID of an account at Pipedream. A user who connects again by an old flow gets an account with
// another ID, which only a spec that names the user finds.
func connectedID(account, connection int) string {
	if !isNamedByUser(account) {
		connection = 0
	}
	return fmt.Sprintf("apn_chaos%03d_%d", account, connection)
}

func userOf(account int) string { return fmt.Sprintf("user-%03d", account) }

func newAccount(account int) *v1alpha1.PipedreamAccount {
	name := accountNameOf(account)
	object := &v1alpha1.PipedreamAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name},
		Spec: v1alpha1.PipedreamAccountSpec{
			ClientSecretRef: v1alpha1.ClientSecretReference{Name: readerID(readerOf(account))},
			ProjectID:       projectID(projectOf(account)),
		},
	}
	if key := keyOf(account); key != none {
		object.Spec = v1alpha1.PipedreamAccountSpec{APIKeyRef: v1alpha1.APIKeyReference{Name: keySecretName(key)}}
		if key == 0 {
			object.Spec.WorkspaceID = simulator.DefaultWorkspaceID
		}
	}
	if isRotating(account) {
		object.Spec.FetchPolicy = v1alpha1.FetchEachRefresh
	}
	if isNamedByUser(account) {
		object.Spec.ExternalUserID, object.Spec.App = userOf(account), appSlug
	} else {
		object.Spec.AccountID = connectedID(account, 0)
	}
	if secret := accountSecretOf(account); secret.Name != name.Name {
		object.Spec.Secret.Name = secret.Name
	}
	if isWatched(account) {
		object.Spec.FetchIntervalSeconds = int32(watchInterval / time.Second)
	}
	return object
}
