from __future__ import annotations

import av

from ovstream.decode.annexb import H265_SPS, read_preamble
from ovstream.decode.h265_sps import without_output_delay
from ovstream.decode.libav import Decoder
from tests.conftest import Corpus
from tests.decode.streams import decode_all, encode, read_corpus, x265


def sps_of(data: bytes) -> bytes:
    return next(nal for nal in read_preamble("h265", data).parameter_sets if (nal[0] >> 1) & 63 == H265_SPS)


def test_the_decoder_reads_the_same_picture_format_and_no_delay() -> None:
    units = encode("libx265", options=x265("bframes=4:b-adapt=0:b-pyramid=1"), frames=12)
    sps = sps_of(units[0].data)
    changed = without_output_delay(sps)
    assert changed != sps
    contexts = []
    for nal in (sps, changed):
        context = av.CodecContext.create("hevc", "r")
        context.thread_count = 1
        context.decode(av.Packet(units[0].data.replace(sps, nal)))
        contexts.append(context)
    before, after = contexts
    assert (before.width, before.height, before.pix_fmt) == (after.width, after.height, after.pix_fmt)
    assert before.reorder_depth > 0
    assert after.reorder_depth == 0


def test_what_has_no_delay_stays_equal_in_meaning() -> None:
    units = encode("libx265", options=x265("bframes=0"), frames=4)
    once = without_output_delay(sps_of(units[0].data))
    assert without_output_delay(once) == once


def test_a_camera_that_announces_more_delay_than_it_has(corpus: Corpus) -> None:
    units = read_corpus(corpus.path("camera/iphone_11s.messenger.704x1280.265"), limit=30)
    plain = Decoder("h265", immediate=False)
    late = sum(not any(f.pts == i for f in plain.decode(unit.data, i)) for i, unit in enumerate(units))
    assert late > 10
    decoder = Decoder("h265")
    for index, unit in enumerate(units):
        assert [frame.pts for frame in decoder.decode(unit.data, index)] == [index]
    assert len(decode_all(units)) == len(units)
