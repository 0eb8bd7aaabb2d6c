"""Probabilistic linear discriminant analysis: is it the same person on both sides, given features of their windows?

A feature of a window is what the person has in all sessions, plus what the session adds, plus what the window adds,
each Gaussian. The score of a pair of tracks is the log of the likelihood ratio of "one person" to "two people". Windows
of a track are averaged: what they add shrinks with their number, and what the session adds does not.

Source: Prince, Elder, Probabilistic linear discriminant analysis for inferences about identity, ICCV 2007; estimated by
moments, as in a nested analysis of variance (Searle, Casella, McCulloch, Variance Components, 1992).
Legend of axes: N windows, F features, S sessions, P people, K kept features, Q queries, G gallery entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.int64]
KEPT = 32  # features: more than any leak needs, and few enough for some twenty people


@dataclass(frozen=True)
class Sessions:
    """The means of the windows of sessions.

    Attributes:
        mean_SF: mean of each session.
        person_S: number of its person, from 0.
        count_S: how many windows it has.
    """

    mean_SF: Floats
    person_S: Integers
    count_S: Integers

    @classmethod
    def of(cls, x_NF: Floats, person_N: npt.NDArray[Any], session_N: npt.NDArray[Any]) -> Self:
        """Average the windows of each person and session."""
        _, person = np.unique(person_N, return_inverse=True)
        _, session = np.unique(session_N, return_inverse=True)
        keys, number_N = np.unique(person * (session.max() + 1) + session, return_inverse=True)
        count_S = np.bincount(number_N)
        sum_SF = np.zeros((len(keys), x_NF.shape[1]))
        np.add.at(sum_SF, number_N, x_NF)
        return cls(sum_SF / count_S[:, None], keys // (session.max() + 1), count_S)

    def scatter(self) -> tuple[Floats, Floats, int, int]:
        """Return deviations of people from their mean (P, F), of sessions from their person (S, F), and P and S."""
        number_P = np.bincount(self.person_S)
        mean_PF = np.zeros((len(number_P), self.mean_SF.shape[1]))
        np.add.at(mean_PF, self.person_S, self.mean_SF)
        mean_PF /= number_P[:, None]
        return mean_PF - mean_PF.mean(0), self.mean_SF - mean_PF[self.person_S], len(number_P), len(self.person_S)

    def ratio(self) -> Floats:
        """Return how much more people differ than the sessions of one person do, (F,): the F statistic."""
        people_PF, sessions_SF, people, sessions = self.scatter()
        between = (people_PF**2).sum(0) * sessions / people / max(people - 1, 1)
        within = (sessions_SF**2).sum(0) / max(sessions - people, 1)
        least = 1e-6 * between.max(initial=1e-12)  # what never varies, not even between people, comes last
        return np.asarray(between / np.maximum(within, np.maximum(1e-6 * between, least)))


@dataclass(frozen=True)
class Plda:
    """The model, fitted.

    Attributes:
        scale_K: standard deviation of each feature.
        person_KK, session_KK, window_KK: covariances of what people, sessions and windows add.
    """

    scale_K: Floats
    person_KK: Floats
    session_KK: Floats
    window_KK: Floats

    @classmethod
    def fit(cls, x_NK: Floats, person_N: npt.NDArray[Any], session_N: npt.NDArray[Any]) -> Self:
        """Estimate the covariances.

        Args:
            x_NK: features, whose mean over everybody is 0.
            person_N: whose each window is.
            session_N: its session.
        """
        scale_K = np.maximum(x_NK.std(0), 1e-12)
        sessions = Sessions.of(x_NK / scale_K, person_N, session_N)
        people_PK, within_SK, people, number = sessions.scatter()
        windows = float(sessions.count_S.mean())
        total_KK = np.cov(x_NK / scale_K, rowvar=False, bias=True).reshape(len(scale_K), -1)
        means = np.average(sessions.mean_SF, axis=0, weights=sessions.count_S)
        spread = sessions.mean_SF - means
        of_sessions_KK = (spread * sessions.count_S[:, None]).T @ spread / sessions.count_S.sum()
        window_KK = _shrunk(total_KK - of_sessions_KK, len(x_NK) - number)
        session_KK = np.zeros_like(window_KK)
        if number > people:
            observed_KK = _shrunk(within_SK.T @ within_SK / (number - people), number - people)
            session_KK = _positive(observed_KK - window_KK / windows)
        observed_KK = people_PK.T @ people_PK / max(people - 1, 1)
        person_KK = _positive(observed_KK - (session_KK + window_KK / windows) * people / number)
        return cls(scale_K, person_KK, session_KK, window_KK)

    def score(self, query_QK: Floats, gallery_GK: Floats, windows: int) -> Floats:
        """Return the log-likelihood ratio of each pair of tracks, (Q, G), each the mean of this many windows."""
        noise_KK = self.session_KK + self.window_KK / windows
        root_KK = np.linalg.cholesky(noise_KK + 1e-6 * np.eye(len(noise_KK)))
        white_KK = np.linalg.solve(root_KK, np.linalg.solve(root_KK, self.person_KK).T)
        person_K, axes_KK = np.linalg.eigh((white_KK + white_KK.T) / 2)
        person_K = np.maximum(person_K, 1e-3 * max(float(person_K.max()), 1e-3))
        query, gallery = (np.linalg.solve(root_KK, (x / self.scale_K).T).T @ axes_KK for x in (query_QK, gallery_GK))
        own_K, both_K = 1 / (person_K + 1), 1 / ((person_K + 1) ** 2 - person_K**2)
        square_K, product_K = (own_K - (person_K + 1) * both_K) / 2, person_K * both_K
        squares = (query**2 @ square_K)[:, None] + gallery**2 @ square_K
        constant = (np.log(both_K) - 2 * np.log(own_K)).sum() / 2
        return np.asarray(squares + (query * product_K) @ gallery.T + constant)


def _shrunk(covariance_KK: Floats, degrees: int) -> Floats:
    """Move an estimate from few values towards its diagonal, so that it can be inverted."""
    size = len(covariance_KK)
    share = size / (size + max(degrees, 1))
    diagonal = np.diag(np.maximum(np.diag(covariance_KK), 1e-6))
    return np.asarray((1 - share) * covariance_KK + share * diagonal)


def _positive(matrix_KK: Floats) -> Floats:
    """Return the nearest matrix without negative eigenvalues."""
    values_K, axes_KK = np.linalg.eigh((matrix_KK + matrix_KK.T) / 2)
    return np.asarray((axes_KK * np.maximum(values_K, 0)) @ axes_KK.T)
