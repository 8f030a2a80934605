"""The agent's counters and histograms about itself, as plain mutable numbers.

They are a separate room for two reasons. `model` promises immutable values, but these change all the time. And the code
that counts (the reconciler, the API client, the HTTP handlers) must not know the code that shows the numbers
(`serve.metrics`): both import this room, and neither imports the other. Nothing here imports a metrics library.
"""
