"""Who gets in and who does not, over real sockets. docs/security.md has the table of these cases."""

from __future__ import annotations

import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import zmq

from ovstream.config import PublishConfig
from ovstream.errors import ConfigError, InsecureBindError
from ovstream.publish import KeyPair, Publisher, SubscriberKeys, subscribe
from ovstream.publish.guard import Guard
from ovstream.publish.keys import ALLOWED, PUBLISHER_KEY, read_allowed, save_key, write_allowed
from ovstream.types import Embedding
from ovstream.wire import Request, encode_request
from tests.publish.test_binding import LOCAL, OPEN
from tests.wire.samples import embedding

PATIENCE = 10.0  # to be let in
QUIET = 0.7  # long enough for a connection that would be let in


@pytest.fixture
def me() -> KeyPair:
    return KeyPair.new()


@pytest.fixture
def folder(tmp_path: Path, me: KeyPair) -> Path:
    save_key(tmp_path / "keys" / PUBLISHER_KEY, KeyPair.new())
    write_allowed(tmp_path / "keys" / ALLOWED, {me.public: "me"})
    return tmp_path / "keys"


@contextmanager
def beating(folder: Path, endpoint: str = "tcp://127.0.0.1:*") -> Iterator[Publisher]:
    """A guarded publisher, and a thread that uses it as a pipeline does."""
    publisher = Publisher(endpoint, config=PublishConfig(keys=str(folder), linger_seconds=0))
    publisher.announce("door")
    stop = threading.Event()

    def run() -> None:
        seq = 0
        while not stop.wait(0.02):
            publisher.heartbeat(time.time_ns())
            publisher.publish(embedding(seq))
            seq += 1

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield publisher
    finally:
        stop.set()
        thread.join()
        publisher.close()


def keys_for(publisher: Publisher, pair: KeyPair) -> SubscriberKeys:
    return SubscriberKeys(pair.public, pair.secret, publisher.public_key or "")


def hears(publisher: Publisher, keys: SubscriberKeys | None, *, seconds: float) -> bool:
    """Whether a raw subscriber hears anything; None: one without keys."""
    with ExitStack() as stack:
        context = stack.enter_context(zmq.Context())
        socket = stack.enter_context(context.socket(zmq.SUB))
        _arm(socket, keys)
        socket.subscribe("")
        socket.connect(publisher.endpoint)
        return bool(socket.poll(round(seconds * 1000)))


def is_answered(publisher: Publisher, keys: SubscriberKeys | None, *, seconds: float) -> bool:
    """Whether the replay socket answers."""
    with ExitStack() as stack:
        context = stack.enter_context(zmq.Context())
        socket = stack.enter_context(context.socket(zmq.DEALER))
        _arm(socket, keys)
        socket.connect(publisher.replay_endpoint)
        socket.send_multipart(encode_request(Request("list", 1)))
        return bool(socket.poll(round(seconds * 1000)))


def _arm(socket: zmq.Socket[bytes], keys: SubscriberKeys | None) -> None:
    socket.linger = 0
    if keys is not None:
        socket.curve_serverkey = keys.server.encode()
        socket.curve_publickey = keys.public.encode()
        socket.curve_secretkey = keys.secret.encode()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


async def test_the_right_key_gets_everything(folder: Path, me: KeyPair) -> None:
    with Publisher("tcp://127.0.0.1:*", config=PublishConfig(keys=str(folder))) as publisher:
        for seq in range(500):
            publisher.publish(embedding(seq))
        publisher.end("door")
        keys = keys_for(publisher, me)
        async with subscribe(publisher.endpoint, keys=keys, start="oldest", until_end=True) as events:
            assert [one.seq async for one in events.embeddings()] == list(range(500))


@pytest.mark.parametrize("who", ["no keys", "unknown key", "wrong server key", "another mechanism"])
def test_everybody_else_gets_nothing(folder: Path, me: KeyPair, who: str) -> None:
    with beating(folder) as publisher:
        right = keys_for(publisher, me)
        stranger = KeyPair.new()
        wrong = {
            "no keys": None,
            "another mechanism": None,
            "unknown key": replace(right, public=stranger.public, secret=stranger.secret),
            "wrong server key": replace(right, server=stranger.public),
        }[who]
        assert hears(publisher, right, seconds=PATIENCE)
        if who == "another mechanism":
            with zmq.Context() as context, context.socket(zmq.SUB) as socket:
                socket.linger = 0
                socket.plain_username, socket.plain_password = b"admin", b"admin"
                socket.subscribe("")
                socket.connect(publisher.endpoint)
                assert not socket.poll(round(QUIET * 1000))
        assert not hears(publisher, wrong, seconds=QUIET)
        assert not is_answered(publisher, wrong, seconds=QUIET)
        assert is_answered(publisher, right, seconds=PATIENCE)


def test_a_key_is_allowed_and_revoked_while_running_and_open_connections_are_cut(
    folder: Path, me: KeyPair
) -> None:
    other = KeyPair.new()
    with beating(folder) as publisher, ExitStack() as stack:
        context = stack.enter_context(zmq.Context())
        sockets = []
        for pair in (me, other):
            socket = stack.enter_context(context.socket(zmq.SUB))
            _arm(socket, keys_for(publisher, pair))
            socket.reconnect_ivl = 50
            socket.subscribe("")
            socket.connect(publisher.endpoint)
            sockets.append(socket)
        mine, theirs = sockets
        assert mine.poll(round(PATIENCE * 1000))
        assert not theirs.poll(round(QUIET * 1000))
        write_allowed(folder / ALLOWED, {me.public: "me", other.public: "other"})
        until(lambda: other.public in publisher._guard._allowed)  # type: ignore[union-attr]
        theirs.disconnect(publisher.endpoint)
        theirs.connect(publisher.endpoint)
        assert theirs.poll(round(PATIENCE * 1000))
        write_allowed(folder / ALLOWED, {other.public: "other"})
        until(lambda: not publisher._service.revoked.is_set() and _dry(mine))
        assert not mine.poll(round(QUIET * 1000)), "an open connection outlived its permission"
        assert not is_answered(publisher, keys_for(publisher, me), seconds=QUIET)
        while theirs.poll(0):
            theirs.recv_multipart()
        assert theirs.poll(round(PATIENCE * 1000)), "the others are back by themselves"


def _dry(socket: zmq.Socket[bytes]) -> bool:
    """Reads what is there; whether nothing came for a while."""
    while socket.poll(100):
        socket.recv_multipart()
        if socket.poll(0):
            continue
        return not socket.poll(300)
    return True


def test_a_list_that_cannot_be_read_lets_nobody_in(folder: Path, me: KeyPair) -> None:
    with beating(folder) as publisher:
        assert hears(publisher, keys_for(publisher, me), seconds=PATIENCE)
        (folder / ALLOWED).write_text("what is this?\n")
        until(lambda: not publisher._guard._allowed)  # type: ignore[union-attr]
        assert not hears(publisher, keys_for(publisher, me), seconds=QUIET)
        write_allowed(folder / ALLOWED, {me.public: "me"})
        assert hears(publisher, keys_for(publisher, me), seconds=PATIENCE)


def test_without_a_handler_zeromq_itself_refuses(folder: Path, me: KeyPair) -> None:
    """The trap: a CURVE server without `ZAP_ENFORCE_DOMAIN` lets any key in when nobody answers."""
    guard = Guard(folder)
    heard = {}
    for enforced in (True, False):
        with zmq.Context() as context, context.socket(zmq.PUB) as socket:
            guard.apply(socket)
            socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, int(enforced))
            port = socket.bind_to_random_port("tcp://127.0.0.1")
            with zmq.Context() as outside, outside.socket(zmq.SUB) as listening:
                _arm(listening, SubscriberKeys(me.public, me.secret, guard.pair.public))
                listening.subscribe("")
                listening.connect(f"tcp://127.0.0.1:{port}")
                end = time.monotonic() + (QUIET if enforced else PATIENCE)
                while not (got := bool(listening.poll(20))) and time.monotonic() < end:
                    socket.send(b"secret")
                heard[enforced] = got
    assert heard == {True: False, False: True}


def test_a_handler_that_died_lets_nobody_in_and_is_started_again(
    folder: Path, me: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Publisher("tcp://127.0.0.1:*", config=PublishConfig(keys=str(folder))) as publisher:
        publisher.announce("door")
        keys = keys_for(publisher, me)
        service = publisher._service

        def die(now: float) -> None:
            raise SystemExit  # ends the thread without a word

        monkeypatch.setattr(service, "_serve", die)
        assert not is_answered(publisher, keys, seconds=QUIET)
        assert not service._threads[0].is_alive()
        monkeypatch.undo()
        for _ in range(10):
            publisher.publish(embedding(publisher._sequences["door"].next_seq))  # live goes on
        assert not hears(publisher, keys, seconds=QUIET)
        assert not is_answered(publisher, keys, seconds=QUIET)
        publisher.heartbeat(time.time_ns())
        assert service.stats.restarts == 1
        assert is_answered(publisher, keys, seconds=PATIENCE)


@pytest.mark.parametrize("endpoint", OPEN)
def test_an_open_endpoint_needs_keys_however_it_is_spelled(endpoint: str, folder: Path) -> None:
    with pytest.raises(InsecureBindError, match="ovstream keys new"):
        Publisher(endpoint)
    assert LOCAL
    for name in (PUBLISHER_KEY, ALLOWED):
        hidden = folder / f"{name}.away"
        (folder / name).rename(hidden)
        with pytest.raises(ConfigError):
            Publisher(endpoint, config=PublishConfig(keys=str(folder)))
        hidden.rename(folder / name)


def test_with_keys_an_open_endpoint_may_be_bound(folder: Path, me: KeyPair) -> None:
    with beating(folder, "tcp://0.0.0.0:*") as publisher:
        assert publisher.endpoint.startswith("tcp://0.0.0.0:")
        assert publisher.replay_endpoint.startswith("tcp://0.0.0.0:")


def test_keys_are_for_their_owner(folder: Path) -> None:
    for name in (PUBLISHER_KEY, ALLOWED):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    (folder / PUBLISHER_KEY).chmod(0o640)
    with pytest.raises(ConfigError, match="can be read by others"):
        Publisher("tcp://127.0.0.1:*", config=PublishConfig(keys=str(folder)))


def test_secrets_are_not_shown(me: KeyPair) -> None:
    keys = SubscriberKeys(me.public, me.secret, me.public)
    assert me.secret not in repr(me) + repr(keys) + str(keys)


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b"1.0"],
        [b"1.0", b"7", b"ovstream", b"", b"", b"NULL"],
        [b"1.0", b"7", b"ovstream", b"", b"", b"PLAIN", b"admin", b"admin"],
        [b"1.0", b"7", b"ovstream", b"", b"", b"CURVE", b"x" * 31],
        [b"1.0", b"7", b"other", b"", b"", b"CURVE", b"x" * 32],
        [b"2.0", b"7", b"ovstream", b"", b"", b"CURVE", b"x" * 32],
        [b"1.0", b"7", b"ovstream", b"", b"", b"CURVE", b"x" * 32],
    ],
    ids=range(8),
)
def test_every_other_question_is_answered_no(folder: Path, frames: list[bytes]) -> None:
    assert Guard(folder).answer(frames)[2] in (b"300", b"400")


def ovstream(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ovstream", "keys", *arguments], capture_output=True, text=True, check=False
    )


def test_the_command_line_makes_allows_and_revokes(tmp_path: Path) -> None:
    """From nothing to a first message and back, by the commands of the documentation."""
    place = ("--folder", str(tmp_path / "keys"))
    assert ovstream("new", "publisher", *place).returncode == 0
    server = str(tmp_path / "keys" / PUBLISHER_KEY)
    made = ovstream("new", "me", "--server", server, "--folder", str(tmp_path))
    public = made.stdout.split()[-1]
    assert ovstream("allow", "me", public, *place).returncode == 0
    listed = ovstream("list", *place).stdout
    assert "me" in listed
    assert public in listed
    assert read_allowed(tmp_path / "keys" / ALLOWED) == {public: "me"}
    with (
        beating(tmp_path / "keys") as publisher,
        subscribe(publisher.endpoint, keys=tmp_path / "me.key", start="oldest") as events,
    ):
        assert any(isinstance(event, Embedding) for event in events)
    again = ovstream("new", "me", "--folder", str(tmp_path))
    assert again.returncode != 0
    assert "exists" in again.stdout + again.stderr
    assert ovstream("revoke", "me", *place).returncode == 0
    assert ovstream("revoke", "me", *place).returncode != 0
    assert read_allowed(tmp_path / "keys" / ALLOWED) == {}
