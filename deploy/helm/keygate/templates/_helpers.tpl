{{- /* Names and labels. Release and chart, as every chart does it, so that two releases do not meet. */ -}}
{{- define "keygate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "keygate.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "keygate.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "keygate.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "keygate.selector" -}}
app.kubernetes.io/name: {{ include "keygate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "keygate.labels" -}}
{{ include "keygate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "keygate.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{- define "keygate.claim" -}}
{{- default (include "keygate.fullname" .) .Values.persistence.existingClaim }}
{{- end }}

{{- /* The keygate.yaml that the values make: `config`, and over it what the values decide. */ -}}
{{- define "keygate.config" -}}
{{- $config := deepCopy .Values.config }}
{{- range $name := list "version" "listen" "upstream" "data_dir" "keys" "telemetry" "admin.enabled" "admin.token_file" "timeouts.drain_delay" "timeouts.drain" }}
{{- $path := splitList "." $name }}
{{- $section := ternary $config (get $config (first $path)) (eq (len $path) 1) }}
{{- if and (kindIs "map" $section) (hasKey $section (last $path)) }}
{{- fail (printf "config.%s is set by other values: see values.yaml" $name) }}
{{- end }}
{{- end }}
{{- $admin := dict "enabled" .Values.admin.enabled }}
{{- if .Values.admin.tokens.existingSecret }}
{{- $_ := set $admin "token_file" (printf "/etc/keygate-admin/%s" .Values.admin.tokens.key) }}
{{- end }}
{{- $set := dict "version" 1 "listen" "0.0.0.0:8080" "upstream" .Values.upstream "data_dir" "/var/lib/keygate" "admin" $admin }}
{{- /* The kubelet reaches the probes. */ -}}
{{- $_ := set $set "telemetry" (dict "listen" "0.0.0.0:9091") }}
{{- $_ := set $set "timeouts" (dict "drain_delay" .Values.shutdown.drainDelay "drain" .Values.shutdown.drain) }}
{{- $keys := dict }}
{{- if .Values.keys.existingSecret }}
{{- $_ := set $keys "file" (printf "/etc/keygate-keys/%s" .Values.keys.key) }}
{{- end }}
{{- if .Values.keys.secretFile.existingSecret }}
{{- $_ := set $keys "secret_file" (printf "/etc/keygate-secret/%s" .Values.keys.secretFile.key) }}
{{- end }}
{{- if $keys }}
{{- $_ := set $set "keys" $keys }}
{{- end }}
{{- if .Values.tls.existingSecret }}
{{- $pair := dict "certificate" "/etc/keygate-tls/tls.crt" "key" "/etc/keygate-tls/tls.key" }}
{{- $_ := set $set "tls" (dict "certificates" (list $pair)) }}
{{- end }}
{{- toYaml (mergeOverwrite $config $set) }}
{{- end }}

{{- /* What cannot be said in the schema. */ -}}
{{- define "keygate.check" -}}
{{- if not .Values.upstream }}
{{- fail "upstream: the service behind keygate, such as http://app.namespace.svc:3000" }}
{{- end }}
{{- if not (or .Values.keys.existingSecret .Values.persistence.enabled) }}
{{- fail "set keys.existingSecret or persistence.enabled: keys made in the admin pages would end with the pod" }}
{{- end }}
{{- if and .Values.persistence.enabled (gt (int .Values.replicaCount) 1) }}
{{- fail "persistence is for replicaCount 1: a data folder has one owner" }}
{{- end }}
{{- /* What still runs after `drain` is cut within two seconds; then the log is written to its end. */ -}}
{{- $drain := add (trimSuffix "s" .Values.shutdown.drainDelay | int) (trimSuffix "s" .Values.shutdown.drain | int) }}
{{- if lt (int .Values.terminationGracePeriodSeconds) (int (add $drain 5)) }}
{{- fail (printf "terminationGracePeriodSeconds must be at least %d: drainDelay, drain, and 5 s" (add $drain 5)) }}
{{- end }}
{{- end }}
