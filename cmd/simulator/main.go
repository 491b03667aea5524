// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command simulator serves a simulated Pipedream API on this machine. The API issues access
// tokens, gives out the credentials of connected accounts, and fails on demand.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"k8s.io/utils/clock"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run runs the program until ctx ends. It returns the exit code: 0 when ctx ended or the help
// was printed, 1 when the simulator could not serve, and 2 when the arguments are wrong.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	listen, api, err := parse(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		_, _ = fmt.Fprintf(stderr, "simulator: %v (see --help)\n", err)
		return 2
	}
	if err := serve(ctx, listen, api, stdout); err != nil {
		_, _ = fmt.Fprintf(stderr, "simulator: %v\n", err)
		return 1
	}
	return 0
}

// settings are the values of the flags.
type settings struct {
	listen                        string
	lifetime, knownAfter, latency time.Duration
	withTLS                       bool
	tlsNames, tlsCAFile           string
	scopeAnswer                   string
	behavior                      map[string]string
	// clients are as they are given: id:secret.
	clients []string
	// limits are as they are given: id:scope,scope.
	limits    []string
	connected *accountFlags
	users     *userFlags
}

// parse reads the arguments. With --help, it prints the help and returns flag.ErrHelp.
func parse(args []string, help io.Writer) (listen string, api *simulator.Simulator, err error) {
	flags := flag.NewFlagSet("simulator", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	given := addFlags(flags)
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			flags.SetOutput(help)
			flags.Usage()
		}
		return "", nil, err
	}
	if err := check(flags, given.listen, given.latency); err != nil {
		return "", nil, err
	}
	api, err = newSimulator(given)
	if err != nil {
		return "", nil, err
	}
	return given.listen, api, nil
}

// addFlags adds all flags, and returns where their values will be.
func addFlags(flags *flag.FlagSet) *settings {
	s := &settings{behavior: map[string]string{}}
	flags.StringVar(&s.listen, "listen", "127.0.0.1:8099", "`address` to listen on; port 0 takes a free one")
	flags.DurationVar(&s.lifetime, "token-lifetime", simulator.DefaultTokenLifetime, "life of a token, in whole seconds")
	flags.DurationVar(&s.knownAfter, "token-known-after", 0, "time after its issue until a token is accepted; 401 before")
	flags.DurationVar(&s.latency, "latency", 0, "what each answer takes at least")
	flags.BoolVar(&s.withTLS, "tls", false, "speak TLS, with HTTP/2 or HTTP/1.1, with a certificate of a CA that is made at the start")
	flags.StringVar(&s.tlsNames, "tls-names", "localhost,127.0.0.1,::1", "with --tls, the host `names` and IP addresses in the certificate, separated by commas")
	flags.StringVar(&s.tlsCAFile, "tls-ca-file", "", "with --tls, a `file` to write the CA's certificate to, for clients to trust")
	flags.StringVar(&s.scopeAnswer, "scope-answer", string(simulator.ScopeAbsent),
		fmt.Sprintf("which scopes are granted, and how the answer names them: one of %q", simulator.ScopeAnswers))
	flags.Func("behavior", "how to answer where Pipedream's documentation says nothing, as `name=value`; repeat it for more", func(one string) error {
		name, value, _ := strings.Cut(one, "=")
		s.behavior[name] = value
		return nil
	})
	flags.Func("client-scopes", "the only scopes that a client may have, as `id:scope,scope`; repeat it for more clients", func(limit string) error {
		s.limits = append(s.limits, limit)
		return nil
	})
	flags.Func("client", "OAuth client as `id:secret`; repeat it for more, at least one", func(client string) error {
		s.clients = append(s.clients, client) // parsed later, because an error of package flag would repeat the secret
		return nil
	})
	s.connected, s.users = addAccountFlags(flags), addUserFlags(flags)
	return s
}

// newSimulator returns a simulator that is set as the flags say.
func newSimulator(s *settings) (*simulator.Simulator, error) {
	api := simulator.New(simulator.Options{Now: clock.RealClock{}.Now, Latency: s.latency})
	if err := api.SetTokenLifetime(s.lifetime); err != nil {
		return nil, fmt.Errorf("--token-lifetime: %w", err)
	}
	if err := api.SetTokenKnownAfter(s.knownAfter); err != nil {
		return nil, fmt.Errorf("--token-known-after: %w", err)
	}
	if err := api.SetScopeAnswer(simulator.ScopeAnswer(s.scopeAnswer)); err != nil {
		return nil, fmt.Errorf("--scope-answer: %w", err)
	}
	if err := api.SetBehavior(s.behavior); err != nil {
		return nil, fmt.Errorf("--behavior: %w", err)
	}
	if err := errors.Join(register(api, s.clients), limit(api, s.limits), s.connected.apply(api.Accounts), s.users.apply(api.Users)); err != nil {
		return nil, err
	}
	if s.withTLS {
		if err := api.TLS.Enable(strings.Split(s.tlsNames, ","), s.tlsCAFile); err != nil {
			return nil, fmt.Errorf("--tls: %w", err)
		}
	}
	return api, nil
}

// limit restricts clients to certain scopes.
func limit(api *simulator.Simulator, limits []string) error {
	for _, one := range limits {
		id, scopes, _ := strings.Cut(one, ":")
		if scopes == "" {
			return errors.New("--client-scopes must be id:scope,scope")
		}
		if err := api.SetClientScopes(id, strings.Split(scopes, ",")); err != nil {
			return fmt.Errorf("--client-scopes: %w", err)
		}
	}
	return nil
}

func check(flags *flag.FlagSet, listen string, latency time.Duration) error {
	if flags.NArg() > 0 {
		return errors.New("there are only flags, no other arguments")
	}
	if _, _, err := net.SplitHostPort(listen); err != nil {
		return fmt.Errorf("--listen must be host:port: %w", err)
	}
	if latency < 0 {
		return errors.New("--latency must not be negative")
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for _, name := range []string{"tls-names", "tls-ca-file"} {
		if given[name] && flags.Lookup("tls").Value.String() != "true" {
			return fmt.Errorf("--%s needs --tls", name)
		}
	}
	return nil
}

// register adds the clients to the simulator. Its errors do not quote an argument, because a
// malformed argument may contain a secret.
func register(api *simulator.Simulator, clients []string) error {
	if len(clients) == 0 {
		return errors.New("at least one --client id:secret is required")
	}
	seen := map[string]bool{}
	for i, client := range clients {
		id, secret, _ := strings.Cut(client, ":")
		if err := api.SetClient(id, secret); err != nil {
			return fmt.Errorf("--client number %d must be id:secret: %w", i+1, err)
		}
		if seen[id] {
			return fmt.Errorf("--client number %d has an id that was given before", i+1)
		}
		seen[id] = true
	}
	return nil
}

// serve serves the API at the address until ctx ends.
func serve(ctx context.Context, address string, api *simulator.Simulator, stdout io.Writer) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("%w (another address: --listen)", err)
	}
	scheme := "http"
	if api.TLS.CA() != nil {
		scheme = "https"
	}
	_, _ = fmt.Fprintf(stdout, "simulator: listening on %s://%s\n", scheme, listener.Addr())
	return api.Serve(ctx, listener)
}
