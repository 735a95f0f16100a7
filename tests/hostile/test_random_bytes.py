"""Bytes that were never video, bare or behind a believable beginning; and pieces of real units, shuffled."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ovstream.bitstream import Parser
from tests.hostile.helpers import START, attempt, pps, sps

BYTES = st.binary(max_size=400)


@given(BYTES, st.integers(0, 4))
@settings(deadline=None)
def test_any_bytes(data: bytes, nal_length_bytes: int) -> None:
    attempt(Parser("h264", nal_length_bytes=nal_length_bytes), data)


@given(BYTES, st.sampled_from([0x01, 0x21, 0x41, 0x65, 0x06, 0x67, 0x68]), st.booleans(), st.integers(0, 2))
@settings(deadline=None)
def test_any_bytes_as_a_nal_unit_of_a_sequence(data: bytes, header: int, cabac: bool, poc_type: int) -> None:
    parser = Parser("h264")
    head = sps(profile=77, poc_type=poc_type % 3 if poc_type != 1 else 2, max_num_ref_frames=4) + pps(
        cabac=cabac
    )
    attempt(parser, head + START + bytes([header]) + data)
    attempt(parser, START + bytes([header]) + data)


@given(data=st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_shuffled_pieces(clip: list[bytes], data: st.DataObject) -> None:
    parser = Parser("h264")
    attempt(parser, clip[0])
    for _ in range(6):
        unit = data.draw(st.sampled_from(clip))
        begin = data.draw(st.integers(0, len(unit)))
        end = data.draw(st.integers(begin, len(unit)))
        attempt(parser, data.draw(st.sampled_from([b"", START + b"\x41", START + b"\x01"])) + unit[begin:end])
