"""What the agent counts about itself while it works: counters and histograms, as plain mutable numbers.

They are a room of their own for two reasons. `model` promises immutable values, and these change all the time. And
those that count (the reconciler, the API client, the HTTP handlers) must not know those that show the numbers
(`serve.metrics`): both sides import this room, and neither imports the other. Nothing here imports a metrics library.
"""
