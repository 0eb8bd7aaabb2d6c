"""The page in a process of its own, beside a pipeline: the process that browsers talk to never holds a raw event.

The process is `python -P -m eventveil.stream.clients.web.process ENDPOINT HOST:PORT PID`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from eventveil.errors import EventVeilError
from eventveil.host.processes import describe_end, die_with_parent, forbid_core_dumps, ignored_signals, module_command
from eventveil.stream.clients.web.feed import WatchedPipeline
from eventveil.stream.clients.web.serve import serve_page

END_S = 5.0


@contextmanager
def page_of(endpoint: str, address: tuple[str, int], *, say: Callable[[str], None]) -> Iterator[None]:
    """Serve the page of a pipeline of this machine, in a process, until the block ends.

    Args:
        endpoint: endpoint of a publisher without keys.
        address: (host, port) on a loopback address.
        say: called with the page's address, and with the reason if its process ends early: the block goes on.
    """
    host, port = address
    http = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    command = module_command("eventveil.stream.clients.web.process", endpoint, http, str(os.getpid()))
    with ignored_signals(signal.SIGINT):  # Ctrl-C in a terminal reaches it, too, and the pipeline is still ending
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                   text=True)  # fmt: skip
    ending = threading.Event()

    def pass_on() -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                say(line.rstrip())
        status = process.wait()
        if not ending.is_set():
            say(f"eventveil: {describe_end('the page', status)}; the pipeline goes on")

    thread = threading.Thread(target=pass_on, name="page", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        process.terminate()
        thread.join(END_S)


def main(endpoint: str, address: str, parent: str) -> None:
    """Serve the page until the pipeline's process ends this one, or ends itself."""
    forbid_core_dumps()
    die_with_parent(int(parent))
    try:
        serve_page(WatchedPipeline(endpoint), address, say=_print)
    except EventVeilError as error:
        _print(f"eventveil: {error}")
        sys.exit(2)


def _print(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
