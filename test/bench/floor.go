// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// floorRounds is how often the floor and the manager are measured, in turns.
const floorRounds = 3

// measureFloor compares the manager with a loop that makes the same requests and does
// nothing else. Both find the PipedreamTokens there already, so that creating them is
// no part of it; the time is from the first request to the end of the last one.
func (b *bench) measureFloor(ctx context.Context) error {
	var floors, managers, ratios []float64
	for round := range floorRounds {
		floor, err := b.floorOf(ctx, round)
		if err != nil {
			return err
		}
		manager, err := b.backlogOf(ctx, round)
		if err != nil {
			return err
		}
		b.say("floor %.0f/s, manager %.0f/s", floor, manager)
		floors, managers, ratios = append(floors, floor), append(managers, manager), append(ratios, manager/floor)
	}
	of := fmt.Sprintf("floor of %d", b.options.objects)
	b.report.add(of, "throughput of a loop of the same requests", median(floors), "/s", nil)
	b.report.add(of, "throughput of the manager", median(managers), "/s", nil)
	b.report.add(of, fmt.Sprintf("manager / loop, median of %d rounds", floorRounds), median(ratios), "", atLeast(0.7))
	b.report.add(of, "manager / loop, least", slices.Min(ratios), "", nil)
	return nil
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// backlogOf returns how many objects a second a manager serves that finds them all at
// its start.
func (b *bench) backlogOf(ctx context.Context, round int) (perSecond float64, err error) {
	f, err := b.newFleet(ctx, fmt.Sprintf("backlog-%d", round), rightClientSecret)
	if err != nil {
		return 0, err
	}
	if err := f.add(ctx, b.options.objects); err != nil {
		return 0, err
	}
	if err := b.audit.skip(); err != nil {
		return 0, err
	}
	m, err := b.startManager(ctx, managerOptions{namespaces: []string{f.namespace}})
	if err != nil {
		return 0, err
	}
	if err := f.awaitReady(ctx, m); err != nil {
		return 0, err
	}
	calls, err := b.audit.take()
	if err != nil {
		return 0, err
	}
	return float64(f.size) / calls.took().Seconds(), b.stopManagers()
}

// floor is the loop: plain calls, as the manager's user.
type floor struct {
	fleet   *fleet
	secrets *kubernetes.Clientset
	tokens  *rest.RESTClient
	http    *http.Client
}

// floorOf returns how many objects a second the loop serves.
func (b *bench) floorOf(ctx context.Context, round int) (perSecond float64, err error) {
	l := &floor{http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}}}
	if l.fleet, err = b.newFleet(ctx, fmt.Sprintf("floor-%d", round), rightClientSecret); err != nil {
		return 0, err
	}
	config := rest.CopyConfig(b.managerConfig)
	config.ContentType = "application/vnd.kubernetes.protobuf"
	if l.secrets, err = kubernetes.NewForConfig(config); err != nil {
		return 0, fmt.Errorf("make a client: %w", err)
	}
	config = rest.CopyConfig(b.managerConfig)
	config.APIPath, config.GroupVersion = "/apis", &v1alpha1.SchemeGroupVersion
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme.Scheme).WithoutConversion()
	if l.tokens, err = rest.RESTClientFor(config); err != nil {
		return 0, fmt.Errorf("make a client: %w", err)
	}
	if err := l.fleet.add(ctx, b.options.objects); err != nil {
		return 0, err
	}
	tokens := &v1alpha1.PipedreamTokenList{}
	if err := l.fleet.admin.List(ctx, tokens, client.InNamespace(l.fleet.namespace)); err != nil {
		return 0, fmt.Errorf("list PipedreamTokens: %w", err)
	}
	if err := b.audit.skip(); err != nil {
		return 0, err
	}
	if err := inParallel(len(tokens.Items), func(i int) error { return l.serve(ctx, &tokens.Items[i]) }); err != nil {
		return 0, err
	}
	calls, err := b.audit.take()
	if err != nil {
		return 0, err
	}
	if got, want := calls.aboutObjects(), 3*l.fleet.size; got != want {
		return 0, fmt.Errorf("the loop made %d requests, want %d", got, want)
	}
	return float64(l.fleet.size) / calls.took().Seconds(), nil
}

// serve reads the credentials, exchanges them, creates the Secret and applies the status.
func (l *floor) serve(ctx context.Context, token *v1alpha1.PipedreamToken) error {
	secrets := l.secrets.CoreV1().Secrets(token.Namespace)
	credentials, err := secrets.Get(ctx, credentialsName, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read credentials: %w", err)
	}
	now := time.Now().UTC().Truncate(time.Second)
	accessToken, life, err := l.exchange(ctx, credentials.Data, token.Spec.Scopes)
	if err != nil {
		return err
	}
	secret, err := secrets.Create(ctx, secretLike(token, accessToken, now, now.Add(life)), metav1.CreateOptions{FieldManager: "pipedream-operator"})
	if err != nil {
		return fmt.Errorf("create Secret: %w", err)
	}
	status, err := json.Marshal(map[string]any{
		"apiVersion": v1alpha1.SchemeGroupVersion.String(),
		"kind":       "PipedreamToken",
		"metadata":   map[string]any{"name": token.Name, "namespace": token.Namespace, "uid": token.UID},
		"status":     statusLike(token, secret, credentials, now, now.Add(life)),
	})
	if err != nil {
		return fmt.Errorf("encode status: %w", err)
	}
	return l.tokens.Patch(types.ApplyPatchType).Namespace(token.Namespace).Resource("pipedreamtokens").Name(token.Name).SubResource("status").
		Param("fieldManager", "pipedream-operator").Param("force", "true").Body(status).Do(ctx).Error()
}

// exchange asks Pipedream for a token.
func (l *floor) exchange(ctx context.Context, credentials map[string][]byte, scopes []string) (accessToken string, life time.Duration, err error) {
	body, err := json.Marshal(map[string]string{
		"grant_type": "client_credentials", "scope": strings.Join(scopes, " "),
		"client_id": string(credentials["client_id"]), "client_secret": string(credentials["client_secret"]),
	})
	if err != nil {
		return "", 0, fmt.Errorf("encode: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, l.fleet.pipedream.Address+"/v1/oauth/token", bytes.NewReader(body))
	if err != nil {
		return "", 0, fmt.Errorf("make a request: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := l.http.Do(request)
	if err != nil {
		return "", 0, fmt.Errorf("exchange: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.AccessToken == "" {
		return "", 0, fmt.Errorf("the answer %s has no token: %w", response.Status, err)
	}
	return answer.AccessToken, time.Duration(answer.ExpiresIn) * time.Second, nil
}

// secretLike returns a Secret of the size and shape of those that the manager writes.
func secretLike(token *v1alpha1.PipedreamToken, accessToken string, issued, expires time.Time) *corev1.Secret {
	digest := strings.Repeat("x", 43)
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: token.Namespace,
			Name:      token.Name,
			Annotations: map[string]string{
				v1alpha1.OwnerAnnotation:        token.Name,
				v1alpha1.IssuedAtAnnotation:     issued.Format(time.RFC3339),
				v1alpha1.ExpiresAtAnnotation:    expires.Format(time.RFC3339),
				v1alpha1.ScopesAnnotation:       strings.Join(token.Spec.Scopes, " "),
				v1alpha1.APIAnnotation:          "http://127.0.0.1:12345",
				v1alpha1.RenewRequestAnnotation: "",
				v1alpha1.InputsAnnotation:       digest,
				v1alpha1.ContentAnnotation:      digest,
			},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "PipedreamToken", Name: token.Name, UID: token.UID,
				Controller: new(true), BlockOwnerDeletion: new(false),
			}},
		},
		Type: corev1.SecretTypeOpaque,
		Data: map[string][]byte{
			"access_token": []byte(accessToken), "token_type": []byte("Bearer"),
			"expires_at": []byte(expires.Format(time.RFC3339)), "scope": []byte(strings.Join(token.Spec.Scopes, " ")),
		},
	}
}

// statusLike returns a status like the manager's.
func statusLike(token *v1alpha1.PipedreamToken, secret, credentials *corev1.Secret, issued, expires time.Time) v1alpha1.PipedreamTokenStatus {
	at, until := metav1.NewTime(issued), metav1.NewTime(expires)
	condition := func(kind, reason, message string) metav1.Condition {
		return metav1.Condition{
			Type: kind, Status: metav1.ConditionTrue, Reason: reason, Message: message,
			ObservedGeneration: token.Generation, LastTransitionTime: at,
		}
	}
	return v1alpha1.PipedreamTokenStatus{
		ObservedGeneration: token.Generation,
		Conditions: []metav1.Condition{
			condition(v1alpha1.ConditionReady, v1alpha1.ReasonTokenValid, "The Secret holds a token that is valid until "+expires.Format(time.RFC3339)+"."),
			condition(v1alpha1.ConditionRenewed, v1alpha1.ReasonIssued,
				"A token was issued at "+issued.Format(time.RFC3339)+", and is renewed at "+expires.Format(time.RFC3339)+"."),
		},
		IssueTime: &at, ExpirationTime: &until, RenewalTime: &until,
		Secret:                      v1alpha1.CheckedSecret{Name: secret.Name, ResourceVersion: secret.ResourceVersion},
		ClientSecretResourceVersion: credentials.ResourceVersion,
	}
}
