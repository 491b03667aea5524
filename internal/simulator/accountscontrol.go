// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// accountControl has the control calls about accounts.
type accountControl struct {
	accounts *Accounts
}

func (c *accountControl) calls() []controlCall {
	return []controlCall{
		{"PUT /_sim/accounts/{id}", c.set},
		{"PATCH /_sim/accounts/{id}", c.change},
		{"DELETE /_sim/accounts/{id}", c.remove},
		{"POST /_sim/accounts/{id}/refresh", c.refresh},
		{"GET /_sim/accounts", func(*http.Request) (any, error) { return c.accounts.Counters(), nil }},
		{"PUT /_sim/account-answers", c.setAnswers},
		{"PUT /_sim/account-limit", c.setLimit},
		{"PUT /_sim/clients/{id}/projects", c.setProjects},
	}
}

const wantAccount = `{"project_id":"proj_abc123","external_user_id":"acme","app":"slack"}`

// accountJSON is an Account in JSON. A field that is absent keeps its value.
type accountJSON struct {
	*Account
	Life  *duration `json:"life"`
	Grace *duration `json:"grace"`
}

// read reads an account from JSON over the values that it has.
func (a *Account) read(decode func(into any) error) error {
	in := accountJSON{Account: a}
	if err := decode(&in); err != nil {
		return err
	}
	if in.Life != nil {
		a.Life = time.Duration(*in.Life)
	}
	if in.Grace != nil {
		a.Grace = time.Duration(*in.Grace)
	}
	return nil
}

// ParseAccount returns an account from JSON, as PUT /_sim/accounts/{id} takes it.
func ParseAccount(text string) (Account, error) {
	account := NewAccount("", "", "")
	err := account.read(func(into any) error {
		d := json.NewDecoder(strings.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(into); err != nil {
			return fmt.Errorf("an account must be JSON like %s: %w", wantAccount, err)
		}
		return nil
	})
	return account, err
}

func (c *accountControl) set(r *http.Request) (any, error) {
	account := NewAccount("", "", "")
	if err := account.read(func(into any) error { return decode(r, into, wantAccount) }); err != nil {
		return nil, err
	}
	return nil, c.accounts.Set(r.PathValue("id"), account)
}

func (c *accountControl) change(r *http.Request) (any, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody)) // Before the lock is taken: the caller may be slow.
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil, c.accounts.changeWith(r.PathValue("id"), func(account *Account) error {
		return account.read(func(into any) error { return decode(r, into, `{"dead":true}`) })
	})
}

func (c *accountControl) remove(r *http.Request) (any, error) {
	if id := r.PathValue("id"); !c.accounts.Delete(id) {
		return nil, noAccount(id)
	}
	return nil, nil
}

func (c *accountControl) refresh(r *http.Request) (any, error) {
	return nil, c.accounts.Refresh(r.PathValue("id"))
}

func (c *accountControl) setAnswers(r *http.Request) (any, error) {
	var in map[string]string
	if err := decode(r, &in, `{"single":"data"}`); err != nil {
		return nil, err
	}
	return nil, c.accounts.SetAnswers(in)
}

func (c *accountControl) setLimit(r *http.Request) (any, error) {
	calls, window, err := decodeLimit(r, `{"calls":2000,"window":"5m"}`)
	if err != nil {
		return nil, err
	}
	return nil, c.accounts.SetLimit(calls, window)
}

func (c *accountControl) setProjects(r *http.Request) (any, error) {
	var in struct {
		Projects []string `json:"projects"`
	}
	const want = `{"projects":["proj_abc123"]}`
	if err := decode(r, &in, want); err != nil {
		return nil, err
	}
	if in.Projects == nil {
		return nil, errors.New("send JSON like " + want + "; an empty list lets the client ask all projects")
	}
	c.accounts.SetClientProjects(r.PathValue("id"), in.Projects)
	return nil, nil
}
