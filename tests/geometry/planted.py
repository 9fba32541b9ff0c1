"""Clouds of which the truth is known."""

import numpy as np
import pandas as pd

from nbinterp.anatomy import ModelInfo
from nbinterp.clouds import Cloud

MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
SITE = "resid_post.3"


def info(d_model):
    return ModelInfo("planted", "0" * 40, "Planted", 4, d_model, 10, "model.layers")


def frame_of(d_model, k, seed=0):
    """Return k orthonormal rows."""
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d_model, k)))[0].T


def labelled(shape, *, n_groups=15, d_model=64, noise=0.3, seed=0):
    """Return rows [group * label, d_model], labels and groups; shape [label, k] is laid into a random subspace."""
    rng = np.random.default_rng(seed)
    n, k = shape.shape
    groups = 5 * rng.normal(size=(n_groups, 1, d_model))
    rows = groups + shape @ frame_of(d_model, k, seed) + noise * rng.normal(size=(n_groups, n, d_model)) + 3
    return rows.reshape(-1, d_model), np.tile(np.arange(n), n_groups), np.repeat(np.arange(n_groups), n)


def circle(n, radius=3.0):
    angles = 2 * np.pi * np.arange(n) / n
    return radius * np.column_stack([np.cos(angles), np.sin(angles)])


def arc(n, degrees, radius=3.0):
    angles = np.radians(degrees) * np.arange(n) / (n - 1)
    return radius * np.column_stack([np.cos(angles), np.sin(angles)])


def line(n, length=6.0):
    """An ordered line that bends: the shape of number words."""
    t = np.linspace(-1, 1, n)
    return length / 2 * np.column_stack([t, 0.5 * (t**2 - (t**2).mean())])


def cloud_of(rows, labels, groups, names=MONTHS):
    table = pd.DataFrame(
        {
            "text": [f"in {names[label]}" for label in labels],
            "month": [names[label] for label in labels],
            "template": groups,
        }
    )
    return Cloud.from_arrays({SITE: rows}, table, info(rows.shape[1]))


def months(noise=0.3, seed=0, d_model=64):
    return cloud_of(*labelled(circle(12), noise=noise, seed=seed, d_model=d_model))


def turned(found, angles):
    """Return the errors of angles in radians after the best turn, in the better direction."""
    best = None
    for sign in (1, -1):
        difference = sign * found - angles
        error = np.angle(np.exp(1j * (difference - np.angle(np.exp(1j * difference).mean()))))
        if best is None or np.abs(error).mean() < np.abs(best).mean():
            best = error
    return best
