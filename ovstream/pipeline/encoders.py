"""Makes the encoder that a configuration names."""

from __future__ import annotations

from ovstream.config import EncodeConfig
from ovstream.encode import Encoder, load_encoder
from ovstream.pipeline.gather import share


def encoder_of(config: EncodeConfig) -> Encoder:
    """Loads the encoder that a configuration names; streams with the same one may share it, and then its runs."""
    encoder = load_encoder(
        config.model,
        mode=config.mode,
        threads=config.threads,
        provider=config.provider,
        probes=config.probes,
        cache=config.cache,
        streams=config.max_batch_streams,
        backend=config.runtime,
        device=config.device,
    )
    if config.max_batch_streams == 1:
        return encoder
    return share(encoder, max_batch_delay_ms=config.max_batch_delay_ms)
