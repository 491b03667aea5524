// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
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

func (c *faultControl) clear(*http.Request) (any, error) {
	c.faults.clear()
	return nil, nil
}
