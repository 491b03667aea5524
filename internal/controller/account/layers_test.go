// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"testing"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// TestFilesCallDownwards checks the layers in the comment of the package.
func TestFilesCallDownwards(t *testing.T) {
	t.Parallel()
	harness.WantLayers(t)
}
