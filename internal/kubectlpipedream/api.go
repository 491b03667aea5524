// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"crypto/x509"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// defaultAPIURL is the address of Pipedream's API.
const defaultAPIURL = "https://api.pipedream.com"

// apiOptions are the flags that say how to reach Pipedream's API. They have the same names as the operator's
// flags.
type apiOptions struct {
	url           string
	allowInsecure bool
	caFile        string
	flags         *pflag.FlagSet
}

func (o *apiOptions) register(command *cobra.Command) {
	o.flags = command.Flags()
	o.flags.StringVar(&o.url, "api-url", defaultAPIURL, "The address of Pipedream's API, without a path.")
	o.flags.BoolVar(&o.allowInsecure, "allow-insecure-api-url", false,
		"Allow an --api-url with http://: for a simulator on the same machine, and for nothing else.")
	o.flags.StringVar(&o.caFile, "api-ca-file", "", "A file with the PEM certificates to trust for the API, instead of the system's.")
}

// isChosen reports whether the user has set --api-url.
func (o *apiOptions) isChosen() bool { return o.flags.Changed("api-url") }

// isDefault reports whether a client is for Pipedream's own API.
func (o *apiOptions) isDefault(client *pipedream.Client) bool {
	return client.Address() == defaultAPIURL
}

// client returns a client for the API that the flags name.
func (o *apiOptions) client(p *plugin) (*pipedream.Client, error) { return o.observedClient(p, nil) }

// observedClient returns a client for the API that the flags name. observe is called with a description of
// each answer. It may be nil.
func (o *apiOptions) observedClient(p *plugin, observe func(pipedream.Observation)) (*pipedream.Client, error) {
	var trusted func() *x509.CertPool
	if o.caFile != "" {
		content, err := os.ReadFile(o.caFile)
		if err != nil {
			return nil, usage("--api-ca-file: %w", err)
		}
		roots, err := pipedream.ParseRootCAs(content)
		if err != nil {
			return nil, usage("--api-ca-file: %s %w", o.caFile, err)
		}
		trusted = func() *x509.CertPool { return roots }
	}
	client, err := pipedream.NewClient(pipedream.Options{
		Address:       o.url,
		AllowInsecure: o.allowInsecure,
		RootCAs:       trusted,
		UserAgent:     "kubectl-pipedream/" + p.version(),
		Now:           p.Now,
		Observe:       observe,
	})
	if err != nil {
		return nil, &usageError{cause: fmt.Errorf("--api-url: %w", err)}
	}
	return client, nil
}
