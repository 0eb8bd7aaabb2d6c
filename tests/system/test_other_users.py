"""Processes of other users cannot connect to the sockets that carry raw windows. Needs root to start one."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pipeline_setup
import pytest
import zmq
from fault_injection import running

from eventveil.stream.runtime.sockets import PrivateSockets, runtime_folder

NOBODY = 65534

# What another user tries: connect to the socket, list the folder, bind another socket in it, and delete the socket.
TRY = """
import os, socket, sys
path = sys.argv[1]
for attempt in (lambda: socket.socket(socket.AF_UNIX).connect(path), lambda: os.listdir(os.path.dirname(path)),
                lambda: socket.socket(socket.AF_UNIX).bind(path + ".other"), lambda: os.unlink(path)):
    try:
        attempt()
        print("done")
    except OSError as error:
        print(type(error).__name__)
"""


def as_nobody(path: Path, python: str) -> list[str]:
    """Return the results of another user's attempts."""
    done = subprocess.run(
        [python, "-I", "-S", "-c", TRY, path],
        user=NOBODY, group=NOBODY, extra_groups=[], cwd="/", env={}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.split()


@pytest.fixture
def folder():
    """A folder whose parents any user may enter, such as /tmp."""
    with tempfile.TemporaryDirectory(prefix="ev-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def python(folder):
    """A Python that another user may run: ours is often in a folder closed to other users."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root may start a process of another user")
    for python in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            as_nobody(folder / "none", python)
            return python
    return pytest.skip("there is no Python that another user may run")


@pytest.mark.parametrize("chosen", [True, False])
def test_no_process_of_another_user_gets_at_a_raw_endpoint(folder, chosen, python, monkeypatch):
    monkeypatch.setattr("multiprocessing.util.get_temp_dir", lambda: str(folder))
    runtime = runtime_folder(folder / "line" if chosen else None)
    with zmq.Context() as context, PrivateSockets(runtime, context).pull("anonymize") as pull:
        endpoint = Path(pull.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode().removeprefix("ipc://"))
        assert endpoint.is_socket()
        assert as_nobody(endpoint, python) == ["PermissionError"] * 4
        # Only the folder prevents it: where any user may enter, the same attempts succeed.
        runtime.chmod(0o777)
        endpoint.chmod(0o777)
        assert as_nobody(endpoint, python) == ["done"] * 4


def test_no_process_of_another_user_gets_at_any_socket_of_a_pipeline_that_runs(folder, python, tmp_path):
    kit = pipeline_setup.make_kit(tmp_path)
    with running(kit, folder, f"ipc://{folder}/public") as pipeline:
        pipeline.wait_for(lambda beat: beat["published_windows"] > 3)
        sockets = sorted(path for path in (folder / "run").iterdir() if path.is_socket())
        assert {"anonymize.sock", "classify.sock", "publish.sock"} <= {path.name for path in sockets}
        for path in sockets:
            assert as_nobody(path, python) == ["PermissionError"] * 4


@pytest.mark.usefixtures("python")
def test_no_process_of_another_user_reads_a_secret_key(folder):
    from eventveil.stream.protocol.keys import new_keys

    new_keys(folder / "keys")
    command = ["/bin/cat", str(folder / "keys" / "secret.key")]
    read = subprocess.run(command, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, check=False)
    assert read.returncode != 0
    assert read.stdout == b""
