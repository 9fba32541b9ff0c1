"""Vectors that know where they live: a direction, a plane, a loop travels with its site and its model."""

from __future__ import annotations

import base64
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbinterp.anatomy import ModelInfo
from nbinterp.sites import Site

if TYPE_CHECKING:
    from collections.abc import Mapping

Floats = NDArray[np.float64]


def frozen_array(values: ArrayLike, what: str, shape: tuple[str, ...]) -> Floats:
    """Return a read-only float64 copy of `values`, checked for its number of axes and for finite entries.

    Parameters
    ----------
    values : array_like
        The numbers.
    what : str
        What they are, for the error text.
    shape : tuple of str
        The names of the wanted axes.
    """
    array = np.array(values, dtype=np.float64)
    if array.ndim != len(shape):
        raise ValueError(f"got {what} of shape {list(array.shape)}; wanted [{', '.join(shape)}].")
    if not np.isfinite(array).all():
        raise ValueError(
            f"got {what} with {int((~np.isfinite(array)).sum())} NaN or infinite entries; wanted finite numbers: drop or mend them first."
        )
    array.setflags(write=False)
    return array


def array_to_json(array: Floats) -> dict[str, Any]:
    """Return an exact JSON form of an array: its shape and its float64 bytes in base64."""
    little = np.ascontiguousarray(array, dtype="<f8")
    return {"shape": list(array.shape), "float64": base64.b64encode(little.tobytes()).decode()}


def array_from_json(value: Mapping[str, Any]) -> Floats:
    """Read back what `array_to_json` gave."""
    return np.frombuffer(base64.b64decode(value["float64"]), dtype="<f8").reshape(value["shape"]).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Subspace:
    """What `Direction`, `Plane`, `Basis`, `Loop` and `Activations` share: arrays over the features of one site of one model.

    ``==`` compares the numbers and the place, so that values that hold one can be hashed and compared.
    A site or model of ``None`` means that nobody said which: only the number of features can then be checked.
    """

    site: Site | None
    model: ModelInfo | None

    @property
    def n_features(self) -> int:
        """Number of features."""
        return int(next(iter(self.arrays().values())).shape[-1])

    def arrays(self) -> dict[str, Floats]:
        """Return the arrays by their field's name; the last axis is ``n_features``."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}

    @property
    def _name(self) -> str:
        return f"a {type(self).__name__}"

    def _freeze(self, **shapes: tuple[str, ...]) -> None:
        if self.site is not None:
            object.__setattr__(self, "site", Site.of(self.site))
        for name, shape in shapes.items():
            array = frozen_array(getattr(self, name), f"{self._name}'s {name}", shape)
            object.__setattr__(self, name, array)
        if self.model is not None:
            self.require(self.site, self.model)
        widths = {name: a.shape[-1] for name, a in self.arrays().items()}
        if len(set(widths.values())) > 1:
            raise ValueError(f"got {self._name} whose arrays differ in their number of features: {widths}.")

    def at(self, site: str | Site) -> Self:
        """Return the same numbers, declared to hold at another site: the way to say that you mean it."""
        return replace(self, site=Site.of(site))

    def require(self, site: Site | None, model: ModelInfo | None = None) -> None:
        """Raise ValueError unless this belongs to `site` (and to `model`, where one is given).

        ``resid_pre`` of a block and ``resid_post`` of the block before are the same tensor, and stand for one another.
        """
        if self.site is not None and site is not None and _tensor(self.site) != _tensor(site):
            raise ValueError(
                f"got {self._name} found at {self.site}, used at {site}: find one there, or say that you mean it with .at('{site}')."
            )
        if model is None:
            return
        if self.model is not None and self.model.revision != model.revision:
            raise ValueError(
                f"got {self._name} of the model {self.model}, used on {model}: find one in the model that you run."
            )
        width = None if site is None else model.width(site)
        if width is not None and self.n_features != width:
            raise ValueError(
                f"got {self._name} with {self.n_features} features at {site}; {model.name} has {width} there."
            )

    def _key(self) -> tuple[Any, ...]:
        return (type(self), self.site, self.model, *((n, a.shape, a.tobytes()) for n, a in self.arrays().items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Subspace) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


def _tensor(site: Site) -> Site:
    return Site("resid_post", site.layer - 1) if site.component == "resid_pre" and site.layer else site


@dataclass(frozen=True, eq=False)
class Direction(Subspace):
    """One vector of a site's space.

    Parameters
    ----------
    site, model : Site, ModelInfo
        Where it lives.
    vector : array, ``[n_features]``
        The vector, in the units of the activations.
    """

    vector: Floats

    def __post_init__(self) -> None:
        self._freeze(vector=("n_features",))

    def __add__(self, other: Direction) -> Direction:
        other.require(self.site, self.model)
        return replace(self, vector=self.vector + other.vector)

    def __mul__(self, factor: float) -> Direction:
        return replace(self, vector=self.vector * factor)

    __rmul__ = __mul__

    def __neg__(self) -> Direction:
        return self * -1.0

    def __sub__(self, other: Direction) -> Direction:
        return self + -other

    @property
    def norm(self) -> float:
        """Euclidean length, in the units of the activations."""
        return float(np.linalg.norm(self.vector))

    @property
    def unit(self) -> Direction:
        """The direction of length 1; ValueError where there is none, since the vector is zero."""
        if not self.norm:
            raise ValueError(
                "got a Direction of length 0, which points nowhere; wanted one with an entry other than 0."
            )
        return replace(self, vector=self.vector / self.norm)

    def control(self, seed: int = 0) -> Direction:
        """Return a random direction of the same length: what a claim about this one has to beat."""
        random = np.random.default_rng(seed).normal(size=self.n_features)
        return replace(self, vector=random * (self.norm / np.linalg.norm(random)))


@dataclass(frozen=True, eq=False)
class Plane(Subspace):
    """A plane with a centre, in which a projection can be turned.

    Parameters
    ----------
    site, model : Site, ModelInfo
        Where it lives.
    centre : array, ``[n_features]``
        The point about which to turn.
    basis : array, ``[2, n_features]``
        Orthonormal rows; turning goes from the first towards the second.
    """

    centre: Floats
    basis: Floats

    def __post_init__(self) -> None:
        self._freeze(centre=("n_features",), basis=("2", "n_features"))
        if len(self.basis) != 2 or not _are_orthonormal(self.basis):
            raise ValueError(
                "got a Plane whose basis is not two orthonormal rows; orthonormalise them, for example with numpy.linalg.qr."
            )

    def coordinates(self, points: ArrayLike) -> Floats:
        """Return the projections of ``points [n_points, n_features]`` relative to the centre: ``[n_points, 2]``."""
        coordinates: Floats = (np.asarray(points, dtype=np.float64) - self.centre) @ self.basis.T
        return coordinates

    def angle_of(self, point: ArrayLike) -> float:
        """Return the angle in radians at which ``point [n_features]`` projects."""
        x, y = self.coordinates(np.atleast_2d(point))[0]
        return float(np.arctan2(y, x) % (2 * np.pi))

    def displacement(self, start: float, stop: float, point: ArrayLike) -> Floats:
        """Return what turning ``point [n_features]`` by ``stop - start`` radians adds to it: ``[n_features]``."""
        by = stop - start
        turn = np.array([[np.cos(by), -np.sin(by)], [np.sin(by), np.cos(by)]]) - np.eye(2)
        displacement: Floats = turn @ self.coordinates(np.atleast_2d(point))[0] @ self.basis
        return displacement

    def control(self, seed: int = 0) -> Plane:
        """Return a random plane with the same centre: what a claim about this one has to beat."""
        return replace(self, basis=_random_frame(2, self.n_features, seed))


@dataclass(frozen=True, eq=False)
class Basis(Subspace):
    """A subspace of any dimension through a centre, for example of principal components.

    Parameters
    ----------
    site, model : Site, ModelInfo
        Where it lives.
    centre : array, ``[n_features]``
        The point through which it passes.
    basis : array, ``[k, n_features]``
        Orthonormal rows.
    """

    centre: Floats
    basis: Floats

    def __post_init__(self) -> None:
        self._freeze(centre=("n_features",), basis=("k", "n_features"))
        if not len(self.basis) or not _are_orthonormal(self.basis):
            raise ValueError(
                "got a Basis whose rows are not orthonormal, or which has none; orthonormalise them, for example with numpy.linalg.qr."
            )

    def coordinates(self, points: ArrayLike) -> Floats:
        """Return the projections of ``points [n_points, n_features]`` relative to the centre: ``[n_points, k]``."""
        coordinates: Floats = (np.asarray(points, dtype=np.float64) - self.centre) @ self.basis.T
        return coordinates

    def control(self, seed: int = 0) -> Basis:
        """Return a random subspace of this dimension with the same centre: what a claim about this one has to beat."""
        return replace(self, basis=_random_frame(len(self.basis), self.n_features, seed))


def _are_orthonormal(rows: Floats) -> bool:
    return np.allclose(rows @ rows.T, np.eye(len(rows)), atol=1e-6)


@dataclass(frozen=True, eq=False)
class Loop(Subspace):
    """A closed curve γ(θ) = centre + Σₖ cosines[k-1] cos kθ + sines[k-1] sin kθ, with K harmonics.

    Parameters
    ----------
    site, model : Site, ModelInfo
        Where it lives.
    centre : array, ``[n_features]``
        The mean of the curve.
    cosines, sines : array, ``[K, n_features]``
        Fourier coefficients, in the units of the activations.
    """

    centre: Floats
    cosines: Floats
    sines: Floats

    def __post_init__(self) -> None:
        self._freeze(centre=("n_features",), cosines=("harmonic", "n_features"), sines=("harmonic", "n_features"))
        if self.cosines.shape != self.sines.shape or not len(self.cosines):
            raise ValueError(
                f"got a Loop with {len(self.cosines)} cosine and {len(self.sines)} sine harmonics; wanted the same number, at least one."
            )

    @property
    def harmonics(self) -> int:
        """Number of harmonics K; the curve spans at most 2K dimensions."""
        return len(self.cosines)

    def decode(self, angles: ArrayLike) -> Floats:
        """Return the points γ(θ) at ``angles [n]`` in radians: ``[n, n_features]``."""
        phases = np.multiply.outer(
            np.atleast_1d(np.asarray(angles, dtype=np.float64)), np.arange(1, self.harmonics + 1)
        )
        points: Floats = self.centre + np.cos(phases) @ self.cosines + np.sin(phases) @ self.sines
        return points

    def angle_of(self, point: ArrayLike, resolution: int = 3600) -> float:
        """Return the angle in radians, to ``2π / resolution``, at which the curve passes nearest to ``point [n_features]``."""
        angles = np.linspace(0, 2 * np.pi, resolution, endpoint=False)
        return float(angles[np.argmin(((self.decode(angles) - np.asarray(point)) ** 2).sum(axis=1))])

    def displacement(self, start: float, stop: float, point: ArrayLike | None = None) -> Floats:
        """Return γ(stop) − γ(start), what moving along the curve adds wherever one stands: ``[n_features]``."""
        here, there = self.decode([start, stop])
        displacement: Floats = there - here
        return displacement

    def control(self, seed: int = 0) -> Loop:
        """Return the same curve laid into a random subspace: every step along it has the same length."""
        coefficients = np.concatenate([self.cosines, self.sines])
        frame = _random_frame(len(coefficients), self.n_features, seed)
        # coefficients = R Q with Q orthonormal; keeping R and drawing Q anew keeps all lengths and angles
        q, r = np.linalg.qr(coefficients.T)
        cosines, sines = np.split(r.T @ frame[: q.shape[1]], 2)
        return replace(self, cosines=cosines, sines=sines)


@dataclass(frozen=True, eq=False)
class Activations(Subspace):
    """What some tokens had at a site, to be put in the place of others.

    Parameters
    ----------
    site, model : Site, ModelInfo
        Where it lives.
    values : array, ``[n_tokens, n_features]``
        One row a token.
    """

    values: Floats

    @property
    def _name(self) -> str:
        return "Activations"

    def __post_init__(self) -> None:
        self._freeze(values=("n_tokens", "n_features"))
        if not self.values.size:
            raise ValueError(
                f"got Activations of shape {list(self.values.shape)}; wanted at least one token and feature."
            )


def _random_frame(rows: int, n_features: int, seed: int) -> Floats:
    frame: Floats = np.linalg.qr(np.random.default_rng(seed).normal(size=(n_features, rows)))[0].T
    return frame


_KINDS: dict[str, type[Subspace]] = {
    "direction": Direction,
    "plane": Plane,
    "basis": Basis,
    "loop": Loop,
    "activations": Activations,
}


def subspace_to_json(value: Subspace) -> dict[str, Any]:
    """Return a JSON form from which `subspace_from_json` makes an equal value."""
    kind = next(name for name, cls in _KINDS.items() if type(value) is cls)
    model = None if value.model is None else value.model.to_json()
    return {"kind": kind, "site": None if value.site is None else str(value.site), "model": model} | {
        n: array_to_json(a) for n, a in value.arrays().items()
    }


def subspace_from_json(value: Mapping[str, Any]) -> Subspace:
    """Read back what `subspace_to_json` gave; ValueError for an unknown kind."""
    if value.get("kind") not in _KINDS:
        raise ValueError(f"got a subspace of kind {value.get('kind')!r}; known are {', '.join(_KINDS)}.")
    cls = _KINDS[value["kind"]]
    arrays = {f.name: array_from_json(value[f.name]) for f in fields(cls) if f.name not in ("site", "model")}
    model = None if value["model"] is None else ModelInfo(**value["model"])
    return cls(site=value["site"], model=model, **arrays)
