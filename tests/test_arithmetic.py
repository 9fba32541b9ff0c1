"""What interventions compute, against closed forms in NumPy and against what must hold whatever the numbers are."""

import ast
import inspect

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nbinterp import arithmetic
from nbinterp.spaces import Basis, Direction, Loop, Plane

D = 6
shapes = st.sampled_from([(D,), (1, D), (3, D), (2, 3, D)])
seeds = st.integers(0, 2**32 - 1)
factors = st.floats(-10, 10)


def drawn(seed, shape=(D,), rows=2):
    """Return activations, a centre and orthonormal rows."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape), rng.normal(size=D), np.linalg.qr(rng.normal(size=(D, rows)))[0].T


def computed(function, x, **arguments):
    """Return what a function gives for float64 tensors, as an array."""
    tensors = {n: torch.tensor(a) if isinstance(a, np.ndarray) else a for n, a in arguments.items()}
    before = x.copy()
    result = function(torch.from_numpy(x), **tensors).numpy()
    np.testing.assert_array_equal(x, before, err_msg="what comes in is not written to")
    return result


@given(seeds, shapes)
def test_put_puts_the_value_everywhere(seed, shape):
    x, value, _ = drawn(seed, shape)
    np.testing.assert_array_equal(computed(arithmetic.put, x, value=value), np.broadcast_to(value, shape))
    np.testing.assert_array_equal(computed(arithmetic.put, x, value=np.zeros(1)), np.zeros(shape))
    np.testing.assert_array_equal(computed(arithmetic.put, x, value=x + 1), x + 1)


@given(seeds, shapes, st.floats(0, 1))
def test_partly_is_on_the_line_from_one_to_the_other_and_exact_at_its_ends(seed, shape, amount):
    x, centre, _ = drawn(seed, shape)
    changed = centre - 3 * x
    result = computed(arithmetic.partly, x, changed=changed, amount=amount)
    np.testing.assert_allclose(result, x + amount * (changed - x), atol=1e-12)
    np.testing.assert_array_equal(computed(arithmetic.partly, x, changed=changed, amount=0.0), x)
    np.testing.assert_array_equal(computed(arithmetic.partly, x, changed=changed, amount=1.0), changed)


@given(seeds, shapes, factors)
def test_steer_adds_the_direction(seed, shape, scale):
    x, direction, _ = drawn(seed, shape)
    np.testing.assert_allclose(computed(arithmetic.steer, x, direction=direction, scale=scale), x + scale * direction)


@given(seeds, shapes, factors)
def test_a_set_projection_is_what_was_asked_and_the_rest_stays(seed, shape, to):
    x, direction, _ = drawn(seed, shape)
    unit = Direction(None, None, direction).unit.vector
    result = computed(arithmetic.set_projection, x, direction=unit, to=to)
    np.testing.assert_allclose(result @ unit, np.full(shape[:-1], to), atol=1e-12)
    remainder = np.eye(D) - np.outer(unit, unit)
    np.testing.assert_allclose(result @ remainder, x @ remainder, atol=1e-12)
    np.testing.assert_allclose(result, x + (to - x @ unit)[..., None] * unit, atol=1e-12)


@given(seeds, shapes, factors)
def test_scale_multiplies(seed, shape, factor):
    x, _, _ = drawn(seed, shape)
    np.testing.assert_array_equal(computed(arithmetic.scale, x, factor=factor), factor * x)


@given(seeds, shapes, factors, st.integers(1, D))
def test_scale_within_multiplies_the_coordinates_in_the_subspace(seed, shape, factor, rows):
    x, centre, basis = drawn(seed, shape, rows)
    result = computed(arithmetic.scale_within, x, centre=centre, basis=basis, factor=factor)
    space = Basis(None, None, centre, basis)
    np.testing.assert_allclose(space.coordinates(result), factor * space.coordinates(x), atol=1e-10)
    remainder = np.eye(D) - basis.T @ basis
    np.testing.assert_allclose(result @ remainder, x @ remainder, atol=1e-10)
    np.testing.assert_allclose(result, x + (factor - 1) * (x - centre) @ basis.T @ basis, atol=1e-10)


@given(seeds, shapes, st.integers(1, D))
def test_projections_are_the_closed_forms_and_complete_one_another(seed, shape, rows):
    x, centre, basis = drawn(seed, shape, rows)
    projector = basis.T @ basis
    onto = computed(arithmetic.project_onto, x, centre=centre, basis=basis)
    out = computed(arithmetic.project_out, x, centre=centre, basis=basis)
    np.testing.assert_allclose(onto, centre + (x - centre) @ projector, atol=1e-12)
    np.testing.assert_allclose(out, x - (x - centre) @ projector, atol=1e-12)
    np.testing.assert_allclose(onto + out, x + centre, atol=1e-12)
    # a projection done twice is the projection
    np.testing.assert_allclose(computed(arithmetic.project_onto, onto, centre=centre, basis=basis), onto, atol=1e-12)
    np.testing.assert_allclose(computed(arithmetic.project_out, out, centre=centre, basis=basis), out, atol=1e-12)
    # half of it taken away is the component scaled by one half
    half = computed(arithmetic.scale_within, x, centre=centre, basis=basis, factor=0.5)
    np.testing.assert_allclose(computed(arithmetic.partly, x, changed=out, amount=0.5), half, atol=1e-12)
    # taking a component away is scaling it by 0
    nought = computed(arithmetic.scale_within, x, centre=centre, basis=basis, factor=0.0)
    np.testing.assert_allclose(out, nought, atol=1e-12)


@given(seeds, st.integers(1, D))
def test_a_projection_is_the_nearest_point(seed, rows):
    x, centre, basis = drawn(seed, rows=rows)
    onto = computed(arithmetic.project_onto, x, centre=centre, basis=basis)
    solved = np.linalg.lstsq(basis.T, x - centre, rcond=None)[0]
    np.testing.assert_allclose(onto, centre + basis.T @ solved, atol=1e-10)


def test_the_whole_space_keeps_everything():
    x, centre, basis = drawn(0, (4, D), rows=D)
    np.testing.assert_allclose(computed(arithmetic.project_onto, x, centre=centre, basis=basis), x, atol=1e-12)
    np.testing.assert_allclose(
        computed(arithmetic.project_out, x, centre=centre, basis=basis), np.broadcast_to(centre, x.shape), atol=1e-12
    )


@given(seeds, shapes, st.floats(-7, 7))
def test_turning_in_a_plane_is_a_rotation_about_its_centre(seed, shape, by):
    x, centre, basis = drawn(seed, shape)
    result = computed(arithmetic.turn_in_plane, x, centre=centre, basis=basis, by=by, to=None)
    turn = np.array([[np.cos(by), -np.sin(by)], [np.sin(by), np.cos(by)]])
    rotation = np.eye(D) + basis.T @ (turn - np.eye(2)) @ basis
    np.testing.assert_allclose(result, centre + (x - centre) @ rotation.T, atol=1e-10)
    np.testing.assert_allclose(np.linalg.norm(result - centre, axis=-1), np.linalg.norm(x - centre, axis=-1))


@given(seeds, st.floats(-3, 3))
def test_turning_to_an_angle_arrives_there(seed, to):
    x, centre, basis = drawn(seed)
    plane = Plane(None, None, centre, basis)
    result = computed(arithmetic.turn_in_plane, x, centre=centre, basis=basis, by=None, to=to)
    start = plane.angle_of(x)
    np.testing.assert_allclose(result, x + plane.displacement(start, to, x), atol=1e-9)


@settings(deadline=None)
@given(seeds, st.floats(-7, 7), st.floats(0, 6), st.integers(1, 3))
def test_moving_along_a_loop_adds_the_difference_of_its_points(seed, by, start, harmonics):
    rng = np.random.default_rng(seed)
    x, (cosines, sines) = rng.normal(size=(2, D)), rng.normal(size=(2, harmonics, D))
    loop = Loop(None, None, rng.normal(size=D), cosines, sines)
    result = computed(arithmetic.move_along_loop, x, **loop.arrays(), start=start, by=by, to=None)
    np.testing.assert_allclose(result, x + loop.displacement(start, start + by), atol=1e-9)
    # without a start: from the nearest point of the curve
    result = computed(arithmetic.move_along_loop, x, **loop.arrays(), start=None, by=None, to=start)
    wanted = [one + loop.displacement(loop.angle_of(one), start) for one in x]
    np.testing.assert_allclose(result, wanted, atol=1e-9)


FUNCTIONS = [f for _, f in inspect.getmembers(arithmetic, inspect.isfunction)]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_a_function_can_be_read_without_its_module(function):
    """`to_code` prints the source: it must use nothing but its arguments, its own names and what Python has built in."""
    tree = ast.parse(inspect.getsource(function)).body[0]
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    read = inspect.getclosurevars(function)
    assert not read.globals
    assert not read.nonlocals
    assert read.unbound <= set(dir(torch.Tensor))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_dtype_stays(dtype):
    x = torch.randn(3, D, dtype=dtype)
    v, frame = torch.zeros(D, dtype=dtype), torch.eye(D, dtype=dtype)[:2]
    results = [
        arithmetic.partly(x, arithmetic.put(x, v), 0.3),
        arithmetic.put(x, v),
        arithmetic.steer(x, v, 2.0),
        arithmetic.set_projection(x, frame[0], 2.0),
        arithmetic.scale(x, 0.5),
        arithmetic.scale_within(x, v, frame, 0.5),
        arithmetic.project_onto(x, v, frame),
        arithmetic.project_out(x, v, frame),
        arithmetic.turn_in_plane(x, v, frame, 0.5, None),
        arithmetic.move_along_loop(x, v, frame, frame, None, 0.5, None),
        arithmetic.cut(x, torch.ones(D, dtype=dtype), True),
    ]
    assert len(results) == len(FUNCTIONS)
    assert {(result.dtype, result.shape) for result in results} == {(dtype, x.shape)}
