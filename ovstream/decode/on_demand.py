"""Keeps access units compressed until somebody asks for a picture."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ovstream.config import DEFAULT_MAX_PIXELS
from ovstream.decode import annexb
from ovstream.decode.libav import Decoder, VideoFrame, is_damaged, to_picture
from ovstream.decode.picture import Picture
from ovstream.errors import DecodeError
from ovstream.nal import START_CODE
from ovstream.types import AccessUnit

DEFAULT_MAX_UNITS = 1024  # 40 s at 25 pictures/s: longer than the keyframe interval of common cameras
DEFAULT_MAX_BYTES = 32 * 2**20
MAX_KEPT_PARAMETER_SETS = 64
NO_KEYFRAME = "no keyframe has arrived yet"


@dataclass(slots=True, eq=False)
class _Unit:
    data: bytes = field(repr=False)
    serial: int
    pts: int | None
    reference: bool
    parameter_sets: tuple[bytes, ...] = field(repr=False)
    restart: bool = False  # the decoder forgets everything before this keyframe


class OnDemandDecoder:
    """Decodes the newest picture of a stream, and what it needs, when asked.

    Access units wait, compressed, from the decoder's position on. `picture` feeds those that other pictures may
    refer to, then the newest; `push` at a keyframe drops all that nobody needs any more. The picture comes at
    once, also from streams with B pictures: see `libav.Decoder`.

    Open GOPs: pictures after a keyframe without IDR may refer to pictures before it. Where a stream reorders
    pictures, the older GOP stays until the first picture behind the keyframe in presentation order; with gradual
    refresh (a recovery point some pictures ahead), until the refresh is complete.

    Args:
        codec: As in `AccessUnit`.
        max_units: Most access units that wait.
        max_bytes: Most bytes that wait.
        max_pixels: Larger pictures are refused.

    Attributes:
        codec: As given.
        units_pushed: Access units seen.
        units_decoded: Access units that the decoder worked on.
        pictures_returned: Different pictures given to the caller.
        units_dropped: Access units that could never be decoded: no keyframe before them, data lost, or no room.
            Those that were just not needed are not counted.
    """

    def __init__(
        self,
        codec: str,
        *,
        max_units: int = DEFAULT_MAX_UNITS,
        max_bytes: int = DEFAULT_MAX_BYTES,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> None:
        self.codec = codec
        self.units_pushed = self.units_decoded = self.pictures_returned = self.units_dropped = 0
        self._max_units = max_units
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
        self._decoder: Decoder | None = None
        self._extradata = b""
        self._waiting: deque[_Unit] = deque()
        self._waiting_bytes = 0
        self._parameter_sets: dict[bytes, bool] = {}  # the newest last; whether the decoder has seen it
        self._unavailable = NO_KEYFRAME  # why nothing can be decoded; empty when it can
        self._newest: _Unit | None = None
        self._picture: Picture | None = None
        self._damaged = False  # a picture since the last restart, that others may refer to
        self._newest_pts: int | None = None
        self._reorders = False
        self._keyframe: _Unit | None = None
        self._leading_phase = False  # behind an open keyframe: pictures may still need what is before it
        self._refresh_left = 0  # pictures until gradual refresh is complete
        self._leading_lost = False  # the GOP before an open keyframe is gone

    @property
    def waiting_units(self) -> int:
        """Access units between the decoder's position and the newest one."""
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """Their size."""
        return self._waiting_bytes

    @property
    def crowded(self) -> bool:
        """Whether more than half of the room is taken: decode now, or a very long GOP overflows it."""
        return 2 * len(self._waiting) > self._max_units or 2 * self._waiting_bytes > self._max_bytes

    @property
    def ready(self) -> bool:
        """Whether `picture` can work; else the next keyframe makes it so."""
        return not self._unavailable

    def push(self, unit: AccessUnit, *, reference: bool = True) -> None:
        """Takes the next access unit in coded order; decodes nothing.

        Args:
            unit: Next one of the stream.
            reference: Other pictures may refer to this one; False saves its decoding.
        """
        if self._unavailable == "closed":
            raise DecodeError("the decoder is closed")
        self.units_pushed += 1
        self._picture = None
        self._drop_disposable()
        preamble = annexb.Preamble((), None)
        if self.codec in ("h264", "h265"):
            preamble = annexb.read_preamble(self.codec, unit.data)
        entry = _Unit(unit.data, self.units_pushed, unit.pts, reference, preamble.parameter_sets)
        self._note_order(unit)
        if unit.keyframe:
            self._begin_gop(unit, entry, preamble)
        elif unit.discontinuity and not self._unavailable:
            self._lose("data was lost before this picture")
        if self._unavailable:
            self._keep_parameter_sets(entry)
            self.units_dropped += 1
            self._newest = None
            return
        self._place(entry, keyframe=unit.keyframe)

    def picture(self) -> Picture:
        """Decodes the picture of the unit pushed last.

        The same picture again costs nothing.

        Raises:
            DecodeError: It cannot be decoded; when `ready` is false, nothing can before the next keyframe.
        """
        if self._unavailable or self._newest is None:
            raise DecodeError(f"{self.codec}: {self._unavailable or 'the picture was dropped'}")
        if self._picture is None:
            self._picture = self._catch_up()
            self.pictures_returned += 1
        return self._picture

    def close(self) -> None:
        """Frees the decoder and all that waits; may be called twice."""
        self._forget_waiting(lost=False)
        self._parameter_sets.clear()
        self._decoder = self._picture = self._newest = None
        self._unavailable = "closed"

    def _begin_gop(self, unit: AccessUnit, entry: _Unit, preamble: annexb.Preamble) -> None:
        self._leading_lost = False
        self._keyframe = entry
        self._refresh_left = preamble.recovery_frames
        closed = annexb.is_closed(self.codec, preamble)
        needs_older = self._refresh_left > 0 or (self._reorders and unit.pts is not None)
        keep_older = not closed and not self._unavailable and needs_older
        self._leading_phase = not closed
        if unit.extradata != self._extradata:
            self._extradata, keep_older = unit.extradata, False
            self._renew_decoder()
        if not keep_older:
            entry.restart = bool(self._waiting) or bool(self._unavailable) or self._damaged
            self._leading_lost = not closed and entry.restart
            self._forget_waiting(lost=False)
        self._unavailable = ""

    def _place(self, entry: _Unit, *, keyframe: bool) -> None:
        self._newest = entry
        leads = not keyframe and self._leads(entry)
        if self._leading_phase and not keyframe and not leads:
            self._refresh_left -= entry.reference
            if self._refresh_left <= 0:
                self._end_leading_phase()
        if self._leading_lost and leads:
            self._newest = None  # refers to pictures that are gone; nothing behind the keyframe refers to it
            self.units_dropped += 1
            return
        self._waiting.append(entry)
        self._waiting_bytes += len(entry.data)
        if len(self._waiting) > self._max_units or self._waiting_bytes > self._max_bytes:
            self._lose(f"more than {self._max_units} units or {self._max_bytes} bytes waited for the decoder")

    def _leads(self, entry: _Unit) -> bool:
        """Whether it presents before the keyframe that it comes after."""
        start = self._keyframe.pts if self._keyframe else None
        return start is not None and entry.pts is not None and entry.pts < start

    def _end_leading_phase(self) -> None:
        """Drops the GOP before an open keyframe: from here on nobody refers to it."""
        self._leading_phase = False
        keyframe = self._keyframe
        if keyframe is None or keyframe not in self._waiting:
            return
        while self._waiting[0] is not keyframe:
            self._keep_parameter_sets(self._take(self._waiting.popleft()))
            keyframe.restart = True

    def _drop_disposable(self) -> None:
        """Drops the newest unit when nobody asked for it and nothing refers to it."""
        if self._waiting and not self._waiting[-1].reference:
            self._keep_parameter_sets(self._take(self._waiting.pop()))

    def _note_order(self, unit: AccessUnit) -> None:
        if unit.pts is None:
            return
        if self._newest_pts is not None and unit.pts < self._newest_pts:
            self._reorders = True
        self._newest_pts = unit.pts if self._newest_pts is None else max(unit.pts, self._newest_pts)

    def _lose(self, why: str) -> None:
        self._forget_waiting(lost=True)
        self._unavailable = why
        self._newest = None

    def _forget_waiting(self, *, lost: bool) -> None:
        while self._waiting:
            self._keep_parameter_sets(self._take(self._waiting.popleft()))
            self.units_dropped += lost

    def _take(self, entry: _Unit) -> _Unit:
        self._waiting_bytes -= len(entry.data)
        return entry

    def _keep_parameter_sets(self, unit: _Unit, *, seen: bool = False) -> None:
        """Remembers them for a decoder that never sees the unit; an equal later one replaces an earlier."""
        for nal in unit.parameter_sets:
            self._parameter_sets.pop(nal, None)
            self._parameter_sets[nal] = seen
        while len(self._parameter_sets) > MAX_KEPT_PARAMETER_SETS:
            del self._parameter_sets[next(iter(self._parameter_sets))]

    def _catch_up(self) -> Picture:
        if self._decoder is None:
            self._decoder = Decoder(self.codec, extradata=self._extradata, max_pixels=self._max_pixels)
        frame: VideoFrame | None = None
        pts, damaged = None, False
        while self._waiting:
            entry = self._take(self._waiting.popleft())
            frame, pts = self._feed(self._decoder, entry), entry.pts
            damaged = self._damaged
            self._damaged |= frame is not None and is_damaged(frame, self.codec) and entry.reference
        if frame is None:
            raise DecodeError(f"{self.codec}: the decoder gave no picture for this access unit")
        if is_damaged(frame, self.codec):
            raise DecodeError(f"{self.codec}: this access unit is damaged")
        return to_picture(frame, pts=pts, damaged=damaged)

    def _feed(self, decoder: Decoder, entry: _Unit) -> VideoFrame | None:
        if entry.restart:
            decoder.reset()
            self._damaged = False
        head = b"".join(START_CODE + nal for nal, seen in self._parameter_sets.items() if not seen)
        self._parameter_sets = dict.fromkeys(self._parameter_sets, True)
        self._keep_parameter_sets(entry, seen=True)
        self.units_decoded += 1
        try:
            frames = decoder.decode(head + entry.data, entry.serial)
        except DecodeError as error:
            if entry.reference:
                self._lose(str(error))
                self._renew_decoder()
            raise
        return next((frame for frame in frames if frame.pts == entry.serial), None)

    def _renew_decoder(self) -> None:
        """Drops the decoder: one that met a picture too large for it has taken memory that it keeps."""
        self._decoder = None
        self._parameter_sets = dict.fromkeys(self._parameter_sets, False)
