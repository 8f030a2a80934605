"""Encoding and decoding of netlink messages: bytes in, values out, no sockets. Only the drivers of this room use it."""
