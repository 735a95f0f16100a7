"""Who may be learnt from: what a copyright file says, read with suspicion."""

from __future__ import annotations

import pytest

from recipes.licences import Copyright, digest, is_allowed

TEXT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: things

Files: *
Copyright: 2020 One
License: GPL-2+

Files: data/photos/*.jpg
 data/more/river?.png
Copyright: 2021 Two
License: CC-BY-SA-4.0
 The text of the licence.
 .
 Goes on.

Files: data/photos/bridge.jpg
Copyright: 2021 Three
License: CC-BY-NC-4.0

Files: data/photos/bridge.jpg
Copyright: 2021 Three
License: CC-BY-4.0

Files: sounds/*
License: unclear
"""


@pytest.mark.parametrize(
    "name",
    [
        "GPL-2+",
        "GPL-2.0-or-later",
        "CC-BY-SA-3.0-US",
        "CC0-1.0",
        "public-domain",
        "GPL-3+ or CC-BY-SA-3.0",
        "CC-BY-NC-4.0 or GPL-2+",
        "CC-BY-3.0 and CC0-1.0",
        "BSD-3-Clause",
        "Free-Art-License",
    ],
)
def test_open_licences(name: str) -> None:
    assert is_allowed(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "CC-BY-NC-4.0",
        "CC-BY-ND-3.0",
        "CC-sampling-plus-1.0",
        "permissive",
        "other",
        "GPL-2+ and CC-BY-NC-4.0",
        "GPL-3 with font exception",
        "GPL-2+-with-Font-exception",
        "GFDL-1.3",
    ],
)
def test_what_is_unclear_or_not_open_is_refused(name: str) -> None:
    assert not is_allowed(name)


@pytest.mark.parametrize(
    ("path", "licence", "allowed"),
    [
        ("usr/share/things/else.png", "GPL-2+", True),
        ("usr/share/things/photos/lake.jpg", "CC-BY-SA-4.0", True),
        ("usr/share/things/more/river1.png", "CC-BY-SA-4.0", True),
        ("usr/share/things/data.zip/photos/lake.jpg", "CC-BY-SA-4.0", True),
        ("usr/share/things/photos/bridge.jpg", "CC-BY-NC-4.0", False),  # any that fits, not the last
        ("usr/share/things/sounds/cover.png", "unclear", False),
    ],
)
def test_stanzas_are_found_for_installed_files(path: str, licence: str, allowed: bool) -> None:
    verdict = Copyright(TEXT).of(path)
    assert (verdict.licence, verdict.allowed) == (licence, allowed)


def test_a_text_for_people_must_have_been_read() -> None:
    text = "The pictures are by me, under the GPL version 2."
    with pytest.raises(ValueError, match=digest(text)):
        Copyright(text)
    with pytest.raises(ValueError, match="another text"):
        Copyright(text + " No: under no licence.", stated=["GPL-2"], read=digest(text))
    assert Copyright(text, stated=["GPL-2"], read=digest(text)).of("usr/share/any.png").allowed
    assert not Copyright(text, stated=["GPL-2", "custom"], read=digest(text)).of("usr/share/any.png").allowed


def test_without_a_stanza_for_it_a_file_is_refused() -> None:
    text = "Format: x\n\nFiles: art/*\nLicense: GPL-2+\n"
    assert Copyright(text).of("usr/share/game/art/a.png").allowed
    assert not Copyright(text).of("usr/share/game/b.png").allowed
    with pytest.raises(ValueError, match="names no files"):
        Copyright("Format: x\n")
