// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
)

// stalledLooks is how many times the plugin reads a status that was Stalled before the request and has not changed.
// After that, the plugin treats the status as the answer to the request.
const stalledLooks = 20

// request is an object as it was when the plugin requested an attempt for it.
type request struct {
	entry
	// value is the value of the annotation.
	value string
	// now is the object as the plugin last read it. looks is how many times the plugin has read it.
	now   entry
	looks int
	// problem is the error of the last read; nil if the read succeeded.
	problem error
}

// await waits until each request has an outcome.
func (r *renewal) await(ctx context.Context, pending []*request, timeout time.Duration) error {
	outcome := error(nil)
	err := wait.PollUntilContextTimeout(ctx, r.plugin.PollInterval, timeout, true, func(ctx context.Context) (bool, error) {
		var still []*request
		for _, one := range pending {
			isDone, err := r.lookAgain(ctx, one)
			if no, ok := errors.AsType[*verdict](err); ok {
				outcome = no
			} else if err != nil {
				return false, err
			}
			if !isDone {
				still = append(still, one)
			}
		}
		pending = still
		return len(pending) == 0, nil
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case wait.Interrupted(err):
		for _, one := range pending {
			r.plugin.printError(fmt.Sprintf("%s within %v: %s", one.failed(), timeout, one.situation()))
		}
		return firstOf(outcome, &verdict{code: exitUnknown})
	case err != nil:
		return err
	}
	return outcome
}

// lookAgain reads the object of a request. It keeps a temporary error in problem and does not return
// it, because the next read may succeed.
func (r *renewal) lookAgain(ctx context.Context, one *request) (isDone bool, err error) {
	isDone, err = r.look(ctx, one)
	if _, isVerdict := errors.AsType[*verdict](err); isVerdict {
		return isDone, err
	}
	switch {
	case isWithoutCRD(err), apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return false, err
	case apierrors.IsNotFound(err):
		r.plugin.printError(one.failed() + ": it was deleted")
		return true, &verdict{code: exitNo}
	case !isOutOfTime(err) || one.looks == 0 && one.problem == nil:
		one.problem = err // A timeout does not replace the result of an earlier read.
	}
	return isDone, nil
}

// isOutOfTime reports whether a request was canceled or not sent because the deadline has passed. client-go's
// rate limiter has no error type for that, so isOutOfTime compares the text.
func isOutOfTime(err error) bool {
	return err != nil && strings.Contains(err.Error(), "context deadline")
}

// look reports whether a request has an outcome, and prints the outcome. The error is a verdict if the
// operator can't do what was requested.
func (r *renewal) look(ctx context.Context, one *request) (isDone bool, err error) {
	now, err := r.cluster.get(ctx, one.kind, one.GetNamespace(), one.GetName())
	if err != nil {
		return false, err
	}
	one.now = now
	if now.isNewSince(one.subject) {
		if isDone, err = r.cluster.isWrittenFor(ctx, one); err != nil {
			return false, err
		}
	}
	if isDone {
		r.plugin.print("%s %s", one.fullName(), one.success(r.plugin.Now()))
		return true, nil
	}
	one.looks++
	if !one.isHopeless() {
		return false, nil
	}
	r.plugin.printError(one.failed() + ": " + reasonAndMessage(one.now))
	return true, &verdict{code: exitNo}
}

// failed says which object the request has failed for, and how.
func (r *request) failed() string { return r.fullName() + " not " + r.kind.words.attempted }

// success says what the Secret holds now.
func (r *request) success(now time.Time) string {
	before, facts := r.facts(), r.now.facts()
	text := r.kind.words.attempted
	if facts.contentTime != nil && facts.contentTime.Equal(before.contentTime) {
		text += ", the " + r.kind.words.content + " " + r.kind.words.is + " the same as before"
	}
	if r.now.neverExpires() {
		return text + ", " + r.kind.words.do + " not expire"
	}
	return text + ", " + r.kind.words.expire + " " + moment(facts.expirationTime, now)
}

// isHopeless reports whether the request needs a person: the object is suspended or Stalled. A status that was
// Stalled before the request counts only after more than stalledLooks reads.
func (r *request) isHopeless() bool {
	if r.now.facts().isSuspended && r.now.lastAttempt().Reason == v1alpha1.ReasonSuspended {
		return true
	}
	isNews := !equality.Semantic.DeepEqual(r.facts().status, r.now.facts().status)
	return r.now.condition(v1alpha1.ConditionStalled).Status == metav1.ConditionTrue && (isNews || r.looks > stalledLooks)
}

// isWrittenFor reports whether the operator has written the Secret for a request, or for a later request that has
// replaced it. If the user may not read the Secret, isWrittenFor uses the status.
func (c *cluster) isWrittenFor(ctx context.Context, r *request) (bool, error) {
	secret, err := c.metadata.Resource(secretResource).Namespace(r.GetNamespace()).Get(ctx, r.now.TargetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err):
		return r.now.facts().contentTime != nil && r.now.lastAttempt().Status == metav1.ConditionTrue, nil
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, err
	}
	writtenFor := ownedsecret.BoundRequest(secret.Annotations[v1alpha1.RenewRequestAnnotation])
	return writtenFor == r.value || writtenFor != "" && writtenFor == ownedsecret.BoundRequest(r.now.GetAnnotations()[v1alpha1.RenewRequestAnnotation]), nil
}

// situation returns the state of a request, and the error of the last read.
func (r *request) situation() string {
	if r.now.GetAnnotations()[v1alpha1.RenewRequestAnnotation] == "" {
		return "somebody has removed the annotation " + v1alpha1.RenewRequestAnnotation + " before the operator has seen it; " +
			"look for a tool that replaces the object by the version in Git"
	}
	if r.problem != nil {
		return reasonAndMessage(r.now) + " (the last look has failed: " + r.problem.Error() + ")"
	}
	return reasonAndMessage(r.now)
}

// reasonAndMessage returns the outcome of the last attempt.
func reasonAndMessage(e entry) string {
	attempt := e.lastAttempt()
	return strings.TrimSuffix(attempt.Reason+": "+oneLine(attempt.Message), ": ")
}
