"""Ends a ZeroMQ context, whatever its sockets still do."""

from __future__ import annotations

import logging
import threading

import zmq

PATIENCE_SECONDS = 5.0  # beyond the linger time of its sockets, which ZeroMQ keeps itself

_log = logging.getLogger("ovstream")


def terminate(context: zmq.Context[zmq.Socket[bytes]], *, linger_seconds: float = 0.0) -> bool:
    """Waits until the last messages are out and the threads of ZeroMQ have ended, but not for ever.

    Args:
        context: All of its sockets are closed.
        linger_seconds: What these may still take.

    Returns:
        False: ZeroMQ did not end in time; it is left to end by itself, or with the process.
    """
    ending = threading.Thread(target=context.term, name="ovstream-zmq-end", daemon=True)
    ending.start()
    ending.join(linger_seconds + PATIENCE_SECONDS)
    if ending.is_alive():
        _log.error("ZeroMQ did not end within %.0f s; left behind", linger_seconds + PATIENCE_SECONDS)
    return not ending.is_alive()
