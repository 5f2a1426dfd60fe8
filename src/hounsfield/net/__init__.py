"""Asyncio drivers of the sans-IO protocols: sockets, timers and flow control, for either side."""
