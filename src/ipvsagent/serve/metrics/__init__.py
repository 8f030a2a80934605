"""The Prometheus metrics of the agent: their definitions, and the text that `/metrics` and `/metrics/slis` return."""
