"""The exception tree.

```
OvstreamError
├── ConfigError                  an option, a file or a combination of them makes no sense
│   ├── MissingExtraError        an optional package is needed; the text names the extra
│   └── InsecureBindError        a socket would be open to the network without keys
├── BitstreamError               place: NAL unit, syntax element, bit offset
│   ├── InvalidBitstream         the bytes break the specification, or are damaged
│   └── UnsupportedBitstream     the specification allows it, the parser does not
├── SourceError                  a camera, file or URL
│   ├── SourceNotFound           no such file, host or stream
│   │   └── SourceRefused        the host is there, but nothing listens
│   ├── SourceAuthError          credentials missing or refused
│   ├── SourceTimeout            nothing arrived in time
│   ├── SourceTlsError           the camera's certificate is not trusted, or no TLS was spoken
│   └── SourceProtocolError      the peer does not speak what it should
│       └── SourceCodecError     it sends video that nobody here reads
├── DecodeError                  the decoder gave no picture
├── ModelError                   a model folder or checkpoint is wrong, partial or foreign
├── TrainingError                data, recipe or teacher of a training run do not serve
├── RecordingError               a recording cannot be read or written
├── StoreError                   a folder of embeddings cannot be read or written
├── WireError                    a message that is not ours, or of an unknown major version
└── FencedError                  another publisher has taken this stream over
```
"""

from __future__ import annotations


class OvstreamError(Exception):
    """Root of everything that ovstream raises on purpose."""


class ConfigError(OvstreamError):
    """Reports an option, a file or a combination of them that makes no sense."""


class MissingExtraError(ConfigError):
    """Reports an optional package that is not installed.

    Args:
        package: Import name of what is missing.
        extra: The extra of the distribution that brings it.
    """

    def __init__(self, package: str, *, extra: str) -> None:
        super().__init__(f"'{package}' is needed for this: pip install 'ovstream-edge[{extra}]'")
        self.package = package
        self.extra = extra


class InsecureBindError(ConfigError):
    """Refuses a socket that would be open to the network without keys."""


class BitstreamError(OvstreamError):
    """Reports a place in a bitstream.

    Args:
        message: One sentence.
        element: Syntax element in the spelling of the specification.
        bit_offset: Offset in bits from the first bit after the NAL unit header.
        nal_index: Number of the NAL unit in its access unit, from 0.
    """

    def __init__(
        self, message: str, *, element: str = "", bit_offset: int = 0, nal_index: int | None = None
    ) -> None:
        super().__init__(message)
        self.element = element
        self.bit_offset = bit_offset
        self.nal_index = nal_index


class InvalidBitstream(BitstreamError):  # noqa: N818 - reads as what it is
    """The bytes break the specification, or are damaged."""


class UnsupportedBitstream(BitstreamError):  # noqa: N818
    """The specification allows this, the parser does not; the stream goes on through the decoder fallback."""


class SourceError(OvstreamError):
    """Reports a camera, file or URL; its text never contains credentials."""


class SourceNotFound(SourceError):  # noqa: N818
    """No such file, host or stream."""


class SourceRefused(SourceNotFound):
    """The host is there, but refuses the connection: nothing listens at this port."""


class SourceAuthError(SourceError):
    """Credentials are missing or were refused."""


class SourceTimeout(SourceError):  # noqa: N818
    """Nothing arrived in time."""


class SourceTlsError(SourceError):
    """The camera's certificate is not trusted, or it does not speak TLS."""


class SourceProtocolError(SourceError):
    """The peer does not speak what it should."""


class SourceCodecError(SourceProtocolError):
    """The peer sends video that nobody here reads: another codec, or a packet format of it."""


class DecodeError(OvstreamError):
    """The decoder gave no picture for an access unit."""


class ModelError(OvstreamError):
    """A model folder or checkpoint is wrong, partial or foreign."""


class TrainingError(OvstreamError):
    """Data, recipe or teacher of a training run do not serve."""


class RecordingError(OvstreamError):
    """A recording cannot be read or written."""


class StoreError(OvstreamError):
    """A store of embeddings cannot be read or written."""


class WireError(OvstreamError):
    """A message that is not ours, or of an unknown major version."""


class FencedError(OvstreamError):
    """Another publisher has taken a stream over; this one must stop.

    Args:
        stream_id: Name of the stream.
    """

    def __init__(self, stream_id: str) -> None:
        super().__init__(f"{stream_id}: another publisher has taken this stream over")
        self.stream_id = stream_id
