import functools
import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbinterp import Ablate, Experiment, Site, Steer, metrics
from nbinterp.metrics import Metric
from nbinterp.sweeps import Sweep, grid

TEMPLATE = Experiment("The <b>capital</b>", Ablate("resid_post.0"))
METRIC = metrics.logit_difference(" Paris", " Rome")


def steer(layer, scale=1.0):
    return Steer(f"resid_post.{layer}", direction=np.ones(3), scale=scale)


def sweep_of(info, values, metric=METRIC, base=2.0, control=None, make=None, **axes):
    made = grid(TEMPLATE, make or (lambda **point: []), axes)
    return Sweep.of(values, made, base=base, metric=metric, experiment=TEMPLATE, model=info, control=control)


# numpy, and with it xarray's `sel`, takes NULs at the end of a text for its padding
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3)
labels = st.one_of(st.integers(-99, 99), st.floats(-9, 9), texts)
axes = st.dictionaries(
    st.sampled_from(["layer", "head", "tokens", "scale"]),
    st.lists(labels, min_size=1, max_size=4, unique=True),
    min_size=1,
    max_size=3,
)


@given(axes)
def test_a_grid_is_the_product_of_its_axes_in_the_order_given(axes):
    points = []

    def make(**point):
        points.append(point)
        return steer(len(points))

    made = grid(TEMPLATE, make, axes)
    assert points == [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]
    assert made.dims == tuple(axes)
    assert made.shape == tuple(map(len, axes.values()))
    assert {name: values.tolist() for name, values in made.coords.items()} == axes
    assert made.experiments == tuple(TEMPLATE.with_(steer(n + 1)) for n in range(len(points)))


@given(axes)
def test_every_number_stands_at_its_experiment(axes):
    made = grid(TEMPLATE, lambda **point: [], axes)
    flat = np.arange(len(made.experiments), dtype=np.float64)
    sweep = Sweep.of(flat, made, base=3, metric=METRIC, experiment=TEMPLATE, model=None)
    for n, point in enumerate(itertools.product(*axes.values())):
        assert sweep.values.sel(dict(zip(axes, point, strict=True))).item() == n
    frame = sweep.frame()
    assert list(frame.columns) == [*axes, "logit_difference", "base", "difference"]
    assert list(frame[list(axes)].itertuples(index=False, name=None)) == list(itertools.product(*axes.values()))
    assert (frame["logit_difference"] == flat).all()
    assert (frame["difference"] == flat - 3).all()


@given(axes, st.integers(0, 9))
def test_best_are_the_largest_changes_in_either_direction(axes, k):
    made = grid(TEMPLATE, lambda **point: [], axes)
    flat = np.random.default_rng(k).normal(size=len(made.experiments))
    sweep = Sweep.of(flat, made, base=0.5, metric=METRIC, experiment=TEMPLATE, model=None)
    best = sweep.best(k)["difference"].abs()
    assert len(best) == min(k, len(flat))
    assert (best.to_numpy() == np.sort(np.abs(flat - 0.5))[::-1][:k]).all()


def test_a_point_may_be_one_act_several_none_or_a_whole_experiment():
    def make(kind):
        return {
            "one": steer(1),
            "several": (steer(n) for n in (1, 2)),
            "none": [],
            "whole": TEMPLATE.without(0),
        }[kind]

    one, several, none, whole = grid(TEMPLATE, make, {"kind": ["one", "several", "none", "whole"]}).experiments
    assert one == TEMPLATE.with_(steer(1))
    assert several == TEMPLATE.with_(steer(1), steer(2))
    assert none == TEMPLATE
    assert whole == TEMPLATE.without(0)


def test_entries_of_arrays_arrive_as_plain_numbers():
    kinds = []
    grid(TEMPLATE, lambda **point: kinds.append([type(v) for v in point.values()]) or [], {
        "layer": np.arange(1), "scale": np.linspace(0, 1, 1, dtype="f4"), "tokens": np.array(["a"]), "on": np.array([True]),
    })  # fmt: skip
    assert kinds == [[int, float, str, bool]]


def test_labels_of_axes():
    given_axes = {
        "site": ["resid_post.1", Site("resid_pre", 2)],
        "tokens": [0, -1, " b"],
        "direction": np.eye(3),
        "named": {"truth": np.ones(3), "chance": np.zeros(3)},
        "flag": [True, 2],
    }
    made = grid(TEMPLATE, lambda **point: [], given_axes)
    assert {name: values.tolist() for name, values in made.coords.items()} == {
        "site": ["resid_post.1", "resid_pre.2"],
        "tokens": [0, -1, " b"],
        "direction": [0, 1, 2],
        "named": ["truth", "chance"],
        "flag": [True, 2],
    }
    seen = []
    grid(TEMPLATE, lambda named: seen.append(named) or [], {"named": given_axes["named"]})
    np.testing.assert_array_equal(seen, [np.ones(3), np.zeros(3)])


def test_a_partial_intervention_may_be_swept():
    make = functools.partial(Steer, "resid_post.1", direction=np.ones(3))
    made = grid(TEMPLATE, make, {"scale": [0.0, 2.0]})
    assert made.experiments[1] == TEMPLATE.with_(steer(1, 2.0))


@pytest.mark.parametrize(
    ("make", "axes", "kind", "message"),
    [
        (steer, {}, ValueError, "got no axis to sweep; wanted at least one, for example layer=range(12)."),
        (steer, {"layer": []}, ValueError, "got no value for the axis 'layer'; wanted at least one."),
        (
            steer,
            {"layer": 3},
            TypeError,
            "got the axis layer=3; wanted several values, for example layer=[3].",
        ),
        (
            steer,
            {"layer": "last"},
            TypeError,
            "got the axis layer='last'; wanted several values, for example layer=['last'].",
        ),
        (
            steer,
            {"layer": [1, 2, 1]},
            ValueError,
            "got the value 1 twice for the axis 'layer'; wanted each once.",
        ),
        (
            steer,
            {"layer": [1], "token": [0]},
            ValueError,
            "got an axis named 'token', which is no parameter of make; it takes layer, scale.",
        ),
        (
            lambda: [],
            {"token": [0]},
            ValueError,
            "got an axis named 'token', which is no parameter of make; it takes nothing.",
        ),
        (steer, {"scale": [1.0]}, ValueError, "got no axis for the parameter 'layer' of make; add layer=[…]."),
        (
            lambda layer, metric: [],
            {"layer": [1]},
            ValueError,
            "got a function make with the parameter 'metric', which Model.sweep takes itself: rename that parameter.",
        ),
        (
            lambda progress: [],
            {"progress": [1]},
            ValueError,
            "got an axis named 'progress', which Model.sweep takes itself: rename that parameter of make.",
        ),
        (
            lambda base: [],
            {"base": [1]},
            ValueError,
            "got an axis named 'base', which is a column of every sweep's table: rename that parameter of make.",
        ),
        (
            steer(1),
            {"layer": [1]},
            TypeError,
            f"got make={steer(1)!r}; wanted a function of the axes' values that returns an intervention, for example "
            "lambda layer: nb.Ablate(f'resid_post.{layer}').",
        ),
        (
            lambda layer: "resid_post.1",
            {"layer": [1]},
            TypeError,
            "got str from make; wanted an intervention such as nb.Steer(…), a list of them, or an Experiment.",
        ),
        (
            lambda layer: None,
            {"layer": [1]},
            TypeError,
            "got NoneType from make; wanted an intervention such as nb.Steer(…), a list of them, or an Experiment.",
        ),
        (
            lambda layer: Experiment("other"),
            {"layer": [1]},
            ValueError,
            "got an experiment on ('other',) from make; wanted one on ('The <b>capital</b>',), so that all points have the "
            "same untouched value: sweep each prompt on its own.",
        ),
    ],
)
def test_what_cannot_be_swept_is_refused(make, axes, kind, message):
    with pytest.raises(kind) as caught:
        grid(TEMPLATE, make, axes)
    assert str(caught.value) == message


def test_several_prompts_are_refused():
    with pytest.raises(
        ValueError, match=r"^got an experiment with 2 prompts to sweep; wanted one: sweep each prompt on its own\.$"
    ):
        grid(Experiment(["a", "b"]), steer, {"layer": [1]})


def test_an_error_in_make_says_at_which_point():
    with pytest.raises(ZeroDivisionError) as caught:
        grid(TEMPLATE, lambda layer, scale: steer(layer, 1 / scale), {"layer": [1, 2], "scale": [1, 0]})
    assert caught.value.__notes__ == ["at layer=1, scale=0"]


def test_a_sweep_does_not_change(info):
    flat = np.array([1.0, 2.0])
    sweep = sweep_of(info, flat, layer=[1, 2])
    flat[:] = 9
    assert sweep.values.to_numpy().tolist() == [1, 2]
    assert sweep.values.attrs["units"] == "logits"
    with pytest.raises(ValueError, match="read-only"):
        sweep.values.to_numpy()[0] = 3


def test_a_control_has_its_column(info):
    frame = sweep_of(info, [1.0, 2.0], control=[0.0, 0.5], layer=[1, 2]).frame()
    assert frame["control"].tolist() == [0, 0.5]


def test_the_metrics_column_gives_way_to_an_axis_of_its_name(info):
    sweep = sweep_of(info, [1.0, 2.0], metric=metrics.rank(0), rank=[8, 9])
    assert list(sweep.frame().columns) == ["rank", "value", "base", "difference"]

    def base(logits, base_logits):
        return 0.0

    own = sweep_of(info, [1.0], metric=Metric.of(base), layer=[1])
    assert list(own.frame().columns) == ["layer", "value", "base", "difference"]


@given(st.floats(-9, 9), st.floats(-9, 9).filter(lambda x: abs(x) > 1e-3))
def test_normalized_takes_corrupted_to_0_and_clean_to_1(corrupted, span):
    clean = corrupted + span
    values = [corrupted, clean, (corrupted + clean) / 2]
    made = grid(TEMPLATE, lambda layer: [], {"layer": [1, 2, 3]})
    sweep = Sweep.of(
        values, made, base=corrupted, metric=METRIC, experiment=TEMPLATE, model=None, control=[corrupted] * 3
    ).normalized(clean=clean, corrupted=corrupted)
    np.testing.assert_allclose(sweep.values, [0, 1, 0.5], atol=1e-9)
    np.testing.assert_allclose(sweep.control, 0, atol=1e-9)
    assert sweep.base == 0
    assert sweep.unit == sweep.values.attrs["units"] == "0 = corrupted, 1 = clean"
    assert sweep.values["layer"].to_numpy().tolist() == [1, 2, 3]


def test_prompts_that_do_not_differ_cannot_normalize(info):
    with pytest.raises(
        ValueError,
        match=r"^got clean=1 and corrupted=1; wanted two finite numbers that differ: choose prompts that "
        r"logit_difference\(' Paris', ' Rome'\) tells apart\.$",
    ):
        sweep_of(info, [1.0], layer=[1]).normalized(clean=1.0, corrupted=1.0)


def test_a_sweep_prints_itself(info):
    sweep = sweep_of(info, [1.0, 2.0, -3.0, 4.0], layer=[1, 2], tokens=["<i>", "b"])
    assert repr(sweep) == (
        "Sweep of logit_difference(' Paris', ' Rome') (logits) over 2 layer × 2 tokens on toy@abc\n"
        "  'The <b>capital</b>': 2 untouched\n"
        "  largest change: -5, to -3, at layer=2, tokens=<i>"
    )
    assert "largest" not in repr(sweep_of(info, [np.nan], layer=[1]))


def test_the_users_text_is_data(info):
    page = sweep_of(info, [1.0, 2.0], tokens=["<i>", "b"])._repr_html_()
    assert "<b>" not in page
    assert "<i>" not in page
    assert "&lt;i&gt;" in page
    assert "&lt;b&gt;capital" in page


def test_charts_are_of_one_or_two_axes(info):
    assert sweep_of(info, [1.0, 2.0], layer=[1, 2]).chart().to_dict()["layer"]
    assert sweep_of(info, [1.0, 2.0], layer=[1, 2], head=[0]).chart().to_dict()["mark"]["type"] == "rect"
    with pytest.raises(
        ValueError,
        match=r"^got a sweep over 3 axes \(layer, head, tokens\) to draw; wanted one or two: sweep fewer, or draw a part",
    ):
        sweep_of(info, [1.0], layer=[1], head=[0], tokens=[0]).chart()


def test_a_frame_is_tidy(info):
    frame = sweep_of(info, [1.0, 2.0], layer=[1, 2]).frame()
    pd.testing.assert_frame_equal(
        frame,
        pd.DataFrame({"layer": [1, 2], "logit_difference": [1.0, 2.0], "base": 2.0, "difference": [-1.0, 0.0]}),
    )
