"""The listening socket: which addresses it takes, what it never replaces, and that it is held until the end."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import socket
import threading

import pytest
from endpoint_helpers import PATIENCE_S, publish_forever
from pipeline_helpers import needs_ipv6

from eventveil.errors import BoundaryError, LineError
from eventveil.stream import subscribe
from eventveil.stream.publisher import listener as module
from eventveil.stream.publisher.listener import listening


def listen(bind, *, keyed=False):
    """Listen for a moment."""
    with listening(bind, keyed=keyed):
        pass


@pytest.mark.parametrize(
    ("bind", "host"),
    [
        ("tcp://127.0.0.1:*", "127.0.0.1"),
        ("tcp://localhost:*", "127.0.0.1"),
        ("tcp://lo:*", "127.0.0.1"),
        ("tcp://*:*", "0.0.0.0"),
        pytest.param("tcp://[::1]:*", "[::1]", marks=needs_ipv6),
        pytest.param("tcp://:::*", "[::]", marks=needs_ipv6),
        pytest.param("tcp://[::ffff:127.0.0.1]:*", "[::ffff:127.0.0.1]", marks=needs_ipv6),
    ],
)
def test_hosts_interfaces_and_stars_stand_for_the_addresses_that_libzmq_takes_them_for(bind, host):
    with listening(bind, keyed=True) as listener:
        port = listener.bound.getsockname()[1]
        assert listener.endpoint == f"tcp://{host}:{port}"


def test_a_port_in_use_is_reported_with_its_remedy():
    with (
        listening("tcp://127.0.0.1:*", keyed=False) as first,
        pytest.raises(LineError, match=rf"publish\.bind: cannot bind {first.endpoint}: .*another eventveil running"),
    ):
        listen(first.endpoint)


@pytest.mark.parametrize(
    "bind", ["tcp://192.0.2.1:5599", "tcp://nowhere", "tcp://:1", "tcp://no.such.host:1", "udp://*:1"]
)
def test_an_address_that_is_not_this_machines_is_refused(bind):
    with pytest.raises(LineError, match=r"publish\.bind: cannot bind"):
        listen(bind, keyed=True)


REACHABLE = ["tcp://*:*", "tcp://0.0.0.0:*", "tcp://lo:*", "tcp://192.0.2.1:5599", "udp://*:1"]
REACHABLE_6 = ["tcp://[::]:*", "tcp://:::*", "tcp://[::ffff:0.0.0.0]:*", "tcp://[::ffff:192.0.2.1]:5599"]


@pytest.mark.parametrize("bind", REACHABLE + REACHABLE_6)
def test_without_keys_no_address_is_bound_that_others_can_reach(bind):
    with pytest.raises(BoundaryError, match="other machines can reach"):
        listen(bind)


def test_a_local_name_that_stands_for_another_address_is_refused(monkeypatch):
    def names_lie(*_, **__):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("0.0.0.0", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", names_lie)
    with pytest.raises(BoundaryError, match="other machines can reach"):
        listen("tcp://localhost:*")


def make_file(path):
    path.write_text("precious")


def make_pipe(path):
    os.mkfifo(path)


def make_link_to_a_dead_socket(path):
    leave_a_dead_socket(path.with_name("dead"))
    path.symlink_to("dead")


def make_dangling_link(path):
    path.symlink_to("nothing")


def make_folder(path):
    path.mkdir()


OTHERS = [make_file, make_pipe, make_link_to_a_dead_socket, make_dangling_link, make_folder]


@pytest.mark.parametrize("make", OTHERS)
def test_what_is_not_a_socket_is_never_replaced(tmp_path, make):
    path = tmp_path / "f"
    make(path)
    before = path.lstat()
    with pytest.raises(LineError, match=rf"{path} is a .*, which is not overwritten"):
        listen(f"ipc://{path}")
    assert path.lstat() == before
    assert not path.is_file() or path.read_text() == "precious"


def leave_a_dead_socket(path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()


def test_a_dead_socket_is_replaced_and_ours_is_removed_at_the_end(tmp_path):
    path = tmp_path / "public"
    leave_a_dead_socket(path)
    with listening(f"ipc://{path}", keyed=False), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.parametrize("waiting", [0, 3])
def test_a_socket_in_use_is_never_replaced_even_if_its_queue_is_full(tmp_path, kind, waiting):
    path = tmp_path / "public"
    with socket.socket(socket.AF_UNIX, kind) as live:
        live.bind(str(path))
        if kind == socket.SOCK_STREAM:
            live.listen(0)
        clients = [socket.socket(socket.AF_UNIX, kind) for _ in range(waiting)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(str(path))
        before = path.lstat()
        with pytest.raises(LineError, match=rf"cannot bind ipc://{path}: .*may be using that socket"):
            listen(f"ipc://{path}")
        assert path.lstat() == before
        for client in clients:
            client.close()


def test_of_many_pipelines_that_find_a_dead_socket_one_gets_it(tmp_path):
    path, number = tmp_path / "public", 8
    leave_a_dead_socket(path)
    together, tried, outcomes = threading.Barrier(number), threading.Barrier(number), []

    def pipeline():
        together.wait()
        try:
            with listening(f"ipc://{path}", keyed=False) as listener:
                tried.wait()
                outcomes.append(listener.endpoint)
        except LineError:
            tried.wait()

    threads = [threading.Thread(target=pipeline) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [f"ipc://{path}"]


def test_another_programs_socket_at_our_path_is_not_removed(tmp_path):
    path = tmp_path / "public"
    with listening(f"ipc://{path}", keyed=False):
        path.unlink()
        leave_a_dead_socket(path)
    assert path.is_socket()


def test_a_folder_that_a_program_locks_is_waited_for_only_so_long(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOCK_S", 0.0)
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(LineError, match="cannot bind"):
        listen(f"ipc://{tmp_path}/public")
    os.close(handle)
    assert list(tmp_path.iterdir()) == []


def test_an_abstract_name_is_not_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = f"ipc://@eventveil-{os.getpid()}"
    with listening(name, keyed=False) as first:
        assert first.endpoint == name
        with pytest.raises(LineError, match="Address already in use"):
            listen(name)
    assert list(tmp_path.iterdir()) == []


def test_while_publishers_are_killed_and_replaced_nobody_takes_the_address_and_subscribers_stay(tmp_path):
    processes = multiprocessing.get_context("forkserver")
    with (
        listening("tcp://127.0.0.1:*", keyed=False) as tcp,
        listening(f"ipc://{tmp_path}/public", keyed=False) as ipc,
    ):
        received = [subscribe(each.endpoint, ("window",), timeout_s=PATIENCE_S) for each in (tcp, ipc)]
        for life in (1, 2):
            publisher = processes.Process(target=publish_forever, args=((tcp, ipc), life))
            publisher.start()
            for messages in received:
                while next(messages).header.life != life:
                    pass
            publisher.kill()
            publisher.join()
            assert not can_be_taken(tcp.endpoint)
            assert not can_be_taken(ipc.endpoint)
        for messages in received:
            messages.close()
    assert can_be_taken(tcp.endpoint)
    assert can_be_taken(ipc.endpoint)


def can_be_taken(endpoint):
    """Whether another program could listen there now."""
    if endpoint.startswith("ipc://"):
        try:
            listen(endpoint)
        except LineError:
            return False
        return True
    host, port = endpoint.removeprefix("tcp://").split(":")
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            thief.bind((host, int(port)))
        except OSError:
            return False
        return True
