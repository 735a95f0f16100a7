"""Checkpoints by name: a folder, or a repository of the model hub that is downloaded once and then read from its cache."""

from __future__ import annotations

import re
from pathlib import Path

from ovstream.errors import MissingExtraError, ModelError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILES = ["config.json", "*.safetensors", "*.safetensors.index.json"]


def checkpoint_folder(
    name: str | Path, *, revision: str | None = None, cache_dir: Path | None = None, offline: bool = False
) -> Path:
    """Finds a checkpoint, and fetches it where it must.

    Args:
        name: Folder, or `owner/name` on the hub. A folder of that name goes first.
        revision: Branch, tag or commit on the hub; the main branch by default. A commit makes sure of the content.
        cache_dir: Of the hub's files; by default its own (`HF_HOME`).
        offline: Only what is in the cache already.

    Returns:
        Folder with the files.

    Raises:
        ModelError: It is neither, the repository or revision does not exist, or it cannot be reached.
        MissingExtraError: huggingface_hub is needed and not installed.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    if isinstance(name, Path) or not _HUB_ID.fullmatch(name):
        raise ModelError(f"'{name}' is neither a folder nor the name of a hub repository, 'owner/name'")
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ModuleNotFoundError as error:
        raise MissingExtraError("huggingface_hub", extra="torch") from error
    where = f"'{name}'" + (f" at revision '{revision}'" if revision else "")
    try:
        return Path(
            huggingface_hub.snapshot_download(
                name, revision=revision, cache_dir=cache_dir, allow_patterns=_FILES, local_files_only=offline
            )
        )
    except errors.GatedRepoError as error:
        raise ModelError(f"{where}: accept its terms on the hub, then log in: hf auth login") from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(f"{where}: the hub has no such revision") from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"{where}: no such folder, and no such repository on the hub (or it is private)"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        remedy = (
            "is not in the cache: fetch it once while online"
            if offline
            else "cannot be reached, nor is it cached"
        )
        raise ModelError(f"{where} {remedy}, or give a folder") from error
    except (OSError, ValueError) as error:  # of requests, of disks, of a name the hub refuses
        raise ModelError(f"{where}: {error}") from error
