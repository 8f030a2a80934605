# syntax=docker/dockerfile:1
# docs/developer/image.md tells how to build it, for several architectures and reproducibly.
ARG BASE=debian:12.12-slim

FROM ${BASE} AS build
SHELL ["/bin/sh", "-eu", "-c"]
# Versions follow Debian's stable release, so that security updates are taken and nothing else changes.
RUN apt-get update; \
    apt-get install --yes --no-install-recommends \
        gcc=4:12.* libc6-dev=2.36-* python3=3.11.* python3-dev=3.11.* python3-venv=3.11.*; \
    apt-get clean; \
    rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
ARG SOURCE_DATE_EPOCH=0
# kubernetes.aio is the Kubernetes client a second time, for asyncio; the agent does not use it.
# Neither debug paths in what is compiled nor an order that depends on a seed: two builds give the same bytes.
ENV CFLAGS=-g0 PYTHONHASHSEED=0 PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt
RUN python3 -m venv /opt/ipvsagent; \
    /opt/ipvsagent/bin/pip install --quiet --no-cache-dir --no-compile --use-pep517 .; \
    /opt/ipvsagent/bin/pip uninstall --quiet --yes pip setuptools; \
    rm -rf /opt/ipvsagent/bin/activate* /opt/ipvsagent/bin/Activate.ps1; \
    rm -rf /opt/ipvsagent/lib/python3.11/site-packages/kubernetes/aio; \
    find /opt/ipvsagent -name '*.pyi' -delete; \
    python3 -m compileall -q -f --invalidation-mode unchecked-hash /opt/ipvsagent; \
    find /opt/ipvsagent -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH}" {} +

FROM ${BASE}
SHELL ["/bin/sh", "-eu", "-c"]
# Both variants of iptables; the agent chooses at start. `modprobe` is for the init container that may load modules.
RUN apt-get update; \
    apt-get install --yes --no-install-recommends python3=3.11.* iptables=1.8.9-* kmod=30*; \
    apt-get clean; \
    rm -rf /var/lib/apt/lists/* /var/log/* /var/cache/ldconfig/aux-cache /var/cache/debconf/*-old
COPY --from=build /opt/ipvsagent /opt/ipvsagent
ARG SOURCE_DATE_EPOCH=0
# What is in here, for scanners that look for vulnerable versions.
RUN --mount=type=bind,source=lab/sbom.py,target=/tmp/sbom.py \
    mkdir /opt/ipvsagent/share; \
    python3 /tmp/sbom.py /opt/ipvsagent/lib/python3.11/site-packages /opt/ipvsagent/share/sbom.cdx.json; \
    touch --date="@${SOURCE_DATE_EPOCH}" /opt/ipvsagent/share/sbom.cdx.json /opt/ipvsagent/share /opt/ipvsagent
ENV PATH=/opt/ipvsagent/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG SOURCE=unknown
ARG BASE
LABEL org.opencontainers.image.title="ipvsagent" \
      org.opencontainers.image.description="Kubernetes service proxy on IPVS" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="${BASE}"
# Root, as netlink and iptables ask for it; the chart takes away all capabilities but those that are needed.
ENTRYPOINT ["ipvsagent"]
CMD ["run"]
