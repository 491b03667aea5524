// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/rotating"
)

// maxLogLevel is the highest log level at which client-go does not log the bodies of requests.
// From level 8 on, the log would contain Secrets.
const maxLogLevel = 7

// defaultAccountScope is the scope of the operator's own access tokens without --account-scopes.
const defaultAccountScope = "connect:accounts:read"

// The names, in the log and in the metrics, of the flags that name files.
const (
	apiCAFileFlag      = "api-ca-file"
	metricsCertDirFlag = "metrics-cert-dir"
)

// options are the flags of the manager.
type options struct {
	apiURL                        string
	allowInsecureAPIURL           bool
	apiCAFile                     string
	apiRootCAs                    *rotating.Files[*x509.CertPool]
	namespaces                    []string
	tokenRequestsPerSecond        float64
	tokenRequestBurst             int
	verificationRequestsPerSecond float64
	accountScopes                 []string
	accountRequestsPerSecond      float64
	maxConcurrentReconciles       int
	leaderElect                   bool
	metricsBindAddress            string
	metricsCertDir                string
	metricsCertificate            *rotating.Files[*tls.Certificate]
	perObjectMetrics              bool
	healthProbeBindAddress        string
	pprofBindAddress              string
	version                       bool
	log                           zap.Options
}

// usageError is an error in the flags that the user passed.
type usageError struct{ cause error }

func (e *usageError) Error() string { return e.cause.Error() }
func (e *usageError) Unwrap() error { return e.cause }

// parseOptions reads the flags. Its error is a *usageError, or flag.ErrHelp after it has
// written the help.
func parseOptions(arguments []string, help io.Writer) (*options, error) {
	o := &options{}
	// Only a panic logs a stack trace. The text of an error says where the error comes from.
	o.log.StacktraceLevel = zapcore.PanicLevel
	flags := flag.NewFlagSet("manager", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	o.register(flags)
	err := flags.Parse(arguments)
	if errors.Is(err, flag.ErrHelp) {
		flags.SetOutput(help)
		flags.PrintDefaults()
		return nil, err
	}
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q: the manager takes flags only", flags.Arg(0))
	}
	if err == nil {
		err = o.validate()
	}
	if err != nil {
		return nil, &usageError{cause: err}
	}
	return o, nil
}

func (o *options) register(flags *flag.FlagSet) {
	flags.StringVar(&o.apiURL, "api-url", "https://api.pipedream.com",
		"The address of Pipedream's API, without a path.")
	flags.BoolVar(&o.allowInsecureAPIURL, "allow-insecure-api-url", false,
		"Allow an --api-url with http://. Client secrets and tokens then travel in clear: it is for a simulator on the same machine, and for nothing else.")
	flags.StringVar(&o.apiCAFile, apiCAFileFlag, "",
		"A file with the PEM certificates to trust for the API, instead of the system's: for a proxy that terminates TLS. Read again when it changes.")
	flags.Func("namespaces", "The namespaces to watch, separated by commas. When absent, all of them.", o.setNamespaces)
	flags.Float64Var(&o.tokenRequestsPerSecond, "token-requests-per-second", 5,
		"How many token requests to send to Pipedream in a second, for all PipedreamTokens together. 5 are enough for about 11,000 tokens that live an hour.")
	flags.IntVar(&o.tokenRequestBurst, "token-request-burst", 10,
		"How many token requests to send at once after a quiet time.")
	flags.Float64Var(&o.verificationRequestsPerSecond, "verification-requests-per-second", 2,
		"How many tokens to verify in a second, for all PipedreamTokens together.")
	o.accountScopes = []string{defaultAccountScope}
	flags.Func("account-scopes", "The scopes of the operator's own access tokens, with which it reads connected accounts, separated by commas. (default "+defaultAccountScope+")",
		o.setAccountScopes)
	flags.Float64Var(&o.accountRequestsPerSecond, "account-requests-per-second", 4,
		"How many requests about connected accounts to send to Pipedream in a second, for each project. All projects together have at most four times as many. Pipedream allows 2,000 in five minutes for a project: 4 leave the rest to your programs.")
	flags.IntVar(&o.maxConcurrentReconciles, "max-concurrent-reconciles", 10,
		"How many PipedreamTokens to work on at the same time, and how many PipedreamAccounts. With 4 or more, at least half of the workers stay free while Pipedream does not respond.")
	flags.BoolVar(&o.leaderElect, "leader-elect", false,
		"Let only one of several replicas work at a time. The Lease is in the pod's namespace or, outside of a cluster, in the namespace that the environment variable POD_NAMESPACE names.")
	flags.StringVar(&o.metricsBindAddress, "metrics-bind-address", ":8443",
		"The address to serve metrics on, by HTTPS, to users who may get /metrics by the API server's rules. 0 turns the metrics off.")
	flags.StringVar(&o.metricsCertDir, metricsCertDirFlag, "",
		"A folder with tls.crt and tls.key for the metrics, read again when they change. When absent, the certificate is self-signed.")
	flags.BoolVar(&o.perObjectMetrics, "per-object-metrics", true,
		"Show the times and conditions of each PipedreamToken and PipedreamAccount in the metrics. When false, the metrics show only how many of them have each condition, and the times of the most urgent one; use this with many thousands of them.")
	flags.StringVar(&o.healthProbeBindAddress, "health-probe-bind-address", ":8081",
		"The address to serve /healthz and /readyz on. 0 turns them off.")
	flags.StringVar(&o.pprofBindAddress, "pprof-bind-address", "0",
		"The loopback address to serve Go's profiles on, at /debug/pprof/, such as 127.0.0.1:6060. 0 turns them off.")
	flags.BoolVar(&o.version, "version", false,
		"Look at the other flags, print the version, and exit.")
	config.RegisterFlags(flags)
	o.log.BindFlags(flags)
}

func (o *options) setNamespaces(list string) error {
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
			return fmt.Errorf("%q is no name of a namespace: %s", name, problems[0])
		}
		if !slices.Contains(o.namespaces, name) {
			o.namespaces = append(o.namespaces, name)
		}
	}
	return nil
}

func (o *options) setAccountScopes(list string) error {
	o.accountScopes = nil
	for scope := range strings.SplitSeq(list, ",") {
		scope = strings.TrimSpace(scope)
		if !pipedream.IsScope(scope) {
			return fmt.Errorf("%q is no scope", scope)
		}
		if !slices.Contains(o.accountScopes, scope) {
			o.accountScopes = append(o.accountScopes, scope)
		}
	}
	return nil
}

func (o *options) validate() error {
	if o.log.Level != nil && o.log.Level.Enabled(zapcore.Level(-maxLogLevel-1)) {
		return fmt.Errorf("--zap-log-level must be at most %d: from %d on, the bodies of requests would be logged, and with them Secrets", maxLogLevel, maxLogLevel+1)
	}
	return errors.Join(
		validateRate("token-requests-per-second", o.tokenRequestsPerSecond),
		validateCount("token-request-burst", o.tokenRequestBurst),
		validateRate("verification-requests-per-second", o.verificationRequestsPerSecond),
		validateRate("account-requests-per-second", o.accountRequestsPerSecond),
		validateCount("max-concurrent-reconciles", o.maxConcurrentReconciles),
		validateBindAddress("metrics-bind-address", o.metricsBindAddress),
		validateBindAddress("health-probe-bind-address", o.healthProbeBindAddress),
		validateLoopbackAddress("pprof-bind-address", o.pprofBindAddress),
		o.openMetricsCertificate(),
		o.openAPIRootCAs(),
	)
}

func validateRate(name string, perSecond float64) error {
	const most = 1000
	if perSecond > 0 && perSecond <= most {
		return nil
	}
	return fmt.Errorf("--%s must be above 0, and at most %d", name, most)
}

func validateCount(name string, count int) error {
	const most = 1000
	if count >= 1 && count <= most {
		return nil
	}
	return fmt.Errorf("--%s must be between 1 and %d", name, most)
}

func validateBindAddress(name, address string) error {
	if address == "0" {
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("--%s must be an address such as :8080 or 127.0.0.1:8080, or 0 to turn it off: %w", name, err)
	}
	return nil
}

// validateLoopbackAddress checks the address of a server that must be unreachable from outside
// the machine or the pod. It refuses a host name, because the name could resolve to another
// address.
func validateLoopbackAddress(name, address string) error {
	if address == "0" {
		return nil
	}
	parsed, err := netip.ParseAddrPort(address)
	if err != nil || !parsed.Addr().IsLoopback() {
		return fmt.Errorf("--%s must be a loopback address with a port, or 0 to turn it off, and not %q. Set it to 127.0.0.1:6060, and reach it from elsewhere with kubectl port-forward", name, address)
	}
	return nil
}

// openMetricsCertificate reads the certificate for the metrics. It fails if the certificate is
// missing, because controller-runtime would use a self-signed certificate without any message.
func (o *options) openMetricsCertificate() error {
	if o.metricsCertDir == "" {
		return nil
	}
	certificate, err := rotating.Open(parseKeyPair, reportChange(metricsCertDirFlag),
		filepath.Join(o.metricsCertDir, "tls.crt"), filepath.Join(o.metricsCertDir, "tls.key"))
	if err != nil {
		return fmt.Errorf("--%s: %w", metricsCertDirFlag, err)
	}
	o.metricsCertificate = certificate
	return nil
}

func parseKeyPair(contents [][]byte) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(contents[0], contents[1])
	return &pair, err
}

func (o *options) openAPIRootCAs() error {
	if o.apiCAFile == "" {
		return nil
	}
	parse := func(contents [][]byte) (*x509.CertPool, error) {
		roots, err := pipedream.ParseRootCAs(contents[0])
		if err != nil {
			return nil, fmt.Errorf("%s %w", o.apiCAFile, err)
		}
		return roots, nil
	}
	roots, err := rotating.Open(parse, reportChange(apiCAFileFlag), o.apiCAFile)
	if err != nil {
		return fmt.Errorf("--%s: %w", apiCAFileFlag, err)
	}
	o.apiRootCAs = roots
	return nil
}
