// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/reason"
)

// clockTolerance is the difference between this machine's clock and the operator's clock that the plugin
// tolerates before it treats a status as outdated.
const clockTolerance = 30 * time.Second

// subject is an object of one of the kinds, with the fields that this version of the plugin knows.
type subject interface {
	metav1.Object
	ownedsecret.Owner
	// facts returns the part of spec and status that all kinds have.
	facts() facts
	// nextAttempt returns when the operator makes its next attempt, as far as the object tells; nil if that is not
	// a matter of time.
	nextAttempt(now time.Time) *metav1.Time
	// row returns what is known of a reason of a condition of the object.
	row(because string) reason.Row
	// request describes in a few words what the spec asks for.
	request() string
	// isNewSince reports whether the status shows that the operator has written the Secret since an earlier
	// version of the object.
	isNewSince(earlier subject) bool
	// describe writes what inspect shows of this kind only.
	describe(v *view, target targetSecret)
}

// facts are the part of spec and status that all kinds have.
type facts struct {
	isSuspended        bool
	conditions         []metav1.Condition
	observedGeneration int64
	secret             v1alpha1.CheckedSecret
	// contentTime is when the token was issued, or when the credentials were fetched. expirationTime is when they
	// expire. Both are nil if there are none, or if they do not expire.
	contentTime, expirationTime *metav1.Time
	// status is the whole status.
	status any
}

// entry is an object of one of the kinds. object is the object as the API server has sent it.
type entry struct {
	subject
	kind   *kind
	object *unstructured.Unstructured
}

// newEntry reads an object of a kind. It returns an error if a field has another type than this version
// expects.
func newEntry(k *kind, object *unstructured.Unstructured) (entry, error) {
	decoded, err := k.decode(object)
	if err != nil {
		return entry{}, fmt.Errorf("read %s %s: %w", k.name, object.GetName(), err)
	}
	return entry{subject: decoded, kind: k, object: object}, nil
}

// key returns the namespace and the name, which identify an object of its kind.
func (e entry) key() string { return e.GetNamespace() + "/" + e.GetName() }

// shortName returns the short name of the kind and the name. The commands take it as an argument.
func (e entry) shortName() string { return e.kind.short + "/" + e.GetName() }

// argument returns the name that the commands take as an argument, as short as it can be.
func (e entry) argument() string {
	if e.kind == allKinds[0] {
		return e.GetName()
	}
	return e.shortName()
}

// fullName returns the kind, the group and the name, as kubectl prints them after a change.
func (e entry) fullName() string {
	return strings.ToLower(e.kind.name) + "." + e.kind.resource.Group + "/" + e.GetName()
}

// condition returns a condition of the object. If the condition is missing, it returns a condition with the
// status Unknown and no reason.
func (e entry) condition(name string) metav1.Condition {
	if found := meta.FindStatusCondition(e.facts().conditions, name); found != nil {
		return *found
	}
	return metav1.Condition{Type: name, Status: metav1.ConditionUnknown}
}

// lastAttempt returns the condition with the outcome of the last attempt.
func (e entry) lastAttempt() metav1.Condition { return e.condition(e.kind.attempt) }

// health returns the condition with what Pipedream says about the content of the Secret.
func (e entry) health() metav1.Condition { return e.condition(e.kind.health) }

// readiness returns the status of the condition Ready. It is Unknown if the status says Ready, and the content of
// the Secret has expired: then no operator updates the status.
func (e entry) readiness(now time.Time) metav1.ConditionStatus {
	if e.isOutdated(now) {
		return metav1.ConditionUnknown
	}
	return e.condition(v1alpha1.ConditionReady).Status
}

// isOutdated reports whether the status says Ready although the content of the Secret has expired, by each clock
// that may be right.
func (e entry) isOutdated(now time.Time) bool {
	expires := e.facts().expirationTime
	return e.condition(v1alpha1.ConditionReady).Status == metav1.ConditionTrue && expires != nil && expires.Add(clockTolerance).Before(now)
}

// neverExpires reports whether the Secret holds something that does not expire.
func (e entry) neverExpires() bool {
	facts := e.facts()
	return facts.contentTime != nil && facts.expirationTime == nil
}

// explanation returns the most important message. The message of the last attempt also explains why Ready is
// False, unless that is what Pipedream says about the account. explanation returns the message about the health
// if nothing else is wrong.
func (e entry) explanation(now time.Time) string {
	if e.isOutdated(now) {
		return e.kind.words.outdated()
	}
	return e.mostImportant().Message
}

// mostImportant returns the condition that explains best how the object does.
func (e entry) mostImportant() metav1.Condition {
	ready, attempt, health := e.condition(v1alpha1.ConditionReady), e.lastAttempt(), e.health()
	switch {
	case ready.Status == metav1.ConditionFalse && e.row(ready.Reason).Class.NeedsPerson():
		return ready
	case attempt.Status != metav1.ConditionTrue:
		return attempt
	case health.Reason != "" && health.Status != metav1.ConditionTrue && health.Reason != v1alpha1.ReasonHealthUnknown:
		return health
	}
	return attempt
}

// actor returns who must act.
func (e entry) actor(now time.Time) string {
	if e.isOutdated(now) {
		return outdatedActor
	}
	return e.row(e.mostImportant().Reason).Actor
}

// outdatedActor says who must act if no operator updates a status.
const outdatedActor = reason.Administrator + ": does the operator run?"
