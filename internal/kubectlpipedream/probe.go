// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// The environment variables with the credentials if --client-secret names no Secret. Pipedream's SDKs read
// the same variables.
const (
	clientIDVariable     = "PIPEDREAM_CLIENT_ID"
	clientSecretVariable = "PIPEDREAM_CLIENT_SECRET"
)

// The keys of the credentials in a Secret, as in the spec of a PipedreamToken.
const (
	defaultClientIDKey     = "client_id"
	defaultClientSecretKey = "client_secret"
)

// formatJSON is the value of --output for JSON.
const formatJSON = "json"

// probeOptions are the flags of probe.
type probeOptions struct {
	api             apiOptions
	clientSecret    string
	clientIDKey     string
	clientSecretKey string
	project         string
	environment     string
	account         string
	output          string
	yes             bool
}

func newProbeCommand(p *plugin) *cobra.Command {
	options := &probeOptions{}
	command := &cobra.Command{
		Use:   "probe [--client-secret=NAME]",
		Short: "Ask Pipedream's API what its documentation does not say, with an OAuth client of yours",
		Long: "Ask Pipedream's API what its documentation does not say, and show whether the answers are as the operator\n" +
			"assumes. The report has no token, no ID, no secret and no text of an answer: it can be published.\n\n" +
			"With --account, it also asks for the credentials of this account. The report has the names of well-known fields\n" +
			"and the forms of values, and no value.\n\n" +
			"This issues up to four tokens, and revokes them in the end. Use an OAuth client that nothing else uses: if\n" +
			"Pipedream ends the earlier tokens of a client when it issues a new one, this ends them.\n\n" +
			"The credentials are in the Secret that --client-secret names, or else in the environment variables\n" +
			clientIDVariable + " and " + clientSecretVariable + ". Without --client-secret, no cluster is needed.\n\n" +
			"Exit codes: 0 all assumptions hold or are unknown; 3 an assumption does not hold.",
		Example: "  kubectl pipedream probe --client-secret pipedream-probe --namespace shop\n" +
			"  kubectl pipedream probe --project proj_abc123 --account apn_abc123 --yes --output json",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(command *cobra.Command, _ []string) error {
			return runProbe(command.Context(), p, options)
		},
	}
	options.register(command, completion{plugin: p})
	return command
}

func (o *probeOptions) register(command *cobra.Command, complete completion) {
	o.api.register(command)
	flags := command.Flags()
	flags.StringVar(&o.clientSecret, "client-secret", "", "The name of the Secret with the OAuth client's ID and secret.")
	flags.StringVar(&o.clientIDKey, "client-id-key", defaultClientIDKey, "The key of the client ID in this Secret.")
	flags.StringVar(&o.clientSecretKey, "client-secret-key", defaultClientSecretKey, "The key of the client secret in this Secret.")
	flags.StringVar(&o.project, "project", "", "A project of the client's workspace. When absent, the listing of accounts is not asked for.")
	flags.StringVar(&o.environment, "environment", string(v1alpha1.EnvironmentProduction), "With --project: the environment to list accounts of.")
	flags.StringVar(&o.account, "account", "", "With --project: the ID of an account of it. The account is asked for with its credentials. When absent, no credentials are asked for.")
	flags.StringVarP(&o.output, "output", "o", "", "Output format. One of: (json).")
	flags.BoolVarP(&o.yes, "yes", "y", false, "Do not ask for confirmation.")
	fixed := func(values ...string) cobra.CompletionFunc {
		return cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
	}
	for flag, values := range map[string]cobra.CompletionFunc{
		"client-secret": complete.secrets,
		"environment":   fixed(string(v1alpha1.EnvironmentDevelopment), string(v1alpha1.EnvironmentProduction)),
		"output":        fixed(formatJSON),
		"project":       cobra.NoFileCompletions,
		"account":       cobra.NoFileCompletions,
	} {
		if err := command.RegisterFlagCompletionFunc(flag, values); err != nil {
			panic(err) // The flag does not exist.
		}
	}
}

func (o *probeOptions) validate(p *plugin) error {
	environment := v1alpha1.Environment(o.environment)
	switch {
	case o.output != "" && o.output != formatJSON:
		return usage("--output=%s: there is %s", o.output, formatJSON)
	case environment != v1alpha1.EnvironmentProduction && environment != v1alpha1.EnvironmentDevelopment:
		return usage("--environment must be %s or %s", v1alpha1.EnvironmentProduction, v1alpha1.EnvironmentDevelopment)
	case o.account != "" && o.project == "":
		return usage("--account needs --project")
	case o.account != "" && !pipedream.IsAccountID(o.account):
		return usage("--account takes the ID of an account, such as apn_abc123: letters, digits, _ and -, at most 64 of them")
	case !o.yes && !isTerminal(p.In):
		return usage("there is no terminal to ask for confirmation on: add --yes")
	}
	return o.validateSource()
}

// validateSource returns a usage error unless the flags and the environment name the credentials.
func (o *probeOptions) validateSource() error {
	switch {
	case o.clientSecret != "" && len(validation.IsDNS1123Subdomain(o.clientSecret)) > 0:
		// The value is not repeated: it may be a client secret.
		return usage("--client-secret takes the name of a Secret, and not a client secret")
	case o.clientSecret != "":
		return nil
	case o.clientIDKey != defaultClientIDKey || o.clientSecretKey != defaultClientSecretKey:
		return usage("--client-id-key and --client-secret-key need --client-secret")
	case os.Getenv(clientIDVariable) == "" || os.Getenv(clientSecretVariable) == "":
		return usage("name the Secret with the credentials with --client-secret, or set the environment variables %s and %s", clientIDVariable, clientSecretVariable)
	}
	return nil
}

func runProbe(ctx context.Context, p *plugin, options *probeOptions) error {
	if err := options.validate(p); err != nil {
		return err
	}
	sender := &probeSender{plugin: p}
	var err error
	if sender.api, err = options.api.observedClient(p, sender.observe); err != nil {
		return err
	}
	var source string
	if sender.credentials, source, err = options.credentials(ctx, p); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(p.ErrOut, cleanLines(announcement(sender.api.Address(), source, options)))
	if !options.yes {
		if err := confirm(ctx, p.In, p.ErrOut); err != nil {
			return err
		}
	}
	asked := newProbe(sender, options)
	if err := asked.run(ctx, source); err != nil {
		sender.printLeftTokens()
		return err
	}
	report := newProbeReport(sender, asked.answers, options.api.isDefault(sender.api))
	if err := report.write(p.Out, options.output); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case report.hasNo():
		return &verdict{code: exitNo}
	}
	return nil
}

// announcement says what the command is going to do.
func announcement(address, source string, options *probeOptions) string {
	usual, asked := usualRequestsWithoutProject, "a listing of at most one project"
	if options.project != "" {
		usual, asked = usualRequests, "a listing of at most one account, one of at most one project, and a made-up account"
	}
	if options.account != "" {
		usual = usualRequestsWithAccount
		asked += ".\n    It asks for the account that --account names, with its credentials, four times"
	}
	return fmt.Sprintf(`This sends requests to %s with the OAuth client %s:
  - It issues 3 access tokens, with the scopes %s or %s.
  - It asks for a token with a made-up client secret, and for one with a made-up scope. The latter may issue a 4th token.
  - With these tokens, and with a made-up one, it asks for %s. It shows the form of the answers, and nothing of them.
  - In the end it revokes the tokens that it has issued. If one can't be revoked, it is valid until it expires.
These are usually %d requests and at most %d, half a second apart or more. It stops at the first answer that asks for fewer (429).
Use an OAuth client that nothing else uses: if a new token ends the client's earlier tokens, or is one of them, this ends them.
`, address, source, accountsListing.scope, projectsListing.scope, asked, usual, maxRequests)
}

// cleanLines makes a text of several lines safe for a terminal.
func cleanLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = clean(lines[i])
	}
	return strings.Join(lines, "\n")
}

// isTerminal reports whether a person may be at the other end of in.
func isTerminal(in io.Reader) bool {
	file, ok := in.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// confirm asks whether to go on. It returns an error unless the answer is yes.
func confirm(ctx context.Context, in io.Reader, out io.Writer) error {
	_, _ = fmt.Fprint(out, "Go on? [y/N] ")
	answered := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(in).ReadString('\n') // Without an answer, the line is empty.
		answered <- line
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case line := <-answered:
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return nil
		}
	}
	return errors.New("nothing was sent, because you have not confirmed it")
}

// credentials returns the OAuth client's credentials, and says in words where they are from.
func (o *probeOptions) credentials(ctx context.Context, p *plugin) (found pipedream.Credentials, source string, err error) {
	if o.clientSecret == "" {
		source = "in the environment variables " + clientIDVariable + " and " + clientSecretVariable
		found, err = parseCredentials([]byte(os.Getenv(clientIDVariable)), []byte(os.Getenv(clientSecretVariable)), source)
		return found, source, err
	}
	secret, err := o.readSecret(ctx, p)
	if err != nil {
		return pipedream.Credentials{}, "", err
	}
	source = fmt.Sprintf("in Secret %s of namespace %s", secret.Name, secret.Namespace)
	for _, key := range []string{o.clientIDKey, o.clientSecretKey} {
		if _, ok := secret.Data[key]; !ok {
			return pipedream.Credentials{}, "", fmt.Errorf("there is no key %s %s", key, source)
		}
	}
	found, err = parseCredentials(secret.Data[o.clientIDKey], secret.Data[o.clientSecretKey], source)
	return found, source, err
}

// readSecret reads the Secret with the credentials. Its errors do not repeat the value of --client-secret,
// because a user may have written the client secret there.
func (o *probeOptions) readSecret(ctx context.Context, p *plugin) (*corev1.Secret, error) {
	c, err := p.connect()
	if err != nil {
		return nil, err
	}
	secret, err := c.kube.CoreV1().Secrets(c.namespace).Get(ctx, o.clientSecret, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("namespace %s has no Secret of the name that --client-secret gives; it takes the name of a Secret, and not a client secret", c.namespace)
	case apierrors.IsForbidden(err):
		return nil, fmt.Errorf("you may not read the Secret that --client-secret names in namespace %s; without this flag, the credentials are taken from the environment", c.namespace)
	case err != nil:
		return nil, fmt.Errorf("read the Secret that --client-secret names: %w", withoutName(err))
	}
	return secret, nil
}

// withoutName returns the cause of an error of client-go without the texts that repeat the name of the object.
func withoutName(err error) error {
	if failed, ok := errors.AsType[*url.Error](err); ok {
		return failed.Err
	}
	if answer, ok := errors.AsType[*apierrors.StatusError](err); ok && !apierrors.IsUnauthorized(err) {
		return fmt.Errorf("the API server answers %d (%s)", answer.Status().Code, answer.Status().Reason)
	}
	return err
}

// parseCredentials reads a client ID and a client secret. Its error does not contain them.
func parseCredentials(id, secret []byte, source string) (pipedream.Credentials, error) {
	clientID, err := pipedream.ParseCredential(id)
	if err != nil {
		return pipedream.Credentials{}, fmt.Errorf("the client ID %s %w", source, err)
	}
	clientSecret, err := pipedream.ParseCredential(secret)
	if err != nil {
		return pipedream.Credentials{}, fmt.Errorf("the client secret %s %w", source, err)
	}
	if clientID == "" || clientSecret == "" {
		return pipedream.Credentials{}, fmt.Errorf("the client ID or the client secret %s is empty", source)
	}
	return pipedream.Credentials{ClientID: clientID, ClientSecret: pipedream.NewSensitive(clientSecret)}, nil
}
