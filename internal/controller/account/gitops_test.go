// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"flag"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/harness/gitops"
)

// update records the live objects that test/argocd judges with Argo CD's own code:
//
//	go test ./internal/controller/account -run 'TestLifeAsGitOps|TestNoDrift' -update
var update = flag.Bool("update", false, "record the live objects for Argo CD's tests again, and the metrics")

// inNamespace moves a world to a namespace whose name is always the same: names are recorded.
func (w *world) inNamespace(name string) gitops.Namespace {
	w.Helper()
	namespace := gitops.Namespace{Name: name, Admin: w.admin, Kubectl: cluster.Kubectl(), Update: *update}
	namespace.Prepare(w.T)
	w.namespace = name
	return namespace
}

func (w *world) passUntil(moment *metav1.Time) { w.clock.SetTime(moment.Time) }

// unavailable lets Pipedream answer 503 to all requests for accounts.
func (w *world) unavailable() {
	w.Helper()
	must(w.T, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAccount, Status: http.StatusServiceUnavailable}))
}

// enterClientSecret writes another client secret into the Secret with the client credentials.
func (w *world) enterClientSecret(secret string) {
	w.Helper()
	change(w, w.secret("credentials"), func(s *corev1.Secret) { s.Data["client_secret"] = []byte(secret) })
}

// changeSpec changes the spec, and reconciles.
func (w *world) changeSpec(with func(*v1alpha1.PipedreamAccountSpec)) {
	w.Helper()
	change(w, w.account(), func(account *v1alpha1.PipedreamAccount) { with(&account.Spec) })
	w.reconcile()
}

// stage is a part of the life of an object.
type stage struct {
	// name is the name of the file with the recorded object. It begins with the health that Argo CD computes.
	name string
	// come brings the object there.
	come func(*world)
	// want is the status that kstatus computes.
	want kstatus.Status
}

// otherAccountID is the account that the spec asks for later in the life.
const otherAccountID = "apn_other"

// life is a whole life of a PipedreamAccount, as tools see it that wait for the object: Flux, kpt and Helm by
// kstatus, and Argo CD by its health check. The health that Argo CD computes is beside the recorded objects, in
// health_test.yaml.
var life = []stage{
	{"progressing-unseen", func(w *world) { w.create() }, kstatus.InProgressStatus},
	{"progressing-credentials-not-delivered-yet", func(w *world) { w.reconcile() }, kstatus.InProgressStatus},
	{"degraded-credentials-missing", func(w *world) {
		w.pass(2 * time.Minute)
		w.reconcile()
	}, kstatus.FailedStatus},
	{"progressing-first-fetch-delayed", func(w *world) {
		w.unavailable()
		w.createCredentials()
		w.reconcile()
	}, kstatus.InProgressStatus},
	{"progressing-not-found-once", func(w *world) {
		w.pipedream.ClearFaults()
		w.pipedream.Accounts.Delete(accountID)
		w.pass(time.Minute)
		w.reconcile()
	}, kstatus.InProgressStatus},
	{"degraded-not-found", func(w *world) { w.live(4 * time.Minute) }, kstatus.FailedStatus},
	{"healthy", func(w *world) {
		w.connect(accountID, "background:1h")
		w.look()
	}, kstatus.CurrentStatus},
	{"progressing-new-generation", func(w *world) {
		change(w, w.account(), func(account *v1alpha1.PipedreamAccount) { account.Spec.FetchIntervalSeconds = 600 })
	}, kstatus.InProgressStatus},
	{"healthy-new-generation", func(w *world) { w.reconcile() }, kstatus.CurrentStatus},
	{"healthy-waiting-for-the-end-of-a-pause", func(w *world) {
		w.pass(9 * time.Minute)
		w.reconciler.Requests.Pause(projectID, w.clock.Now().Add(10*time.Minute))
		w.pass(3 * time.Minute)
		w.reconcile()
	}, kstatus.CurrentStatus},
	{"progressing-another-account-asked-for", func(w *world) {
		w.connect(otherAccountID, "lead:20m")
		w.changeSpec(func(spec *v1alpha1.PipedreamAccountSpec) { spec.AccountID = otherAccountID })
	}, kstatus.InProgressStatus},
	{"degraded-another-account-asked-for-in-an-outage", func(w *world) {
		w.unavailable()
		w.live(20 * time.Minute)
	}, kstatus.InProgressStatus},
	{"healthy-after-an-outage", func(w *world) {
		w.pipedream.ClearFaults()
		w.live(10 * time.Minute)
	}, kstatus.CurrentStatus},
	{"healthy-look-delayed", func(w *world) {
		w.unavailable()
		w.look()
	}, kstatus.CurrentStatus},
	{"degraded-expired", func(w *world) {
		w.passUntil(w.account().Status.ExpirationTime)
		w.reconcile()
	}, kstatus.InProgressStatus},
	{"healthy-unhealthy-account", func(w *world) {
		w.pipedream.ClearFaults()
		must(w.T, w.pipedream.Accounts.Change(otherAccountID, func(a *simulator.Account) { a.Healthy = new(false) }))
		w.live(10 * time.Minute)
	}, kstatus.CurrentStatus},
	{"degraded-dead", func(w *world) {
		must(w.T, w.pipedream.Accounts.Change(otherAccountID, func(a *simulator.Account) { a.Dead = new(true) }))
		w.look()
	}, kstatus.FailedStatus},
	{"healthy-reconnected", func(w *world) {
		must(w.T, w.pipedream.Accounts.Change(otherAccountID, func(a *simulator.Account) { a.Dead, a.Healthy = new(false), new(true) }))
		w.look()
	}, kstatus.CurrentStatus},
	{"healthy-not-exportable-once", func(w *world) {
		must(w.T, w.pipedream.Accounts.Change(otherAccountID, notExportable(simulator.CredentialsNull)))
		w.look()
	}, kstatus.CurrentStatus},
	{"degraded-not-exportable", func(w *world) { w.live(4 * time.Minute) }, kstatus.FailedStatus},
	{"healthy-exportable-again", func(w *world) {
		must(w.T, w.pipedream.Accounts.Change(otherAccountID, notExportable(simulator.CredentialsPresent)))
		w.look()
	}, kstatus.CurrentStatus},
	{"degraded-stalled-while-the-credentials-live", func(w *world) {
		w.enterClientSecret("mistyped")
		w.look()
	}, kstatus.FailedStatus},
	{"degraded-stalled-and-expired", func(w *world) {
		w.passUntil(w.account().Status.ExpirationTime)
		w.reconcile()
	}, kstatus.FailedStatus},
	{"healthy-credentials-mended", func(w *world) {
		w.enterClientSecret(clientSecret)
		w.live(2 * time.Minute)
	}, kstatus.CurrentStatus},
	{"suspended", func(w *world) {
		w.pass(time.Minute)
		w.changeSpec(func(spec *v1alpha1.PipedreamAccountSpec) { spec.Suspend = true })
	}, kstatus.CurrentStatus},
	{"suspended-and-expired", func(w *world) {
		w.passUntil(w.account().Status.ExpirationTime)
		w.reconcile()
	}, kstatus.InProgressStatus},
	{"healthy-resumed", func(w *world) {
		w.changeSpec(func(spec *v1alpha1.PipedreamAccountSpec) { spec.Suspend = false })
	}, kstatus.CurrentStatus},
	{"progressing-refreshed-late", func(w *world) {
		must(w.T, w.pipedream.Accounts.Change(otherAccountID, func(a *simulator.Account) { a.Refresh = "lazy" }))
		w.changeSpec(func(spec *v1alpha1.PipedreamAccountSpec) { spec.FetchIntervalSeconds = 0 })
		w.live(w.account().Status.ExpirationTime.Sub(w.clock.Now()))
		w.reconcile()
	}, kstatus.InProgressStatus},
	{"healthy-refreshed-late", func(w *world) { w.live(2 * time.Second) }, kstatus.CurrentStatus},
	{"healthy-without-expiry", func(w *world) {
		w.connect("apn_keys", "never", func(a *simulator.Account) { a.AuthType, a.Life = simulator.AuthKeys, 0 })
		w.pass(time.Minute)
		w.changeSpec(func(spec *v1alpha1.PipedreamAccountSpec) { spec.AccountID = "apn_keys" })
	}, kstatus.CurrentStatus},
}

// wantReason is the reason of condition Fetched in stages whose health alone does not show that they are what their
// names say.
var wantReason = map[string]string{
	"progressing-not-found-once":                      v1alpha1.ReasonAccountNotFound,
	"healthy-waiting-for-the-end-of-a-pause":          v1alpha1.ReasonQueued,
	"progressing-another-account-asked-for":           v1alpha1.ReasonQueued,
	"degraded-another-account-asked-for-in-an-outage": v1alpha1.ReasonEndpointUnavailable,
	"healthy-look-delayed":                            v1alpha1.ReasonEndpointUnavailable,
	"healthy-not-exportable-once":                     v1alpha1.ReasonAccountNotExportable,
	"degraded-not-exportable":                         v1alpha1.ReasonAccountNotExportable,
	"degraded-dead":                                   v1alpha1.ReasonAccountDead,
	"progressing-refreshed-late":                      v1alpha1.ReasonAccountFetched,
}

// customization is the folder of Argo CD's health check and action.
const customization = "config/argocd/resource_customizations/pipedream-operator.io/PipedreamAccount"

func TestLifeAsGitOpsToolsSeeIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	namespace := w.inNamespace("shop")
	for _, stage := range life {
		stage.come(w)
		object := namespace.AsRead(t, kind, "slack")
		if want, reason := wantReason[stage.name], w.condition(v1alpha1.ConditionFetched).Reason; want != "" && reason != want {
			t.Errorf("%s: the reason of Fetched is %s, want %s", stage.name, reason, want)
		}
		object.SetManagedFields(nil) // Argo CD strips them too.
		result, err := kstatus.Compute(object)
		must(t, err)
		if result.Status != stage.want {
			t.Errorf("%s: kstatus computes %s (%s), want %s", stage.name, result.Status, result.Message, stage.want)
		}
		namespace.WantRecorded(t, object, filepath.Join(customization, "testdata", stage.name+".yaml"))
		if stage.name == "healthy" {
			// What the action is tried on, and what is wanted of it.
			namespace.WantRecorded(t, object, filepath.Join(customization, "actions", "testdata", "pipedreamaccount.yaml"))
			object.SetAnnotations(map[string]string{v1alpha1.RenewRequestAnnotation: "0001-01-01T00:00:00Z"})
			namespace.WantRecorded(t, object, filepath.Join(customization, "actions", "testdata", "pipedreamaccount-fetch.yaml"))
		}
	}
	w.wantNoSecretSeen()
}

// TestKubectlGet has kubectl print a PipedreamAccount that is fetched, and one that is dead.
func TestKubectlGet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	namespace := w.inNamespace("columns")
	w.fetched(eachTenMinutes)
	get := func(what ...string) [][]string {
		t.Helper()
		code, printed := namespace.Run(t, "", append([]string{"get"}, what...)...)
		if code != 0 {
			t.Fatalf("kubectl get ends with %d: %s", code, printed)
		}
		var rows [][]string
		for line := range strings.SplitSeq(strings.TrimSpace(printed), "\n") {
			rows = append(rows, strings.Fields(line))
		}
		return rows
	}
	expires := show(w.account().Status.ExpirationTime)
	for _, what := range []string{"pda", "pipedreamaccounts", "pipedream"} {
		rows := get(what)
		header := strings.Join(rows[0], " ")
		row := rows[len(rows)-1]
		name := strings.TrimPrefix(row[0], "pipedreamaccount.pipedream-operator.io/")
		if got := strings.Join(append([]string{name}, row[1:len(row)-1]...), " "); header != "NAME READY FETCHED APP ACCOUNT SECRET EXPIRES AGE" ||
			got != "slack True AccountFetched slack "+accountID+" slack-credentials "+expires {
			t.Errorf("kubectl get %s prints %q", what, rows)
		}
	}
	w.changeAccount(func(a *simulator.Account) { a.Dead = new(true) })
	w.look()
	rows := get("pda", "--output=wide")
	header, row := strings.Join(rows[0], " "), strings.Join(rows[1], " ")
	if want := "NAME READY FETCHED APP ACCOUNT SECRET EXPIRES AGE HEALTHY STALLED MESSAGE"; header != want {
		t.Errorf("the columns of --output=wide are %s, want %s", header, want)
	}
	if !strings.HasPrefix(row, "slack False AccountDead slack "+accountID+" slack-credentials "+expires) ||
		!strings.Contains(row, " False AccountDead "+w.condition(v1alpha1.ConditionFetched).Message) {
		t.Errorf("kubectl get --output=wide prints %s", row)
	}
}
