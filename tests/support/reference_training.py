"""Slow twins of the mathematics of training: the formulas of the papers, one number at a time."""

from __future__ import annotations

import math

import numpy as np
from reference_models import conv3x3


def triplet(embedding_BE, person_B, margin):
    """Hermans et al. 2017, equation (5), over anchors that have both a positive and a negative."""
    losses = []
    for anchor, person in enumerate(person_B):
        positive, negative = [], []
        for other, other_person in enumerate(person_B):
            distance = math.dist(embedding_BE[anchor], embedding_BE[other])
            if other_person != person:
                negative.append(distance)
            elif other != anchor:
                positive.append(distance)
        if positive and negative:
            losses.append(max(0.0, margin + max(positive) - min(negative)))
    return sum(losses) / len(losses) if losses else 0.0


def published_triplet(embedding_BE, person_B, margin):
    """As AnonyNoise's code: an anchor is also its own positive, and the mean is over all anchors of the batch."""
    total = 0.0
    for anchor, person in enumerate(person_B):
        distances = [math.dist(embedding_BE[anchor], other) for other in embedding_BE]
        positive = max(d for d, other in zip(distances, person_B, strict=True) if other == person)
        negative = min((d for d, other in zip(distances, person_B, strict=True) if other != person), default=math.inf)
        total += max(0.0, margin + positive - negative)
    return total / len(person_B)


def towards_uniform(logits_BK):
    """The mean of KL(u || p) = sum over k of u log(u / p_k)."""
    total = 0.0
    for logits in logits_BK:
        normaliser = sum(math.exp(value) for value in logits)
        uniform = 1 / len(logits)
        total += sum(uniform * math.log(uniform / (math.exp(value) / normaliser)) for value in logits)
    return total / len(logits_BK)


def ssim(a_HW, b_HW, data_range):
    """Wang et al. 2004, equation (13): the mean over all pixels whose 11x11 window lies inside the picture."""
    weights = [[math.exp(-((i - 5) ** 2 + (j - 5) ** 2) / (2 * 1.5**2)) for j in range(11)] for i in range(11)]
    weights = np.array(weights) / np.sum(weights)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = []
    for row in range(len(a_HW) - 10):
        for column in range(len(a_HW[0]) - 10):
            a, b = (x[row : row + 11, column : column + 11].astype(np.float64) for x in (a_HW, b_HW))
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            var_a, var_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
            covariance = (weights * (a - mean_a) * (b - mean_b)).sum()
            values.append(
                (2 * mean_a * mean_b + c1)
                * (2 * covariance + c2)
                / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
            )
    return sum(values) / len(values)


def left_out(query, gallery, session_disjoint):
    """Pair by pair: the same trial, or the same person with the same target (or in the same session)."""
    table = np.zeros((len(query), len(gallery)), bool)
    for q in range(len(query)):
        for g in range(len(gallery)):
            same_person = query.person[q] == gallery.person[g]
            if query.trial[q] == gallery.trial[g]:
                table[q, g] = True
            if same_person and query.target[q] == gallery.target[g]:
                table[q, g] = True
            if session_disjoint and same_person and query.session[q] == gallery.session[g]:
                table[q, g] = True
    return table


def first_match_and_precision(query_E, gallery_GE, matches_G, left_out_G):
    """Return the place of a query's first match and its average precision; None if nothing matches.

    The area under the precision-recall curve, entry by entry; before the first entry precision is 1.
    """
    cosines = [
        None if excluded else np.dot(query_E, entry) / (np.linalg.norm(query_E) * np.linalg.norm(entry))
        for entry, excluded in zip(gallery_GE, left_out_G.tolist(), strict=True)
    ]
    ranked = sorted((g for g, value in enumerate(cosines) if value is not None), key=lambda g: -cosines[g])
    total = sum(bool(matches_G[g]) for g in ranked)
    if not total:
        return None
    hits, area, first = 0, 0.0, None
    for place, g in enumerate(ranked, start=1):
        recall, precision = hits / total, hits / (place - 1) if place > 1 else 1.0
        if matches_G[g]:
            hits += 1
            first = first or place
        area += (hits / total - recall) * (precision + hits / place) / 2
    return first, area


def equal_error_rate(genuine, impostor):
    """Try every score as a threshold, and one above all of them."""
    rates = []
    for threshold in [*sorted({*genuine, *impostor}), math.inf]:
        refused = sum(score < threshold for score in genuine) / len(genuine)
        accepted = sum(score >= threshold for score in impostor) / len(impostor)
        rates.append((abs(refused - accepted), (refused + accepted) / 2))
    return min(rates, key=lambda rate: round(rate[0], 12))[1]


def augmented(x_CHW, right, down, degrees, mirror):
    """Look up the source of every output pixel, one at a time."""
    _, height, width = x_CHW.shape
    out = np.zeros_like(x_CHW)
    angle = math.radians(degrees)
    for row in range(height):
        for column in range(width):
            x, y = column - (width - 1) / 2, row - (height - 1) / 2
            if mirror:
                x = -x
            # A clockwise rotation in the picture (y down) by +angle; its inverse rotates by -angle.
            x, y = x * math.cos(angle) + y * math.sin(angle), -x * math.sin(angle) + y * math.cos(angle)
            from_column, from_row = x - right + (width - 1) / 2, y - down + (height - 1) / 2
            nearest_column, nearest_row = round(from_column), round(from_row)
            if 0 <= nearest_column < width and 0 <= nearest_row < height:
                out[:, row, column] = x_CHW[:, nearest_row, nearest_column]
    return out


def firenet(state, windows_TCHW):
    """Run FireNet over the windows of a recording, from its state dict; return the picture of the last window."""

    def conv(x, name):
        weight, bias = state[f"net.{name}.weight"].numpy(), state[f"net.{name}.bias"].numpy()
        if weight.shape[2:] == (1, 1):
            return np.tensordot(weight[:, :, 0, 0], x, axes=1) + bias[:, None, None]
        return conv3x3(x, weight, bias)

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def gru(x, hidden, name):
        stacked = np.concatenate((x, hidden))
        update = sigmoid(conv(stacked, f"{name}.recurrent_block.update_gate"))
        reset = sigmoid(conv(stacked, f"{name}.recurrent_block.reset_gate"))
        new = np.tanh(conv(np.concatenate((x, hidden * reset)), f"{name}.recurrent_block.out_gate"))
        return hidden * (1 - update) + new * update

    def residual(x, name):
        return np.maximum(x + conv(np.maximum(conv(x, f"{name}.conv1"), 0), f"{name}.conv2"), 0)

    head = block = np.zeros((16, *windows_TCHW.shape[2:]))
    for x in windows_TCHW:
        head = gru(np.maximum(conv(x, "head.conv.conv2d"), 0), head, "head")
        block = gru(residual(head, "resblocks.0.conv"), block, "resblocks.0")
        picture = conv(residual(block, "resblocks.1"), "pred.conv2d")
    return picture
