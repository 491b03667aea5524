// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"strings"
	"testing"
	"text/template"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

type exported struct{ Value pipedream.Sensitive }

type unexported struct {
	name  string
	value pipedream.Sensitive
}

type embedding struct{ pipedream.Sensitive }

type generic[T any] struct{ value T }

// holders are the values that may hold a secret on its way into a log.
func holders() map[string]any {
	hidden := pipedream.NewSensitive(secret)
	return map[string]any{
		"itself":                   hidden,
		"a pointer":                &hidden,
		"a pointer to a pointer":   new(&hidden),
		"an exported field":        exported{hidden},
		"an exported field by &":   &exported{hidden},
		"an unexported field":      unexported{name: "orders", value: hidden},
		"an unexported field by &": &unexported{name: "orders", value: hidden},
		"an embedded one":          embedding{hidden},
		"a pointer in a field":     generic[*pipedream.Sensitive]{&hidden},
		"an interface in a field":  generic[any]{hidden},
		"a field of a field":       generic[*unexported]{&unexported{value: hidden}},
		"a slice":                  []pipedream.Sensitive{hidden, hidden},
		"an array":                 [1]pipedream.Sensitive{hidden},
		"a slice of any":           []any{"a", hidden, &hidden},
		"a map":                    map[string]pipedream.Sensitive{"token": hidden},
		"a map of structs":         map[string]unexported{"token": {value: hidden}},
		"a key of a map":           map[pipedream.Sensitive]int{hidden: 1},
		"credentials":              pipedream.Credentials{ClientID: clientID, ClientSecret: hidden},
		"credentials by &":         &pipedream.Credentials{ClientID: clientID, ClientSecret: hidden},
		"a token":                  pipedream.Token{AccessToken: hidden, Type: "Bearer"},
		"a slice of tokens":        []pipedream.Token{{AccessToken: hidden}},
		"an error":                 fmt.Errorf("with %v: %w", hidden, errors.New("cause")),
	}
}

func TestASecretIsNotPrinted(t *testing.T) {
	t.Parallel()
	for name, holder := range holders() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "% x", "%#x", "%X", "%d", "%t", "%p", "%c", "%U", "%20s", "%-5.3v", "%!", "%z"} {
				checkHidden(t, verb, fmt.Sprintf(verb, holder))
			}
			checkHidden(t, "fmt.Sprint", fmt.Sprint(holder))
			checkHidden(t, "fmt.Sprintln", fmt.Sprintln(holder))
			checkHidden(t, "fmt.Errorf", fmt.Errorf("failed: %v", holder).Error())
			var text strings.Builder
			log.New(&text, "", 0).Print(holder)
			checkHidden(t, "log.Print", text.String())
		})
	}
}

func TestASecretIsNotMarshalled(t *testing.T) {
	t.Parallel()
	for name, holder := range holders() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Some holders can't be marshalled; then the error must hide it.
			asJSON, err := json.Marshal(holder)
			checkHidden(t, "json", string(asJSON)+fmt.Sprint(err))
			asXML, err := xml.Marshal(holder)
			checkHidden(t, "xml", string(asXML)+fmt.Sprint(err))
			var text strings.Builder
			err = template.Must(template.New("").Parse(`{{.}} {{printf "%#v" .}}`)).Execute(&text, holder)
			checkHidden(t, "template", text.String()+fmt.Sprint(err))
		})
	}
}

func TestASecretIsNotLogged(t *testing.T) {
	t.Parallel()
	for name, holder := range holders() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var text bytes.Buffer
			for _, handler := range []slog.Handler{slog.NewTextHandler(&text, nil), slog.NewJSONHandler(&text, nil)} {
				logger := slog.New(handler)
				logger.Info("as a value", "holder", holder)
				logger.Info("in a group", slog.Group("group", slog.Any("holder", holder)))
				logger.With("holder", holder).Info("in the logger")
			}
			configuration := zap.NewProductionEncoderConfig()
			for _, encoder := range []zapcore.Encoder{zapcore.NewJSONEncoder(configuration), zapcore.NewConsoleEncoder(configuration)} {
				logger := zap.New(zapcore.NewCore(encoder, zapcore.AddSync(&text), zap.InfoLevel))
				logger.Info("as a value", zap.Any("holder", holder), zap.Reflect("reflected", holder))
				logger.Sugar().Infow("sweet", "holder", holder)
				logger.Sugar().Info(holder)
			}
			if text.Len() == 0 {
				t.Error("nothing is logged")
			}
			checkHidden(t, "log", text.String())
		})
	}
}

// checkHidden checks that a text does not hold the secret, plainly or encoded.
func checkHidden(t *testing.T, way, text string) {
	t.Helper()
	text = strings.ReplaceAll(strings.ToLower(text), " ", "")
	for _, written := range []string{
		secret, secret[:6], hex.EncodeToString([]byte(secret)), hex.EncodeToString([]byte(secret[:6])),
		base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret[:6])),
		strings.Trim(strings.ReplaceAll(fmt.Sprintf("%d", []byte(secret[:6])), " ", ""), "[]"),
	} {
		if strings.Contains(text, strings.ToLower(written)) {
			t.Errorf("%s shows the secret: %s", way, text)
		}
	}
}

func TestASecretShowsThatItIsOne(t *testing.T) {
	t.Parallel()
	const want = "[redacted]"
	hidden := pipedream.NewSensitive(secret)
	asJSON, err := json.Marshal(map[string]any{"a": hidden, "b": &hidden, "c": exported{}})
	if err != nil {
		t.Fatal(err)
	}
	asText, err := hidden.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	for way, got := range map[string]string{
		"%v":       fmt.Sprintf("%v", hidden),
		"%+v":      fmt.Sprintf("%+v", &hidden),
		"%#v":      fmt.Sprintf("%#v", hidden),
		"%s":       fmt.Sprintf("%s", hidden),
		"%q":       fmt.Sprintf("%q", hidden),
		"%x":       fmt.Sprintf("%x", hidden),
		"%d":       fmt.Sprintf("%d", hidden),
		"%20s":     fmt.Sprintf("%20s", hidden),
		"empty":    fmt.Sprint(pipedream.Sensitive{}),
		"String":   hidden.String(),
		"GoString": hidden.GoString(),
		"slog":     hidden.LogValue().String(),
		"text":     string(asText),
	} {
		if got != want {
			t.Errorf("%s shows %q, want %q", way, got, want)
		}
	}
	if got, want := string(asJSON), `{"a":"[redacted]","b":"[redacted]","c":{"Value":"[redacted]"}}`; got != want {
		t.Errorf("as JSON it is %s, want %s", got, want)
	}
}

func TestReveal(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		sensitive pipedream.Sensitive
		want      string
	}{
		"a secret":       {sensitive: pipedream.NewSensitive(secret), want: secret},
		"an empty one":   {sensitive: pipedream.NewSensitive("")},
		"the zero value": {},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := test.sensitive.Reveal(); got != test.want {
				t.Errorf("Reveal() = %q, want %q", got, test.want)
			}
			if got := test.sensitive.IsEmpty(); got != (test.want == "") {
				t.Errorf("IsEmpty() = %t", got)
			}
		})
	}
}
