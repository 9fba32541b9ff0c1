"""Points and distances of which the homology is known."""

import numpy as np


def polygon_class(n, radius=1.0):
    """Birth and death of the loop of a regular n-gon."""
    return np.array([[2 * np.sin(np.pi / n), 2 * np.sin(np.pi * np.ceil(n / 3) / n)]]) * radius


def straight(points):
    return np.linalg.norm(points[:, None] - points[None], axis=2).astype(np.float32)


def product_of_polygons(n):
    """Points of two n-gons in pairs, as far apart as they are in the one polygon or in the other, whichever is more.

    At each scale the complex of such a product is, up to homotopy, the product of the complexes (Adamaszek and Adams
    2017, proposition 10.2), so that the classes are those of a torus, with the births and deaths of the polygon.
    """
    angles = 2 * np.pi * np.arange(n) / n
    one = straight(np.column_stack([np.cos(angles), np.sin(angles)]))
    return np.maximum(one[:, None, :, None], one[None, :, None, :]).reshape(n * n, n * n)


def wedge_of_polygons(n, m, radius=0.8):
    """An n-gon and a smaller m-gon that share a corner, through which every way from one to the other leads."""
    angles = [2 * np.pi * np.arange(k) / k for k in (n, m)]
    one, other = (
        straight(r * np.column_stack([np.cos(a), np.sin(a)])) for r, a in zip((1, radius), angles, strict=True)
    )
    across = one[:, :1] + other[:1, 1:]
    return np.block([[one, across], [across.T, other[1:, 1:]]])


def klein_bottle(n):
    """A grid on the square [0, 2π)² with (u, v) ~ (u, v + 2π) ~ (u + 2π, −v), and its flat distances."""
    u, v = (a.ravel() for a in np.meshgrid(*[2 * np.pi * np.arange(n) / n] * 2))
    best = np.full((n * n, n * n), np.inf)
    for k in (-1, 0, 1):
        across = u[:, None] - (u[None] + 2 * np.pi * k)
        along = (v[:, None] - (-1) ** k * v[None] + np.pi) % (2 * np.pi) - np.pi
        best = np.minimum(best, np.hypot(across, along))
    return np.minimum(best, best.T).astype(np.float32)


def octahedron():
    return np.vstack([np.eye(3), -np.eye(3)])


def annulus(n, inner, outer, seed=0):
    rng = np.random.default_rng(seed)
    angles, radii = rng.uniform(0, 2 * np.pi, n), np.sqrt(rng.uniform(inner**2, outer**2, n))
    return radii[:, None] * np.column_stack([np.cos(angles), np.sin(angles)])


def random_matrix(kind, n, seed):
    """A distance matrix of a kind that engines stumble over."""
    rng = np.random.default_rng(seed)
    if kind == "Gaussian":
        return straight(rng.normal(size=(n, 5)))
    if kind == "grid":
        return straight(rng.integers(0, 4, size=(n, 2)).astype(float))
    if kind == "duplicates":
        return straight(np.repeat(rng.normal(size=(n // 3, 3)), 3, axis=0))
    if kind == "integers":
        values = rng.integers(1, 6, size=(n, n)).astype(np.float32)
    else:
        # no triangle inequality holds
        values = rng.exponential(size=(n, n)).astype(np.float32)
    upper = np.triu(values, 1)
    return upper + upper.T


KINDS = ("Gaussian", "grid", "duplicates", "integers", "non-metric")
