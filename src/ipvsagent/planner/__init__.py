"""All Service semantics: objects and settings in, desired state and problems out.

Pure: no netlink, no Kubernetes client, no clock, no randomness, no log.
"""
