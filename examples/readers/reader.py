"""Reads a publisher with pyzmq and msgpack alone, to show the wire format: python reader.py ENDPOINT.

Python programs have `ovstream.subscribe`, which also asks for what was missed.
"""

import sys

import msgpack
import numpy as np
import zmq

socket = zmq.Context().socket(zmq.SUB)
socket.maxmsgsize = 16 << 20
for prefix in ("e/", "h/", "s/"):  # embeddings first: whatever a heartbeat counts was then subscribed to
    socket.subscribe(prefix)
socket.connect(sys.argv[1])

expected: dict[str, int] = {}
while True:
    topic, header, *payload = socket.recv_multipart()
    head = msgpack.unpackb(header)
    if head["v"] != 1:
        continue
    stream = head["id"]
    before = head.get("nq")  # of a heartbeat or status: the number of the next embedding
    if before is None:
        before = head["q0"] if head["pq"] is None else head["pq"] + 1
    if expected.setdefault(stream, before) < before:
        print(f"{stream}: {expected[stream]} to {before - 1} are lost", flush=True)
        expected[stream] = before
    if topic.startswith(b"e/") and head["q"] >= expected[stream]:
        expected[stream] = head["q"] + 1
        vector = np.frombuffer(payload[0], head["dt"]).reshape(head["sh"])
        rows, cols = head["g"]
        changed = np.unpackbits(np.frombuffer(payload[1], np.uint8), count=rows * cols, bitorder="little")
        print(f"{stream} #{head['q']} {head['k']} {vector.shape} {int(changed.sum())} changed", flush=True)
    elif topic.startswith(b"s/"):
        print(f"{stream} {head['st']} {head['d']}", flush=True)
        if head["st"] == "ended":
            break
