"""A bounded HTTP server. It knows nothing of the product: of the other rooms it imports only `log`.

`server.HttpServer` serves endpoints (`listeners.Endpoint`); handlers take and return the values of `http1`.
"""
