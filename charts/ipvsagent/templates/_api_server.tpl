{{/*
Host and port of the API server as YAML, from an address as people copy it: a host, HOST:PORT, or a URL. Nothing if
`apiServer.host` is empty. An IPv6 address with a port needs brackets.
*/}}
{{- define "ipvsagent.apiServer" -}}
{{- with .Values.apiServer.host }}
{{- $given := . }}
{{- $rest := trimPrefix "https://" $given | trimSuffix "/" }}
{{- if contains "://" $rest }}
{{- fail (printf "apiServer.host: %s is not a https URL; write the host alone, or HOST:PORT" $given) }}
{{- end }}
{{- if contains "/" $rest }}
{{- fail (printf "apiServer.host: %s has a path, which the agent cannot use; use an address of the API server itself" $given) }}
{{- end }}
{{- $port := "" }}
{{- if regexMatch "^(\\[[^\\]]*\\]|[^:]*):[^:]*$" $rest }}
{{- $port = splitList ":" $rest | last }}
{{- $rest = trimSuffix (printf ":%s" $port) $rest }}
{{- if not (regexMatch "^([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$" $port) }}
{{- fail (printf "apiServer.host: %s has no port in 1-65535 behind its last colon" $given) }}
{{- end }}
{{- end }}
{{- $host := include "ipvsagent.bareHost" (dict "text" $rest "given" $given) }}
{{- $separate := $.Values.apiServer.port | toString }}
{{- if and (not $port) (hasPrefix "https://" $given) }}
{{- fail (printf "apiServer.host: the port of %s is unclear; set apiServer.host=%s and apiServer.port, which is 443 for a URL without a port" $given $host) }}
{{- end }}
{{- if and (contains ":" $rest) (not (hasPrefix "[" $rest)) (hasSuffix (printf ":%s" $separate) $rest) }}
{{- fail (printf "apiServer.host: whether %s ends with a port is unclear; write [ADDRESS]:%s, or the whole address in brackets" $given $separate) }}
{{- end }}
{{- if and $port (ne $port $separate) (ne $separate "6443") }}
{{- fail (printf "apiServer.host %s and apiServer.port %s name two ports: set apiServer.host=%s, and the right port" $given $separate $host) }}
{{- end }}
host: {{ $host | quote }}
port: {{ default $separate $port | quote }}
{{- end }}
{{- end }}

{{/* A host name, an IPv4 address, or an IPv6 address with or without brackets; fails for everything else. */}}
{{- define "ipvsagent.bareHost" -}}
{{- $host := .text }}
{{- if and (hasPrefix "[" .text) (hasSuffix "]" .text) }}
{{- $host = .text | trimPrefix "[" | trimSuffix "]" }}
{{- end }}
{{- $valid := false }}
{{- if or (contains ":" $host) (ne $host .text) }}
{{- $groups := splitList ":" $host }}
{{- $short := contains "::" $host }}
{{- $valid = and (regexMatch "^[0-9A-Fa-f]{0,4}(:[0-9A-Fa-f]{0,4}){2,8}$" $host) (not (regexMatch ":::|::.*::|^:[^:]|[^:]:$" $host)) }}
{{- $valid = and $valid (ternary (le (len (without $groups "")) 7) (eq (len $groups) 8) $short) }}
{{- else if regexMatch "^[0-9.]*$" $host }}
{{- $valid = regexMatch "^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(\\.|$)){4}$" $host | and (not (hasSuffix "." $host)) }}
{{- else }}
{{- $valid = regexMatch "^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$" $host }}
{{- end }}
{{- if not $valid }}
{{- fail (printf "apiServer.host: %s is not a host name or an address; examples: 192.0.2.10, 192.0.2.10:6443, [2001:db8::10]:6443, https://api.example.com:6443" .given) }}
{{- end }}
{{- $host }}
{{- end }}
