// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"
)

const (
	// keyLength is how many bytes of each position in a text are looked up. No secret is shorter.
	keyLength = 16
	// learnDelay is how long a text waits before it is searched. It may hold a token that the observer has not
	// read yet.
	learnDelay = 5 * time.Second
	// tokenPart is how much of a token's signature is searched for.
	tokenPart = 40
)

// secretKind is a kind of secrets that is searched for, in words.
type secretKind string

const (
	clientSecrets secretKind = "client secrets"
	userKeys      secretKind = "API keys of users"
	tokens        secretKind = "tokens of PipedreamTokens" //nolint:gosec // The words for a kind of secrets.
	tokenParts    secretKind = "parts that every token has, also the operator's own"
	accountFields secretKind = "fields of accounts"
	managerTokens secretKind = "the managers' tokens for the API server"
)

// secretKinds are all kinds. A run must know secrets of each of them.
var secretKinds = []secretKind{clientSecrets, userKeys, tokens, tokenParts, accountFields, managerTokens}

// tokenSignature finds the signature of any token, also of a token that no Secret ever held.
var tokenSignature = regexp.MustCompile(`(?:^|[^A-Za-z0-9_-])[A-Za-z0-9_-]{86}(?:[^A-Za-z0-9_-]|$)`)

// simulatedSecret finds whatever the simulator has made for the credentials of an account, also what no Secret ever
// held, such as a refresh token.
var simulatedSecret = regexp.MustCompile(`sim_[A-Za-z0-9_-]{16}`)

// needle is one form of a secret.
type needle struct{ text, name string }

// written is a text from the operator that must hold no secret.
type written struct {
	where, text string
	at          time.Time
}

// leak is a secret that was found in a text.
type leak struct{ where, name string }

// leaks searches everything that the operator writes for secrets and tokens.
type leaks struct {
	mu      sync.Mutex
	needles map[string][]needle
	seen    map[string]bool
	// known is how many secrets of each kind are searched for.
	known    map[secretKind]int
	texts    []written
	searched int64
	// bytes counts the bytes of the texts by their origin.
	bytes map[string]int64
}

func newLeaks() *leaks {
	return &leaks{needles: map[string][]needle{}, seen: map[string]bool{}, known: map[secretKind]int{}, bytes: map[string]int64{}}
}

// learn adds a secret to search for: in clear text, in hexadecimal, and in base64 at each alignment.
func (l *leaks) learn(kind secretKind, name, secret string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen[secret] || len(secret) < keyLength {
		return
	}
	l.seen[secret] = true
	l.known[kind]++
	for _, form := range forms(secret) {
		key := form[:keyLength]
		l.needles[key] = append(l.needles[key], needle{text: form, name: name})
	}
}

// learnToken adds a token to search for, by the part of it that no other token shares. It also adds the parts that all
// tokens have: they find the operator's own tokens, which never are in a Secret.
func (l *leaks) learnToken(name, token string) {
	signature := token[strings.LastIndex(token, ".")+1:]
	l.learn(tokens, name, signature[:min(len(signature), tokenPart)])
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return
	}
	l.learn(tokenParts, "the beginning of a token", parts[0])
	if claims, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil {
		for _, field := range []string{"token_type", "aud"} {
			l.learn(tokenParts, "the claims of a token", claimOf(claims, field))
		}
	}
}

// claimOf returns the name and the value of a claim as they are in a token, or an empty text if there is no such claim.
func claimOf(claims []byte, name string) string {
	var values map[string]json.RawMessage
	if json.Unmarshal(claims, &values) != nil || values[name] == nil {
		return ""
	}
	return fmt.Sprintf("%q:%s", name, values[name])
}

func forms(secret string) []string {
	forms := []string{secret, hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret)))}
	for shift := range 3 {
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			encoded := encoding.EncodeToString([]byte(strings.Repeat("-", shift) + secret))
			// The first and the last characters also depend on the neighbouring bytes.
			form := encoded[(shift*8+5)/6 : len(encoded)-2]
			if len(form) >= keyLength {
				forms = append(forms, form)
			}
		}
	}
	return forms
}

// add adds a text to be searched.
func (l *leaks) add(where, text string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.texts = append(l.texts, written{where: where, text: text, at: now})
	l.bytes[where] += int64(len(text))
}

// search returns the leaks in the texts that are older than learnDelay at now.
func (l *leaks) search(now time.Time) []leak {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []leak
	done := 0
	for _, w := range l.texts {
		if now.Sub(w.at) < learnDelay {
			break
		}
		done++
		found = append(found, l.searchOne(w)...)
	}
	l.texts = l.texts[done:]
	return found
}

func (l *leaks) searchOne(w written) []leak {
	var found []leak
	l.searched += int64(len(w.text))
	if tokenSignature.MatchString(w.text) {
		found = append(found, leak{where: w.where, name: "the signature of a token"})
	}
	if simulatedSecret.MatchString(w.text) {
		found = append(found, leak{where: w.where, name: "a secret of an account"})
	}
	for i := 0; i+keyLength <= len(w.text); i++ {
		for _, n := range l.needles[w.text[i:i+keyLength]] {
			if strings.HasPrefix(w.text[i:], n.text) {
				found = append(found, leak{where: w.where, name: n.name})
			}
		}
	}
	return found
}
