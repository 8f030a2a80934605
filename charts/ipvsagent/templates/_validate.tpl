{{- define "ipvsagent.validate" -}}
{{- $surge := .Values.updateStrategy.maxSurge | toString | trimSuffix "%" }}
{{- $unavailable := .Values.updateStrategy.maxUnavailable | toString | trimSuffix "%" }}
{{- if and (eq $surge "0") (eq $unavailable "0") }}
{{- fail "updateStrategy: maxUnavailable and maxSurge cannot both be 0: no node would ever be updated" }}
{{- end }}
{{- if and (ne $surge "0") (ne $unavailable "0") }}
{{- fail "updateStrategy: maxSurge needs maxUnavailable: 0" }}
{{- end }}
{{- if and .Values.podMonitor.enabled .Values.serviceMonitor.enabled }}
{{- fail "podMonitor and serviceMonitor are both enabled: every metric would be scraped twice" }}
{{- end }}
{{- $ports := .Values.networkPolicy.nodePortRange }}
{{- if lt (int $ports.last) (int $ports.first) }}
{{- fail "networkPolicy.nodePortRange: last is smaller than first" }}
{{- end }}
{{- $config := .Values.config }}
{{- $detect := $config.detectLocal }}
{{- if and (eq $config.detectLocalMode "BridgeInterface") (not $detect.bridgeInterface) }}
{{- fail "config.detectLocal.bridgeInterface must be set with config.detectLocalMode BridgeInterface" }}
{{- end }}
{{- if and (eq $config.detectLocalMode "InterfaceNamePrefix") (not $detect.interfaceNamePrefix) }}
{{- fail "config.detectLocal.interfaceNamePrefix must be set with config.detectLocalMode InterfaceNamePrefix" }}
{{- end }}
{{- include "ipvsagent.validateNode" . }}
{{- include "ipvsagent.validateAddresses" . }}
{{- include "ipvsagent.validateNames" . }}
{{- include "ipvsagent.validateDurations" . }}
{{- end }}

{{/* What a schema cannot compare; a duration is added to a date to be compared. */}}
{{- define "ipvsagent.validateDurations" -}}
{{- $config := .Values.config }}
{{- $start := toDate "2006-01-02" "2000-01-01" }}
{{- $longest := dateModify "2147483647s" $start }}
{{- range $section := list "ipvs" "conntrack" }}
{{- range $name, $value := index $config $section }}
{{- if and (kindIs "string" $value) (regexMatch "^[+]?[0-9.]+(h|ms|m|s|us|µs|ns)" $value) }}
{{- if (mustDateModify $value $start).After $longest }}
{{- fail (printf "config.%s.%s %s is longer than 2147483647s, which is all that the kernel takes" $section $name $value) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- $least := mustDateModify $config.ipvs.minSyncPeriod $start }}
{{- $period := mustDateModify $config.ipvs.syncPeriod $start }}
{{- if $period.Equal $start }}
{{- $period = dateModify "30s" $start }}
{{- end }}
{{- if $least.After $period }}
{{- fail (printf "config.ipvs.minSyncPeriod %s is longer than config.ipvs.syncPeriod %s: set it to at most this" $config.ipvs.minSyncPeriod $config.ipvs.syncPeriod) }}
{{- end }}
{{- end }}

{{/* An agent with the name of another node takes the endpoints of that node for local ones. */}}
{{- define "ipvsagent.validateNode" -}}
{{- with .Values.config.hostnameOverride }}
{{- fail (printf "config.hostnameOverride must be empty, not %q: all nodes would get this name; each agent gets the name of its Node" .) }}
{{- end }}
{{- range .Values.extraEnv }}
{{- if eq (default "" .name) "NODE_NAME" }}
{{- fail "extraEnv must not contain NODE_NAME: each agent gets the name of its Node" }}
{{- end }}
{{- end }}
{{- range .Values.extraArgs }}
{{- if hasPrefix "--node-name" . }}
{{- fail (printf "extraArgs must not contain %s: each agent gets the name of its Node" .) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "ipvsagent.validateAddresses" -}}
{{- $config := .Values.config }}
{{- $metrics := $config.metricsBindAddress }}
{{- range $name := list "podMonitor" "serviceMonitor" }}
{{- if and (index $.Values $name).enabled (regexMatch "^(127\\.|\\[?(0*:)+0*1\\]?(:[0-9]+)?$)" $metrics) }}
{{- fail (printf "%s.enabled needs a metrics address that Prometheus reaches, not config.metricsBindAddress %s: leave it empty, or set 0.0.0.0:10249" $name $metrics) }}
{{- end }}
{{- end }}
{{- $served := include "ipvsagent.configuration" . | fromYaml }}
{{- $metrics = default "127.0.0.1:10249" $served.metricsBindAddress }}
{{- if eq (include "ipvsagent.healthPort" .) (include "ipvsagent.metricsPort" .) }}
{{- $hosts := list }}
{{- range list $config.healthzBindAddress $metrics }}
{{- $hosts = append $hosts (regexReplaceAll ":[0-9]+$" . "") }}
{{- end }}
{{- if or (eq (first $hosts) (last $hosts)) (has "0.0.0.0" $hosts) (has "[::]" $hosts) (has "::" $hosts) }}
{{- fail (printf "config.healthzBindAddress %s and config.metricsBindAddress %s use the same port: change one of them" $config.healthzBindAddress $metrics) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "ipvsagent.validateNames" -}}
{{- $account := .Values.serviceAccount }}
{{- if and (not $account.create) (not $account.name) }}
{{- fail "serviceAccount.name must be set with serviceAccount.create=false" }}
{{- end }}
{{- if eq $account.name "default" }}
{{- fail "serviceAccount.name must not be `default`: all pods of the namespace without an account would get the agent's permissions" }}
{{- end }}
{{- range $name := list "podLabels" "commonLabels" }}
{{- range $key, $_ := index $.Values $name }}
{{- if has $key (list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart") }}
{{- fail (printf "%s must not contain %s: the chart sets this label, and selectors use it" $name $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $key, $_ := .Values.podAnnotations }}
{{- if has $key (list "kubectl.kubernetes.io/default-container" "checksum/configuration") }}
{{- fail (printf "podAnnotations must not contain %s: the chart sets this annotation" $key) }}
{{- end }}
{{- end }}
{{- end }}
