"""The public endpoint with keys: allowed subscribers connect; others are refused, and both ends report why."""

from __future__ import annotations

import contextlib
import logging
import socket as sockets
import threading
import time

import pytest
import zmq
from endpoint_helpers import EVERYWHERE, PATIENCE_S, first, logged, make_keys, publishing, refusal, who
from pipeline_helpers import needs_ipv6

from eventveil.errors import AccessError, ConfigError, LineError
from eventveil.stream import subscribe
from eventveil.stream.protocol.keys import read_folder, read_public


@pytest.fixture
def keys(tmp_path):
    return make_keys(tmp_path)


@pytest.mark.parametrize("where", EVERYWHERE)
def test_a_subscriber_on_the_list_connects_encrypted_and_is_counted(keys, tmp_path, where):
    bind = f"ipc://{tmp_path}/public" if where == "ipc" else where
    with publishing(keys, bind) as pipeline:
        assert first(pipeline.endpoint, **who(keys, "alice")).topic == "window"
        counts = pipeline.public_endpoint.counts()
        assert (counts["connections"], counts["handshakes"]) == (1, 1)
        assert sum(counts.values()) == 2


@pytest.mark.parametrize(
    ("bind", "reached"),
    [
        ("tcp://127.0.0.1:*", ["127.0.0.1", "localhost"]),
        ("tcp://*:*", ["127.0.0.1"]),
        pytest.param("tcp://[::1]:*", ["[::1]", "::1"], marks=needs_ipv6),
        pytest.param("tcp://[::ffff:127.0.0.1]:*", ["127.0.0.1", "[::ffff:127.0.0.1]"], marks=needs_ipv6),
        pytest.param("tcp://[::]:*", ["[::1]", "127.0.0.1", "localhost"], marks=needs_ipv6),
    ],
)
def test_a_publisher_is_reached_by_the_addresses_that_it_is_bound_to(keys, bind, reached):
    with publishing(keys, bind) as pipeline:
        port = pipeline.endpoint.rpartition(":")[2]
        for host in reached:
            assert first(f"tcp://{host}:{port}", **who(keys, "alice")).topic == "window"


def test_nobody_is_served_unencrypted(keys):
    with publishing(keys) as pipeline, zmq.Context() as context, context.socket(zmq.SUB) as listener:
        listener.linger = 0
        listener.subscribe(b"")
        listener.connect(pipeline.endpoint)
        pipeline.wait_for("connections")
        assert first(pipeline.endpoint, **who(keys, "alice"))
        assert not listener.poll(200)


def test_a_client_not_on_the_list_is_reported_at_both_ends(keys, caplog):
    with publishing(keys) as pipeline:
        error = refusal(pipeline.endpoint, **who(keys, "bob"))
        assert "does not know this key" in error
        assert "eventveil keys allow" in error
        pipeline.wait_for("handshakes_not_allowed")
        assert pipeline.public_endpoint.counts()["handshakes"] == 0
    (record,) = logged(caplog, "not on the list")
    bob = read_public(keys.parent / "bob" / "bob.pub").key.decode()
    assert f"{bob} from 127.0.0.1" in record.getMessage()


def test_a_client_that_expects_another_publisher_is_reported_at_both_ends(keys, caplog):
    with publishing(keys) as pipeline:
        assert "--server-key" in refusal(pipeline.endpoint, **who(keys, "alice", server="bob"))
        pipeline.wait_for("handshakes_wrong_key", 3)
    assert logged(caplog, "expects a publisher with another key")


def test_a_client_without_keys_is_reported_at_both_ends(keys, caplog):
    with publishing(keys) as pipeline:
        assert "give --server-key and --key" in refusal(pipeline.endpoint)
        pipeline.wait_for("connections")
        with zmq.Context() as context, context.socket(zmq.SUB) as plain:
            plain.linger, plain.plain_username, plain.plain_password = 0, b"alice", b"secret"
            plain.connect(pipeline.endpoint)
            pipeline.wait_for("connections", 2)
    assert logged(caplog, "could not connect")


def test_a_client_that_expects_keys_where_there_are_none_is_reported(keys):
    with publishing(None) as pipeline:
        error = refusal(pipeline.endpoint, **who(keys, "alice"))
    # The end that notices first hangs up; if that is always the other one, the cause remains ambiguous.
    assert (
        "uses no keys, so it is not the publisher" in error or "a key other than that of --server-key, or none" in error
    )


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9\r\n", b"\xff" * 300])
def test_an_endpoint_that_is_not_a_publisher_is_reported(keys, answer):
    with sockets.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection, contextlib.suppress(ConnectionError):
                connection.sendall(answer)
                connection.recv(1000)

        thread = threading.Thread(target=serve)
        thread.start()
        error = refusal(f"tcp://127.0.0.1:{server.getsockname()[1]}", **who(keys, "alice"))
        thread.join()
    assert "check host and port" in error


def test_nobody_there_is_waited_for(keys, tmp_path):
    bind, got = f"ipc://{tmp_path}/late", []
    thread = threading.Thread(target=lambda: got.append(first(bind, **who(keys, "alice"))))
    thread.start()
    time.sleep(0.2)
    with publishing(keys, bind):
        thread.join(PATIENCE_S)
    assert got[0].topic == "window"


def test_a_publisher_that_hangs_breaks_off_and_comes_back_is_waited_for(keys, caplog):
    """Silent connections are not broken ones: together they do not look like a publisher that refuses every client."""
    with sockets.create_server(("127.0.0.1", 0)) as server:
        bind, got = f"tcp://127.0.0.1:{server.getsockname()[1]}", []
        thread = threading.Thread(target=lambda: got.append(first(bind, **who(keys, "alice"))))
        thread.start()
        for _ in range(2):
            with server.accept()[0] as hanging:
                while hanging.recv(100):
                    pass
        server.accept()[0].close()
    with publishing(keys, bind):
        thread.join(PATIENCE_S)
    assert got[0].topic == "window"
    assert logged(caplog, "the peer does not answer as a publisher does")


def test_a_publisher_that_comes_back_is_found_again(keys, tmp_path, caplog):
    bind = f"ipc://{tmp_path}/public"
    with publishing(keys, bind) as pipeline:
        messages = subscribe(bind, ("window",), timeout_s=PATIENCE_S, **who(keys, "alice"))
        assert next(messages).topic == "window"
        pipeline.end(announce=False)
    with publishing(keys, bind) as again:
        assert all(next(messages).topic == "window" for _ in range(20))
        assert again.public_endpoint.counts()["handshakes"] == 1
        messages.close()
    assert logged(caplog, "the connection to the publisher was lost; trying again")


def test_one_key_alone_is_a_mistake(keys):
    for option in ("server_key", "key"):
        with pytest.raises(ConfigError, match="give both"):
            first("tcp://127.0.0.1:1", **{option: who(keys, "alice")[option]})


def test_a_publishers_keys_are_checked_before_anything_is_bound(keys):
    (keys / "secret.key").chmod(0o644)
    with pytest.raises(AccessError, match="chmod 600"), publishing(keys):
        pass
    (keys / "secret.key").chmod(0o600)
    with (
        publishing(keys) as pipeline,
        pytest.raises(LineError, match="cannot bind"),
        publishing(keys, pipeline.endpoint),
    ):
        pass


def test_a_subscribers_secret_that_others_may_get_at_is_refused(keys):
    with publishing(keys) as pipeline:
        (keys.parent / "alice" / "secret.key").chmod(0o640)
        with pytest.raises(AccessError, match="chmod 600"):
            first(pipeline.endpoint, **who(keys, "alice"))
        assert pipeline.public_endpoint.counts()["connections"] == 0


def test_a_thousand_failures_are_counted_and_a_few_are_logged(keys, caplog):
    with publishing(keys) as pipeline:
        address = pipeline.endpoint.removeprefix("tcp://").split(":")
        start = time.monotonic()
        for _ in range(300):
            with sockets.create_connection((address[0], int(address[1]))) as stranger:
                stranger.sendall(b"\xff" * 64)
        pipeline.wait_for("connections", 300)
        assert first(pipeline.endpoint, **who(keys, "alice")).topic == "window"
        duration_s = time.monotonic() - start
    assert 1 <= len(logged(caplog, "could not connect")) <= 6 * (duration_s + 1)


def test_the_keys_stand_in_no_message_of_the_pipeline(keys, caplog):
    caplog.set_level(logging.DEBUG)
    with publishing(keys) as pipeline:
        first(pipeline.endpoint, **who(keys, "alice"))
        refusal(pipeline.endpoint, **who(keys, "bob"))
        error = refusal(pipeline.endpoint, **who(keys, "alice", server="bob"))
    secrets = [read_folder(keys.parent / name).secret.decode() for name in ("keys", "alice", "bob")]
    assert not [secret for secret in secrets if secret in caplog.text + error]
