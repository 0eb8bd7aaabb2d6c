"""Small videos without loss."""

from __future__ import annotations


def write_video(path, pictures, rate=50):
    """Write grey pictures, uint8 (n, H, W), and return the path."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.height, stream.width = pictures.shape[1:]
        stream.pix_fmt = "gray"
        for picture in pictures:
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path
