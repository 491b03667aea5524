// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// RenewRequestAnnotation on a PipedreamToken asks for a new token now: the
// operator issues a token when the annotation has a value, and the current token
// was not issued for this value. Removing the annotation, or emptying it, asks for
// nothing. The value is opaque; by convention it is the time of the request. A new
// value also cuts short the wait after a failed attempt. On the written Secret the
// same annotation records the value that the current token was issued for; in place of
// a value of more than 1 KiB, it records a digest of the value.
const RenewRequestAnnotation = "pipedream-operator.io/renew-request"

// The annotations on the written Secret. They are the operator's record of the
// token it holds, and survive all that its memory does not. Editing one of them
// counts as editing the Secret, and a new token is issued; save that without its
// OwnerAnnotation the Secret is nobody's, and left untouched.
const (
	// OwnerAnnotation names the object that the Secret belongs to, as OwnerValue returns it.
	OwnerAnnotation = "pipedream-operator.io/owner"
	// IssuedAtAnnotation is when the current token was asked for, in RFC 3339.
	IssuedAtAnnotation = "pipedream-operator.io/issued-at"
	// ExpiresAtAnnotation is when the current token expires, in RFC 3339.
	ExpiresAtAnnotation = "pipedream-operator.io/expires-at"
	// ScopesAnnotation is the scopes that were asked for, sorted, separated by
	// spaces; empty when none were.
	ScopesAnnotation = "pipedream-operator.io/scopes"
	// APIAnnotation is the address of the API that issued the current token.
	APIAnnotation = "pipedream-operator.io/api"
	// InputsAnnotation is an HMAC-SHA-256, keyed with the current token, over all
	// that the token was asked for with. It tells whether the client credentials
	// have changed, and tells it only to those who can read the token.
	InputsAnnotation = "pipedream-operator.io/inputs"
	// GrantedScopeAnnotation is the scopes that the answer says were granted, separated
	// by spaces; empty when it did not say.
	GrantedScopeAnnotation = "pipedream-operator.io/granted-scope"
	// CredentialsAnnotation is the name, the two keys and the resourceVersion of the
	// client credentials that the token was issued for. If the version differs, the
	// operator reads the Secret to see whether the credentials have changed.
	CredentialsAnnotation = "pipedream-operator.io/credentials"
	// TokenKeyAnnotation is the key of the Secret that holds exactly the token, from
	// which the other keys can be made anew; empty when none does.
	TokenKeyAnnotation = "pipedream-operator.io/token-key"
	// RenderingAnnotation is a digest of what the templates in spec.secret.data come to
	// with a made-up token. It is empty when TokenKeyAnnotation is not.
	RenderingAnnotation = "pipedream-operator.io/rendering"
	// LabelsAnnotation and AnnotationsAnnotation are the keys in spec.secret.labels and
	// spec.secret.annotations that the Secret was written with, separated by commas.
	LabelsAnnotation      = "pipedream-operator.io/labels"
	AnnotationsAnnotation = "pipedream-operator.io/annotations"
	// ContentAnnotation is a digest of the Secret's data and of the annotations
	// above. It tells whether somebody has edited the Secret.
	ContentAnnotation = "pipedream-operator.io/content"
)

// OperatorAnnotation on the written Secret names the operator that has written it: the namespace and
// the name of its Lease of leader election, with a slash in between. The replicas and the versions of
// one operator have the same name. It is absent if the operator elects no leader. ContentAnnotation
// does not cover it: to edit or to remove it changes nothing, and the next write sets it again.
const OperatorAnnotation = "pipedream-operator.io/operator"

// EventTwoOperators is the reason of the events about a PipedreamToken whose Secret two operators
// write. It is repeated each hour while they do. It is no reason of a condition.
const EventTwoOperators = "TwoOperators"

// The annotations on the written Secret of a PipedreamAccount, beside OwnerAnnotation,
// ExpiresAtAnnotation (empty when the credentials do not expire), RenewRequestAnnotation,
// LabelsAnnotation, AnnotationsAnnotation, RenderingAnnotation (here a digest of
// spec.secret) and ContentAnnotation. Editing one of them counts as editing the Secret,
// and the credentials are fetched again.
const (
	// FetchedAtAnnotation is when the credentials in the Secret were fetched for the
	// first time, in RFC 3339.
	FetchedAtAnnotation = "pipedream-operator.io/fetched-at"
	// NextRefreshAtAnnotation is when Pipedream says that it refreshes the credentials,
	// in RFC 3339; empty when it does not say.
	NextRefreshAtAnnotation = "pipedream-operator.io/next-refresh-at"
	// AccountAnnotation is the ID of the account, and AppAnnotation the name slug of its
	// app; empty when Pipedream does not say.
	AccountAnnotation = "pipedream-operator.io/account"
	AppAnnotation     = "pipedream-operator.io/app"
	// RequestAnnotation is an HMAC-SHA-256, keyed with the UID of the PipedreamAccount,
	// over the API address, the project, the environment, and the account that was asked
	// for.
	RequestAnnotation = "pipedream-operator.io/request"
)

// OwnerValue returns the value of OwnerAnnotation for an object: the name of a
// PipedreamToken, and the kind and the name of an object of any other kind, such as
// PipedreamAccount/orders. So the Secret of an object of one kind never passes for the
// Secret of an object of another kind with the same name.
func OwnerValue(kind, name string) string {
	if kind == KindPipedreamToken {
		return name
	}
	return kind + "/" + name
}
