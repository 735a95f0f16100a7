"""Reads a publisher with pyzmq and msgpack alone, to show the wire format: python reader.py ENDPOINT [KEYFILE].

Prints stream, number, length and first element of every vector; ends when a stream says that it ended. Python programs
have `ovstream.subscribe`, which also asks for what was missed.
"""

import sys
import tomllib
from pathlib import Path

import msgpack
import numpy as np
import zmq

socket = zmq.Context().socket(zmq.SUB)
socket.maxmsgsize = 16 << 20
if len(sys.argv) > 2:
    keys = tomllib.loads(Path(sys.argv[2]).read_text())
    socket.curve_publickey, socket.curve_secretkey = keys["public"].encode(), keys["secret"].encode()
    socket.curve_serverkey = keys["server"].encode()
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
        print(f"{stream}: {expected[stream]} to {before - 1} are lost", file=sys.stderr)
        expected[stream] = before
    if topic.startswith(b"e/") and head["q"] >= expected[stream]:
        expected[stream] = head["q"] + 1
        vector = np.frombuffer(payload[0], head["dt"]).reshape(head["sh"])
        rows, cols = head["g"]
        changed = np.unpackbits(np.frombuffer(payload[1], np.uint8), count=rows * cols, bitorder="little")
        assert changed.shape == (rows * cols,)
        print(stream, head["q"], vector.shape[-1], f"{vector.flat[0]:.6g}", flush=True)
    elif topic.startswith(b"s/"):
        print(stream, head["st"], head["d"], flush=True)
        if head["st"] == "ended":
            break
