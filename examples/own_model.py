"""Runs a model of your own: build or train it in torch, export it once, serve it without torch.

    python examples/own_model.py

The weights here are random. For an official checkpoint take `OneVisionEncoder.from_pretrained(folder)`, or the
command line: ovstream export CHECKPOINT FOLDER. Needs: pip install 'ovstream-edge[torch]'
"""

from __future__ import annotations

import tempfile

import torch

import ovstream
from ovstream.model import OneVisionEncoder, VisionConfig, export_model


def main() -> None:
    """Exports a small model and runs it on the embedded camera."""
    torch.manual_seed(0)
    config = VisionConfig(
        hidden_size=128, num_hidden_layers=3, num_attention_heads=2, intermediate_size=256, patch_size=16
    )
    model = OneVisionEncoder(config)
    with tempfile.TemporaryDirectory() as folder:
        export_model(model, folder, model_id="mine", trained=False, licence="mine")
        seen = 0
        for embedding in ovstream.iterate("synthetic:?seconds=1", model=folder):
            seen += int(embedding.changed.sum())
        print(
            f"{embedding.model_id} {embedding.model_digest}: {embedding.vector.size} numbers per embedding, "
            f"{seen} patches encoded in {embedding.seq + 1} pictures"
        )


if __name__ == "__main__":
    main()
