"""`HOST:PORT`, which is parsed in one place."""

from __future__ import annotations

import socket

import pytest

from eventveil.host.addresses import free_port, parse_port, split_host_port


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", "9464")),
        ("[::1]:9464", ("::1", "9464")),
        ("::1:9464", ("::1", "9464")),
        ("*:*", ("*", "*")),
        ("host", ("", "host")),
        (":80", ("", "80")),
        ("", ("", "")),
    ],
)
def test_a_host_and_a_port_are_split_at_the_last_colon(text, parts):
    assert split_host_port(text) == parts


@pytest.mark.parametrize(("text", "port"), [("0", 0), ("80", 80), ("00080", 80), ("65535", 65_535)])
def test_a_port_is_a_number_up_to_65535(text, port):
    assert parse_port(text) == port


@pytest.mark.parametrize("text", ["", "*", "-1", "+80", "80 ", "1e3", "65536", "999999", "9" * 5000])
def test_other_text_is_not_a_port(text):
    assert parse_port(text) is None


def test_a_free_port_can_be_bound():
    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port()))
