"""Whatever is encoded comes back; the vector within the precision of its wire dtype."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, get_args

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ovstream.config.sections import StreamConfig
from ovstream.errors import WireError
from ovstream.types import Action, Checkpoint, Embedding, EventKind, Kind
from ovstream.wire import (
    Heartbeat,
    Published,
    Status,
    decode,
    decode_checkpoint,
    encode,
    encode_checkpoint,
    encode_heartbeat,
    encode_status,
    parse,
)
from ovstream.wire.fields import STREAM_ID
from ovstream.wire.limits import MAX_DIM, MAX_UINT
from tests.wire.samples import assert_same, embedding, example

uints = st.integers(0, MAX_UINT)
stream_ids = st.from_regex(STREAM_ID, fullmatch=True)
texts = st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=32)
finite = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def embeddings(draw: st.DrawFn) -> Embedding:
    rows, cols, dim = (draw(st.integers(1, high)) for high in (20, 20, 40))
    kind: Kind = draw(st.sampled_from(get_args(Kind)))
    shape = (rows * cols, dim) if kind == "tokens" else (dim,)
    return Embedding(
        stream_id=draw(stream_ids),
        epoch=draw(uints),
        seq=draw(uints),
        pts_seconds=draw(st.none() | finite),
        capture_time_ns=draw(st.none() | st.integers(-MAX_UINT, MAX_UINT)),
        publish_time_ns=draw(uints),
        kind=kind,
        vector=draw(npst.arrays(np.float32, shape, elements=st.floats(width=32, allow_nan=False, allow_infinity=False))),
        changed=draw(npst.arrays(np.bool_, (rows, cols))),
        action=draw(st.sampled_from(get_args(Action))),
        reason=draw(texts),
        keep_ratio=draw(st.floats(0, 1)),
        decoded=draw(st.booleans()),
        drift=draw(st.none() | finite),
        staleness_frames=draw(uints),
        model_id=draw(texts),
        model_digest=draw(st.text("0123456789abcdef", max_size=16)),
        trained=draw(st.booleans()),
        counters=draw(st.dictionaries(st.from_regex(r"[a-z_]{1,20}", fullmatch=True), uints, max_size=32)),
    )  # fmt: skip


@given(embeddings())
def test_float32_is_exact(one: Embedding) -> None:
    assert_same(decode(encode(one, dtype="float32")), one)


@given(embeddings())
def test_float16_rounds_to_nearest_and_never_overflows(one: Embedding) -> None:
    back = decode(encode(one)).vector
    fits = np.abs(one.vector).max() <= np.finfo(np.float16).max
    expected = one.vector.astype(np.float16).astype(np.float32) if fits else one.vector
    np.testing.assert_array_equal(back, expected)


@given(st.data())
def test_place_in_the_sequence_survives(data: st.DataObject) -> None:
    first, previous, seq = sorted(data.draw(st.sets(uints, min_size=3, max_size=3)))
    message = parse(encode(embedding(seq, publish_time_ns=0), first_seq=first, previous_seq=previous))
    assert isinstance(message, Published)
    assert (message.first_seq, message.previous_seq, message.sent_before) == (first, previous, previous + 1)
    message = parse(encode(embedding(seq, publish_time_ns=0), first_seq=first))
    assert isinstance(message, Published)
    assert (message.previous_seq, message.sent_before) == (None, first)


@given(stream_ids, uints, uints, uints, uints)
def test_heartbeats_come_back(stream_id: str, epoch: int, one: int, other: int, time_ns: int) -> None:
    beat = Heartbeat(stream_id, epoch, min(one, other), max(one, other), time_ns)
    assert parse(encode_heartbeat(beat)) == beat


@given(stream_ids, st.sampled_from(get_args(EventKind)), texts)
def test_status_comes_back(stream_id: str, kind: EventKind, detail: str) -> None:
    status = Status(stream_id, 1, 2, 3, 4, kind, detail)
    assert parse(encode_status(status)) == status


def test_an_event_that_this_version_does_not_know_is_passed_on() -> None:
    back = parse(encode_status(Status("door", 1, 2, 3, 4, "lens-fogged", "since noon")))
    assert isinstance(back, Status)
    assert (back.kind, back.detail) == ("lens-fogged", "since noon")


@pytest.mark.parametrize("kind", ["", "Two words", "x" * 33, "-a", "é", "a\n"])
def test_the_name_of_an_event_is_one_short_word(kind: str) -> None:
    with pytest.raises(WireError):
        encode_status(Status("door", 1, 2, 3, 4, kind))
    frames = encode_status(Status("door", 1, 2, 3, 4, "known"))
    with pytest.raises(WireError):
        parse([frames[0], frames[1].replace(b"\xa5known", msgpack.packb(kind))])


@given(st.text())
def test_any_detail_can_be_sent(detail: str) -> None:
    status = parse(encode_status(Status("a", 0, 0, 0, 0, "error", detail)))
    assert isinstance(status, Status)
    assert status.detail.isprintable()
    assert len(status.detail) <= len(detail)


@given(stream_ids, uints, uints, st.none() | st.integers(-MAX_UINT, MAX_UINT), st.integers(1, 2**32 - 1))
def test_checkpoints_come_back(stream_id: str, epoch: int, seq: int, pts: int | None, rate: int) -> None:
    checkpoint = Checkpoint(stream_id, epoch, seq, pts, Fraction(1, rate), "0123456789abcdef")
    data = encode_checkpoint(checkpoint)
    assert decode_checkpoint(data) == checkpoint
    assert len(data) < 256


def test_header_of_an_ordinary_message_is_small() -> None:
    assert len(encode(example())[1]) < 280  # numbers have their full width, so that all are read in one step
    assert len(encode(embedding(10**6))[1]) < 400


def test_further_frames_and_keys_are_ignored() -> None:
    frames = encode(example(), dtype="float32")
    frames[1] = msgpack.packb({**msgpack.unpackb(frames[1]), "future": [1, {"x": b"y"}]})
    assert_same(decode([*frames, b"more"]), example())


def test_mask_bits_are_counted_from_the_lowest() -> None:
    assert encode(example())[3] == bytes([0b00000010, 0b01000000])


@pytest.mark.parametrize(
    "changes",
    [
        {"vector": np.array([np.nan], np.float32)},
        {"vector": np.array([np.inf], np.float32)},
        {"vector": np.zeros(0, np.float32)},
        {"vector": np.zeros((15, 4), np.float32)},
        {"vector": np.zeros(4, np.float32), "kind": "tokens"},
        {"vector": np.zeros(MAX_DIM + 1, np.float32)},
        {"stream_id": "a/b"},
        {"stream_id": ""},
        {"counters": {"x" * 200 + str(n): 1 for n in range(32)}},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_what_cannot_be_read_is_not_sent(changes: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        encode(embedding(**changes))


def test_wire_and_configuration_agree_on_stream_ids() -> None:
    pattern = StreamConfig.model_fields["stream_id"].metadata[0].pattern
    assert pattern == f"^{STREAM_ID.pattern}$"
