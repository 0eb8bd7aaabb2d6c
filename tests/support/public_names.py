"""The public names of eventveil, by the module that exports them."""

from __future__ import annotations

PUBLIC = {
    "eventveil": ["EventPacket", "Sensor", "Window", "__version__"],
    "eventveil.io": ["EventSource", "open_events"],
    "eventveil.models": [
        "AnonyNoise",
        "Anonymizer",
        "Book",
        "Classifier",
        "Denoiser",
        "EventAutoencoder",
        "NoisyChannel",
        "ResNetClassifier",
        "load_weights",
        "save_weights",
    ],
    "eventveil.stream": ["subscribe"],
    "eventveil.replay.datasets": ["open_dataset"],
    "eventveil.training": ["AnonymizeEvents", "WindowDataset", "WindowStream", "cut_of"],
    "eventveil.stream.histogram": ["HistogramStats", "Mode", "WindowedHistogrammer"],
}
