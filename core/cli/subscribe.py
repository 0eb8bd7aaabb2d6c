"""`eventveil subscribe`: the receiving end of a line."""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from eventveil.cli.options import JsonOption, on_signals, print_json, say, stdout
from eventveil.errors import ConfigError

if TYPE_CHECKING:
    from eventveil.stream.protocol.wire import Message


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("subscribe")(subscribe)


def subscribe(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", help="Where a line publishes: tcp://HOST:PORT.")],
    topic: Annotated[list[str] | None, typer.Option("--topic", help="window or gesture; both unless said.")] = None,
    server_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE.pub", help="Public key of the publisher: listen to it alone, encrypted."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Your own secret key, DIR/secret.key of `eventveil keys new DIR`."),
    ] = None,
    require_certificate: Annotated[
        Path | None,
        typer.Option(
            metavar="KEY.pem",
            help="Public key of whose audits you trust: refuse whatever weights did not pass one of them.",
        ),
    ] = None,
    count: Annotated[int | None, typer.Option("--count", min=1, help="End after so many windows and gestures.")] = None,
    timeout: Annotated[float | None, typer.Option("--timeout", help="End after so many seconds of silence.")] = None,
    npz: Annotated[
        Path | None, typer.Option("--npz", metavar="DIR", help="Keep each message there, as NumPy .npz.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Receive what a line publishes, until it ends.

    A line that is not there yet is waited for. Numbers that are missing are told with their reasons. The exit status
    is 1 where the line said that it failed, or fewer than --count messages came.

    Example:  eventveil subscribe tcp://127.0.0.1:5556 --count 100 --npz received

    A publisher on the network lets in those alone whose key it has on its list, and is known by its own:

    eventveil subscribe tcp://HOST:5556 --server-key line.pub --key alice/secret.key

    With --require-certificate, what comes before the certificate is known is withheld and counted, and what no passing
    certificate covers ends the command with status 2 and the cause. Who the publisher is, --server-key alone tells.
    """
    from eventveil.stream import subscribe as messages
    from eventveil.stream.protocol.wire import STATE

    stopped: list[bool] = []
    on_signals(lambda: stopped.append(True))
    received, failed = 0, False
    if npz is not None:
        npz.mkdir(parents=True, exist_ok=True)
    for message in messages(
        endpoint,
        topic or ("window", "gesture"),
        server_key=server_key,
        key=key,
        require_certificate=require_certificate,
        timeout_s=timeout,
        stop=lambda: bool(stopped),
    ):
        (_print_message_json if json else _print_message)(message)
        if message.topic == STATE:
            failed = failed or message.header.state == "failed"
            continue
        received += 1
        if npz is not None:
            _keep(message, npz)
        if received == count:
            break
    say(f"eventveil: {received} messages received")
    if failed or (count is not None and received < count):
        raise typer.Exit(1)


def _keep(message: Message, folder: Path) -> None:
    header = message.header
    path = folder / f"{message.topic}-{header.stream}-{header.seq:08d}.npz"
    try:
        np.savez(path, values=message.array, header=np.array(header.model_dump_json()))
    except OSError as error:
        path.unlink(missing_ok=True)  # half of one is none
        raise ConfigError(
            f"--npz: {path} cannot be written: {error.strerror}; free some space or choose another"
        ) from error


def _print_message_json(message: Message) -> None:
    print_json({"topic": message.topic, "missing": message.missing} | message.header.model_dump(mode="json"))
    sys.stdout.flush()


def _print_message(message: Message) -> None:
    header = message.header
    if message.topic == "state" and header.state == "certificate":
        stdout.print(f"the line: certificate {sha256(header.certificate.encode()).hexdigest()[:16]}", markup=False)
        return
    if message.topic == "state":
        stdout.print(f"{header.stream or 'the line'}: {header.state} {header.reason}".rstrip(), markup=False)
        return
    seen = f"{message.topic:8} {header.stream} {header.seq:6}  {header.t_start_us / 1e6:10.3f} s"
    if message.topic == "gesture":
        seen += f"  {header.label} {header.probability:.0%}"
    if message.missing:
        seen += "  missing " + ", ".join(f"{number} ({reason})" for reason, number in message.missing.items())
    stdout.print(seen if header.trained else f"{seen}  UNTRAINED", markup=False)
