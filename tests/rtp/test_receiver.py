"""A whole stream, and the reports about it."""

from __future__ import annotations

from ovstream.rtp import Goodbye, ReorderLimits, RtpReceiver, SenderReport
from tests.rtp.sender import SSRC, Sender
from tests.rtp.support import FRAME_NS, h264_unit

OURS = 0xABCD
WALL_NS = 1_800_000_000 * 1_000_000_000
NTP_NOON = (1_800_000_000 + 2_208_988_800) << 32


def start(
    sender: Sender, *, limits: ReorderLimits | None = None, lose: frozenset[int] = frozenset()
) -> RtpReceiver:
    """Ten pictures, one packet each, without the packets of `lose`."""
    receiver = RtpReceiver("h264", limits=limits or ReorderLimits())
    for index in range(10):
        for packet in sender.send(h264_unit(index, key=False)):
            if index not in lose:
                list(receiver.receive(packet, now_ns=index * FRAME_NS))
    return receiver


def test_a_report_before_the_first_packet_is_empty() -> None:
    receiver = RtpReceiver("h264", limits=ReorderLimits())
    assert receiver.report(ssrc=OURS, now_ns=0).reports == ()


def test_reports_count_what_is_lost() -> None:
    sender = Sender(sequence=65_530)
    receiver = start(sender, lose=frozenset({3, 4}), limits=ReorderLimits(packets=0))
    (block,) = receiver.report(ssrc=OURS, now_ns=0).reports
    assert (block.ssrc, block.lost, block.fraction_lost) == (SSRC, 2, 256 * 2 // 10)
    assert block.highest_sequence == 65_539
    assert (block.last_sender_report, block.jitter) == (0, 0)
    (again,) = receiver.report(ssrc=OURS, now_ns=0).reports
    assert (again.lost, again.fraction_lost) == (2, 0)


def test_jitter_follows_the_arrivals() -> None:
    sender, receiver = Sender(), RtpReceiver("h264", limits=ReorderLimits())
    for index in range(200):
        late_ns = 4_000_000 * (index % 2)
        for packet in sender.send(h264_unit(index, key=False)):
            list(receiver.receive(packet, now_ns=index * FRAME_NS + late_ns))
    (block,) = receiver.report(ssrc=OURS, now_ns=0).reports
    assert 350 <= block.jitter <= 361  # 4 ms are 360 ticks


def test_sender_reports_give_capture_times() -> None:
    sender = Sender()
    receiver = start(sender)
    report = SenderReport(SSRC, NTP_NOON, 3600, 10, 1000)
    receiver.receive_control(report.to_bytes(), now_ns=10**9, wall_ns=WALL_NS)
    assert receiver.clock.capture_time_ns(3600 + 90_000) == WALL_NS + 10**9
    (block,) = receiver.report(ssrc=OURS, now_ns=10**9 + 500_000_000).reports
    assert (block.last_sender_report, block.delay_since_last) == (NTP_NOON >> 16 & 0xFFFF_FFFF, 32_768)


def test_reports_of_strangers_are_passed_over() -> None:
    receiver = start(Sender())
    foreign = SenderReport(77, NTP_NOON, 0, 0, 0).to_bytes() + Goodbye((77,)).to_bytes()
    receiver.receive_control(foreign, now_ns=0, wall_ns=WALL_NS)
    assert (receiver.clock.quality, receiver.ended) == ("none", False)
    receiver.receive_control(b"\x80\xc8", now_ns=0, wall_ns=WALL_NS)
    assert receiver.malformed == 1


def test_goodbye() -> None:
    receiver = start(Sender())
    receiver.receive_control(Goodbye((77, SSRC)).to_bytes(), now_ns=0, wall_ns=0)
    assert receiver.ended


def test_a_new_sender_starts_a_new_clock() -> None:
    sender = Sender()
    receiver = start(sender)
    receiver.receive_control(SenderReport(SSRC, NTP_NOON, 0, 0, 0).to_bytes(), now_ns=0, wall_ns=WALL_NS)
    other = Sender(ssrc=99, sequence=500)
    units = [
        unit
        for index in range(3)
        for packet in other.send(h264_unit(index, key=True))
        for unit in receiver.receive(packet, now_ns=0)
    ]
    assert [(unit.restart, unit.discontinuity, unit.damaged) for unit in units] == [
        (True, True, False),
        (False, False, False),
        (False, False, False),
    ]
    assert receiver.clock.quality == "none"
    (block,) = receiver.report(ssrc=OURS, now_ns=0).reports
    assert block.ssrc == 99


def test_what_waits_comes_out_with_the_time() -> None:
    sender = Sender()
    receiver = RtpReceiver("h264", limits=ReorderLimits(wait_ns=50_000_000))
    packets = [packet for index in range(4) for packet in sender.send(h264_unit(index, key=False))]
    got = [u for packet in (packets[0], *packets[2:]) for u in receiver.receive(packet, now_ns=0)]
    assert len(got) == 1
    assert receiver.deadline_ns == 50_000_000
    late = list(receiver.poll(now_ns=50_000_000))
    assert [unit.discontinuity for unit in late] == [True, False]
    assert (receiver.deadline_ns, receiver.lost) == (None, 1)
