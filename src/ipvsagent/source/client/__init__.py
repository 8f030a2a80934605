"""The client of an API server: address, TLS, proxies and credentials, with client-go's rules.

`access.ApiAccess.current` is the interface: host, authorities, client certificate or token, expiry. Nothing outside of
this folder knows kubeconfig files, service accounts or plugins.
"""
