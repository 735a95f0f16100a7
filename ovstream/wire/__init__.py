"""The message schema "OVS1": what travels between a publisher and its subscribers.

A message is a list of frames, readable from any language with a msgpack library:

```
[topic, UTF-8] [header, msgpack map with string keys] [vector, raw little-endian] [changed patches, bit mask]
 e/<stream>/    embedding: all four frames
 h/<stream>/    heartbeat: the first two
 s/<stream>/    status:    the first two
```

docs/wire-format.md describes every byte. Whatever arrives is checked before it is believed: any list of
byte strings gives a message or a `WireError`, in time and memory bounded by `limits`.
"""

from ovstream.wire.checkpoint import decode_checkpoint, encode_checkpoint
from ovstream.wire.control import Heartbeat, Status, encode_heartbeat, encode_status
from ovstream.wire.embedding import Published, decode, encode
from ovstream.wire.fields import WIRE_MAJOR
from ovstream.wire.forms import Form, Forms
from ovstream.wire.message import Message, parse, topics
from ovstream.wire.replay import (
    Channel,
    Reply,
    Request,
    encode_reply,
    encode_request,
    parse_reply,
    parse_request,
)

__all__ = [
    "WIRE_MAJOR",
    "Channel",
    "Form",
    "Forms",
    "Heartbeat",
    "Message",
    "Published",
    "Reply",
    "Request",
    "Status",
    "decode",
    "decode_checkpoint",
    "encode",
    "encode_checkpoint",
    "encode_heartbeat",
    "encode_reply",
    "encode_request",
    "encode_status",
    "parse",
    "parse_reply",
    "parse_request",
    "topics",
]
