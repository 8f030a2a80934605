"""What Kubernetes says: known objects, departed endpoints, and problems of objects.

This room knows no driver and plans nothing.
"""
