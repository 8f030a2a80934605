"""What others may ask a running agent: HTTP, health, metrics, from a status value handed to it."""
