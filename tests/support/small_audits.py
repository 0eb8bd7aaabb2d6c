"""Small audits of people with a planted truth, and anonymizers of whom all is known."""

from __future__ import annotations

import subprocess
import time

import torch
from rich.console import Console

from eventveil.audit.auditor import Auditor
from eventveil.audit.execution.executors import InProcessExecutor, ProcessExecutor
from eventveil.audit.execution.progress import AuditProgress
from eventveil.audit.settings import AuditSettings
from eventveil.audit.subjects import Subject
from eventveil.training.networks.subjects import baseline


def values(root, **changes):
    """Settings as a file holds them: attackers that take seconds."""
    whole = {
        "threshold": 0.3,
        "precision": 0.3,
        "against": ["raw"],
        "linking": [1, 3],
        "batch": 16,
        "data": {"root": str(root), "val_people": 2, "workers": 1},
        "window": {"bins": 2, "bin_us": 60_000, "size": [16, 16], "offsets": 2, "per_trial": 8},
        "augment": {"rotation_deg": 0, "padding": 0},
        "attackers": {
            "architectures": ["resnet18"], "seeds": [0], "epochs": 5, "lr": 0.01, "width": 8, "embedding": 32,
        },
        "inversion": {"architectures": []},
        "probes": {"probes": []},
        "guesses": 0,
        "run": {"device": "cpu", "tensorboard": False, "pictures": False, "validate_every": 5},
    }  # fmt: skip
    for key, value in changes.items():
        whole[key] = {**whole[key], **value} if isinstance(value, dict) and isinstance(whole.get(key), dict) else value
    return whole


def settings(root, **changes):
    return AuditSettings.model_validate(values(root, **changes))


def audit(folder, held, *anonymizers, resume=False, tell=lambda _text: None, jobs=1):
    """Audit anonymizers, given as (name, anonymizer), beside raw windows."""
    subjects = [Subject("raw", baseline("raw"))]
    subjects += [Subject(name, anonymizer, audited=True) for name, anonymizer in anonymizers]
    board = AuditProgress(Console(quiet=True), tell)
    auditor = Auditor(held, subjects, folder, board, resume=resume)
    return auditor.run(
        lambda plan, _: InProcessExecutor(plan, board.moved) if jobs == 1 else ProcessExecutor(plan, jobs), "a test"
    )


class Nothing:
    """Keeps nothing: pure noise, whatever comes in."""

    def anonymize(self, x_BCHW, generator, /):
        return generator.normal(x_BCHW.shape, x_BCHW.device)


class Watermark:
    """Puts noise over everything, and each person's pattern where nobody who knows raw windows would look for it.

    `small_trainings` writes a pattern of the person into the lower half; its places are shuffled, always alike.
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
    """Processes of a group that do not end; those that nobody has buried are no matter of ours.

    Workers finish their step and save; what Python starts to tidy up behind itself goes last.
    """
    deadline = time.monotonic() + patience_s
    while True:
        listed = subprocess.run(["ps", "-ax", "-o", "pgid=,stat="], capture_output=True, text=True, check=True)
        rows = [line.split() for line in listed.stdout.splitlines()]
        left = [row for row in rows if row[0] == str(group) and not row[1].startswith("Z")]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)
