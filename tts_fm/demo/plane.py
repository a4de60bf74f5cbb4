"""Flow matching in the plane, exactly, with numpy alone: noise is one Gaussian, data are three. For the page "How it
works", without Gradio.

B points of two numbers. Every path is x_t = a(t) x1 + b(t) x0. With independent noise the marginal velocity of such
data is known in closed form; with noise dealt out by optimal transport it is the exact one of many pairs, each a little
blurred. Nothing is trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tts_fm.flow.solvers import solve
from tts_fm.flow.times import time_grid

Field = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (x (B, 2), t (B,)) -> (B, 2)
Coefficients = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # a, a', b, b'

MEANS = np.array([[2.0, 0.5], [-1.0, 1.5], [0.3, -1.8]])
STDS = np.array([0.3, 0.5, 0.2])
WEIGHTS = np.array([0.5, 0.3, 0.2])
POINTS, PAIRS, BATCH = 60, 512, 32  # points that travel; pairs of a coupled field, and of a batch of the coupling
BLUR = 0.12  # of each pair
ACCURATE = 96  # steps after which more change nothing that can be seen


def straight(t: np.ndarray) -> Coefficients:
    """The optimal-transport conditional path."""
    return t, np.ones_like(t), 1 - t, -np.ones_like(t)


def cosine(t: np.ndarray) -> Coefficients:
    """A quarter of a circle: the variance stays."""
    half = math.pi / 2
    a, b = np.sin(half * t), np.cos(half * t)
    return a, half * b, b, -half * a


def preserving(t: np.ndarray, low: float = 0.1, high: float = 20.0) -> Coefficients:
    """The variance-preserving path of diffusion models, its betas from low to high."""
    s = 1 - t
    total, rate = s * low + s**2 * (high - low) / 2, low + s * (high - low)
    a, b = np.exp(-total / 2), np.sqrt(-np.expm1(-total))
    return a, a * rate / 2, b, -np.exp(-total) * rate / (2 * b)


def exploding(t: np.ndarray, least: float = 0.02, most: float = 4.0) -> Coefficients:
    """The variance-exploding path: the data stay, noise of falling size lies on them."""
    fall = math.log(least / most)
    b = most * np.exp(fall * t)
    return np.ones_like(t), np.zeros_like(t), b, fall * b


@dataclass(frozen=True)
class Way:
    """A path with what the page says of it."""

    coefficients: Callable[[np.ndarray], Coefficients]
    name: str
    end: float = 1.0  # the last time at which the velocity is finite
    width: float = 3.4  # how far the picture reaches


WAYS = {
    "ot": Way(straight, "straight (optimal transport)"),
    "cosine": Way(cosine, "cosine"),
    "vp": Way(preserving, "variance preserving (diffusion)", 1 - 1e-3),
    "ve": Way(exploding, "variance exploding (diffusion)", 1.0, 9.0),
}
COUPLINGS = {"independent": "any noise with any data", "ot": "near noise (minibatch optimal transport)"}


def noise(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 2))


def data(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    which = rng.choice(len(WEIGHTS), count, p=WEIGHTS)
    return MEANS[which] + STDS[which, None] * rng.standard_normal((count, 2))


def mixture_velocity(way: Way) -> Field:
    """The exact marginal velocity for independent noise: the mean of the Gaussians' own, given where a point is."""

    def velocity(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        a, da, b, db = (c[:, None] for c in way.coefficients(np.asarray(t, np.float64)))
        variance = (a * STDS) ** 2 + b**2  # (B, modes)
        away = x[:, None] - a[..., None] * MEANS  # (B, modes, 2)
        share = softmax(np.log(WEIGHTS) - np.log(variance) - (away**2).sum(-1) / (2 * variance))
        each = da[..., None] * MEANS + ((a * da * STDS**2 + b * db) / variance)[..., None] * away
        return (share[..., None] * each).sum(1)

    return velocity


def pairs_velocity(way: Way, x0: np.ndarray, x1: np.ndarray) -> Field:
    """The exact marginal velocity of pairs (n, 2) that travel along a path, each blurred by BLUR."""

    def velocity(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        a, da, b, db = (c[:, None, None] for c in way.coefficients(np.asarray(t, np.float64)))
        away = x[:, None] - (a * x1 + b * x0)  # (B, n, 2)
        share = softmax(-(away**2).sum(-1) / (2 * BLUR**2))
        return (share[..., None] * (da * x1 + db * x0)).sum(1)

    return velocity


def softmax(log: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    share = np.exp(log - log.max(-1, keepdims=True))
    return share / share.sum(-1, keepdims=True)


def assignment(cost: np.ndarray) -> np.ndarray:
    """(n, n) costs -> (n,) the row of each column, so that the sum is least (the Hungarian method: one shortest
    augmenting path a row).
    """
    n = len(cost)
    over, under = np.zeros(n + 1), np.zeros(n + 1)  # prices of rows and columns, from 1
    owner, back = np.zeros(n + 1, int), np.zeros(n + 1, int)
    for row in range(1, n + 1):
        owner[0], column = row, 0
        least, used = np.full(n + 1, np.inf), np.zeros(n + 1, bool)
        while owner[column]:
            used[column] = True
            here = owner[column]
            free = ~used
            free[0] = False
            reduced = np.full(n + 1, np.inf)
            reduced[1:] = cost[here - 1] - over[here] - under[1:]
            better = free & (reduced < least)
            least[better], back[better] = reduced[better], column
            after = int(np.where(free, least, np.inf).argmin())
            step = least[after]
            over[owner[used]] += step
            under[used] -= step
            least[free] -= step
            column = after
        while column:
            owner[column], column = owner[back[column]], int(back[column])
    return owner[1:] - 1


def coupled(x0: np.ndarray, x1: np.ndarray, coupling: str) -> np.ndarray:
    """x0 in the order that goes with x1: as it is, or with the least squared distance in all."""
    if coupling != "ot":
        return x0
    return x0[assignment(((x0[:, None] - x1) ** 2).sum(-1))]


@lru_cache(16)
def marginal(path: str, coupling: str) -> Field:
    """What a network would learn."""
    way = WAYS[path]
    if coupling != "ot":
        return mixture_velocity(way)
    x0, x1 = noise(PAIRS, 5), data(PAIRS, 6)
    parts = [slice(first, first + BATCH) for first in range(0, PAIRS, BATCH)]
    return pairs_velocity(way, np.concatenate([coupled(x0[p], x1[p], coupling) for p in parts]), x1)


@lru_cache(128)
def travelled(path: str, coupling: str, steps: int) -> np.ndarray:
    """(steps + 1, POINTS, 2): where points of noise are after each of some Euler steps."""
    way = WAYS[path]
    start = float(way.coefficients(np.zeros(1))[2][0]) * noise(POINTS, 0)
    seen: list[np.ndarray] = []
    grid = time_grid(steps) * np.float32(way.end)
    end = solve(marginal(path, coupling), start, grid, "euler", lambda i, x, t, v: seen.append(x))
    return np.stack([*seen, end])


@lru_cache(16)
def arrived(path: str, coupling: str) -> np.ndarray:
    """(POINTS, 2): where the exact flow takes them."""
    way = WAYS[path]
    start = float(way.coefficients(np.zeros(1))[2][0]) * noise(POINTS, 0)
    return solve(marginal(path, coupling), start, time_grid(ACCURATE) * np.float32(way.end), "midpoint")


def off(path: str, coupling: str, steps: int) -> float:
    """How far from there they end after so many steps (root mean square)."""
    gap = travelled(path, coupling, steps)[-1] - arrived(path, coupling)
    return float(np.sqrt((gap**2).sum(-1).mean()))


def bent(path: str, coupling: str) -> float:
    """How many times as long as the line between its ends a followed path is (median)."""
    way = travelled(path, coupling, ACCURATE)
    length = np.linalg.norm(np.diff(way, axis=0), axis=-1).sum(0)
    return float(np.median(length / np.linalg.norm(way[-1] - way[0], axis=-1)))
