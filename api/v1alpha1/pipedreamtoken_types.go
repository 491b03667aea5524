// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// What an absent field of a spec means.
const (
	// DefaultClientIDKey is the meaning of an absent clientIDKey.
	DefaultClientIDKey = "client_id"
	// DefaultClientSecretKey is the meaning of an absent clientSecretKey.
	DefaultClientSecretKey = "client_secret"
	// DefaultSecretType is the meaning of an absent secret.type.
	DefaultSecretType = "Opaque"
)

// Environment is one of the two environments of a Pipedream project.
// +kubebuilder:validation:Enum=development;production
type Environment string

// The environments of a Pipedream project.
const (
	EnvironmentDevelopment Environment = "development"
	EnvironmentProduction  Environment = "production"
)

// PipedreamToken asks for a Secret that always holds an access token for
// Pipedream's API with life left. The operator exchanges the OAuth client
// credentials in `spec.clientSecretRef` for a token of the scopes in
// `spec.scopes`, writes it to the Secret in `spec.secret.name`, and renews
// it before it expires. What is wrong, if anything, is in
// `status.conditions`.
//
// To have a new token now: delete the Secret, or set the annotation
// `pipedream-operator.io/renew-request` to a new value, such as the time.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,shortName=pdt,categories=pipedream
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the Secret holds a token that works."
// +kubebuilder:printcolumn:name="Renewed",type=string,JSONPath=`.status.conditions[?(@.type=="Renewed")].reason`,description="The outcome of the last attempt to renew the token."
// +kubebuilder:printcolumn:name="Secret",type=string,JSONPath=`.status.secret.name`,description="The Secret that holds the token."
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.expirationTime`,description="When the current token expires."
// +kubebuilder:printcolumn:name="Renews",type=string,JSONPath=`.status.renewalTime`,description="When the current token is to be renewed."
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Verified",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Verified")].reason`,description="What Pipedream last answered to the current token."
// +kubebuilder:printcolumn:name="Stalled",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Stalled")].reason`,description="Why only a person can help; empty while nobody must act."
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Renewed")].message`,description="The message of condition Renewed."
// +kubebuilder:validation:XValidation:fieldPath=".spec.secret.name",rule="(has(self.spec.secret) && has(self.spec.secret.name) ? self.spec.secret.name : self.metadata.name) != self.spec.clientSecretRef.name",message="must not be the Secret that `spec.clientSecretRef` names: the token needs a Secret of its own (when absent, `spec.secret.name` is the name of the PipedreamToken)"
// +kubebuilder:validation:XValidation:fieldPath=".spec.secret.name",rule="(has(self.spec.secret) && has(self.spec.secret.name) ? self.spec.secret.name : self.metadata.name) == (has(oldSelf.spec.secret) && has(oldSelf.spec.secret.name) ? oldSelf.spec.secret.name : oldSelf.metadata.name)",message="is immutable: create another PipedreamToken for another Secret (when absent, `spec.secret.name` is the name of the PipedreamToken)"
// +kubebuilder:validation:XValidation:fieldPath=".spec.secret.name",rule="!(has(self.spec.secret) && has(self.spec.secret.name) ? self.spec.secret.name : self.metadata.name).startsWith('sh.helm.release.') && !(has(self.spec.secret) && has(self.spec.secret.name) ? self.spec.secret.name : self.metadata.name).startsWith('bootstrap-token-')",message="must not begin with `sh.helm.release.` or `bootstrap-token-`: these names are reserved for Helm and for Kubernetes"
// +kubebuilder:validation:XValidation:fieldPath=".spec.secret.type",rule="(has(self.spec.secret) && has(self.spec.secret.type) ? self.spec.secret.type : 'Opaque') == (has(oldSelf.spec.secret) && has(oldSelf.spec.secret.type) ? oldSelf.spec.secret.type : 'Opaque')",message="is immutable: create another PipedreamToken for a Secret of another type (when absent, `spec.secret.type` is `Opaque`)"
type PipedreamToken struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard object's metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is the token that is asked for.
	// +required
	Spec PipedreamTokenSpec `json:"spec,omitzero"`

	// status is what the operator last observed. It is written by the operator
	// only.
	// +kubebuilder:default={conditions: {{type: "Ready", status: "False", reason: "NotIssued", message: "The operator has not seen this PipedreamToken yet. If this stays, check that the operator runs and watches this namespace.", lastTransitionTime: "1970-01-01T00:00:00Z"}, {type: "Renewed", status: "Unknown", reason: "NotAttempted", message: "The operator has not seen this PipedreamToken yet.", lastTransitionTime: "1970-01-01T00:00:00Z"}}}
	// +optional
	Status PipedreamTokenStatus `json:"status,omitzero"`
}

// PipedreamTokenSpec is the token that is asked for.
//
// +kubebuilder:validation:XValidation:fieldPath=".projectID",rule="!has(self.verification) || has(self.projectID)",message="must be set when `verification` is: the current token is tried on a listing of this project"
type PipedreamTokenSpec struct {
	// clientSecretRef names the Secret, in the same namespace, that holds the
	// OAuth client ID and client secret. Create the client in Pipedream under
	// Settings, API, New OAuth Client. The client secret is sent to Pipedream's
	// API only, and is never copied into another object.
	// +required
	ClientSecretRef ClientSecretReference `json:"clientSecretRef,omitzero"`

	// scopes are the permissions that the token is to have, such as
	// `connect:accounts:read`. When absent, none are named, and Pipedream gives
	// its own default: `*`, full access to the workspace. Name the least that
	// the consumer needs. Changing them issues a new token at once. The list is
	// atomic: whoever applies it, applies the whole list.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(s, self.exists_one(t, s == t))",message="must not name a scope twice"
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[!#-\\\\[\\\\]-~]+$')",message="must be a scope token of RFC 6749: printable ASCII characters without space, double quote and backslash, such as `connect:accounts:read`; one scope an item"
	// +optional
	Scopes []string `json:"scopes,omitempty"`

	// projectID is the ID of the Pipedream project that the consumer works with,
	// such as `proj_abc123`. It is copied to the key `project_id` of the Secret
	// unless `secret.data` says otherwise, and needed by `verification`. It does not limit the token, which is valid
	// for the whole workspace.
	// +kubebuilder:validation:MinLength=6
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^proj_[A-Za-z0-9]+$')",message="must be `proj_` followed by letters and digits, as in the address of the project's page"
	// +optional
	ProjectID string `json:"projectID,omitempty"`

	// environment is the environment of the project that the consumer works
	// with: `development` or `production`. It is copied to the key `environment`
	// of the Secret unless `secret.data` says otherwise. It does not limit the token. When absent, nothing is
	// copied, and verification uses `production`.
	// +optional
	Environment Environment `json:"environment,omitempty"`

	// secret is the Secret that the token is written to. When absent, it has the
	// name of the PipedreamToken.
	// +optional
	Secret SecretTemplate `json:"secret,omitzero"`

	// renewBeforeSeconds is how long before its expiry the token is renewed,
	// but not in the first half of its life. When absent, it is renewed when
	// two thirds of its life are over. In both cases it is up to a tenth of
	// its life earlier, so that tokens that were issued together are not
	// renewed together.
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=2592000
	// +optional
	RenewBeforeSeconds int32 `json:"renewBeforeSeconds,omitempty"`

	// verification tries the current token on Pipedream's API at an interval, so
	// that a revoked token is seen and replaced. When absent, it is off, and a
	// revoked token stays until it is renewed. It needs `projectID`, and a scope
	// that may list the project's accounts (`connect:accounts:read`) or the
	// projects (`connect:projects:read`). `connect:*`, `*` and no scopes at all
	// include these. With other scopes only, the operator does not try the
	// token, and condition Verified says which scope is missing.
	// +optional
	Verification Verification `json:"verification,omitzero"`

	// suspend stops all work for this PipedreamToken while it is true: the
	// operator asks Pipedream for no token, verifies none, and does not write the
	// Secret. The current token stays in the Secret until it expires, and condition
	// Ready turns False then. When `suspend` is false or absent again, the operator
	// goes on at once; a token that is still good is kept. A
	// `pipedream-operator.io/renew-request` waits until then.
	// +optional
	//nolint:kubeapilinter // Kubernetes' own Jobs and CronJobs, and Flux, have this field as a boolean.
	Suspend bool `json:"suspend,omitempty"`
}

// ClientSecretReference names a Secret, and the keys of the client ID and
// the client secret in it.
//
// +kubebuilder:validation:XValidation:rule="(has(self.clientIDKey) ? self.clientIDKey : 'client_id') != (has(self.clientSecretKey) ? self.clientSecretKey : 'client_secret')",message="`clientIDKey` and `clientSecretKey` must not be the same key"
type ClientSecretReference struct {
	// name is the name of the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="must be the name of a Secret: lower-case letters, digits, `-` and `.`, beginning and ending with a letter or digit"
	// +required
	Name string `json:"name,omitempty"`

	// clientIDKey is the key of the client ID. When absent: `client_id`.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$') && self != '.' && !self.startsWith('..')",message="must be a key of a Secret: letters, digits, `-`, `_` and `.`, but not `.`, and not beginning with `..`"
	// +optional
	ClientIDKey string `json:"clientIDKey,omitempty"`

	// clientSecretKey is the key of the client secret. When absent:
	// `client_secret`.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$') && self != '.' && !self.startsWith('..')",message="must be a key of a Secret: letters, digits, `-`, `_` and `.`, but not `.`, and not beginning with `..`"
	// +optional
	ClientSecretKey string `json:"clientSecretKey,omitempty"`
}

// SecretTemplate says how the Secret is made that the token is written to.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:fieldPath=".data",rule="!has(self.type) || self.type != 'kubernetes.io/basic-auth' || has(self.data) && ('username' in self.data || 'password' in self.data)",message="must have the key `username` or `password`: a Secret of type `kubernetes.io/basic-auth` needs one of them"
// +kubebuilder:validation:XValidation:fieldPath=".data",rule="!has(self.type) || self.type != 'kubernetes.io/dockerconfigjson' || has(self.data) && '.dockerconfigjson' in self.data",message="must have the key `.dockerconfigjson`: a Secret of type `kubernetes.io/dockerconfigjson` needs it"
type SecretTemplate struct {
	// name is the name of the Secret. It must not be the name of a Secret that
	// exists already, save one that this PipedreamToken wrote. It can't be
	// changed. When absent, it is the name of the PipedreamToken.
	//
	// The Secret is deleted with the PipedreamToken.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="must be the name of a Secret: lower-case letters, digits, `-` and `.`, beginning and ending with a letter or digit"
	// +optional
	Name string `json:"name,omitempty"`

	// type is the type of the Secret: `Opaque`, `kubernetes.io/basic-auth`,
	// `kubernetes.io/dockerconfigjson`, or one of your own, such as
	// `example.com/pipedream-token`. It can't be changed. When absent: `Opaque`.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self in ['Opaque', 'kubernetes.io/basic-auth', 'kubernetes.io/dockerconfigjson'] || self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?$') && !self.matches('^([^/]+[.])?(kubernetes[.]io|k8s[.]io|helm[.]sh)/')",message="must be `Opaque`, `kubernetes.io/basic-auth`, `kubernetes.io/dockerconfigjson`, or `domain/name` with a domain that is not kubernetes.io, k8s.io or helm.sh, nor under one of them"
	// +optional
	Type string `json:"type,omitempty"`

	// labels are put on the Secret. A label that you remove here is removed from the
	// Secret. Labels set by others stay, unless the spec sets the same key: then the
	// spec wins. Keys of a domain that controllers act upon, such as `kubernetes.io`
	// or `argoproj.io`, are refused; keys of `app.kubernetes.io` are allowed, except
	// `instance` and `managed-by`. The map is atomic: who applies it, applies the
	// whole map.
	// +mapType=atomic
	// +kubebuilder:validation:MinProperties=0
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !format.qualifiedName().validate(k).hasValue())",message="must have keys like `team` or `example.com/team`: an optional domain and `/`, and at most 63 letters, digits, `-`, `_` and `.`, beginning and ending with a letter or digit"
	// +kubebuilder:validation:XValidation:rule="self.all(k, !format.labelValue().validate(self[k]).hasValue())",message="must have values of at most 63 letters, digits, `-`, `_` and `.`, beginning and ending with a letter or digit"
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.matches('^([^/]+[.])?(kubernetes[.]io|k8s[.]io|helm[.]sh|argoproj[.]io|fluxcd[.]io|bitnami[.]com|cert-manager[.]io|external-secrets[.]io|pipedream-operator[.]io)/') || k.startsWith('app.kubernetes.io/') && !(k in ['app.kubernetes.io/instance', 'app.kubernetes.io/managed-by']))",message="must have no key of kubernetes.io, k8s.io, helm.sh, argoproj.io, fluxcd.io, bitnami.com, cert-manager.io, external-secrets.io, pipedream-operator.io or a domain under one of them, because controllers act upon these; of app.kubernetes.io, all but `instance` and `managed-by` are allowed"
	// +optional
	Labels map[string]LabelValue `json:"labels,omitempty"`

	// annotations are put on the Secret. An annotation that you remove here is removed
	// from the Secret. Annotations set by others stay, unless the spec sets the same
	// key: then the spec wins. The keys that are refused for labels are refused here,
	// too. The map is atomic: who applies it, applies the whole map.
	// +mapType=atomic
	// +kubebuilder:validation:MinProperties=0
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !format.qualifiedName().validate(k.lowerAscii()).hasValue())",message="must have keys like `team` or `example.com/team`: an optional domain and `/`, and at most 63 letters, digits, `-`, `_` and `.`, beginning and ending with a letter or digit"
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.lowerAscii().matches('^([^/]+[.])?(kubernetes[.]io|k8s[.]io|helm[.]sh|argoproj[.]io|fluxcd[.]io|bitnami[.]com|cert-manager[.]io|external-secrets[.]io|pipedream-operator[.]io)/') || k.startsWith('app.kubernetes.io/') && !(k in ['app.kubernetes.io/instance', 'app.kubernetes.io/managed-by']))",message="must have no key of kubernetes.io, k8s.io, helm.sh, argoproj.io, fluxcd.io, bitnami.com, cert-manager.io, external-secrets.io, pipedream-operator.io or a domain under one of them, because controllers act upon these; of app.kubernetes.io, all but `instance` and `managed-by` are allowed"
	// +optional
	Annotations map[string]AnnotationValue `json:"annotations,omitempty"`

	// data are the keys of the Secret, and a template for the value of each. When
	// given, the Secret has exactly these keys. When absent, they are
	// `access_token`, `token_type`, `expires_at` (RFC 3339), `scope`, and
	// `project_id` and `environment` when the spec has them.
	//
	// A template is a Go template without loops and variables. It can show
	// `.AccessToken`, `.TokenType`, `.ExpiresAt`, `.Scope`, `.ProjectID` and
	// `.Environment`, and call `b64enc`, `join`, `list`, `lower`, `quote`,
	// `toJson`, `trim`, `trimPrefix`, `trimSuffix`, `upper`, and in an `if` `and`,
	// `eq`, `ne`, `not`, `or`. Give one key nothing but `{{ .AccessToken }}`: the
	// other templates can then be changed without a new token, and `verification`
	// can try it. The map is atomic: whoever applies it, applies the whole map.
	// +mapType=atomic
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.size() <= 253 && k.matches('^[-._a-zA-Z0-9]+$') && k != '.' && !k.startsWith('..'))",message="must have keys of at most 253 letters, digits, `-`, `_` and `.`, but not `.`, and not beginning with `..`"
	// +kubebuilder:validation:XValidation:rule="self.exists(k, self[k].contains('.AccessToken'))",message="must show `.AccessToken` in at least one of the templates"
	// +optional
	Data map[string]ValueTemplate `json:"data,omitempty"`
}

// LabelValue is the value of a label.
//
// +kubebuilder:validation:MaxLength=63
type LabelValue string

// AnnotationValue is the value of an annotation.
//
// +kubebuilder:validation:MaxLength=1024
type AnnotationValue string

// ValueTemplate is a template for a value of the Secret.
//
// +kubebuilder:validation:MaxLength=8192
// +kubebuilder:validation:XValidation:rule="!self.matches('[{][{]-?[ \\t\\r\\n]*((range|with|define|template|block|break|continue)([^A-Za-z0-9_]|$)|[$])')",message="must have no loops, variables or nested templates: `range`, `with`, `define`, `template`, `block`, `break`, `continue` and `$` are not available; a text that looks so can be written as `{{ \"{{\" }} range`"
type ValueTemplate string

// Verification says how often the current token is tried on Pipedream's API.
type Verification struct {
	// intervalSeconds is the longest time between two tries; 300 suits most. A
	// revoked token is seen after this time at the latest, unless many
	// PipedreamTokens share the operator's `--verification-requests-per-second`,
	// or the operator does not run when a try is due.
	// While Verified is Unknown, tries are at most an hour apart. While
	// verification is suspended (Pipedream refuses every token for this spec),
	// they are at least an hour apart.
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=86400
	// +required
	IntervalSeconds int32 `json:"intervalSeconds,omitempty"`
}

// PipedreamTokenStatus is what the operator last observed. The operator does not
// decide from it whether the current token is good. If the status is lost, the
// operator reads the Secret again, tries a failed attempt again early, and does not
// know until the next verification that the current token was refused.
//
// +kubebuilder:validation:MinProperties=1
type PipedreamTokenStatus struct {
	// conditions are Ready (the Secret holds a token that works), Renewed (the
	// outcome of the last attempt), Verified (what Pipedream last answered to
	// the current token; only with `spec.verification`) and Stalled (only a person
	// can help; exists only while True).
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that this status is
	// about.
	// +kubebuilder:validation:Minimum=1
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// issueTime is when the current token was asked for.
	// +optional
	IssueTime *metav1.Time `json:"issueTime,omitempty"`

	// expirationTime is when the current token expires.
	// +optional
	ExpirationTime *metav1.Time `json:"expirationTime,omitempty"`

	// renewalTime is when the current token is to be renewed. It is absent while
	// `spec.suspend` is true, and while the PipedreamToken is being deleted.
	// +optional
	RenewalTime *metav1.Time `json:"renewalTime,omitempty"`

	// nextAttemptTime is when the operator tries again. It is set only after a
	// failed attempt that is tried again at a time, not at an event.
	// +optional
	NextAttemptTime *metav1.Time `json:"nextAttemptTime,omitempty"`

	// acceptedGeneration is the generation of the spec, if it is the current one,
	// for which Pipedream has accepted a token when it was verified. It is set
	// only while condition Verified is Unknown or False, and tells the operator
	// that a 401 answer is about the token, and not about the spec.
	// +kubebuilder:validation:Minimum=1
	// +optional
	AcceptedGeneration int64 `json:"acceptedGeneration,omitempty"`

	// secret is the Secret that holds the token, as it was last checked. It is
	// absent while the operator has written none.
	// +optional
	Secret CheckedSecret `json:"secret,omitzero"`

	// clientSecretResourceVersion is the resourceVersion of the Secret with the
	// client credentials when it was last read.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +optional
	ClientSecretResourceVersion string `json:"clientSecretResourceVersion,omitempty"`
}

// CheckedSecret is a Secret that the operator has written, as it was last checked.
type CheckedSecret struct {
	// name is the name of the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name,omitempty"`

	// resourceVersion is the resourceVersion at which the Secret was found to
	// hold just what the spec asks for. It is absent while it does not.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +optional
	ResourceVersion string `json:"resourceVersion,omitempty"`
}

// PipedreamTokenList is a list of PipedreamTokens.
//
// +kubebuilder:object:root=true
type PipedreamTokenList struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard list's metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`

	// items are the PipedreamTokens.
	Items []PipedreamToken `json:"items"`
}

// TargetType returns the type of the Secret that the token is written to.
func (t *PipedreamToken) TargetType() string {
	if t.Spec.Secret.Type != "" {
		return t.Spec.Secret.Type
	}
	return DefaultSecretType
}

// TargetName returns the name of the Secret that the token is written to.
func (t *PipedreamToken) TargetName() string {
	if t.Spec.Secret.Name != "" {
		return t.Spec.Secret.Name
	}
	return t.Name
}

// KindPipedreamToken is the kind of a PipedreamToken.
const KindPipedreamToken = "PipedreamToken"

// OwnerKind returns the kind of the object, also when its TypeMeta is empty.
func (t *PipedreamToken) OwnerKind() schema.GroupVersionKind {
	return SchemeGroupVersion.WithKind(KindPipedreamToken)
}
