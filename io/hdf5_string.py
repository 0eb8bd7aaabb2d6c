"""A string attribute of an HDF5 file, read by a process of its own.

Strings of variable length lie in a heap, and where that is damaged the HDF5 library (2.0) may loop for ever, deaf to
signal handlers of Python's. The kernel ends such a process, whatever has become of the one that waits for it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CPU_S = 10
READ = """
import resource, sys
path, place, name, seconds, most = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # whatever it holds of the file is not for the disk
resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds)))
import h5py
with h5py.File(path, "r", locking=False) as file:
    text = file[place].attrs[name]
sys.stdout.buffer.write(str(text).encode("utf-8", "replace")[: int(most)])
"""


def read_string(path: Path, place: str, name: str, most: int) -> str:
    """Read a string attribute.

    Args:
        path: of the file.
        place: of the group or dataset in there that has the attribute.
        name: of the attribute.
        most: bytes that are wanted of it.

    Raises:
        OSError: it could not be read within ten seconds of processor time.
    """
    # -P: what lies in the working folder is not to be taken for h5py.
    command = [sys.executable, "-P", "-c", READ, str(path), place, name, str(CPU_S), str(most)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        raise OSError(f"the attribute {name} could not be read")
    return done.stdout.decode()
