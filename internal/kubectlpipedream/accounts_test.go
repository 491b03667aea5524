// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/reason"
	accountreasons "github.com/pipedream-operator/pipedream-operator/internal/reason/account"
	tokenreasons "github.com/pipedream-operator/pipedream-operator/internal/reason/token"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// endUser is the ID of the end user who has connected all accounts.
const endUser = "a-user-who-must-not-be-named"

// connect connects an account of the app slack at Pipedream, as changed by the given functions. Pipedream
// refreshes its credentials twenty minutes before they expire.
func (w *world) connect(id string, changes ...func(*simulator.Account)) {
	w.Helper()
	connected := simulator.NewAccount("proj_abc123", endUser, "slack")
	connected.Refresh = "lead:20m"
	for _, change := range changes {
		change(&connected)
	}
	harness.Must(w.T, w.pipedream.Accounts.Set(id, connected))
}

// changeAccount changes an account at Pipedream.
func (w *world) changeAccount(id string, change func(*simulator.Account)) {
	w.Helper()
	harness.Must(w.T, w.pipedream.Accounts.Change(id, change))
}

// createAccount creates a PipedreamAccount of the account apn_NAME, as changed by the given functions.
func (w *world) createAccount(name string, changes ...func(*v1alpha1.PipedreamAccount)) {
	w.Helper()
	account := &v1alpha1.PipedreamAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name, Labels: map[string]string{"test": w.namespace}},
		Spec: v1alpha1.PipedreamAccountSpec{
			ClientSecretRef: v1alpha1.ClientSecretReference{Name: "credentials"},
			ProjectID:       "proj_abc123",
			AccountID:       "apn_" + name,
		},
	}
	for _, change := range changes {
		change(account)
	}
	harness.Must(w.T, admin.Create(w.Context(), account))
}

// fetched connects an account, creates its PipedreamAccount, and has the credentials fetched.
func (w *world) fetched(name string, changes ...func(*v1alpha1.PipedreamAccount)) {
	w.Helper()
	w.connect("apn_" + name)
	w.createAccount(name, changes...)
	w.visitAccount(name)
	if w.account(name).Status.FetchTime == nil {
		w.Fatalf("no credentials were fetched for %s: %+v", name, w.account(name).Status)
	}
}

// visitAccount has the operator visit a PipedreamAccount.
func (w *world) visitAccount(name string) {
	w.Helper()
	_, err := w.accounts.Reconcile(w.Context(), ctrl.Request{NamespacedName: w.key(name)})
	harness.Must(w.T, err)
}

func (w *world) account(name string) *v1alpha1.PipedreamAccount {
	w.Helper()
	account := &v1alpha1.PipedreamAccount{}
	harness.Must(w.T, admin.Get(w.Context(), w.key(name), account))
	return account
}

func byUser(account *v1alpha1.PipedreamAccount) {
	account.Spec.AccountID, account.Spec.ExternalUserID, account.Spec.App = "", endUser, "slack"
}

// isKeys makes an account of an app with a key, which does not expire.
func isKeys(account *simulator.Account) {
	account.AuthType, account.Life, account.Refresh = simulator.AuthKeys, 0, "never"
}

// TestInspectExplainsAnAccountWithAnAPIKey has a key that is revoked while the credentials in the Secret are good.
func TestInspectExplainsAnAccountWithAnAPIKey(t *testing.T) {
	const user = "u_ada"
	w := newWorld(t, "inspect-api-key")
	w.letLook()
	harness.Must(t, w.pipedream.Users.Set(user, simulator.NewUser(theAPIKey)))
	w.connect("apn_mine", func(account *simulator.Account) { account.UserID = user })
	harness.Must(t, admin.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "api-key"}, StringData: map[string]string{"api_key": theAPIKey},
	}))
	w.createAccount("mine", func(account *v1alpha1.PipedreamAccount) {
		account.Spec = v1alpha1.PipedreamAccountSpec{
			APIKeyRef: v1alpha1.APIKeyReference{Name: "api-key"}, WorkspaceID: simulator.DefaultWorkspaceID, AccountID: "apn_mine",
		}
	})
	w.visitAccount("mine")
	harness.Must(t, w.pipedream.Users.RevokeKey(user, ""))
	w.pass(10 * time.Minute)
	change(w, w.account("mine"), func(account *v1alpha1.PipedreamAccount) {
		account.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "look"}
	})
	w.visitAccount("mine")

	got := w.run("inspect", "pda/mine")

	w.wantGolden("inspect-account-api-key", got)
	if strings.Contains(got.String(), theAPIKey) {
		t.Errorf("the API key is in %v", got)
	}
}

// theAPIKey is the API key of a user.
const theAPIKey = "the-api-key-that-nobody-may-see"

// accountFleet makes PipedreamAccounts in various states, and a PipedreamToken.
func accountFleet(t *testing.T, namespace string) *world {
	t.Helper()
	w := newWorld(t, namespace)
	w.fetched("acme", func(account *v1alpha1.PipedreamAccount) { account.Spec.App = "slack" })
	w.pass(10 * time.Minute)
	w.issued("orders")
	w.connect("apn_keys", isKeys)
	w.createAccount("keys", func(account *v1alpha1.PipedreamAccount) {
		account.Spec.Secret.Data = map[string]v1alpha1.ValueTemplate{"config": `key={{ .Credentials.api_key }}`, "x": "y"}
	})
	w.visitAccount("keys")
	w.fetched("dead")
	w.changeAccount("apn_dead", func(account *simulator.Account) { account.Dead = new(true) })
	w.fetched("sick")
	w.changeAccount("apn_sick", func(account *simulator.Account) { account.Healthy = new(false) })
	w.createAccount("nowhere")
	w.createAccount("unseen", byUser)
	w.visitAccount("nowhere")
	w.pass(10 * time.Minute)
	for _, name := range []string{"dead", "sick"} {
		change(w, w.account(name), func(account *v1alpha1.PipedreamAccount) {
			account.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "look"}
		})
		w.visitAccount(name)
	}
	return w
}

func TestStatusShowsBothKinds(t *testing.T) {
	w := accountFleet(t, "kinds")
	w.letLook()
	for name, arguments := range map[string][]string{
		"status-kinds":                  nil,
		"status-kinds-wide":             {"--output=wide"},
		"status-kinds-names":            {"pda/acme", "orders", "pipedreamaccounts.pipedream-operator.io/acme", "PDA/keys"},
		"status-kinds-name":             {"--output=name"},
		"status-accounts":               {"--kind=pda", "--exit-code"},
		"status-accounts-of-a-kind":     {"acme", "keys", "--kind=pipedreamaccount", "--exit-code"},
		"status-account-yaml":           {"pda/acme", "--output=yaml"},
		"status-account-not-found":      {"pda/acme", "pda/orders", "sick", "pda/lost"},
		"status-kinds-of-token-looker":  {"--as=token-looker"},
		"status-names-of-token-looker":  {"orders", "pda/acme", "--as=token-looker"},
		"status-accounts-of-any":        {"--kind=pda", "--selector=test=none"},
		"status-kinds-selector-of-none": {"--selector=test=none", "--exit-code"},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			w.wantGolden(name, w.run(append([]string{"status"}, arguments...)...))
		})
	}
	w.in(t).wantOneKind("PipedreamAccounts are not shown: pipedreamaccounts.pipedream-operator.io is forbidden", "pdt/orders", "--as=token-looker")
	w.pass(50 * time.Minute)
	w.wantGolden("status-account-outdated", w.run("status", "pda/acme", "--output=wide", "--exit-code"))
}

// wantOneKind checks that status and its watch show the objects of one kind, and say why they show none of the other.
func (w *world) wantOneKind(why, shown string, arguments ...string) {
	w.Helper()
	x := w.watch(arguments...)
	x.wantLines(2, shown)
	for name, got := range map[string]said{"status --watch": x.end(), "status": w.run(append([]string{"status"}, arguments...)...)} {
		if got.code != 0 || !strings.Contains(got.out, "\n"+shown) || !strings.Contains(got.errOut, why) || strings.Count(got.errOut, "\n") != 1 {
			w.Errorf("%s says\n%v\nwant in it %q", name, got, why)
		}
	}
}

func TestInspectExplainsAccounts(t *testing.T) {
	w := accountFleet(t, "inspect-accounts")
	w.letLook()
	w.connect("apn_of-user", func(account *simulator.Account) { account.App = "github" })
	w.createAccount("of-user", byUser, func(account *v1alpha1.PipedreamAccount) {
		account.Spec.App, account.Spec.Environment, account.Spec.FetchPolicy = "github", v1alpha1.EnvironmentProduction, v1alpha1.FetchEachRefresh
	})
	w.visitAccount("of-user")
	w.wantGolden("status-account-each-refresh", w.run("status", "pda/of-user"))
	for name, argument := range map[string]string{
		"inspect-account": "pda/acme", "inspect-account-keys": "pda/keys", "inspect-account-dead": "pipedreamaccount.pipedream-operator.io/dead",
		"inspect-account-sick": "pda/sick", "inspect-account-nowhere": "pda/nowhere", "inspect-account-unseen": "pda/unseen",
		"inspect-account-of-user": "pda/of-user", "inspect-account-not-found": "acme",
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			got := w.run("inspect", argument)
			w.wantGolden(name, got)
			if strings.Contains(got.String(), endUser) {
				t.Errorf("it names the end user:\n%v", got)
			}
		})
	}
	w.wantGolden("inspect-account-may-look", w.run("inspect", "pda/acme", "--as=looker"))
	change(w, w.secret("acme"), func(secret *corev1.Secret) { secret.Annotations[v1alpha1.OwnerAnnotation] = "acme" })
	w.pass(2 * time.Hour)
	w.wantGolden("inspect-account-forsaken", w.run("inspect", "pda/acme"))
}

// TestNoCommandShowsCredentials asks for accounts in each output format of each command. run looks for the values.
func TestNoCommandShowsCredentials(t *testing.T) {
	w := accountFleet(t, "no-values")
	seen := w.secrets()
	for _, name := range []string{"acme", "dead", "sick", "keys"} {
		for key, value := range w.secret(name).Data {
			if key != "expires_at" && len(value) > 5 && !slices.Contains(seen, string(value)) {
				t.Errorf("nobody looks for the value of %s of %s", key, name)
			}
		}
	}
	formats := newStatusFormats()
	if len(formats) < 10 {
		t.Errorf("there are only %d output formats: %v", len(formats), formats)
	}
	for _, format := range formats {
		arguments := []string{"status", "--output=" + format}
		switch {
		case strings.Contains(format, "file"):
			path := filepath.Join(t.TempDir(), "template")
			content := "{{ range .items }}{{ . }}{{ end }}"
			if strings.Contains(format, "jsonpath") {
				content = "{.items}"
			}
			harness.Must(t, os.WriteFile(path, []byte(content), 0o600))
			arguments[1] += "=" + path
		case strings.Contains(format, "template"):
			arguments[1] += "={{ range .items }}{{ . }}{{ end }}"
		case strings.Contains(format, "jsonpath"):
			arguments[1] += "={.items}"
		}
		if got := w.run(arguments...); got.code != 0 || !strings.Contains(got.out, "acme") {
			t.Errorf("%v says\n%v", arguments, got)
		}
	}
	for _, name := range []string{"pda/acme", "pda/keys", "pda/dead", "pda/sick"} {
		w.run("inspect", name)
		w.run("renew", name)
		w.run("status", name, "--output=json", "--show-managed-fields")
		w.run("verify", name)
	}
	if got := w.run("doctor", "--api-url="+w.address, "--allow-insecure-api-url"); !strings.Contains(got.out, "failed    accounts") {
		t.Errorf("doctor says\n%v", got)
	}
}

func newStatusFormats() []string {
	return (&statusOptions{print: genericclioptions.NewPrintFlags("")}).formats()
}

func TestRenewFetchesAccounts(t *testing.T) {
	w := newWorld(t, "renew-accounts")
	w.letLook()
	w.fetched("acme")
	w.fetched("other")
	w.issued("orders")
	w.wantGolden("renew-account", w.run("renew", "pda/acme"))
	if got, want := w.account("acme").Annotations[v1alpha1.RenewRequestAnnotation], w.clock.Now().Format(time.RFC3339); got != want {
		t.Errorf("the annotation is %q, want %q", got, want)
	}
	if w.account("other").Annotations != nil || w.token("orders").Annotations != nil {
		t.Error("a fetch or a renewal was requested that nobody has asked for")
	}
	w.operate("pda/acme", "pda/other", "orders")
	wants := func(want string, arguments ...string) {
		t.Helper()
		got := w.run(append([]string{"renew", "--wait"}, arguments...)...)
		if got.code != 0 || got.errOut != "" || !strings.Contains(got.out, want) {
			t.Errorf("renew %v says\n%v\nwant in it %q", arguments, got, want)
		}
	}
	wants("pipedreamaccount.pipedream-operator.io/acme fetched, the credentials are the same as before, expire in ", "pda/acme")
	before := w.secret("acme").Data["oauth_access_token"]
	harness.Must(t, w.pipedream.Accounts.Refresh("apn_acme"))
	wants("/acme fetched, expire in ", "pda/acme", "orders")
	if bytes.Equal(before, w.secret("acme").Data["oauth_access_token"]) {
		t.Error("the credentials are called fetched, and are the ones from before")
	}
	w.changeAccount("apn_other", func(account *simulator.Account) { account.Healthy = nil })
	wants("/other fetched, the credentials are the same as before, expire in ", "--all", "--kind=pda")
	request := w.account("acme").Annotations[v1alpha1.RenewRequestAnnotation]
	wants("/orders renewed, expires in ", "--all")
	if got := w.account("acme").Annotations[v1alpha1.RenewRequestAnnotation]; got != request {
		t.Error("--all has asked for accounts, too")
	}
}

// TestRenewGoesByTheStatus is about a user who may not read the Secret.
func TestRenewGoesByTheStatus(t *testing.T) {
	w := newWorld(t, "renew-status")
	w.fetched("acme")
	meta := metav1.ObjectMeta{Namespace: w.namespace, Name: "editor"}
	harness.Must(t, admin.Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{v1alpha1.SchemeGroupVersion.Group}, Resources: []string{"pipedreamaccounts"}, Verbs: []string{"get", "patch"},
	}}}))
	harness.Must(t, admin.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "editor"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "editor"}},
	}))
	got := w.run("renew", "pda/acme", "--wait", "--as=editor", "--timeout=500ms")
	if got.code != exitUnknown || !strings.Contains(got.errOut, "/acme not fetched within 500ms: AccountFetched: ") {
		t.Errorf("while nobody fetches, it says\n%v", got)
	}
	w.pass(time.Second)
	w.operate("pda/acme")
	got = w.run("renew", "pda/acme", "--wait", "--as=editor")
	if got.code != 0 || !strings.Contains(got.out, "/acme fetched, ") {
		t.Errorf("it says\n%v", got)
	}
}

func TestRenewSaysWhyAnAccountIsNotFetched(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*world)
		code  int
		want  string
	}{
		"it is dead": {
			func(w *world) {
				w.changeAccount("apn_acme", func(account *simulator.Account) { account.Dead = new(true) })
			}, exitNo, "/acme not fetched: AccountDead: Pipedream says that the account is dead",
		},
		"credentials are rejected": {
			func(w *world) {
				harness.Must(w.T, w.pipedream.SetClient(clientID, "rotated"))
				w.pass(2 * time.Hour) // The operator's access token has expired.
			}, exitNo, "/acme not fetched: CredentialsRejected: ",
		},
		"Pipedream is away": {
			func(w *world) {
				harness.Must(w.T, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAny, Status: http.StatusBadGateway}))
			}, exitUnknown, "/acme not fetched within 2s: EndpointUnavailable: ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "renew-account-"+strings.ReplaceAll(strings.ToLower(name), " ", "-"))
			w.fetched("acme")
			test.spoil(w)
			w.operate("pda/acme")
			got := w.run("renew", "pda/acme", "--wait", "--timeout=2s")
			if got.code != test.code || !strings.Contains(got.errOut, test.want) {
				t.Errorf("it says\n%v\nwant exit code %d and in it %q", got, test.code, test.want)
			}
		})
	}
}

func TestDoctorLooksAtAccounts(t *testing.T) {
	w := accountFleet(t, "doctor-accounts")
	w.letLook()
	w.examine("doctor-accounts", 0, "--namespace=doctor-accounts", "--as=looker")
	w.examine("doctor-token-looker", 0, "--namespace=doctor-accounts", "--as=token-looker")
	w.pass(time.Hour)
	w.examine("doctor-accounts-outdated", 0, "--namespace=doctor-accounts", "--as=looker")
}

// TestWhoMustActIsShort cuts the texts of all reasons for the table.
func TestWhoMustActIsShort(t *testing.T) {
	for _, rows := range []reason.Table{tokenreasons.Rows, accountreasons.Rows} {
		for _, row := range rows {
			if got := whoOf(row.Actor); got == none || !strings.HasPrefix(row.Actor, got) || strings.ContainsAny(got, ",:;") {
				t.Errorf("who must act for %s is %q, of %q", row.Reason, got, row.Actor)
			}
		}
	}
}

// TestBadArgumentsAreNamed checks that an error repeats what is wrong.
func TestBadArgumentsAreNamed(t *testing.T) {
	w := newWorld(t, "arguments")
	for want, arguments := range map[string][]string{
		`"secret/orders" is of no kind of the operator: write NAME, pdt/NAME or pda/NAME`:                                  {"status", "secret/orders"},
		`"pda/" has no name of a PipedreamAccount`:                                                                         {"inspect", "pda/"},
		`"" has no name of a PipedreamToken`:                                                                               {"renew", ""},
		`--kind: "secret" is no kind of the operator; there are pdt (PipedreamToken) and pda (PipedreamAccount)`:           {"status", "--kind=pdt,secret"},
		`"pda/acme" is a PipedreamAccount, and this command is for PipedreamTokens`:                                        {"verify", "pda/acme"},
		`a PipedreamAccount can't be named across all namespaces: leave out its name, or --all-namespaces`:                 {"status", "pda/acme", "-A"},
		`name the objects to renew, such as pdt/NAME or pda/NAME, or select them by --selector, or renew all of the names`: {"renew"},
	} {
		if got := w.run(arguments...); got.code != exitUsage || !strings.Contains(got.errOut, want) {
			t.Errorf("%v says\n%v\nwant exit code %d and in it %q", arguments, got, exitUsage, want)
		}
	}
}
