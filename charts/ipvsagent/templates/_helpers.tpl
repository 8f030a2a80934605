{{- define "ipvsagent.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "ipvsagent.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 49 | trimSuffix "-" }}
{{- else }}
{{- $name := include "ipvsagent.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 49 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 49 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "ipvsagent.selectorLabels" -}}
app.kubernetes.io/name: {{ include "ipvsagent.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: agent
{{- end }}

{{/* Common labels of all objects. Selector labels are defined separately. */}}
{{- define "ipvsagent.labels" -}}
app.kubernetes.io/name: {{ include "ipvsagent.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "ipvsagent.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{- define "ipvsagent.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "ipvsagent.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* The configuration for the agent: the values, with a default for the address of the metrics server. */}}
{{- define "ipvsagent.configuration" -}}
{{- $config := deepCopy .Values.config }}
{{- if not $config.metricsBindAddress }}
{{- $config = omit $config "metricsBindAddress" }}
{{- if or .Values.podMonitor.enabled .Values.serviceMonitor.enabled }}
{{- $everywhere := ternary "[::]:10249" "0.0.0.0:10249" (contains ":" $config.bindAddress) }}
{{- $config = set $config "metricsBindAddress" $everywhere }}
{{- end }}
{{- end }}
{{- toYaml (merge (dict "apiVersion" "ipvsagent.io/v1alpha1" "kind" "AgentConfiguration") $config) }}
{{- end }}

{{- define "ipvsagent.healthPort" -}}
{{- regexFind "[0-9]+$" .Values.config.healthzBindAddress }}
{{- end }}

{{- define "ipvsagent.metricsPort" -}}
{{- default "10249" (regexFind "[0-9]+$" .Values.config.metricsBindAddress) }}
{{- end }}

{{/* The target of a probe: the address of the pod, which is the node's, unless health is served only on another address. */}}
{{- define "ipvsagent.probe" -}}
{{- $address := regexReplaceAll ":[0-9]+$" .root.Values.config.healthzBindAddress "" | trimPrefix "[" | trimSuffix "]" -}}
httpGet:
  path: {{ .path }}
  port: {{ include "ipvsagent.healthPort" .root }}
  {{- if not (has $address (list "0.0.0.0" "::")) }}
  host: {{ $address | quote }}
  {{- end }}
{{ toYaml .settings }}
{{- end }}

{{/* Environment variables with the address of the API server that is not the cluster IP. */}}
{{- define "ipvsagent.apiServerEnvironment" -}}
{{- with include "ipvsagent.apiServer" . | fromYaml }}
- name: KUBERNETES_SERVICE_HOST
  value: {{ .host | quote }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ .port | quote }}
{{- end }}
{{- end }}

{{/* The nodes on which the agent runs, and on which its state is removed. */}}
{{- define "ipvsagent.nodeSelector" -}}
{{- $selector := deepCopy .Values.nodeSelector }}
{{- with .Values.migration }}
{{- if .enabled }}
{{- $selector = set $selector .label .value }}
{{- end }}
{{- end }}
{{- toYaml $selector }}
{{- end }}

{{/* Unprivileged root. NET_RAW: iptables opens raw sockets, legacy for every command, nft to look up ipsets. */}}
{{- define "ipvsagent.securityContext" -}}
privileged: false
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsUser: 0
runAsGroup: 0
capabilities:
  drop: [ALL]
  add:
    - NET_ADMIN
    - NET_RAW
{{- end }}

{{- define "ipvsagent.agentVolumeMounts" -}}
- name: configuration
  mountPath: /etc/ipvsagent
  readOnly: true
- name: modules
  mountPath: /lib/modules
  readOnly: true
- name: xtables-lock
  mountPath: /run/xtables.lock
- name: temporary
  mountPath: /tmp
{{- if .Values.sysctls.mount }}
- name: network-settings
  mountPath: /host/proc/sys/net
{{- end }}
{{- end }}

{{- define "ipvsagent.agentVolumes" -}}
- name: modules
  hostPath:
    path: {{ .Values.modules.hostPath }}
    type: Directory
- name: xtables-lock # shared with all that change rules on the node
  hostPath:
    path: /run/xtables.lock
    type: FileOrCreate
- name: temporary
  emptyDir:
    medium: Memory
    sizeLimit: 8Mi
{{- if .Values.sysctls.mount }}
- name: network-settings # /proc/sys of a container without privileges is read-only
  hostPath:
    path: /proc/sys/net
    type: Directory
{{- end }}
{{- end }}

{{/* A ServiceAccount token, for the only container that mounts it. */}}
{{- define "ipvsagent.tokenVolume" -}}
- name: service-account
  projected:
    defaultMode: 0444
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 3607
      - configMap:
          name: kube-root-ca.crt
          items:
            - key: ca.crt
              path: ca.crt
      - downwardAPI:
          items:
            - path: namespace
              fieldRef:
                fieldPath: metadata.namespace
{{- end }}

{{/*
Hooks after the release is deleted: Helm forgets the release even if they fail. What the Job needs stays until the Job
is deleted, which owns it; Helm would delete it while the Job still runs, if Helm's time is up.
*/}}
{{- define "ipvsagent.hookAnnotations" -}}
helm.sh/hook: post-delete
helm.sh/hook-delete-policy: before-hook-creation
{{- end }}

{{- define "ipvsagent.briefHookAnnotations" -}}
helm.sh/hook: post-delete
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{- define "ipvsagent.noPrivileges" -}}
privileged: false
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65534
runAsGroup: 65534
capabilities:
  drop: [ALL]
{{- end }}
