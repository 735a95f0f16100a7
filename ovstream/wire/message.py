"""Any message: the topic says which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ovstream.errors import WireError
from ovstream.wire import limits
from ovstream.wire.control import Heartbeat, Status, parse_heartbeat, parse_status
from ovstream.wire.embedding import Published, parse_embedding
from ovstream.wire.fields import Fields, stream_topic

Message = Published | Heartbeat | Status


def parse(frames: Sequence[bytes]) -> Message:
    """Turns the frames of any message into what they say.

    Args:
        frames: As received; frames beyond those of this version are ignored.

    Raises:
        WireError: They are no message of this wire version.
    """
    if not 2 <= len(frames) <= limits.MAX_FRAMES:
        raise WireError(f"{len(frames)} frames; a message has 2 to {limits.MAX_FRAMES}")
    topic = frames[0]
    if len(topic) > limits.MAX_TOPIC_BYTES:
        raise WireError(f"topic of {len(topic)} bytes, at most {limits.MAX_TOPIC_BYTES}")
    prefix = topic[:2]
    if prefix == b"e/":
        if len(frames) < 4:
            raise WireError(f"{len(frames)} frames; an embedding has four")
        return parse_embedding(frames)
    if prefix == b"h/":
        return parse_heartbeat(frames, Fields.unpack(frames[1]))
    if prefix == b"s/":
        return parse_status(frames, Fields.unpack(frames[1]))
    raise WireError("unknown topic")


def topics(stream_ids: Iterable[str] | None) -> list[str]:
    """Lists the prefixes to subscribe to, embeddings first.

    The order matters: once a heartbeat arrives, embeddings were already subscribed to, so whatever a
    heartbeat counts from then on should have arrived.

    Args:
        stream_ids: Streams; None for all of them.

    Raises:
        WireError: A name is no stream id.
    """
    if stream_ids is None:
        return ["e/", "h/", "s/"]
    wanted = list(stream_ids)
    return (
        [stream_topic("e", name) for name in wanted]
        + [stream_topic("h", name) for name in wanted]
        + [stream_topic("s", name) for name in wanted]
    )
