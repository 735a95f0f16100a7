"""WHIP: what the endpoint answers, who may publish, and how long a publisher lives."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiortc.rtcrtpreceiver
import pytest

from ovstream.config import SourceConfig
from ovstream.errors import ConfigError, InsecureBindError
from ovstream.sources import open_source
from ovstream.sources.webrtc import WhipEndpoint
from tests.clips import make_clip
from tests.net.fault_matrix import audit
from tests.net.fault_server import load_units
from tests.net.whip_publisher import Manners, Publisher, ask, listening, until
from tests.rtp.sender import SentUnit
from tests.sources.support import collect, decode_units, reader_threads

SDP = {"Content-Type": "application/sdp"}
FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}
ENCODERS = {
    "h264": ("libx264", ".264", {"x264-params": "bframes=0:scenecut=0", "tune": "zerolatency"}),
    "h265": ("libx265", ".265", {"x265-params": "log-level=none:pools=1:bframes=0:scenecut=0"}),
    "vp8": ("libvpx", ".mkv", {}),
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[SentUnit]]:
    folder = tmp_path_factory.mktemp("whip")
    made = {}
    for codec, (encoder, suffix, options) in ENCODERS.items():
        path = make_clip(
            folder / f"clip{suffix}",
            codec=encoder,
            width=160,
            height=128,
            frames=60,
            options={"g": "10", **options},
        )
        made[codec] = asyncio.run(load_units(path))
    return made


@pytest.fixture
def units(clips: dict[str, list[SentUnit]]) -> list[SentUnit]:
    return clips["h264"]


@pytest.fixture
def decoders(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every codec that aiortc makes a decoder for."""
    made: list[Any] = []
    original = aiortc.rtcrtpreceiver.get_decoder

    def counted(codec: Any) -> Any:
        made.append(codec)
        return original(codec)

    monkeypatch.setattr(aiortc.rtcrtpreceiver, "get_decoder", counted)
    return made


@pytest.mark.parametrize("codec", ["h264", "h265", "vp8"])
async def test_every_codec_arrives_whole_and_nothing_is_decoded(
    clips: dict[str, list[SentUnit]], codec: str, decoders: list[Any]
) -> None:
    units = clips[codec]
    async with listening() as camera, Publisher(camera.url, units, Manners(codec=codec)) as publisher:
        await publisher.connect()
        await publisher.play(60)
        await camera.until_units(60)
    assert decoders == []
    assert audit(camera.units, units, []) == (0, ())
    assert {unit.codec for unit in camera.units} == {codec}
    assert {unit.epoch for unit in camera.units} == {0}
    assert decode_units(camera.units)[0] == 60
    assert camera.kinds()[:2] == ["waiting", "connected"]
    assert camera.source.stats.lost == camera.source.stats.dropped == 0


@pytest.mark.parametrize("profile", ["42e01f", "42001f", "4d001f", "640c1f", "64001f"])
async def test_every_profile_of_h264_is_accepted(units: list[SentUnit], profile: str) -> None:
    async with listening() as camera, Publisher(camera.url, units, Manners(profile=profile)) as publisher:
        await publisher.connect()
        assert publisher.reply is not None
        assert f"profile-level-id={profile[:4]}34" in publisher.reply.body.decode()
        await publisher.play(12)
        await camera.until_units(12)


@pytest.mark.parametrize(
    ("offset_seconds", "quality"), [(-2.0, "sender"), (0.0, "sender"), (-86_400.0, "arrival")]
)
async def test_capture_times_come_from_sender_reports_that_can_be_believed(
    units: list[SentUnit], offset_seconds: float, quality: str
) -> None:
    manners = Manners(clock_offset_seconds=offset_seconds)
    async with listening() as camera, Publisher(camera.url, units, manners) as publisher:
        await publisher.connect()
        await publisher.play(50)
        await camera.until_units(50)
    last = camera.units[-1]
    assert last.clock_quality == quality
    away_seconds = (last.capture_time_ns or 0) / 1e9 - time.time()
    assert away_seconds == pytest.approx(offset_seconds if quality == "sender" else 0, abs=1)


async def test_a_publisher_that_deletes_its_session_makes_room(units: list[SentUnit]) -> None:
    async with listening() as camera:
        for epoch in range(2):
            async with Publisher(camera.url, units) as publisher:
                await publisher.connect()
                await publisher.play(20, start=3)  # the stream begins inside of a GOP
                assert (await ask("DELETE", publisher.session_url)).status == 200
                await camera.until(lambda: camera.kinds()[-1] == "reconnecting")
                assert (await ask("DELETE", publisher.session_url)).status == 404
            assert camera.units[-1].epoch == epoch
    firsts = [unit for unit in camera.units if unit.discontinuity]
    assert [(unit.keyframe, unit.epoch) for unit in firsts] == [(True, 1)]
    assert camera.units[0].keyframe
    assert camera.source.stats.reconnects == 1
    assert all(a.pts < b.pts for a, b in zip(camera.units, camera.units[1:], strict=False))  # type: ignore[operator]


async def test_the_end_of_a_browser_tab_is_noticed_at_once(units: list[SentUnit]) -> None:
    async with listening(read_timeout_seconds=30) as camera:
        async with Publisher(camera.url, units) as publisher:
            await publisher.connect()
            await publisher.play(5)
            await camera.until_units(5)
        await camera.until(lambda: camera.kinds()[-1] == "reconnecting", seconds=20)


@pytest.mark.parametrize("rtx", [True, False])
async def test_a_lost_packet_is_sent_again_and_nothing_is_missing(units: list[SentUnit], rtx: bool) -> None:
    async with listening() as camera, Publisher(camera.url, units, Manners(rtx=rtx)) as publisher:
        await publisher.connect()
        for _ in range(3):
            await publisher.play(8)
            publisher.drop_next = 1
        await publisher.play(10)
        await camera.until_units(34)
    assert publisher.nacks >= 3
    assert publisher.plis == camera.source.stats.lost == 0
    assert audit(camera.units, units, []) == (0, ())


async def test_a_keyframe_is_asked_for_after_a_gap(units: list[SentUnit]) -> None:
    manners = Manners(nack=False)
    async with listening() as camera, Publisher(camera.url, units, manners) as publisher:
        await publisher.connect()
        await publisher.play(11)
        await camera.until_units(11)
        assert publisher.plis == 0
        publisher.manners = replace(manners, loss=1.0)
        await publisher.play(1)
        publisher.manners = manners
        await publisher.play(20)
        await camera.until(lambda: publisher.plis > 0)
        await camera.until_units(20)
    assert [unit.keyframe for unit in camera.units if unit.discontinuity] == [True]
    assert audit(camera.units, units, [])[1] == ()


async def test_a_keyframe_is_asked_for_when_the_consumer_was_too_slow(units: list[SentUnit]) -> None:
    async with listening(queue_units=2) as camera, Publisher(camera.url, units) as publisher:
        await publisher.connect()
        await publisher.play(5)
        await camera.until_units(5)
        camera.reading.clear()
        await publisher.play(5)
        await until(lambda: publisher.plis > 0)
        await publisher.play(1)  # the keyframe takes the place of all that waits
        await until(lambda: camera.source.stats.dropped >= 3)
        camera.reading.set()
        await publisher.play(5)
        await camera.until(lambda: any(unit.discontinuity for unit in camera.units))
    assert [unit.keyframe for unit in camera.units if unit.discontinuity] == [True]


async def test_publishers_of_several_streams_at_once_share_an_address(units: list[SentUnit]) -> None:
    async with listening("one") as first:
        port = first.url.split(":")[2].partition("/")[0]
        assert port.isdigit()
    port = str(free_port())
    async with (
        listening("one", base=f"whip://127.0.0.1:{port}") as first,
        listening("two", base=f"whip://127.0.0.1:{port}") as second,
        Publisher(first.url, units) as a,
        Publisher(second.url, units) as b,
    ):
        assert first.url.rpartition("/")[0] == second.url.rpartition("/")[0]
        await asyncio.gather(a.connect(), b.connect())
        await asyncio.gather(a.play(20), b.play(20))
        await asyncio.gather(first.until_units(20), second.until_units(20))
        assert [audit(one.units, units, []) for one in (first, second)] == [(0, ())] * 2


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def test_a_second_publisher_waits_until_the_first_is_silent(units: list[SentUnit]) -> None:
    async with (
        listening(read_timeout_seconds=30) as camera,
        Publisher(camera.url, units) as first,
        Publisher(camera.url, units) as second,
    ):
        await first.connect()
        await first.play(20)
        reply = await second.post()
        assert (reply.status, reply.headers["retry-after"]) == (409, "2")
        assert "already" in reply.problem["detail"]
        await first.die()
        await asyncio.sleep(2.1)
        started = time.monotonic()
        async with Publisher(camera.url, units) as third:
            await third.connect()
            await third.play(20)
            await camera.until(lambda: camera.units[-1].epoch == 1)
        assert time.monotonic() - started < 20


async def test_more_publishers_than_allowed_are_told_when_to_come_back(units: list[SentUnit]) -> None:
    port = free_port()
    async with (
        listening("one", base=f"whip://127.0.0.1:{port}", max_publishers=1) as first,
        listening("two", base=f"whip://127.0.0.1:{port}", max_publishers=1) as second,
        Publisher(first.url, units) as a,
        Publisher(second.url, units) as b,
    ):
        await a.connect()
        await a.play(1)
        reply = await b.post()
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
        assert "1 publishers at once" in reply.problem["detail"]


async def test_what_the_endpoint_answers(units: list[SentUnit]) -> None:
    async with listening() as camera, Publisher(camera.url, units) as publisher:
        url = camera.url
        offer = await publisher.offer()

        options = await ask("OPTIONS", url, headers={"Origin": "http://localhost:3000"})
        assert options.status == 200
        assert options.headers["accept-post"] == "application/sdp"
        assert "POST" in options.headers["access-control-allow-methods"]
        assert "Authorization" in options.headers["access-control-allow-headers"]
        assert options.headers["access-control-allow-origin"] == "http://localhost:3000"
        assert "Location, ETag, Link" in options.headers["access-control-expose-headers"]
        assert (await ask("GET", url)).status == 200
        assert (await ask("HEAD", url)).status == 200
        assert (await ask("PUT", url)).status == 405

        wrong = await ask("POST", url, offer, {"Content-Type": "text/plain"})
        assert (wrong.status, wrong.headers["accept-post"]) == (415, "application/sdp")
        assert (await ask("POST", url, "hello", SDP)).problem["title"] == "Bad session description"
        assert (await ask("POST", url, b"\xff\xfe", SDP)).status == 400
        assert (await ask("POST", url, "v=0\r\n" + "a=x\r\n" * 20_000, SDP)).status == 413
        no_ice = "\r\n".join(line for line in offer.splitlines() if "ice-ufrag" not in line)
        assert "a=ice-ufrag" in (await ask("POST", url, no_ice, SDP)).problem["detail"]
        receiving = offer.replace("a=sendonly", "a=recvonly")
        assert (await ask("POST", url, receiving, SDP)).status == 422
        unknown = offer.replace("H264", "THEORA")
        assert "H.264, H.265 or VP8" in (await ask("POST", url, unknown, SDP)).problem["detail"]
        assert (await ask("POST", url + "x", offer, SDP)).status == 404
        assert camera.source.publication is None

        created = await publisher.post(offer)
        assert created.status == 201
        assert created.headers["content-type"] == "application/sdp"
        assert created.headers["location"].startswith("/cam1/")
        assert created.headers["etag"].startswith('"')
        assert created.headers["accept-patch"] == "application/trickle-ice-sdpfrag"
        answer = created.body.decode()
        assert "a=setup:passive" in answer
        assert "a=candidate:" in answer
        assert "a=recvonly" in answer


async def test_what_a_session_answers(units: list[SentUnit]) -> None:
    async with listening() as camera, Publisher(camera.url, units) as publisher:
        offer = await publisher.offer()
        ufrag = next(line for line in offer.splitlines() if line.startswith("a=ice-ufrag"))
        reply = await publisher.post(offer)
        url, etag = publisher.session_url, reply.headers["etag"]
        candidate = "a=candidate:1 1 udp 2130706431 127.0.0.1 50000 typ host"
        body = f"{ufrag}\r\na=ice-pwd:x\r\nm=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n{candidate}\r\n"

        assert (await ask("PATCH", url, body, FRAGMENT)).status == 428
        assert (await ask("PATCH", url, body, FRAGMENT | {"If-Match": '"other"'})).status == 412
        assert (await ask("PATCH", url, body, FRAGMENT | {"If-Match": "*"})).status == 422
        restart = body.replace(ufrag, "a=ice-ufrag:other")
        assert (await ask("PATCH", url, restart, FRAGMENT | {"If-Match": etag})).status == 422
        assert (await ask("PATCH", url, "nonsense", FRAGMENT | {"If-Match": etag})).status == 400
        wrong = await ask("PATCH", url, body, SDP | {"If-Match": etag})
        assert (wrong.status, wrong.headers["accept-patch"]) == (415, FRAGMENT["Content-Type"])
        assert (await ask("PATCH", url, body, FRAGMENT | {"If-Match": etag})).status == 204
        done = body + "a=end-of-candidates\r\n"
        assert (await ask("PATCH", url, done, FRAGMENT | {"If-Match": etag})).status == 204
        assert (await ask("PATCH", url + "x", body, FRAGMENT | {"If-Match": etag})).status == 404
        options = await ask("OPTIONS", url)
        assert options.headers["access-control-allow-methods"] == "PATCH, DELETE, OPTIONS"
        assert (await ask("GET", url)).status == 405
        assert (await ask("DELETE", url)).status == 200


async def test_a_token_is_asked_for_everywhere(units: list[SentUnit]) -> None:
    async with (
        listening(token="CANARY-token") as camera,
        Publisher(camera.url, units, token="CANARY-token") as publisher,
    ):
        offer = await publisher.offer()
        for shown in ({}, {"Authorization": "Bearer other"}, {"Authorization": "Basic CANARY-token"}):
            refused = await ask("POST", camera.url, offer, SDP | shown)
            assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
        await publisher.post(offer)
        assert (await ask("DELETE", publisher.session_url)).status == 401
        etag = {"If-Match": (publisher.reply or refused).headers["etag"]}
        assert (await ask("PATCH", publisher.session_url, "a=x", FRAGMENT | etag)).status == 401
        elsewhere = {"Origin": "https://elsewhere.example"}
        allowed = await ask("OPTIONS", camera.url, headers=elsewhere)
        assert allowed.headers["access-control-allow-origin"] == "*"
        assert (await ask("DELETE", publisher.session_url, headers=publisher.headers)).status == 200
    assert "CANARY" not in repr((camera.events, camera.source, camera.source.config))


async def test_without_a_token_pages_of_other_sites_may_not_publish(units: list[SentUnit]) -> None:
    async with listening() as camera, Publisher(camera.url, units) as publisher:
        offer = await publisher.offer()
        elsewhere = {"Origin": "https://elsewhere.example"}
        refused = await ask("POST", camera.url, offer, SDP | elsewhere)
        assert refused.status == 403
        assert "access-control-allow-origin" not in refused.headers
        assert (await ask("POST", camera.url, offer, SDP | {"Host": "rebound.example"})).status == 403
        for proxy in ({"X-Forwarded-For": "203.0.113.9"}, {"Via": "1.1 proxy"}, {"Forwarded": "for=_x"}):
            assert (await ask("POST", camera.url, offer, SDP | proxy)).status == 403
        assert (await ask("POST", camera.url, offer, SDP | {"Origin": "http://localhost:1"})).status == 201


@pytest.mark.parametrize("url", ["whip://0.0.0.0:8080/cam1", "whip://192.0.2.1/cam1", "whip://[::]:1/cam1"])
def test_the_network_is_served_with_a_token_only(url: str) -> None:
    with pytest.raises(InsecureBindError, match="OVSTREAM_SOURCE__TOKEN"):
        open_source(url)
    open_source(url, config=SourceConfig.model_validate({"token": "x"}))
    shown = open_source(url.replace("//", "//:CANARY@"))
    assert "CANARY" not in shown.name + repr(shown)


def test_an_empty_token_is_no_token() -> None:
    with pytest.raises(ConfigError, match="empty token"):
        WhipEndpoint(token="")
    with pytest.raises(ValueError, match="token"):
        SourceConfig.model_validate({"token": ""})
    with pytest.raises(InsecureBindError):
        open_source("whip://:@0.0.0.0:8080/cam1")


@pytest.mark.parametrize("path", ["", "/", "/a/b", "/publish", "/a b", "/.x"])
def test_a_stream_needs_a_name(path: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a WHIP stream"):
        open_source(f"whip://127.0.0.1:8080{path}")


async def test_an_address_in_use_is_an_error_with_its_name() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"whip://127.0.0.1:{server.getsockname()[1]}/cam1"
        with pytest.raises(ConfigError, match=r"127\.0\.0\.1.*cannot listen there"):
            await collect(open_source(url))


async def test_two_streams_of_one_name_are_an_error() -> None:
    async with listening(base=f"whip://127.0.0.1:{(port := free_port())}"):
        with pytest.raises(ConfigError, match="two streams"):
            await collect(open_source(f"whip://127.0.0.1:{port}/cam1"))


@pytest.mark.parametrize("moment", ["waiting", "connecting", "playing"])
async def test_closing_takes_no_time_and_leaves_nothing(units: list[SentUnit], moment: str) -> None:
    before = set(asyncio.all_tasks())
    threads = threads_now()
    async with Publisher("", units) as publisher:
        async with listening() as camera:
            descriptors = len(os.listdir("/proc/self/fd"))
            publisher.url = camera.url
            if moment == "connecting":
                await ask("POST", camera.url, await publisher.offer(), SDP)
            elif moment == "playing":
                await publisher.connect()
                await publisher.play(5)
                await camera.until_units(5)
            started = time.monotonic()
            await camera.source.aclose()
            assert time.monotonic() - started < 5
        await publisher.connection.close()
    await until(lambda: not set(asyncio.all_tasks()) - before and not threads_now() - threads)
    assert len(os.listdir("/proc/self/fd")) <= descriptors
    assert reader_threads() == []


def threads_now() -> set[str]:
    import threading

    return {thread.name for thread in threading.enumerate() if "decoder" in thread.name}


async def test_a_publisher_that_never_sends_is_let_go(units: list[SentUnit]) -> None:
    async with listening(open_timeout_seconds=0.3) as camera, Publisher(camera.url, units) as publisher:
        await publisher.post()
        await camera.until(lambda: "reconnecting" in camera.kinds())
        assert "sent no video in time" in camera.events[-1][1]


async def test_pictures_that_are_too_large_end_the_session(tmp_path: Path, units: list[SentUnit]) -> None:
    async with listening(max_pixels=1000) as camera, Publisher(camera.url, units) as publisher:
        await publisher.connect()
        await publisher.play(3)
        await camera.until(lambda: "reconnecting" in camera.kinds())
        assert "more than max_pixels" in camera.events[-1][1]
    assert camera.units == []


async def test_a_publisher_that_is_replaced_twice_is_closed(units: list[SentUnit]) -> None:
    async with listening() as camera:
        sessions = []
        for _ in range(3):
            async with Publisher(camera.url, units) as publisher:
                assert (await publisher.post()).status == 201
                assert camera.source.publication is not None
                sessions.append(camera.source.publication.session)
                sessions[-1].heard_ns = 1  # silent for long
        await camera.until(
            lambda: all(one.transport._connection.connectionState == "closed" for one in sessions[:2])
        )
