"""The compressions of AEDAT4, with a size limit: a damaged size field cannot cause a huge allocation."""

from __future__ import annotations

from collections.abc import Iterator

import lz4.frame
import zstandard

COMPRESSIONS = ("NONE", "LZ4", "LZ4_HIGH", "ZSTD", "ZSTD_HIGH")  # in the order of their numbers in a file
MAX_BYTES = 1 << 26  # per packet, compressed or not: 4 million events; recorders write a few thousand
_STEP = 1 << 20  # bytes at a time; most packets are one step, which saves joining pieces


def compress(data: bytes, compression: str) -> bytes:
    """Compress a packet; the frame holds a checksum that reveals flipped bits.

    Args:
        data: the packet.
        compression: one of `COMPRESSIONS`.
    """
    if compression == "NONE":
        return data
    if compression.startswith("LZ4"):
        level = 9 if compression == "LZ4_HIGH" else 0
        return bytes(lz4.frame.compress(data, compression_level=level, content_checksum=True))
    level = 19 if compression == "ZSTD_HIGH" else 3
    return zstandard.ZstdCompressor(level=level, write_checksum=True).compress(data)


class Decompressor:
    """Decompresses packets one after the other, and reuses the libraries' contexts.

    Args:
        compression: one of `COMPRESSIONS`.
    """

    def __init__(self, compression: str) -> None:
        self._lz4 = lz4.frame.LZ4FrameDecompressor()
        self._zstd = zstandard.ZstdDecompressor()
        self._compression = compression

    def decompress(self, data: bytes) -> bytes:
        """Decompress a packet.

        Raises:
            ValueError: it is damaged, or larger than `MAX_BYTES`.
        """
        if self._compression == "NONE":
            return data
        pieces, size = [], 0
        try:
            for piece in self._unlz4(data) if self._compression.startswith("LZ4") else self._unzstd(data):
                pieces.append(piece)
                size += len(piece)
                if size > MAX_BYTES:
                    raise ValueError(f"it decompresses to more than {MAX_BYTES} bytes")
        except (RuntimeError, EOFError, zstandard.ZstdError) as error:
            raise ValueError("it does not decompress") from error
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _unlz4(self, data: bytes) -> Iterator[bytes]:
        self._lz4.reset()
        yield self._lz4.decompress(data, _STEP)
        while not self._lz4.eof:
            piece = self._lz4.decompress(b"", _STEP)
            if not piece:
                raise EOFError
            yield piece

    def _unzstd(self, data: bytes) -> Iterator[bytes]:
        if 0 <= zstandard.frame_content_size(data) <= _STEP:
            yield self._zstd.decompress(data)
            return
        with self._zstd.stream_reader(data) as stream:
            while piece := stream.read(_STEP):
                yield piece
