{{- define "name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* The prefix of the names of all objects. */}}
{{- define "fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "name" .) .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name (include "name" .) | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "serviceAccount" -}}
{{ .Values.serviceAccount.name | default (printf "%s-manager" (include "fullname" .)) }}
{{- end }}

{{/* The labels that select the pods. They must not change in an upgrade. */}}
{{- define "selector" -}}
app.kubernetes.io/name: {{ include "name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: manager
{{- end }}

{{/* The chart's own labels take precedence, because the selector needs them. */}}
{{- define "labels" -}}
{{- $chart := dict "app.kubernetes.io/version" .Chart.AppVersion "app.kubernetes.io/managed-by" .Release.Service
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") }}
{{- merge (include "selector" . | fromYaml) $chart .Values.extraLabels | toYaml }}
{{- end }}

{{/* "yes" if metrics are served, and otherwise nothing. */}}
{{- define "metrics" -}}
{{- if kindIs "invalid" .Values.metrics.enabled -}}
{{ empty .Values.namespaces | ternary "yes" "" }}
{{- else -}}
{{ .Values.metrics.enabled | ternary "yes" "" }}
{{- end -}}
{{- end }}

{{/* The rules of a role, from the file that `make manifests` writes: (list $ kind name). */}}
{{- define "rules" -}}
{{- $kind := index . 1 }}{{- $name := index . 2 }}
{{- range splitList "---\n" ((index . 0).Files.Get "files/role.yaml") }}
{{- $role := fromYaml . }}
{{- if and (eq (get $role "kind" | default "") $kind) (eq (dig "metadata" "name" "" $role) $name) }}
{{- toYaml $role.rules }}
{{- end }}
{{- end }}
{{- end }}
