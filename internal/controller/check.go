// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

// check reads the target, and the credentials if they may be others, and remembers
// whether the target holds what the spec asks for.
func (r *Reconciler) check(ctx context.Context, o *observation) error {
	target, err := r.readTarget(ctx, o)
	if err != nil || target == nil {
		return err
	}
	outcome := renewal.Edited
	if record := o.record(); record != nil && isIntact(target) {
		held := heldBy(target, *record)
		o.held = &held
		if outcome, err = r.compare(ctx, o, o.held, target); err != nil {
			return err
		}
	}
	o.memory.checked = checked{
		secretVersion:      target.ResourceVersion,
		credentialsVersion: versionOf(o.credentials),
		generation:         o.token.Generation,
		outcome:            outcome,
	}
	if outcome == renewal.Good {
		o.memory.shapedFor = o.token.Generation
	}
	if o.memory.editor = ""; outcome == renewal.Edited || o.isSuperseded() || outcome == renewal.Misshapen && o.isReverted() {
		o.memory.editor = editorOf(target)
	}
	return nil
}

// editorOf returns the field manager that has last changed something in a Secret,
// and preferably its data; empty if nobody but us is known.
func editorOf(secret *corev1.Secret) string {
	var last metav1.ManagedFieldsEntry
	isLater := func(entry metav1.ManagedFieldsEntry) bool {
		if ownsData(entry) != ownsData(last) {
			return ownsData(entry)
		}
		return last.Time == nil || last.Time.Before(entry.Time)
	}
	for _, entry := range secret.ManagedFields {
		if entry.Manager != FieldOwner && isLater(entry) {
			last = entry
		}
	}
	return last.Manager
}

func ownsData(entry metav1.ManagedFieldsEntry) bool {
	return entry.FieldsV1 != nil && strings.Contains(entry.FieldsV1.GetRawString(), `"f:data"`)
}

// compare compares an intact Secret with what is wanted.
func (r *Reconciler) compare(ctx context.Context, o *observation, held *heldToken, target *corev1.Secret) (renewal.Check, error) {
	isFor, err := r.isForCredentials(ctx, o, held)
	switch {
	case err != nil:
		return "", err
	case !isFor:
		return renewal.InputsChanged, nil
	}
	return o.compareShape(*held, target), nil
}

// isForCredentials tells whether a held token was issued for the credentials as they
// are. Those of the recorded version are not read, unless somebody has changed the
// Secret since, who can make up any record but `inputs`. When the token can't be told
// from its Secret, those of any other version count as others.
func (r *Reconciler) isForCredentials(ctx context.Context, o *observation, held *heldToken) (bool, error) {
	isRecorded := func() bool {
		return held.credentials == o.credentialsRecord() &&
			(held.token.AccessToken.IsEmpty() || o.memory.genuine == versionOf(o.target))
	}
	if o.credentials != nil && isRecorded() {
		return true, nil
	}
	credentials, err := r.readCredentials(ctx, o)
	if err != nil || credentials == nil {
		return true, err // Nothing can be asked for without.
	}
	if isRecorded() {
		return true, nil
	}
	if held.token.AccessToken.IsEmpty() || held.inputs != inputsOf(held.token.AccessToken, *credentials, held.scopes, held.api) {
		return false, nil
	}
	held.credentials, o.memory.genuine = o.credentialsRecord(), versionOf(o.target)
	return true, nil
}

// credentialsRecord tells one version of the credentials, and the place of them, from
// any other.
func (o *observation) credentialsRecord() string {
	reference := o.token.Spec.ClientSecretRef
	return strings.Join([]string{
		reference.Name,
		orDefault(reference.ClientIDKey, v1alpha1.DefaultClientIDKey),
		orDefault(reference.ClientSecretKey, v1alpha1.DefaultClientSecretKey),
		versionOf(o.credentials),
	}, "/")
}

func equalBytes(a, b []byte) bool { return string(a) == string(b) }

// readTarget reads the target live, and makes it what the visit observes. It
// returns nil if there is none.
func (r *Reconciler) readTarget(ctx context.Context, o *observation) (*corev1.Secret, error) {
	target := &corev1.Secret{}
	name := types.NamespacedName{Namespace: o.token.Namespace, Name: o.token.TargetName()}
	err := r.Client.Get(ctx, name, target)
	if apierrors.IsNotFound(err) {
		o.target, o.memory.secretVersion = nil, ""
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	o.memory.secretVersion = target.ResourceVersion
	o.memory.targetType = targetType{uid: target.UID, name: string(target.Type)}
	o.target = &metav1.PartialObjectMetadata{ObjectMeta: target.ObjectMeta}
	return target, nil
}

// readCredentials reads the client credentials live, once a visit. It returns
// nil if they are absent or can't be used, which the next decision takes into
// account.
func (r *Reconciler) readCredentials(ctx context.Context, o *observation) (*pipedream.Credentials, error) {
	if o.clientCredentials != nil {
		return o.clientCredentials, nil
	}
	reference := o.token.Spec.ClientSecretRef
	secret := &corev1.Secret{}
	err := r.Client.Get(ctx, types.NamespacedName{Namespace: o.token.Namespace, Name: reference.Name}, secret)
	if apierrors.IsNotFound(err) {
		o.credentials = nil
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	o.credentials = &metav1.PartialObjectMetadata{ObjectMeta: secret.ObjectMeta}
	credentials, unusable := parseCredentials(secret, reference)
	if unusable.reason != "" {
		unusable.generation = o.token.Generation
		o.memory.incomplete = unusable
		return nil, nil
	}
	o.memory.incomplete = incomplete{}
	o.clientCredentials = &credentials
	return o.clientCredentials, nil
}

// parseCredentials returns the credentials in a Secret, or why they can't be used. What
// it says of them is safe to show.
func parseCredentials(secret *corev1.Secret, reference v1alpha1.ClientSecretReference) (pipedream.Credentials, incomplete) {
	keys := []string{
		orDefault(reference.ClientIDKey, v1alpha1.DefaultClientIDKey),
		orDefault(reference.ClientSecretKey, v1alpha1.DefaultClientSecretKey),
	}
	var values, problems []string
	for _, key := range keys {
		value, err := pipedream.ParseCredential(secret.Data[key])
		switch {
		case err != nil:
			problems = append(problems, "the value of key `"+key+"` "+err.Error())
		case value == "":
			return pipedream.Credentials{}, incomplete{
				credentialsVersion: secret.ResourceVersion,
				reason:             v1alpha1.ReasonCredentialsMissing,
				what:               "The Secret that `spec.clientSecretRef` names has no key `" + key + "`, or nothing in it",
			}
		}
		values = append(values, value)
	}
	if len(problems) > 0 {
		return pipedream.Credentials{}, incomplete{
			credentialsVersion: secret.ResourceVersion,
			reason:             v1alpha1.ReasonCredentialsInvalid,
			what:               "The Secret `" + secret.Name + "` holds no usable client credentials: " + strings.Join(problems, ", and "),
		}
	}
	return pipedream.Credentials{ClientID: values[0], ClientSecret: pipedream.NewSensitive(values[1])}, incomplete{}
}

func orDefault(value, byDefault string) string {
	if value == "" {
		return byDefault
	}
	return value
}
