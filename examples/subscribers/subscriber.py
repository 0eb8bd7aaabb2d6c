"""Receives what eventveil publishes, with pyzmq and NumPy alone: python subscriber.py tcp://127.0.0.1:5556

`eventveil.stream.subscribe` does this and checks more: keys, certificates, gaps, and the book of a stand-in.
"""

import json
import sys

import numpy as np
import zmq

VERSION = 3

socket = zmq.Context().socket(zmq.SUB)
socket.connect(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5556")
for topic in (b"window", b"gesture", b"state"):  # state last: it announces the end
    socket.subscribe(topic)

while True:
    topic, text, payload = socket.recv_multipart()
    header = json.loads(text)
    if header["version"] != VERSION:
        sys.exit(f"expected version {VERSION} of the wire format, got {header['version']}")
    if topic == b"window":
        window = np.frombuffer(payload, header["dtype"]).reshape(header["shape"])  # (C, H, W), channel 2k + p
        print(f"window {header['stream']} {header['seq']} {window.shape} sum {window.sum():g}", flush=True)
    elif topic == b"gesture":
        print(f"gesture {header['stream']} {header['seq']} {header['label']}", flush=True)
    else:
        print(f"state {header['state']}", flush=True)
        if header["stream"] is None and header["state"] in ("ended", "failed"):
            break
