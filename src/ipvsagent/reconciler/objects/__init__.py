"""What Kubernetes says: the objects known, endpoints that left them, and what is wrong with them.

Knows no driver and plans nothing.
"""
