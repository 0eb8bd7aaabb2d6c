"""`eventveil bridge`: forward what a pipeline publishes to other systems."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eventveil.cli.options import (
    EndpointArgument,
    ExpectedBookOption,
    JsonOption,
    RequireCertificateOption,
    ServerKeyOption,
    SubscriberKeyOption,
    on_signals,
    say,
    say_json,
)
from eventveil.errors import ConfigError
from eventveil.host.addresses import parse_port, split_host_port


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    bridge = typer.Typer(no_args_is_help=True, help="Forward what a pipeline publishes to other systems.")
    bridge.callback()(lambda: None)  # so that a single command keeps its name
    bridge.command("mqtt")(mqtt)
    app.add_typer(bridge, name="bridge")


def mqtt(
    endpoint: EndpointArgument,
    broker: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="MQTT broker; the usual port is 1883, or 8883 with --tls.")
    ] = "127.0.0.1:1883",
    tls: Annotated[
        bool, typer.Option("--tls", help="Encrypt the connection; required for a broker on another machine.")
    ] = False,
    login: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Private file (mode 0600) with one line, USER:PASSWORD.")
    ] = None,
    server_key: ServerKeyOption = None,
    key: SubscriberKeyOption = None,
    require_certificate: RequireCertificateOption = None,
    book: ExpectedBookOption = None,
    json: JsonOption = False,
) -> None:
    """Forward published gestures to an MQTT broker, until the pipeline ends or Ctrl-C.

    For each stream, eventveil/STREAM/gesture holds the label, or "none". With a stand-in, eventveil/STREAM/presence
    holds ON or OFF. Both are sent when they change, and Home Assistant discovers them. Anyone who can read these topics
    learns the gestures: restrict access in the broker.

    For example:

    eventveil bridge mqtt tcp://127.0.0.1:5556
    """
    from eventveil.stream.clients.bridge.mqtt import Broker, bridge_mqtt

    host, text = split_host_port(broker)
    port = parse_port(text)
    if not host or not port:
        raise ConfigError(f"--broker {broker}: expected HOST:PORT, as in 127.0.0.1:1883")
    stopped: list[bool] = []
    on_signals(lambda: stopped.append(True))
    bridge_mqtt(
        endpoint, Broker(host, port, tls, login), say=say_json if json else say, stop=lambda: bool(stopped),
        server_key=server_key, key=key, require_certificate=require_certificate, book=book,
    )  # fmt: skip
