"""`ovstream keys`: who may listen to a publisher."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from ovstream.cli.console import console
from ovstream.errors import ConfigError
from ovstream.publish.keys import (
    ALLOWED,
    PUBLISHER_KEY,
    KeyPair,
    load_pair,
    public_key_of,
    read_allowed,
    save_key,
    write_allowed,
)

Folder = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        "-f",
        help="Of the publisher's key and the list of who may listen, as in publish.keys.",
        envvar="OVSTREAM_PUBLISH__KEYS",
        show_default="~/.config/ovstream/keys",
    ),
]

keys = typer.Typer(
    help="""Makes keys and says who may listen to a publisher.

On the publisher: [bold]ovstream keys new publisher[/], then publish.keys in its configuration.
On the subscriber: [bold]ovstream keys new me --server PUBLISHER-KEY[/]; it prints a public key.
On the publisher: [bold]ovstream keys allow me PUBLIC-KEY[/]. A running publisher notices at once.""",
    no_args_is_help=True,
)


@keys.command()
def new(
    name: Annotated[str, typer.Argument(help="'publisher' for a publisher; any name for a subscriber.")],
    server: Annotated[
        str | None,
        typer.Option(help="Public key (or key file) of the publisher to listen to.", show_default=False),
    ] = None,
    folder: Folder = None,
) -> None:
    """Makes a key pair, in a file that only you can read, and prints the public key."""
    place = _folder(folder)
    pair = KeyPair.new()
    path = place / (PUBLISHER_KEY if name == "publisher" else f"{_checked(name)}.key")
    save_key(path, pair, server=None if server is None else public_key_of(server))
    if name == "publisher" and not (place / ALLOWED).exists():
        write_allowed(place / ALLOWED, {})
    console.print(f"[dim]secret key in[/] {path}", highlight=False, soft_wrap=True)
    console.print("[dim]public key[/]", end=" ")
    console.print(pair.public, highlight=False, markup=False, soft_wrap=True)
    if name == "publisher":
        console.print("[dim]nobody may listen yet: ovstream keys allow NAME KEY[/]", highlight=False)


@keys.command()
def allow(
    name: Annotated[str, typer.Argument(help="Whom the key belongs to.")],
    key: Annotated[str, typer.Argument(help="Public key, or a key file.")],
    folder: Folder = None,
) -> None:
    """Lets a key listen, from now on."""
    path = _folder(folder) / ALLOWED
    public = public_key_of(key)
    allowed = read_allowed(path) if path.exists() else {}
    if name in allowed.values() and allowed.get(public) != name:
        raise ConfigError(f"{name!r} has another key: revoke it first, or give this one another name")
    write_allowed(path, {**allowed, public: name})
    console.print(f"{name} may listen", highlight=False)


@keys.command()
def revoke(
    who: Annotated[str, typer.Argument(help="Name or public key.")],
    folder: Folder = None,
) -> None:
    """Lets a key listen no longer; its open connections are cut within a second or two."""
    path = _folder(folder) / ALLOWED
    allowed = read_allowed(path)
    left = {key: name for key, name in allowed.items() if who not in (key, name)}
    if left == allowed:
        raise ConfigError(f"{who!r} is not on the list: 'ovstream keys list' shows it")
    write_allowed(path, left)
    console.print(f"{who} may no longer listen", highlight=False)


@keys.command("list")
def list_(folder: Folder = None) -> None:
    """Shows the publisher's public key and who may listen."""
    place = _folder(folder)
    if (place / PUBLISHER_KEY).exists():
        console.print(
            "[dim]publisher[/]",
            Text(load_pair(place / PUBLISHER_KEY).public),
            highlight=False,
            soft_wrap=True,
        )
    allowed = read_allowed(place / ALLOWED)
    if not allowed:
        console.print("nobody may listen")
        return
    table = Table("may listen", "public key", header_style="dim", box=None)
    for key, name in sorted(allowed.items(), key=lambda one: one[1]):
        table.add_row(Text(name, style="bold"), Text(key))
    console.print(table, soft_wrap=True)


def _folder(folder: Path | None) -> Path:
    if folder is not None:
        return folder
    base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return base / "ovstream" / "keys"


def _checked(name: str) -> str:
    if not name or name in (".", "..") or not all(letter.isalnum() or letter in "._-" for letter in name):
        raise ConfigError(f"{name!r} is no name: letters, digits, '.', '_', '-'")
    return name
