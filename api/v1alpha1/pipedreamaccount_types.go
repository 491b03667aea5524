// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// DefaultEnvironment is the meaning of an absent environment of a PipedreamAccount.
const DefaultEnvironment = EnvironmentProduction

// FetchPolicy says when the credentials of an account are fetched again.
//
// +kubebuilder:validation:Enum=BeforeExpiry;EachRefresh
type FetchPolicy string

// The fetch policies.
const (
	// FetchBeforeExpiry fetches credentials before they expire.
	FetchBeforeExpiry FetchPolicy = "BeforeExpiry"
	// FetchEachRefresh fetches credentials after each refresh that Pipedream announces.
	FetchEachRefresh FetchPolicy = "EachRefresh"
)

// DefaultFetchPolicy is the meaning of an absent fetch policy.
const DefaultFetchPolicy = FetchBeforeExpiry

// DefaultAPIKeyKey is the meaning of an absent key of an APIKeyReference.
const DefaultAPIKeyKey = "api_key"

// PipedreamAccount asks for a Secret that holds the credentials of one connected
// account of Pipedream Connect. The operator only reads the account: it never
// creates, changes, reconnects or deletes it, and deleting the PipedreamAccount
// deletes the Secret and not the account. The operator fetches the credentials
// from Pipedream with the OAuth client in `spec.clientSecretRef`, or with the API
// key in `spec.apiKeyRef`, writes them to the Secret in `spec.secret.name`, and
// fetches them again before they expire. When something is wrong,
// `status.conditions` says what it is and who must act.
//
// To have the credentials fetched now: set the annotation
// `pipedream-operator.io/renew-request` to a new value, such as the time.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,shortName=pda,categories=pipedream
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the Secret holds credentials that have not expired."
// +kubebuilder:printcolumn:name="Fetched",type=string,JSONPath=`.status.conditions[?(@.type=="Fetched")].reason`,description="The outcome of the last attempt to fetch the credentials."
// +kubebuilder:printcolumn:name="App",type=string,JSONPath=`.status.account.app`,description="The app of the account."
// +kubebuilder:printcolumn:name="Account",type=string,JSONPath=`.status.account.id`,description="The ID of the account."
// +kubebuilder:printcolumn:name="Secret",type=string,JSONPath=`.status.secret.name`,description="The Secret that holds the credentials."
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.expirationTime`,description="When the credentials expire."
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Healthy",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Healthy")].status`,description="Whether Pipedream says that the account is healthy."
// +kubebuilder:printcolumn:name="Stalled",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Stalled")].reason`,description="Why a person must act."
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Fetched")].message`,description="The outcome of the last attempt in words."
// +kubebuilder:validation:XValidation:fieldPath=".spec.secret.name",rule="!has(self.spec.clientSecretRef) || (has(self.spec.secret) && has(self.spec.secret.name) ? self.spec.secret.name : self.metadata.name) != self.spec.clientSecretRef.name",message="must not be the Secret that `spec.clientSecretRef` names: the account's credentials need a Secret of their own (when absent, `spec.secret.name` is the name of the PipedreamAccount)"
// +kubebuilder:validation:XValidation:fieldPath=".spec.secret.name",rule="!has(self.spec.apiKeyRef) || (has(self.spec.secret) && has(self.spec.secret.name) ? self.spec.secret.name : self.metadata.name) != self.spec.apiKeyRef.name",message="must not be the Secret that `spec.apiKeyRef` names: the account's credentials need a Secret of their own (when absent, `spec.secret.name` is the name of the PipedreamAccount)"
// +kubebuilder:validation:XValidation:fieldPath=".spec.secret.name",rule="(has(self.spec.secret) && has(self.spec.secret.name) ? self.spec.secret.name : self.metadata.name) == (has(oldSelf.spec.secret) && has(oldSelf.spec.secret.name) ? oldSelf.spec.secret.name : oldSelf.metadata.name)",message="is immutable: create another PipedreamAccount for another Secret (when absent, `spec.secret.name` is the name of the PipedreamAccount)"
// +kubebuilder:validation:XValidation:fieldPath=".spec.secret.name",rule="!(has(self.spec.secret) && has(self.spec.secret.name) ? self.spec.secret.name : self.metadata.name).startsWith('sh.helm.release.') && !(has(self.spec.secret) && has(self.spec.secret.name) ? self.spec.secret.name : self.metadata.name).startsWith('bootstrap-token-')",message="must not begin with `sh.helm.release.` or `bootstrap-token-`: these names are reserved for Helm and for Kubernetes"
// +kubebuilder:validation:XValidation:fieldPath=".spec.secret.type",rule="(has(self.spec.secret) && has(self.spec.secret.type) ? self.spec.secret.type : 'Opaque') == (has(oldSelf.spec.secret) && has(oldSelf.spec.secret.type) ? oldSelf.spec.secret.type : 'Opaque')",message="is immutable: create another PipedreamAccount for a Secret of another type (when absent, `spec.secret.type` is `Opaque`)"
type PipedreamAccount struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard object's metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is the account whose credentials are asked for.
	// +required
	Spec PipedreamAccountSpec `json:"spec,omitzero"`

	// status is what the operator last observed. Only the operator writes it.
	// +kubebuilder:default={conditions: {{type: "Ready", status: "False", reason: "NotFetched", message: "The operator has not seen this PipedreamAccount yet. If this stays, check that the operator runs and watches this namespace.", lastTransitionTime: "1970-01-01T00:00:00Z"}, {type: "Fetched", status: "Unknown", reason: "NotAttempted", message: "The operator has not seen this PipedreamAccount yet.", lastTransitionTime: "1970-01-01T00:00:00Z"}}}
	// +optional
	Status PipedreamAccountStatus `json:"status,omitzero"`
}

// PipedreamAccountSpec is the account whose credentials are asked for.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="has(self.clientSecretRef) != has(self.apiKeyRef)",message="exactly one of `clientSecretRef` and `apiKeyRef` must be set: the operator asks Pipedream with an OAuth client, or with a user's API key"
// +kubebuilder:validation:XValidation:fieldPath=".projectID",rule="has(self.apiKeyRef) || has(self.projectID)",message="must be set unless `apiKeyRef` is: an OAuth client reads the accounts of one project"
// +kubebuilder:validation:XValidation:fieldPath=".projectID",rule="!has(self.apiKeyRef) || !has(self.projectID)",message="must not be set when `apiKeyRef` is: an API key reads accounts by their IDs, whatever their project is"
// +kubebuilder:validation:XValidation:fieldPath=".environment",rule="!has(self.apiKeyRef) || !has(self.environment)",message="must not be set when `apiKeyRef` is: only an account of a project has an environment"
// +kubebuilder:validation:XValidation:fieldPath=".workspaceID",rule="!has(self.workspaceID) || has(self.apiKeyRef)",message="must not be set unless `apiKeyRef` is: an OAuth client belongs to one workspace"
// +kubebuilder:validation:XValidation:fieldPath=".externalUserID",rule="!has(self.apiKeyRef) || !has(self.externalUserID)",message="must not be set when `apiKeyRef` is: with an API key, name the account by `accountID`"
// +kubebuilder:validation:XValidation:rule="has(self.accountID) != has(self.externalUserID)",message="exactly one of `accountID` and `externalUserID` must be set: name the account by its ID, or by its user and `app`"
// +kubebuilder:validation:XValidation:fieldPath=".app",rule="!has(self.externalUserID) || has(self.app)",message="must be set when `externalUserID` is: a user may have connected accounts of several apps"
type PipedreamAccountSpec struct {
	// clientSecretRef names the Secret, in the same namespace, that holds the
	// OAuth client ID and client secret of the Pipedream workspace. The operator
	// exchanges them for an access token of its own, which stays in the memory of
	// the operator. The client secret is sent to Pipedream's API only, and is never
	// copied into another object. Exactly one of `clientSecretRef` and `apiKeyRef`
	// must be set.
	// +optional
	ClientSecretRef ClientSecretReference `json:"clientSecretRef,omitzero"`

	// apiKeyRef names the Secret, in the same namespace, that holds the API key of a
	// Pipedream user. The key has all rights of its user and does not expire, so
	// prefer `clientSecretRef`. The operator reads the key for each request and keeps
	// it nowhere. The key is sent to Pipedream's API only.
	// +optional
	APIKeyRef APIKeyReference `json:"apiKeyRef,omitzero"`

	// projectID is the ID of the Pipedream project in which the account was
	// connected, such as `proj_abc123`. It is required with `clientSecretRef`.
	// +kubebuilder:validation:MinLength=6
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^proj_[A-Za-z0-9]+$')",message="must be `proj_` followed by letters and digits, as in the address of the project's page"
	// +optional
	ProjectID string `json:"projectID,omitempty"`

	// environment is the environment of the project in which the account was
	// connected: `development` or `production`. When absent: `production`.
	// +optional
	Environment Environment `json:"environment,omitempty"`

	// workspaceID is the ID of the workspace of the account, such as `o_abc123`. Set
	// it if the user of the API key is in several workspaces. When absent, the
	// operator names no workspace to Pipedream. It is allowed only with `apiKeyRef`.
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^o_[A-Za-z0-9]+$')",message="must be `o_` followed by letters and digits, as in the settings of the workspace"
	// +optional
	WorkspaceID string `json:"workspaceID,omitempty"`

	// accountID is the ID of the account, such as `apn_WYhMlrz`. Pipedream gives an
	// account a new ID if its user reconnects it by a flow from before April 2026:
	// then name the account by `externalUserID` and `app` instead.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_-]+$')",message="must be the ID of an account, such as `apn_WYhMlrz`: letters, digits, `_` and `-`"
	// +optional
	AccountID string `json:"accountID,omitempty"`

	// externalUserID is the ID of the user who has connected the account, as your
	// application named the user to Pipedream Connect. Together with `app` it must
	// match exactly one account that is not dead.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=250
	// +optional
	ExternalUserID string `json:"externalUserID,omitempty"`

	// app is the name of the app in Pipedream's addresses (its name slug), such as
	// `slack` or `google_sheets`. It is required with `externalUserID`. With
	// `accountID`, the operator checks that the account is of this app.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9][a-z0-9_-]*$')",message="must be the name slug of an app, such as `google_sheets`: lower-case letters, digits, `_` and `-`, beginning with a letter or digit"
	// +optional
	App string `json:"app,omitempty"`

	// secret is the Secret that the credentials are written to. When absent, it has
	// the name of the PipedreamAccount, and a key for each field of the credentials.
	// +optional
	Secret AccountSecretTemplate `json:"secret,omitzero"`

	// fetchPolicy says when the operator fetches the credentials again:
	// `BeforeExpiry`, before they expire; or `EachRefresh`, 15 seconds after each
	// refresh that Pipedream announces. Set `EachRefresh` if the app ends an access
	// token as soon as Pipedream has refreshed it. It costs a request for each
	// refresh, and is the same as `BeforeExpiry` while Pipedream does not say when it
	// refreshes the account. When absent: `BeforeExpiry`.
	// +optional
	FetchPolicy FetchPolicy `json:"fetchPolicy,omitempty"`

	// fetchIntervalSeconds is the longest time between two looks at the account.
	// When absent, the operator looks before the credentials expire, and each hour
	// if they do not expire or live longer than two hours. Set it to see sooner that
	// an account is dead, or that its user has reconnected it.
	// +kubebuilder:validation:Minimum=30
	// +kubebuilder:validation:Maximum=86400
	// +optional
	FetchIntervalSeconds int32 `json:"fetchIntervalSeconds,omitempty"`

	// suspend stops all work for this object while it is true: the operator asks
	// Pipedream for nothing and does not write the Secret. Condition Ready still
	// says whether the credentials in the Secret have expired.
	// +optional
	//nolint:kubeapilinter // Kubernetes' own Jobs and CronJobs, and Flux, have this field as a boolean.
	Suspend bool `json:"suspend,omitempty"`
}

// APIKeyReference names a Secret, and the key of the API key in it.
type APIKeyReference struct {
	// name is the name of the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="must be the name of a Secret: lower-case letters, digits, `-` and `.`, beginning and ending with a letter or digit"
	// +required
	Name string `json:"name,omitempty"`

	// key is the key of the API key in the Secret. When absent: `api_key`.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$') && self != '.' && !self.startsWith('..')",message="must be a key of a Secret: letters, digits, `-`, `_` and `.`, but not `.`, and not beginning with `..`"
	// +optional
	Key string `json:"key,omitempty"`
}

// AccountSecretTemplate says how the Secret is made that the credentials of an
// account are written to.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:fieldPath=".data",rule="!has(self.type) || self.type != 'kubernetes.io/basic-auth' || has(self.data) && ('username' in self.data || 'password' in self.data)",message="must have the key `username` or `password`: a Secret of type `kubernetes.io/basic-auth` needs one of them"
// +kubebuilder:validation:XValidation:fieldPath=".data",rule="!has(self.type) || self.type != 'kubernetes.io/dockerconfigjson' || has(self.data) && '.dockerconfigjson' in self.data",message="must have the key `.dockerconfigjson`: a Secret of type `kubernetes.io/dockerconfigjson` needs it"
type AccountSecretTemplate struct {
	// name is the name of the Secret. It must not be the name of a Secret that
	// exists already, save one that this PipedreamAccount wrote. It can't be
	// changed. When absent, it is the name of the PipedreamAccount.
	//
	// The Secret is deleted with the PipedreamAccount.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="must be the name of a Secret: lower-case letters, digits, `-` and `.`, beginning and ending with a letter or digit"
	// +optional
	Name string `json:"name,omitempty"`

	// type is the type of the Secret: `Opaque`, `kubernetes.io/basic-auth`,
	// `kubernetes.io/dockerconfigjson`, or one of your own, such as
	// `example.com/slack-credentials`. It can't be changed. When absent: `Opaque`.
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
	// given, the Secret has exactly these keys. When absent, each field of the
	// credentials has a key of its own name, such as `oauth_access_token`, and
	// `expires_at` (RFC 3339) is there when the credentials expire. The refresh token
	// of the account is never written.
	//
	// A template is a Go template without loops and variables. It can show
	// `.Credentials.` followed by the name of a field, `.AccountID`, `.App`,
	// `.ExternalUserID`, `.ProjectID`, `.Environment` and `.ExpiresAt`, and call
	// `b64enc`, `join`, `list`, `lower`, `quote`, `toJson`, `trim`, `trimPrefix`,
	// `trimSuffix`, `upper`, and in an `if` `and`, `eq`, `ne`, `not`, `or`. The map
	// is atomic: whoever applies it, applies the whole map.
	// +mapType=atomic
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.size() <= 253 && k.matches('^[-._a-zA-Z0-9]+$') && k != '.' && !k.startsWith('..'))",message="must have keys of at most 253 letters, digits, `-`, `_` and `.`, but not `.`, and not beginning with `..`"
	// +kubebuilder:validation:XValidation:rule="self.exists(k, self[k].contains('.Credentials.'))",message="must show a field of `.Credentials`, such as `.Credentials.oauth_access_token`, in at least one of the templates"
	// +optional
	Data map[string]ValueTemplate `json:"data,omitempty"`
}

// PipedreamAccountStatus is what the operator last observed. The operator does not
// decide from it whether the credentials in the Secret are good. If the status is
// lost, the operator looks at the account again early.
//
// +kubebuilder:validation:MinProperties=1
type PipedreamAccountStatus struct {
	// conditions are Ready (the Secret holds credentials that have not expired),
	// Fetched (the outcome of the last attempt), Healthy (what Pipedream says of the
	// account) and Stalled (only a person can help; exists only while True).
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

	// account is the account whose credentials are in the Secret. It is absent
	// while there are none.
	// +optional
	Account FetchedAccount `json:"account,omitzero"`

	// fetchTime is when the credentials in the Secret were fetched.
	// +optional
	FetchTime *metav1.Time `json:"fetchTime,omitempty"`

	// expirationTime is when the credentials in the Secret expire. It is absent if
	// they do not expire.
	// +optional
	ExpirationTime *metav1.Time `json:"expirationTime,omitempty"`

	// nextRefreshTime is when Pipedream announces the next refresh of the credentials
	// in the Secret. The operator looks at the account after that. It is set only
	// with `spec.fetchPolicy: EachRefresh`. It is absent if Pipedream announces no
	// refresh, or one that is a minute or more before `fetchTime`.
	// +optional
	NextRefreshTime *metav1.Time `json:"nextRefreshTime,omitempty"`

	// nextAttemptTime is when the operator tries again. It is set only after a
	// failed attempt that is tried again at a time, not at an event.
	// +optional
	NextAttemptTime *metav1.Time `json:"nextAttemptTime,omitempty"`

	// secret is the Secret that holds the credentials, as it was last checked. It is
	// absent while the operator has written none.
	// +optional
	Secret CheckedSecret `json:"secret,omitzero"`

	// referencedSecretResourceVersion is the resourceVersion of the Secret that
	// `spec.clientSecretRef` or `spec.apiKeyRef` names when it was last read.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +optional
	//nolint:kubeapilinter // It is no reference: it is the version of the Secret that the spec refers to.
	ReferencedSecretResourceVersion string `json:"referencedSecretResourceVersion,omitempty"`
}

// FetchedAccount is the account whose credentials are in the Secret. It says nothing
// of the account's user.
//
// +kubebuilder:validation:MinProperties=1
type FetchedAccount struct {
	// id is the ID of the account.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +optional
	ID string `json:"id,omitempty"`

	// app is the name slug of the account's app.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	App string `json:"app,omitempty"`

	// verdict is the reason for which the credentials in the Secret must not be called
	// good, although they may not have expired: `AccountDead`, `AccountNotFound` or
	// `AccountNotExportable`. It is absent while Pipedream has said nothing of the kind
	// about the account since the credentials were fetched. It stays while the spec asks
	// for another account, as long as these credentials are in the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +optional
	Verdict string `json:"verdict,omitempty"`
}

// PipedreamAccountList is a list of PipedreamAccounts.
//
// +kubebuilder:object:root=true
type PipedreamAccountList struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard list's metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`

	// items are the PipedreamAccounts.
	Items []PipedreamAccount `json:"items"`
}

// TargetType returns the type of the Secret that the credentials are written to.
func (a *PipedreamAccount) TargetType() string {
	if a.Spec.Secret.Type != "" {
		return a.Spec.Secret.Type
	}
	return DefaultSecretType
}

// TargetName returns the name of the Secret that the credentials are written to.
func (a *PipedreamAccount) TargetName() string {
	if a.Spec.Secret.Name != "" {
		return a.Spec.Secret.Name
	}
	return a.Name
}

// TargetEnvironment returns the environment in which the account was connected. It is empty
// with an API key, which reads accounts whatever their environment is.
func (a *PipedreamAccount) TargetEnvironment() Environment {
	if a.Spec.Environment != "" || a.UsesAPIKey() {
		return a.Spec.Environment
	}
	return DefaultEnvironment
}

// TargetFetchPolicy returns when the credentials are fetched again.
func (a *PipedreamAccount) TargetFetchPolicy() FetchPolicy {
	if a.Spec.FetchPolicy != "" {
		return a.Spec.FetchPolicy
	}
	return DefaultFetchPolicy
}

// UsesAPIKey reports whether Pipedream is asked with the API key of a user, and not with an
// OAuth client.
func (a *PipedreamAccount) UsesAPIKey() bool { return a.Spec.APIKeyRef.Name != "" }

// CredentialsSecretName returns the name of the Secret that holds the client credentials or
// the API key.
func (a *PipedreamAccount) CredentialsSecretName() string {
	if a.UsesAPIKey() {
		return a.Spec.APIKeyRef.Name
	}
	return a.Spec.ClientSecretRef.Name
}

// KindPipedreamAccount is the kind of a PipedreamAccount.
const KindPipedreamAccount = "PipedreamAccount"

// OwnerKind returns the kind of the object, also when its TypeMeta is empty.
func (a *PipedreamAccount) OwnerKind() schema.GroupVersionKind {
	return SchemeGroupVersion.WithKind(KindPipedreamAccount)
}
