"""Encoding and decoding of netlink messages: bytes in, values out, no sockets. For the drivers beside them alone."""
