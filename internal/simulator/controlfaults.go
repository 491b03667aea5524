// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"errors"
	"net/http"
	"time"
)

// faultControl has the control calls about faults.
type faultControl struct {
	faults *faults
}

func (c *faultControl) add(r *http.Request) (any, error) {
	var in struct {
		Fault
		Delay     duration `json:"delay"`
		BodyDelay duration `json:"body_delay"`
	}
	if err := decode(r, &in, `{"endpoint":"token","status":503} or the like`); err != nil {
		return nil, err
	}
	in.Fault.Delay, in.Fault.BodyDelay = time.Duration(in.Delay), time.Duration(in.BodyDelay)
	return nil, c.faults.add(in.Fault)
}

func (c *faultControl) clear(r *http.Request) (any, error) {
	query := r.URL.Query()
	name := query.Get("name")
	switch {
	case len(query) == 0:
		c.faults.clear()
	case len(query) == 1 && name != "":
		c.faults.clearNamed(name)
	default:
		return nil, errors.New("the only parameter is name, the name of the faults to end")
	}
	return nil, nil
}
