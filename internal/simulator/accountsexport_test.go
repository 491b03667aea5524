// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

// AnswerValues are the values of each answer, the default first.
var AnswerValues = answerValues
