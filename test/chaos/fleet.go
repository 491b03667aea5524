// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// held is what was observed of the Secret of an object.
type held struct {
	secret *corev1.Secret // the Secret with the expected name; nil when there is none
	answer answer         // the answer to the token or the credentials in the Secret
	owned  int            // how many Secrets the object controls
	slow   time.Duration  // how long the API server took to answer
}

// fleet names the objects of one kind, and their Secrets.
type fleet struct {
	kind             string
	count            int
	nameOf, secretOf func(int) types.NamespacedName
}

var (
	tokenFleet   = fleet{"PipedreamToken", objectCount, nameOf, secretOf}
	accountFleet = fleet{v1alpha1.KindPipedreamAccount, accountCount, accountNameOf, accountSecretOf}
)

// numbers returns the number of each object by its name.
func (f fleet) numbers() map[types.NamespacedName]int {
	numbers := map[types.NamespacedName]int{}
	for i := range f.count {
		numbers[f.nameOf(i)] = i
	}
	return numbers
}

// place finds the Secrets of each object. owners are the objects by their number, nil for one that does not exist.
// orphans are Secrets that the operator wrote for objects of this kind that do not exist.
func (f fleet) place(owners []metav1.Object, secrets []corev1.Secret) (places []held, orphans []string) {
	places = make([]held, f.count)
	bySecret, uids := map[types.NamespacedName]int{}, map[types.UID]int{}
	for i, owner := range owners {
		bySecret[f.secretOf(i)] = i
		if owner != nil {
			uids[owner.GetUID()] = i
		}
	}
	for k := range secrets {
		secret := &secrets[k]
		name := types.NamespacedName{Namespace: secret.Namespace, Name: secret.Name}
		place, expected := bySecret[name]
		if expected {
			places[place].secret = secret
		}
		if owner := metav1.GetControllerOfNoCopy(secret); owner != nil {
			if i, ok := uids[owner.UID]; ok {
				places[i].owned++
				continue
			}
		}
		if expected && f.isInherited(owners[place], secret) {
			places[place].owned++
			continue
		}
		if ownerKindOf(secret) == f.kind {
			orphans = append(orphans, name.String())
		}
	}
	return places, orphans
}

// isInherited reports whether a deleted object of the same name still controls the Secret of an object. The operator
// writes the new token or the new credentials into this Secret. If the API server refuses the write, the garbage
// collector deletes the Secret: soon, or later if it missed the deletion of the object during an outage of the API server.
func (f fleet) isInherited(owner metav1.Object, secret *corev1.Secret) bool {
	if owner == nil || secret == nil {
		return false
	}
	controller := metav1.GetControllerOfNoCopy(secret)
	return controller != nil && controller.Kind == f.kind && controller.Name == owner.GetName() && controller.UID != owner.GetUID()
}

// ownerKindOf returns the kind of the object for which the operator wrote a Secret; "" for another Secret.
func ownerKindOf(secret *corev1.Secret) string {
	value, isWritten := secret.Annotations[v1alpha1.OwnerAnnotation]
	kind, _, isNamed := strings.Cut(value, "/")
	switch {
	case !isWritten:
		return ""
	case !isNamed:
		return tokenFleet.kind // Its owner is written without a kind.
	}
	return kind
}

// ownership checks that each object of a fleet has one Secret, and that no Secret is left without its object.
type ownership struct {
	fleet
	promises *promises
	reporter *reporter
	// isPromised reports whether an object must have a Secret now.
	isPromised func(i int, now time.Time) bool
	// orphans holds, by the name of a Secret, since when it has had no object.
	orphans map[string]time.Time
}

// evaluate checks how many Secrets each object controls, and the orphans. describe describes an object.
func (o *ownership) evaluate(owned []int, orphans []string, describe func(int) string, now time.Time) {
	for i, count := range owned {
		name := o.nameOf(i).String()
		o.reporter.setBreach(count > 1, oneSecret, name, "more than one Secret", fmt.Sprint(count))
		if isMissing := count < 1 && o.isPromised(i, now); isMissing {
			o.reporter.setBreach(true, oneSecret, name, "no Secret that it controls", describe(i))
		} else {
			o.reporter.setBreach(false, oneSecret, name, "no Secret that it controls", "")
		}
	}
	seen := map[string]time.Time{}
	for _, name := range orphans {
		seen[name] = now
		if since, ok := o.orphans[name]; ok {
			seen[name] = since
		}
		left := now.Sub(seen[name])
		late := left > collectorDelay && now.Sub(o.promises.disturbedUntil(0, now, ofCluster)) > collectorDelay
		o.reporter.setBreach(late, oneSecret, name, "a Secret is left whose "+o.kind+" does not exist", left.String())
	}
	o.orphans = seen
}

// leftOver returns how many Secrets are left without their object.
func (o *ownership) leftOver() int { return len(o.orphans) }

// wrongs holds, by its description, since when a status has been wrong in a way.
type wrongs map[string]time.Time

// record remembers in which ways the status is wrong now. It calls report for each way that is new or ended: with
// true once the status has been wrong in this way for longer than allowed.
func (w wrongs) record(problems []string, allowed time.Duration, now time.Time, report func(broken bool, problem string)) {
	current := map[string]bool{}
	for _, problem := range problems {
		current[problem] = true
		if w[problem].IsZero() {
			w[problem] = now
		}
		if now.Sub(w[problem]) > allowed {
			report(true, problem)
		}
	}
	for problem := range w {
		if !current[problem] {
			delete(w, problem)
			report(false, problem)
		}
	}
}

// addIf appends a problem if a status is wrong.
func addIf(problems []string, wrong bool, problem string) []string {
	if wrong {
		return append(problems, problem)
	}
	return problems
}
