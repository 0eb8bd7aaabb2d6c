"""Small audits of people with a planted identity pattern, and anonymizers with known leakage."""

from __future__ import annotations

import subprocess
import time

import torch
from rich.console import Console

from eventveil.audit.audit_log import AuditLog
from eventveil.audit.auditor import Auditor
from eventveil.audit.execution.executors import InProcessExecutor, ProcessExecutor
from eventveil.audit.execution.progress import AuditProgress
from eventveil.audit.settings import AuditSettings
from eventveil.audit.subjects import Subject
from eventveil.training.networks.subjects import baseline


def values(root, **changes):
    """Return settings as in a YAML file, with attackers that train for seconds."""
    merged = {
        "threshold": 0.3,
        "precision": 0.3,
        "against": ["raw"],
        "linking": [1, 3],
        "batch": 16,
        "data": {"root": str(root), "val_people": 2, "workers": 1},
        "window": {"bins": 2, "bin_us": 60_000, "size": [16, 16], "offsets": 2, "per_trial": 6},
        "augment": {"rotation_deg": 0, "padding": 0},
        "attackers": {
            "architectures": ["resnet18"], "seeds": [0], "epochs": 4, "lr": 0.01, "width": 8, "embedding": 32,
        },
        "conditions": {"names": []},
        "inversion": {"architectures": []},
        "probes": {"probes": []},
        "guesses": 0,
        "run": {"device": "cpu", "tensorboard": False, "pictures": False, "validate_every": 5},
    }  # fmt: skip
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = {**merged[key], **value} if nested else value
    return merged


def settings(root, **changes):
    return AuditSettings.model_validate(values(root, **changes))


def audit(folder, audit_settings, *anonymizers, resume=False, say=lambda _text: None, jobs=1, key=None):
    """Audit anonymizers, given as (name, anonymizer), and raw windows."""
    subjects = [Subject("raw", baseline("raw"))]
    subjects += [Subject(name, anonymizer, audited=True) for name, anonymizer in anonymizers]
    progress = AuditProgress(Console(quiet=True), say)
    auditor = Auditor(audit_settings, subjects, folder, progress, AuditLog(key or folder / "key.pem"), resume=resume)
    return auditor.run(
        lambda plan, _: InProcessExecutor(plan, progress.moved) if jobs == 1 else ProcessExecutor(plan, jobs), "a test"
    )


class Nothing:
    """Keeps nothing: returns pure noise."""

    def anonymize(self, x_BCHW, generator, /):
        return generator.normal(x_BCHW.shape, x_BCHW.device)


class Watermark:
    """Replaces the upper half by noise, and hides each person's pattern from attackers trained on raw windows.

    `small_trainings` writes a pattern of the person into the lower half. Its pixels are permuted, always in the same
    way, and negated.
    """

    def __init__(self):
        self._places = torch.randperm(8 * 16, generator=torch.Generator().manual_seed(0))

    def anonymize(self, x_BCHW, generator, /):
        lower = x_BCHW[:, :, 8:].flatten(2)
        hidden = torch.zeros_like(x_BCHW)
        hidden[:, :, 8:] = lower[:, :, self._places].view_as(x_BCHW[:, :, 8:])
        hidden[:, :, :8] = generator.normal(x_BCHW[:, :, :8].shape, x_BCHW.device)
        return -hidden


def left_behind(group, patience_s):
    """Return the processes of a group that do not end in time, without zombies.

    Workers finish their step and save; Python's resource tracker ends last.
    """
    deadline = time.monotonic() + patience_s
    while True:
        listed = subprocess.run(["ps", "-ax", "-o", "pgid=,stat="], capture_output=True, text=True, check=True)
        rows = [line.split() for line in listed.stdout.splitlines()]
        left = [row for row in rows if row[0] == str(group) and not row[1].startswith("Z")]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)
