{{/* Runs `ipvsagent cleanup` on the nodes where the agent ran; a pod is ready when its node is clean. */}}
{{- define "ipvsagent.cleanupDaemonSet" -}}
{{- $name := printf "%s-cleanup" (include "ipvsagent.fullname" .) -}}
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: {{ $name }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "ipvsagent.labels" . | nindent 4 }}
    app.kubernetes.io/component: cleanup
spec:
  selector:
    matchLabels:
      app.kubernetes.io/name: {{ include "ipvsagent.name" . }}
      app.kubernetes.io/instance: {{ .Release.Name }}
      app.kubernetes.io/component: cleanup
  template:
    metadata:
      labels:
        {{- include "ipvsagent.labels" . | nindent 8 }}
        app.kubernetes.io/component: cleanup
    spec:
      hostNetwork: true
      dnsPolicy: Default
      priorityClassName: {{ .Values.priorityClassName }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: 0
      securityContext:
        seccompProfile:
          type: RuntimeDefault
      {{- with .Values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      nodeSelector:
        {{- include "ipvsagent.nodeSelector" . | nindent 8 }}
      {{- with .Values.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      tolerations:
        {{- toYaml .Values.tolerations | nindent 8 }}
      initContainers:
        - name: cleanup
          image: {{ include "ipvsagent.image" . }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          command: [ipvsagent, cleanup, --if-agent-ran, --config=/etc/ipvsagent/configuration.yaml]
          terminationMessagePolicy: FallbackToLogsOnError
          {{- if .Values.sysctls.mount }}
          env:
            - name: IPVSAGENT_NETWORK_SETTINGS
              value: /host/proc/sys/net
          {{- end }}
          resources:
            {{- toYaml .Values.resources | nindent 12 }}
          securityContext:
            {{- include "ipvsagent.securityContext" . | nindent 12 }}
          volumeMounts:
            {{- include "ipvsagent.agentVolumeMounts" . | nindent 12 }}
      containers:
        - name: done
          image: {{ include "ipvsagent.image" . }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          command: [sleep, infinity]
          resources:
            requests:
              cpu: 1m
              memory: 4Mi
            limits:
              memory: 16Mi
          securityContext:
            {{- include "ipvsagent.noPrivileges" . | nindent 12 }}
      volumes:
        - name: configuration # the agent's ConfigMap is deleted with the release
          configMap:
            name: {{ $name }}
        {{- include "ipvsagent.agentVolumes" . | nindent 8 }}
{{- end }}
