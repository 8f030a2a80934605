"""Kubernetes service proxy on IPVS: plans and reconciles service state into a node's kernel."""

__version__ = "0.1.0"
