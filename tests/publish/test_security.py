"""Who gets in and who does not, over real sockets. docs/security.md has the table of these cases."""

from __future__ import annotations

import re
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import zmq

from ovstream.cli import main
from ovstream.config import PublishConfig
from ovstream.errors import ConfigError, InsecureBindError
from ovstream.publish import KeyPair, Publisher, SubscriberKeys, sending, subscribe, terminating
from ovstream.publish.guard import Guard
from ovstream.publish.keys import ALLOWED, PUBLISHER_KEY, read_allowed, save_key, write_allowed
from ovstream.publish.terminating import PATIENCE_SECONDS
from ovstream.types import Embedding
from ovstream.wire import Request, encode_request
from tests.publish.test_binding import OPEN
from tests.wire.samples import embedding

PATIENCE = 20.0  # to be let in
QUIET = 0.7  # long enough for a connection that would be let in
BOTH = {"live", "replay"}

Arm = Callable[[zmq.Socket[bytes]], None]


@pytest.fixture
def me() -> KeyPair:
    return KeyPair.new()


@pytest.fixture
def folder(tmp_path: Path, me: KeyPair) -> Path:
    save_key(tmp_path / "keys" / PUBLISHER_KEY, KeyPair.new())
    write_allowed(tmp_path / "keys" / ALLOWED, {me.public: "me"})
    return tmp_path / "keys"


@contextmanager
def beating(folder: Path, endpoint: str = "tcp://127.0.0.1:*", *, beats: bool = True) -> Iterator[Publisher]:
    """A guarded publisher, and a thread that uses it as a pipeline does; its heartbeats may stay away."""
    publisher = Publisher(endpoint, config=PublishConfig(keys=str(folder), linger_seconds=0))
    publisher.announce("door")
    stop = threading.Event()

    def run() -> None:
        seq = 0
        while not stop.wait(0.02):
            if beats:
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


def armed(keys: SubscriberKeys) -> Arm:
    def arm(socket: zmq.Socket[bytes]) -> None:
        socket.curve_serverkey = keys.server.encode()
        socket.curve_publickey = keys.public.encode()
        socket.curve_secretkey = keys.secret.encode()

    return arm


def bare(socket: zmq.Socket[bytes]) -> None:
    """Comes without keys."""


def plain(socket: zmq.Socket[bytes]) -> None:
    """Comes with a password instead of a key."""
    socket.plain_username, socket.plain_password = b"admin", b"admin"


def knock(publisher: Publisher, seconds: float, **who: Arm) -> dict[str, set[str]]:
    """What each of them gets within a time, on raw sockets; returns as soon as all have everything."""
    with ExitStack() as stack:
        context = stack.enter_context(zmq.Context())
        sockets: dict[zmq.Socket[bytes], tuple[str, str]] = {}
        for name, arm in who.items():
            for kind, place in ((zmq.SUB, publisher.endpoint), (zmq.DEALER, publisher.replay_endpoint)):
                socket = stack.enter_context(context.socket(kind))
                socket.linger = 0
                arm(socket)
                if kind == zmq.SUB:
                    socket.subscribe("")
                socket.connect(place)
                if kind == zmq.DEALER:
                    socket.send_multipart(encode_request(Request("list", 1)))
                sockets[socket] = name, "live" if kind == zmq.SUB else "replay"
        got: dict[str, set[str]] = {name: set() for name in who}
        end = time.monotonic() + seconds
        while any(what != BOTH for what in got.values()) and (left := end - time.monotonic()) > 0:
            poller = zmq.Poller()
            for socket, (name, what) in sockets.items():
                if what not in got[name]:
                    poller.register(socket, zmq.POLLIN)
            for socket, _ in poller.poll(round(left * 1000)):
                name, what = sockets[socket]
                got[name].add(what)
        return got


def lets_in(publisher: Publisher, arm: Arm) -> bool:
    return knock(publisher, PATIENCE, one=arm)["one"] == BOTH


def keeps_out(publisher: Publisher, arm: Arm) -> bool:
    return knock(publisher, QUIET, one=arm)["one"] == set()


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


def test_everybody_else_gets_nothing(folder: Path, me: KeyPair) -> None:
    stranger = KeyPair.new()
    with beating(folder) as publisher:
        right = keys_for(publisher, me)
        assert lets_in(publisher, armed(right))
        got = knock(
            publisher,
            QUIET,
            no_keys=bare,
            another_mechanism=plain,
            unknown_key=armed(replace(right, public=stranger.public, secret=stranger.secret)),
            wrong_server_key=armed(replace(right, server=stranger.public)),
            borrowed_public_key=armed(replace(right, secret=stranger.secret)),
        )
        assert set().union(*got.values()) == set(), got
        assert lets_in(publisher, armed(right))


def test_a_key_is_allowed_and_revoked_while_running_and_open_connections_are_cut(
    folder: Path, me: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "_HANDSHAKE_MS", 500)
    other = KeyPair.new()
    with beating(folder) as publisher, ExitStack() as stack:
        context = stack.enter_context(zmq.Context())
        sockets = []
        for pair in (me, other):
            socket = stack.enter_context(context.socket(zmq.SUB))
            socket.linger = 0
            armed(keys_for(publisher, pair))(socket)
            socket.reconnect_ivl = 50
            socket.subscribe("")
            socket.connect(publisher.endpoint)
            sockets.append(socket)
        mine, theirs = sockets
        assert mine.poll(round(PATIENCE * 1000))
        assert not theirs.poll(round(QUIET * 1000))
        write_allowed(folder / ALLOWED, {me.public: "me", other.public: "other"})
        assert theirs.poll(round(PATIENCE * 1000)), "a refused connection tries again by itself"
        write_allowed(folder / ALLOWED, {other.public: "other"})
        until(lambda: _dry(mine))
        assert not mine.poll(round(QUIET * 1000)), "an open connection outlived its permission"
        assert keeps_out(publisher, armed(keys_for(publisher, me)))
        while theirs.poll(0):
            theirs.recv_multipart()
        assert theirs.poll(round(PATIENCE * 1000)), "the others are back by themselves"


def _dry(socket: zmq.Socket[bytes]) -> bool:
    """Reads what is there; whether nothing came for a while, though something is sent 50 times a second."""
    while socket.poll(0):
        socket.recv_multipart()
    return not socket.poll(400)


def _malformed(path: Path) -> None:
    path.write_text("what is this?\n")


def _open_to_all(path: Path) -> None:
    path.chmod(0o666)


@pytest.mark.parametrize("spoil", [_malformed, _open_to_all, Path.unlink])
def test_a_list_that_cannot_be_trusted_lets_nobody_in(
    folder: Path, me: KeyPair, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(sending, "_HANDSHAKE_MS", 500)
    with beating(folder) as publisher, ExitStack() as stack:
        arm = armed(keys_for(publisher, me))
        context = stack.enter_context(zmq.Context())
        inside = stack.enter_context(context.socket(zmq.SUB))
        inside.linger = 0
        arm(inside)
        inside.subscribe("")
        inside.connect(publisher.endpoint)
        assert inside.poll(round(PATIENCE * 1000))
        spoil(folder / ALLOWED)
        until(lambda: _dry(inside))
        assert keeps_out(publisher, arm)
        if spoil is _open_to_all:
            (folder / ALLOWED).chmod(0o600)
        else:
            write_allowed(folder / ALLOWED, {me.public: "me"})
        assert inside.poll(round(PATIENCE * 1000)), "who was inside is back by itself"
        assert lets_in(publisher, arm)


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
                armed(SubscriberKeys(me.public, me.secret, guard.pair.public))(listening)
                listening.linger = 0
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
    monkeypatch.setattr(sending, "_HANDSHAKE_MS", 500)
    with beating(folder, beats=False) as publisher:
        arm = armed(keys_for(publisher, me))
        kill_handler(publisher, monkeypatch)
        assert keeps_out(publisher, arm)
        assert publisher._service.stats.restarts == 0
        publisher.heartbeat(time.time_ns())
        assert lets_in(publisher, arm)
        assert publisher._service.stats.restarts == 1


def kill_handler(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends the thread that answers, by what no handler of errors catches."""
    thread = publisher._service._threads[0]
    with monkeypatch.context() as patch:
        patch.setattr(threading, "excepthook", lambda _: None)  # not pytest's, which would fail the test
        patch.setattr(publisher._service, "_turn", lambda _: sys.exit())
        thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_guard_that_fails_turns_away_for_now_and_the_handler_goes_on(
    folder: Path, me: KeyPair, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sending, "_HANDSHAKE_MS", 500)
    with beating(folder) as publisher:
        arm = armed(keys_for(publisher, me))
        with monkeypatch.context() as patch:
            patch.setattr(publisher._guard, "answer", lambda _: 1 / 0)
            assert keeps_out(publisher, arm)
        assert lets_in(publisher, arm)
        assert publisher._service.stats.failures > 0
        assert publisher._service.stats.restarts == 0
    assert caplog.text.count("the replay thread goes on after") == 1


def test_closing_while_strangers_and_friends_knock_takes_no_longer_than_it_may(
    folder: Path, me: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections whose question for permission nobody answers any more must not hold the end."""
    for dead in (False, True):
        with zmq.Context() as context, ExitStack() as stack:
            publisher = Publisher(
                "tcp://127.0.0.1:*", config=PublishConfig(keys=str(folder), linger_seconds=0)
            )
            if dead:
                kill_handler(publisher, monkeypatch)
            for pair in (me, KeyPair.new()) * 10:
                socket = stack.enter_context(context.socket(zmq.SUB))
                socket.linger = 0
                armed(keys_for(publisher, pair))(socket)
                socket.subscribe("")
                socket.connect(publisher.endpoint)
            time.sleep(0.05)
            started = time.perf_counter()
            publisher.close()
            assert time.perf_counter() - started < PATIENCE_SECONDS


def test_a_context_that_does_not_end_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(terminating, "PATIENCE_SECONDS", 0.1)
    context = zmq.Context()
    with context.socket(zmq.PUB) as socket:
        assert not terminating.terminate(context)
        assert not socket.closed
    assert "did not end" in caplog.text
    until(lambda: all(thread.name != "ovstream-zmq-end" for thread in threading.enumerate()))


@pytest.mark.parametrize("endpoint", OPEN)
def test_an_open_endpoint_needs_keys_however_it_is_spelled(endpoint: str) -> None:
    with pytest.raises(InsecureBindError, match="ovstream keys new"):
        Publisher(endpoint)
    with pytest.raises(InsecureBindError, match="ovstream keys new"):
        Publisher("tcp://127.0.0.1:*", config=PublishConfig(replay_endpoint=endpoint))


@pytest.mark.parametrize("name", [PUBLISHER_KEY, ALLOWED])
@pytest.mark.parametrize("endpoint", ["tcp://0.0.0.0:*", "tcp://127.0.0.1:*"])
def test_half_of_the_keys_is_none(folder: Path, name: str, endpoint: str) -> None:
    """Missing, nonsense, or in reach of others: never a start without protection."""
    config = PublishConfig(keys=str(folder))
    path = folder / name
    path.chmod(0o666)
    with pytest.raises(ConfigError, match="by others"):
        Publisher(endpoint, config=config)
    path.chmod(0o600)
    path.write_text("what is this?\n")
    with pytest.raises(ConfigError):
        Publisher(endpoint, config=config)
    path.unlink()
    with pytest.raises(ConfigError):
        Publisher(endpoint, config=config)


def test_with_keys_an_open_endpoint_may_be_bound_and_is_guarded(folder: Path, me: KeyPair) -> None:
    with beating(folder, "tcp://0.0.0.0:*") as publisher:
        assert publisher.endpoint.startswith("tcp://0.0.0.0:")
        assert publisher.replay_endpoint.startswith("tcp://0.0.0.0:")
        assert lets_in(publisher, armed(keys_for(publisher, me)))
        assert keeps_out(publisher, bare)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_keys_are_for_their_owner(folder: Path, mode: int) -> None:
    for name in (PUBLISHER_KEY, ALLOWED):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    save_key(folder / "me.key", KeyPair.new(), server=KeyPair.new().public)
    assert SubscriberKeys.load(folder / "me.key")
    (folder / "me.key").chmod(mode)
    (folder / PUBLISHER_KEY).chmod(mode)
    with pytest.raises(ConfigError, match="can be read by others"):
        SubscriberKeys.load(folder / "me.key")
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


class Shell:
    """`ovstream keys` in this process."""

    def __init__(self, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self._patch, self._capture = patch, capture

    def __call__(self, *arguments: str) -> tuple[int, str]:
        """Returns the exit status and what was printed."""
        self._patch.setattr("sys.argv", ["ovstream", "keys", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = self._capture.readouterr()
        return int(ended.value.code or 0), printed.out + printed.err


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


def test_the_command_line_makes_allows_lists_and_revokes(tmp_path: Path, shell: Shell) -> None:
    """From nothing to a first message and back, by the commands of the documentation."""
    place = ("--folder", str(tmp_path / "keys"))
    mine = ("--folder", str(tmp_path))
    status, made = shell("new", "publisher", *place)
    assert status == 0
    server = next(line.split()[-1] for line in made.splitlines() if line.startswith("public key"))
    assert stat.S_IMODE((tmp_path / "keys" / PUBLISHER_KEY).stat().st_mode) == 0o600
    assert "nobody" in shell("list", *place)[1]
    status, made = shell("new", "me", "--server", server, *mine)
    assert status == 0
    public = made.split()[-1]
    assert stat.S_IMODE((tmp_path / "me.key").stat().st_mode) == 0o600
    assert shell("allow", "me", public, *place)[0] == 0
    listed = shell("list", *place)[1]
    assert all(word in listed for word in ("me", public, server))
    with (
        beating(tmp_path / "keys") as publisher,
        subscribe(publisher.endpoint, keys=tmp_path / "me.key", start="oldest") as events,
    ):
        assert publisher.public_key == server
        assert any(isinstance(event, Embedding) for event in events)
    assert shell("revoke", "me", *place)[0] == 0
    assert read_allowed(tmp_path / "keys" / ALLOWED) == {}


def test_no_key_looks_like_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = iter([(b"-" + bytes(39), bytes(40)), (b"k" * 40, b"s" * 40)])
    monkeypatch.setattr("zmq.curve_keypair", lambda: next(pairs))
    assert KeyPair.new().public == "k" * 40


def test_the_command_line_refuses_what_would_be_a_mistake(folder: Path, me: KeyPair, shell: Shell) -> None:
    place = ("--folder", str(folder))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for arguments, reason in (
        (("new", "publisher"), "exists"),
        (("new", "../me"), "no name"),
        (("new", "you", "--server", "x"), "neither a public key nor a key file"),
        (("allow", "you", "x"), "neither a public key nor a key file"),
        (("allow", "me", KeyPair.new().public), "has another key"),
        (("allow", "a b", KeyPair.new().public), "no name"),
        (("revoke", "you"), "not on the list"),
    ):
        status, printed = shell(*arguments, *place)
        assert (status, reason in printed) == (1, True), printed
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_every_row_of_the_documentation_has_its_test() -> None:
    """The tables of docs/security.md name tests; all of them exist."""
    root = Path(__file__).parents[2]
    files = {
        "S": "publish/test_security.py",
        "B": "publish/test_binding.py",
        "L": "publish/test_losses.py",
        "R": "publish/test_recovery.py",
        "F": "publish/test_follower.py",
        "H": "wire/test_hostile.py",
    }
    text = (root / "docs" / "security.md").read_text()
    tables = text[text.index("## Who gets in") : text.index("A subscriber believes")]
    rows = [
        line.split("|")[-2]
        for line in tables.splitlines()
        if line.startswith("| ") and not line.startswith("| attempt")
    ]
    assert len(rows) > 25
    for row in rows:
        assert row.strip() == "the same" or "`test_" in row, row
        for letter, names in re.findall(r"([A-Z]) ((?:`test_\w+`(?:, )?)+)", row):
            text = (root / "tests" / files[letter]).read_text()
            for name in re.findall(r"`(test_\w+)`", names):
                assert f"def {name}(" in text, (letter, name)
