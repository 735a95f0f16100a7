"""Names of tensors in checkpoints of the same architecture by other hands, such as Mage-ViT's.

A table has rows of a pattern and what it becomes: a regular expression over the whole key, and a replacement that may
use its groups. A replacement with `{q,k,v}` splits a joined tensor into equal parts along its first axis; an empty
one drops the tensor. Keys that match nothing stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from ovstream.errors import ModelError

_PARTS = re.compile(r"\{([^{}]+)\}")

TIMM_NAMES: Mapping[str, str] = {
    r"(?:(?:vision_)?(?:model|encoder|tower|backbone)\.)*patch_embed\.proj\.(.*)": r"embeddings.patch_embedding.\1",
    r"(?:(?:vision_)?(?:model|encoder|tower|backbone)\.)*norm_pre\.(.*)": r"layernorm_pre.\1",
    r"(?:(?:vision_)?(?:model|encoder|tower|backbone)\.)*norm\.(.*)": r"layernorm_post.\1",
    r"(?:.*\.)?blocks\.(\d+)\.norm([12])\.(.*)": r"encoder.layers.\1.layer_norm\2.\3",
    r"(?:.*\.)?blocks\.(\d+)\.attn\.qkv\.(.*)": r"encoder.layers.\1.self_attn.{q,k,v}_proj.\2",
    r"(?:.*\.)?blocks\.(\d+)\.attn\.proj\.(.*)": r"encoder.layers.\1.self_attn.out_proj.\2",
    r"(?:.*\.)?blocks\.(\d+)\.mlp\.fc([12])\.(.*)": r"encoder.layers.\1.mlp.fc\2.\3",
    r"(?:.*\.)?rope\..*": "",
}
"""The usual names of vision transformers; a start for a table of one's own."""


def renamed(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Applies a table.

    Args:
        tensors: By the names of the file.
        names: The table; the first row that matches a key counts.

    Returns:
        By official names.

    Raises:
        ModelError: Two tensors get one name, or one cannot be split.
    """
    rows = [(re.compile(pattern), target) for pattern, target in names.items()]
    out: dict[str, Tensor] = {}
    for key, value in tensors.items():
        found = next(((match, target) for row, target in rows if (match := row.fullmatch(key))), None)
        for name, part in _parts(key, value, found[0].expand(found[1]) if found else key).items():
            if name in out:
                raise ModelError(f"'{key}' becomes '{name}', as another tensor does: mend the table of names")
            out[name] = part
    return out


def _parts(key: str, value: Tensor, target: str) -> dict[str, Tensor]:
    """One tensor, or the parts of a joined one; nothing where the target is empty."""
    joined = _PARTS.search(target)
    if joined is None:
        return {target: value} if target else {}
    letters = joined[1].split(",")
    if len(value) % len(letters):
        raise ModelError(f"'{key}' has {len(value)} rows: they do not split into {len(letters)} parts")
    names = [target[: joined.start()] + letter + target[joined.end() :] for letter in letters]
    return dict(zip(names, value.chunk(len(letters)), strict=True))
