"""Serves the owner's page until it is stopped: what `eventveil show` does.

It listens on 127.0.0.1 only: no setting changes that. Other users of the machine can connect to it, so it requires a
token, which is new in each run. The token follows a `#` in the address: a browser never sends that part, and the page
sends the token in a header. Only the pictures that the owner saves are written to disk, and the address, to a private
file for as long as the page is served, if what is said does not go to a terminal: logs are kept, and others read them.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from eventveil.errors import ConfigError, LineError
from eventveil.host.files import private_folder, write_atomic
from eventveil.stream.owner.show.reel import Reel
from eventveil.stream.planning.plan import PipelinePlan

LOOPBACK = "127.0.0.1"
POLL_S = 0.1


def serve_show(
    plans: dict[str, PipelinePlan],
    *,
    firenet: Path | None,
    port: int,
    out: Path,
    say: Callable[[str], None],
    aloud: bool,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Serve the page of a source until `stop` returns True; a source that has ended stays on the page.

    Args:
        plans: the plan of each anonymizer, by name, all with the same source.
        firenet: weights of FireNet; None: nothing is reconstructed.
        port: port on 127.0.0.1; 0 takes a free one.
        out: folder for saved pictures.
        say: called with the page's address, or the name of the private file that holds it.
        aloud: whether only the owner reads what is said, so that the address may be said with its token.
        stop: called ten times a second.

    Raises:
        ConfigError: the port is in use, or an anonymizer cannot be shown.
        EventVeilError: the source cannot be read, or an anonymizer failed.
        LineError: an error of eventveil itself ended the reading; it was printed.
    """
    from eventveil.stream.clients.web.server import PageServer
    from eventveil.stream.owner.show.app import make_app

    token = secrets.token_urlsafe(32)
    try:
        private_folder(out)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be used for pictures ({error.strerror}); choose another --out") from error
    with (
        Reel(plans, firenet) as reel,
        PageServer((LOOPBACK, port), make_app(reel, token, out, say)) as server,
        ExitStack() as opened,
    ):
        address = f"{server.url}#{token}"
        place = address if aloud else f"the address in {opened.enter_context(_private_file(address))}"
        say(f"eventveil: for you alone, open {place}")
        while reel.failure is None and not stop():
            if not (reel.works or reel.end):
                raise LineError("the source is no longer read; see the error above")
            time.sleep(POLL_S)
    if reel.failure is not None:
        raise reel.failure


@contextmanager
def _private_file(text: str) -> Iterator[Path]:
    """Write a text to a file that only its owner can read, and remove it afterwards."""
    with ExitStack() as opened:
        try:
            path = Path(opened.enter_context(TemporaryDirectory(prefix="eventveil-show-"))) / "address"  # mode 0700
            write_atomic(path, f"{text}\n".encode())
        except OSError as error:
            raise ConfigError(
                f"no temporary file can be written ({error.strerror}); free some space, or set TMPDIR"
            ) from error
        yield path
