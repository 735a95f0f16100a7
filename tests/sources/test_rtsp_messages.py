"""RTSP on the wire: the same messages wherever the bytes are split, and a way back out of garbage."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovstream.sources.rtsp_messages import (
    Frame,
    Message,
    Request,
    Response,
    RtspParser,
    RtspSyntaxError,
    format_frame,
    format_request,
    format_response,
)

RTP = b"\x80\x60" + bytes(10)
text = st.text("abcXYZ 09/=;", max_size=12).map(str.strip)
frames = st.builds(Frame, st.integers(0, 255), st.binary(max_size=60))
responses = st.tuples(st.integers(100, 599), text, st.binary(max_size=40))


def encode_response(status: int, value: str, body: bytes) -> bytes:
    head = f"RTSP/1.0 {status} Reason\r\nCSeq: 3\r\nX-Field: {value}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def comparable(message: Message) -> tuple[object, ...]:
    if isinstance(message, Frame):
        return tuple(message)
    if isinstance(message, Request):
        return (message.method, message.headers.get("cseq"))
    return (message.status, message.headers.get("x-FIELD"), message.body)


def parse(pieces: list[bytes], *, channels: frozenset[int] = frozenset()) -> list[tuple[object, ...]]:
    parser = RtspParser()
    parser.channels = channels
    return [comparable(message) for piece in pieces for message in parser.feed(piece)]


@given(st.lists(st.one_of(frames, responses, st.just("request"))), st.lists(st.integers(0, 400), max_size=30))
def test_messages_do_not_depend_on_where_they_are_split(
    sent: list[Frame | tuple[int, str, bytes] | str], cuts: list[int]
) -> None:
    data, expected = b"", []
    for one in sent:
        if isinstance(one, Frame):
            data += format_frame(*one)
            expected.append(tuple(one))
        elif isinstance(one, str):
            data += format_request("GET_PARAMETER", "*", {"CSeq": "9"}) + b"\r\n"
            expected.append(("GET_PARAMETER", "9"))
        else:
            data += encode_response(*one)
            expected.append(one)
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    pieces = [data[a:b] for a, b in pairwise(places)]
    assert parse(pieces) == expected
    assert parse([bytes((byte,)) for byte in data]) == expected


@given(st.binary(max_size=300).filter(lambda noise: b"$" not in noise and b"RTSP" not in noise))
def test_packets_behind_garbage_are_found(noise: bytes) -> None:
    good = format_frame(0, RTP)
    data = good + b"\xff\xff" + noise + good + good
    assert parse([data], channels=frozenset({0, 1})) == [(0, RTP)] * 3
    assert parse([data[:200], data[200:]], channels=frozenset({0, 1})) == [(0, RTP)] * 3


def test_garbage_that_ends_like_a_packet_is_read_alike_in_pieces() -> None:
    data = format_frame(0, RTP) + b"\x0fabc$$\0\0\x0c\0$\1\xff\xff\0\x15"
    assert parse([data], channels=frozenset({0, 1})) == [(0, RTP)]
    assert parse([bytes((one,)) for one in data], channels=frozenset({0, 1})) == [(0, RTP)]


@settings(deadline=None, max_examples=25)
@given(st.randoms(use_true_random=False), st.integers(1, 2000))
def test_hardly_any_packet_is_swallowed_by_random_garbage(chance: object, size: int) -> None:
    """Garbage may look like a packet; the way back is found behind it."""
    noise = chance.randbytes(size)  # type: ignore[attr-defined]
    good = format_frame(0, RTP)
    found = parse([good, b"\xff" + noise, *[good] * 6000], channels=frozenset({0, 1}))
    assert found.count((0, RTP)) >= 6001 - 65_540 // len(good)


def test_garbage_has_an_end() -> None:
    parser = RtspParser()
    parser.channels = frozenset({0})
    for _ in range(10):
        assert list(parser.feed(b"\xff" * 100_000)) == []
    with pytest.raises(RtspSyntaxError):
        list(parser.feed(b"\xff" * 100_000))


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n" + bytes(20),
        b"RTSP/1.0 200 OK\r\nContent-Length: x\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: 2000000\r\n\r\n",
        b"RTSP/1.0 200 OK\r\n" + b"A: b\r\n" * 20_000,
    ],
)
def test_before_a_stream_plays_garbage_is_an_error(data: bytes) -> None:
    with pytest.raises(RtspSyntaxError):
        parse([data])


@given(st.lists(st.binary(max_size=80)))
def test_any_bytes_do_no_harm(pieces: list[bytes]) -> None:
    for channels in (frozenset[int](), frozenset({0, 1})):
        try:
            parse(pieces, channels=channels)
        except RtspSyntaxError:
            continue


def test_headers_of_a_response() -> None:
    data = b"RTSP/1.0 401 No\r\nWWW-Authenticate: a\r\nwww-authenticate:b\r\nEmpty:\r\n\r\n"
    (response,) = RtspParser().feed(data)
    assert isinstance(response, Response)
    assert response.headers.all("WWW-Authenticate") == ["a", "b"]
    assert (response.headers.get("empty"), response.headers.get("missing", "x")) == ("", "x")
    assert "WWW" not in repr(response)


def test_line_breaks_cannot_smuggle_headers_in() -> None:
    with pytest.raises(ValueError, match="line break"):
        format_request("DESCRIBE", "rtsp://cam/\r\nX: y", {})
    with pytest.raises(ValueError, match="line break"):
        format_request("DESCRIBE", "rtsp://cam/", {"Session": "1\nX: y"})
    assert format_response("200 OK", "7") == b"RTSP/1.0 200 OK\r\nCSeq: 7\r\n\r\n"
