{{- define "name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* What the names of all objects begin with. */}}
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

{{/* By these the pods are found: they can't change with an upgrade. */}}
{{- define "selector" -}}
app.kubernetes.io/name: {{ include "name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: manager
{{- end }}

{{/* Those of the chart win, as the selector's must. */}}
{{- define "labels" -}}
{{- $chart := dict "app.kubernetes.io/version" .Chart.AppVersion "app.kubernetes.io/managed-by" .Release.Service
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") }}
{{- merge (include "selector" . | fromYaml) $chart .Values.extraLabels | toYaml }}
{{- end }}

{{/* Whether metrics are served: "yes" or nothing. */}}
{{- define "metrics" -}}
{{- if kindIs "invalid" .Values.metrics.enabled -}}
{{ empty .Values.namespaces | ternary "yes" "" }}
{{- else -}}
{{ .Values.metrics.enabled | ternary "yes" "" }}
{{- end -}}
{{- end }}

{{/* The rules of a role, which `make generate` has made: (list $ kind name). */}}
{{- define "rules" -}}
{{- $kind := index . 1 }}{{- $name := index . 2 }}
{{- range splitList "---\n" ((index . 0).Files.Get "files/role.yaml") }}
{{- $role := fromYaml . }}
{{- if and (eq (get $role "kind" | default "") $kind) (eq (dig "metadata" "name" "" $role) $name) }}
{{- toYaml $role.rules }}
{{- end }}
{{- end }}
{{- end }}
