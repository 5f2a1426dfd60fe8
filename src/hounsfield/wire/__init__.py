"""Bytes to values and back; pure, without sockets, files, clocks or logging."""
