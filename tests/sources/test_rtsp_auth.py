"""Answers to challenges: the examples of the RFCs, and what cameras do."""

from __future__ import annotations

import pytest

from ovstream.sources.rtsp_auth import Authenticator, parse_challenges

URI = "rtsp://cam/1"


def test_several_challenges_in_one_field_or_in_many() -> None:
    fields = ['Digest realm="a, b", nonce="n\\"1", algorithm=SHA-256, Basic realm="x"', "basic realm=plain"]
    found = [(challenge.scheme, challenge.parameters) for challenge in parse_challenges(fields)]
    assert found == [
        ("digest", {"realm": "a, b", "nonce": 'n"1', "algorithm": "SHA-256"}),
        ("basic", {"realm": "x"}),
        ("basic", {"realm": "plain"}),
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (['Basic realm="x"', 'Digest realm="x", nonce="1"'], "Digest"),
        (['Digest realm="x", nonce="1"', 'Digest realm="x", nonce="1", algorithm=SHA-256'], "SHA-256"),
        (['Digest realm="x", nonce="1", algorithm=SHA-512-256', 'Basic realm="x"'], "Basic"),
    ],
)
def test_the_strongest_is_taken(fields: list[str], expected: str) -> None:
    auth = Authenticator("me", "secret")
    assert auth.header("PLAY", URI) is None
    assert auth.learn(fields)
    assert expected in (auth.header("PLAY", URI) or "")


def test_basic() -> None:
    """RFC 7617 2."""
    auth = Authenticator("Aladdin", "open sesame")
    assert auth.learn(['Basic realm="WallyWorld"'])
    assert auth.header("DESCRIBE", URI) == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    assert not auth.learn(['Basic realm="WallyWorld"'])


def test_digest_without_quality() -> None:
    """RFC 2069 2.4, with the response of its erratum 749."""
    auth = Authenticator("Mufasa", "CircleOfLife")
    auth.learn(
        ['Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc"']
    )
    header = auth.header("GET", "/dir/index.html") or ""
    assert 'response="1949323746fe6a43ef61f9606e7febea"' in header
    assert 'opaque="5ccc"' in header
    assert "qop" not in header


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_digest_with_quality(monkeypatch: pytest.MonkeyPatch, algorithm: str, response: str) -> None:
    """RFC 7616 3.9.1."""
    own = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    monkeypatch.setattr("ovstream.sources.rtsp_auth.secrets.token_hex", lambda _: own)
    auth = Authenticator("Mufasa", "Circle of Life")
    nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
    auth.learn(
        [
            f'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={algorithm}, nonce="{nonce}"'
        ]
    )
    header = auth.header("GET", "/dir/index.html") or ""
    assert f'response="{response}"' in header
    assert "nc=00000001" in header
    assert "nc=00000002" in (auth.header("GET", "/dir/index.html") or "")


def test_a_new_nonce_is_worth_another_try() -> None:
    auth = Authenticator("me", "secret")
    assert auth.learn(['Digest realm="x", nonce="1"'])
    assert not auth.learn(['Digest realm="x", nonce="1"'])
    assert auth.learn(['Digest realm="x", nonce="2", stale=true'])
    assert 'nonce="2"' in (auth.header("PLAY", URI) or "")
    assert not auth.learn(["Bearer"])


def test_quotes_are_escaped_and_secrets_not_shown() -> None:
    auth = Authenticator('a"b\\c', "CANARY")
    auth.learn(['Digest realm="x", nonce="1"'])
    assert r'username="a\"b\\c"' in (auth.header("PLAY", URI) or "")
    assert "CANARY" not in repr(auth)
