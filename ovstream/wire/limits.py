"""The largest message that anyone may send; a receiver checks these before it allocates."""

from __future__ import annotations

MAX_FRAMES = 8  # four are in use; later versions may append more
MAX_REPLY_FRAMES = 16_384  # of a replay: its header, then messages
MAX_TOPIC_BYTES = 128
MAX_HEADER_BYTES = 4096  # a full embedding header is about 350
MAX_PAYLOAD_BYTES = 16 << 20  # 1024 tokens of 4096 float32
MAX_DIM = 16_384
MAX_GRID_SIDE = 1024
MAX_GRID_PATCHES = 65_536
MAX_TEXT = 256
MAX_COUNTERS = 32
MAX_HEADER_ITEMS = 64  # entries of the header map, or of an array or a map inside it
MAX_UINT = (1 << 63) - 1  # every unsigned number also fits the signed 64-bit integer of other languages
