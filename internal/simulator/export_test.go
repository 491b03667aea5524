// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

// BehaviorValues are the values of each behavior.
var BehaviorValues = behaviorValues
