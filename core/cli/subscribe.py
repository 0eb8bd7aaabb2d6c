"""`eventveil subscribe`: receive what a pipeline publishes."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eventveil.cli.options import (
    EndpointArgument,
    ExpectedBookOption,
    JsonOption,
    RequireCertificateOption,
    ServerKeyOption,
    SubscriberKeyOption,
    TimeoutOption,
    on_signals,
    print_json,
    say,
    stdout,
)
from eventveil.errors import ConfigError
from eventveil.host.files import atomic_file, private_folder

if TYPE_CHECKING:
    from eventveil.stream.protocol.wire import Message


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("subscribe")(subscribe)


def subscribe(
    endpoint: EndpointArgument,
    topic: Annotated[
        list[str] | None,
        typer.Option("--topic", metavar="window|gesture|events", help="Topic to receive [window, gesture]."),
    ] = None,
    server_key: ServerKeyOption = None,
    key: SubscriberKeyOption = None,
    require_certificate: RequireCertificateOption = None,
    book: ExpectedBookOption = None,
    serve: Annotated[
        str | None,
        typer.Option(
            metavar="dv+tcp://127.0.0.1:PORT",
            help="Also receive events, and serve them on this machine as a DV network stream. Needs --book.",
        ),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="Exit after this many messages of each topic.")
    ] = None,
    timeout: TimeoutOption = None,
    npz: Annotated[
        Path | None,
        typer.Option(
            "--npz",
            metavar="DIR",
            help="Save each message in this folder, as compressed NumPy .npz; none is overwritten.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Receive what a pipeline publishes, until it ends.

    The command waits for a publisher that has not started yet, and reports missing messages with their causes. The exit
    status is 1 if the pipeline failed, if fewer than --count messages of a topic arrived, or if none arrived within
    --timeout. A pipeline without a classifier publishes no gestures: then give --topic window, too.

    With --json, gestures hold `label` and `probability`: the score of that label, to 0.01. The scores of other labels
    never leave the publisher's machine.

    A publisher on the network accepts only subscribers on its list of keys (`eventveil keys allow`), and identifies
    itself by its own key; see the second example.

    With --require-certificate, messages that arrive before the certificate are withheld and counted. Data that no
    passing certificate covers ends the command with status 2 and the cause. Only --server-key proves who the publisher
    is.

    With --book, each message is compared with the book. A window, gesture or event that does not match the word and
    the time in its header, or a word that changes too often, ends the command with status 2 and the cause.

    With --serve, programs on this machine can open the events of a stand-in like those of a camera.

    For example:

    eventveil subscribe tcp://127.0.0.1:5556 --count 100 --npz received

    eventveil subscribe tcp://HOST:5556 --server-key line.pub --key alice/secret.key
    """
    from eventveil.stream import subscribe as messages
    from eventveil.stream.protocol.wire import STATE

    stopped: list[bool] = []
    on_signals(lambda: stopped.append(True))
    failed, connected = False, False
    if npz is not None:
        _create(npz)
    topics = [*(topic or ("window", "gesture")), *([] if serve is None else ["events"])]
    received = Counter(dict.fromkeys(topics, 0))
    with _forwarder(serve, book) as forward:
        for message in messages(
            endpoint,
            topics,
            server_key=server_key,
            key=key,
            require_certificate=require_certificate,
            book=book,
            timeout_s=timeout,
            stop=lambda: bool(stopped),
        ):
            connected = True
            if count is not None and received[message.topic] == count:
                continue  # another topic has not had as many yet
            (_print_message_json if json else _print_message)(message)
            if message.topic == STATE:
                failed = failed or message.header.state == "failed"
                continue
            received[message.topic] += 1
            forward(message)
            if npz is not None:
                _save(message, npz)
            if count is not None and min(received.values()) == count:
                break
    hint = "" if connected or timeout is None else f"; is a pipeline publishing on {endpoint}?"
    say(f"eventveil: {received.total()} messages received{hint}")
    silent = not connected and timeout is not None and not stopped
    if failed or silent or (count is not None and min(received.values()) < count):
        raise typer.Exit(1)


@contextmanager
def _forwarder(serve: str | None, book: Path | None) -> Iterator[Callable[[Message], None]]:
    """Yield a function that serves the events of a message, or does nothing without --serve."""
    if serve is None:
        yield lambda _: None
        return
    if book is None:
        raise ConfigError("--serve: give --book FILE, too: events are verified before they are served")
    from eventveil.models.book import Book
    from eventveil.stream.clients.bridge.dv_server import DvServer
    from eventveil.stream.clients.bridge.serve import EventsForwarder

    with DvServer(serve, Book.read(book).sensor) as server:
        yield EventsForwarder(server).forward


def _create(folder: Path) -> None:
    try:
        private_folder(folder)
    except OSError as error:
        raise ConfigError(f"--npz: {folder} cannot be created: {error.strerror}; choose another folder") from error


def _save(message: Message, folder: Path) -> None:
    """Write a message to a new file, named after its run: in another run, numbers start again."""
    import numpy as np

    header = message.header
    path = folder / f"{message.topic}-{header.stream}-{header.run}-{header.seq:08d}.npz"
    try:
        with atomic_file(path, replace=False) as file:
            np.savez_compressed(file, values=message.array, header=np.array(header.model_dump_json()))
    except FileExistsError as error:
        raise ConfigError(
            f"--npz: {path}: {error.strerror}, from a subscriber to the same run; choose another folder"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"--npz: {path} cannot be written: {error.strerror}; free some space or choose another folder"
        ) from error


def _print_message_json(message: Message) -> None:
    print_json({"topic": message.topic, "missing": message.missing} | message.header.model_dump(mode="json"))
    sys.stdout.flush()


def _print_message(message: Message) -> None:
    header = message.header
    if message.topic == "state" and header.state == "certificate":
        stdout.print(f"pipeline: certificate {sha256(header.certificate.encode()).hexdigest()[:16]}", markup=False)
        return
    if message.topic == "state":
        about = f"stream {header.stream}" if header.stream else "pipeline"
        stdout.print(f"{about}: {header.state.replace('_', ' ')} {header.reason}".rstrip(), markup=False)
        return
    text = f"{message.topic:8} {header.stream} {header.seq:6}  {header.t_start_us / 1e6:10.3f} s"
    if message.topic == "gesture":
        text += f"  {header.label or '-'}" + ("" if header.probability is None else f" {header.probability:.0%}")
    if message.topic == "events":
        text += f"  {len(message.array)} events"
    if message.missing:
        text += "  missing " + ", ".join(f"{number} ({reason})" for reason, number in message.missing.items())
    stdout.print(text if header.trained else f"{text}  UNTRAINED", markup=False)
