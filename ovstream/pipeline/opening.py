"""The two doors of the SDK: `open` for asyncio, `iterate` for everybody else."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from ovstream.config import SinkConfig, stream_config
from ovstream.errors import ConfigError
from ovstream.pipeline.loop_thread import LoopThread
from ovstream.pipeline.stream import Stream
from ovstream.sources import Source
from ovstream.types import Embedding


def open(url: str | Path | Source, **options: Any) -> Stream:
    """Opens a stream of embeddings.

    Args:
        url: RTSP URL, path of a video file, `synthetic:`, or a `Source` object (for tests: `MemorySource`).
        **options: Anything of `StreamConfig`, flat (`keep_ratio=0.06`) or by section (`plan={"keep_ratio": 0.06}`),
            and `encoder`, `sinks`, `restore`, `observe`, `outputs` of `Stream`. Sinks may also be mappings as in a
            configuration file (`{"type": "jsonl", "path": "out.jsonl"}`).

    Returns:
        A `Stream`, to be entered with `async with`.

    Raises:
        ConfigError: An option is unknown or makes no sense.
    """
    names = ("encoder", "sinks", "restore", "observe", "outputs")
    objects = {name: options.pop(name) for name in names if name in options}
    if "sinks" in objects:  # those alone: options win over the environment
        sinks = objects["sinks"]
        objects["sinks"] = [one for one in sinks if not isinstance(one, (Mapping, SinkConfig))]
        options["sinks"] = [one for one in sinks if isinstance(one, (Mapping, SinkConfig))]
    if not isinstance(url, (str, Path)):
        if not hasattr(url, "units"):
            raise ConfigError(f"url must be a URL, a path or a Source, not {type(url).__name__}")
        return Stream(stream_config(url.name, **options), source=url, **objects)
    return Stream(stream_config(str(url), **options), **objects)


def iterate(url: str | Path | Source, **options: Any) -> Generator[Embedding, None, None]:
    """Yields the embeddings of a stream without asyncio; arguments and errors are those of `open`.

    The stream lives in a thread of its own: it goes on while the caller works, and works in notebooks too.
    """
    with LoopThread() as loop:
        stream = loop.run(_opened(url, options))
        try:
            while (embedding := loop.run(anext(stream, None))) is not None:
                yield embedding
        finally:
            loop.run(stream.aclose())


async def _opened(url: str | Path | Source, options: dict[str, Any]) -> Stream:
    stream = open(url, **options)
    return await stream.__aenter__()
