// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// deletedNamespaceLevel is the verbosity at which requests in a namespace that is being deleted are logged.
const deletedNamespaceLevel = 1

// calmSink is a logr.LogSink that does not log as an error that the API server refuses to create an object
// in a namespace that is being deleted. client-go logs such an error for each event that the operator
// records there. Nobody has to do anything about it, and no event can be recorded there.
type calmSink struct{ logr.LogSink }

var _ logr.CallDepthLogSink = calmSink{}

// newLogger returns a logger that logs through a calmSink.
func newLogger(logger logr.Logger) logr.Logger { return logger.WithSink(calmSink{logger.GetSink()}) }

// Error implements logr.LogSink.
func (s calmSink) Error(err error, message string, keysAndValues ...any) {
	if !isNamespaceDeleted(err) {
		s.LogSink.Error(err, message, keysAndValues...)
		return
	}
	if s.Enabled(deletedNamespaceLevel) {
		s.Info(deletedNamespaceLevel, "the namespace is being deleted: "+message, keysAndValues...)
	}
}

// WithValues implements logr.LogSink.
func (s calmSink) WithValues(keysAndValues ...any) logr.LogSink {
	return calmSink{s.LogSink.WithValues(keysAndValues...)}
}

// WithName implements logr.LogSink.
func (s calmSink) WithName(name string) logr.LogSink { return calmSink{s.LogSink.WithName(name)} }

// WithCallDepth implements logr.CallDepthLogSink.
func (s calmSink) WithCallDepth(depth int) logr.LogSink {
	if deep, ok := s.LogSink.(logr.CallDepthLogSink); ok {
		return calmSink{deep.WithCallDepth(depth)}
	}
	return s
}

// isNamespaceDeleted reports whether a request failed because its namespace is being deleted, or was deleted.
func isNamespaceDeleted(err error) bool {
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return true
	}
	status, ok := errors.AsType[*apierrors.StatusError](err)
	return ok && apierrors.IsNotFound(err) && status.ErrStatus.Details != nil && status.ErrStatus.Details.Kind == "namespaces"
}
