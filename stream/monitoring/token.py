"""The token that clients of a web server of ours must send: a line in a file that only its owner may read."""

from __future__ import annotations

import hmac
import re
from pathlib import Path

from eventveil.errors import AccessError
from eventveil.stream.protocol.keys import check_secret_file

TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{32,1024}=*")  # the characters of RFC 6750; 32 of base64 are 192 bits
NEW = "(umask 077 && head -c 32 /dev/urandom | base64 > FILE)"


def read_token(path: Path) -> str:
    """Read a token.

    Raises:
        AccessError: the file cannot be read, others can read it, or it does not hold one line with a token.
    """
    try:
        check_secret_file(path)
        text = path.read_text("ascii").strip()
    except OSError as error:
        raise AccessError(f"{path}: cannot be read: {error.strerror}; {NEW} creates a token") from error
    except UnicodeDecodeError:
        text = ""
    if not TOKEN.fullmatch(text):
        raise AccessError(f"{path}: expected a token, one line of 32 characters or more of base64; {NEW} creates one")
    return text


def bears_token(authorization: str, token: str) -> bool:
    """Return whether the `Authorization` of a request holds the token; how long it takes says nothing about it."""
    scheme, _, credentials = authorization.partition(" ")
    sent = credentials.strip().encode("utf-8", "replace")
    return scheme.lower() == "bearer" and hmac.compare_digest(sent, token.encode())
