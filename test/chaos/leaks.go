// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"
	"encoding/hex"
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
	mu       sync.Mutex
	needles  map[string][]needle
	known    map[string]bool
	texts    []written
	searched int64
	// bytes counts the bytes of the texts by their origin.
	bytes map[string]int64
}

func newLeaks() *leaks {
	return &leaks{needles: map[string][]needle{}, known: map[string]bool{}, bytes: map[string]int64{}}
}

// learn adds a secret to search for: in clear text, in hexadecimal, and in base64 at each alignment.
func (l *leaks) learn(name, secret string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known[secret] || len(secret) < keyLength {
		return
	}
	l.known[secret] = true
	for _, form := range forms(secret) {
		key := form[:keyLength]
		l.needles[key] = append(l.needles[key], needle{text: form, name: name})
	}
}

// learnToken adds a token to search for, by the part of it that no other token shares.
func (l *leaks) learnToken(name, token string) {
	signature := token[strings.LastIndex(token, ".")+1:]
	l.learn(name, signature[:min(len(signature), tokenPart)])
	// All tokens begin with the same header, so the header also finds tokens that never were in a Secret.
	if header, _, isJWT := strings.Cut(token, "."); isJWT {
		l.learn("the beginning of a token", header)
	}
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
