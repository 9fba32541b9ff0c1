import re

import numpy as np
import pytest

from nbinterp.geometry.toroidal import toroidal_coordinates
from tests.geometry import planted
from tests.geometry.planted import turned


def torus(n, d=100, noise=0.5, seed=0, shear=0):
    """Return rows [n, d] of a flat torus of radii 1 and their two angles; sheared, one loop runs along with the other."""
    rng = np.random.default_rng(seed)
    angles = rng.uniform(0, 2 * np.pi, (n, 2))
    one, two = angles.T
    clean = np.column_stack([np.cos(one), np.sin(one), np.cos(two), np.sin(two)]) @ planted.frame_of(d, 4, seed)
    return clean + noise / np.sqrt(d) * rng.normal(size=(n, d)), angles


def errors(found, angles):
    """Return the mean errors of both angles, in radians, in the better order."""
    orders = [
        [np.abs(turned(found[:, i], angles[:, j])).mean() for j, i in enumerate(order)] for order in ((0, 1), (1, 0))
    ]
    return min(orders, key=sum)


def test_both_angles_of_a_torus_are_measured_to_the_noise_floor():
    rows, angles = torus(900)
    found = toroidal_coordinates(rows)
    floor = np.sqrt(2 / np.pi) * 0.5 / np.sqrt(100)
    assert max(errors(found.angles, angles)) < 1.2 * floor
    np.testing.assert_allclose(np.median(found.uncertainty, axis=0), 0.05, rtol=0.1)
    assert abs(found.gram[0, 1]) < 0.1 * found.gram[0, 0]
    assert abs(round(np.linalg.det(found.change))) == 1
    clean = found.decode(found.angles)
    assert np.linalg.norm(clean - rows, axis=1).mean() < 0.6


def test_the_cocycles_alone_are_decorrelated():
    rows, angles = torus(800, d=4, noise=0.0)
    found = toroidal_coordinates(rows, refine=False)
    assert max(errors(found.angles, angles)) < np.radians(12)


def test_dreimac_finds_the_same_angles():
    dreimac = pytest.importorskip("dreimac")
    rows, angles = torus(800, d=4, noise=0.0)
    theirs = np.array(dreimac.ToroidalCoords(rows, 80, prime=47).get_coordinates(cocycle_idxs=[0, 1])).T
    assert max(errors(theirs, angles)) < np.radians(20), "the oracle itself"
    ours = toroidal_coordinates(rows, refine=False, n_landmarks=80).angles
    assert max(errors(ours, angles)) < max(errors(theirs, angles)) + np.radians(2)


def test_it_steers_and_shows_itself():
    rows, _ = torus(300, d=24, noise=0.3)
    cloud = planted.cloud_of(rows, np.arange(300) % 12, np.arange(300) // 12)
    found = toroidal_coordinates(cloud)
    step = found.displacement([0.0, 1.0], [2.0, 1.0])
    assert step.site == cloud.site
    np.testing.assert_allclose(step.vector, np.diff(found.decode([[0.0, 1.0], [2.0, 1.0]]), axis=0)[0])
    frame = found.frame()
    assert frame.columns.tolist()[:5] == ["row", "angle_1", "angle_2", "uncertainty_1", "uncertainty_2"]
    assert repr(found).startswith(f"ToroidalCoordinates of H1.0 and H1.1 at {planted.SITE}: 300 rows\n  held-out R² 0.")
    assert found.chart("month").to_dict()
    with pytest.raises(
        ValueError, match=r"^got coordinates of an array, which does not say where it was read, to steer"
    ):
        toroidal_coordinates(rows).displacement([0, 0], [1, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: toroidal_coordinates(torus(60, d=4)[0], ("H1.0", "H1.0")),
            "got class_ids=('H1.0', 'H1.0'); wanted two different loops, for example ('H1.0', 'H1.1').",
        ),
        (
            lambda: toroidal_coordinates(torus(60, d=4)[0], harmonics=5),
            "got harmonics=5 for 60 usable rows; wanted at least 1 and (2K + 1)² = 121 of at most half the rows: collect more rows.",
        ),
    ],
)
def test_bad_requests_get_one_sentence(call, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        call()
