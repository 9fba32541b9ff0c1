import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.linear_model import RidgeCV

from nbinterp.geometry.crossvalidation import (
    PENALTIES,
    cross_validated,
    exchanges,
    folds_of,
    neural_probe,
    p_of_few,
    task_of,
)
from nbinterp.geometry.preparation import Preparation, prepare
from nbinterp.geometry.probes import probe
from tests.geometry import planted

FAST = {"neural": False, "n_permutations": 99}


def noise(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def direction(n=200, d=30, seed=0):
    """Return rows with a binary label along one direction, and the label."""
    rng = np.random.default_rng(seed)
    label = rng.integers(2, size=n)
    return rng.normal(size=(n, d)) + 4 * np.outer(label, planted.frame_of(d, 1, seed)[0]), label


def exclusive_or(n=300, d=8, seed=0):
    """Return rows whose label is whether two coordinates have the same sign, and the label."""
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1, 1], size=(n, 2))
    rows = 2 * signs @ planted.frame_of(d, 2, seed) + 0.4 * rng.normal(size=(n, d))
    return rows, np.where(signs.prod(axis=1) > 0, "same", "different")


def score(report, which):
    return report.frame().set_index("probe")["score"][which]


def p_of(report, which):
    return report.frame().set_index("probe")["p"][which]


def test_a_direction_is_read_by_a_line_and_nothing_gains_on_it():
    rows, label = direction()
    found = probe(rows, label)
    assert found.kind == "classification"
    assert found.chance == 0.5
    assert score(found, "linear") > 0.9
    assert p_of(found, "linear") == 0.005
    assert found.gain_interval[0] < 0 < found.gain_interval[1] + 0.05
    assert "no sign of more than a linear encoding" in repr(found)


def test_exclusive_or_is_read_by_nonlinear_probes_only():
    rows, label = exclusive_or()
    found = probe(rows, label)
    assert score(found, "linear") < 0.65
    assert score(found, "kernel") > 0.9
    assert score(found, "neural") > 0.9
    assert found.gain_interval[0] > 0.2
    assert p_of(found, "kernel") == p_of(found, "neural") == 0.005


def test_labels_along_a_line_are_no_trap():
    # least squares on indicators alone never guesses the middle ones
    rng = np.random.default_rng(0)
    label = rng.integers(5, size=300)
    rows = 3 * np.outer(label, planted.frame_of(20, 1)[0]) + 0.5 * rng.normal(size=(300, 20))
    assert score(probe(rows, label, **FAST), "linear") > 0.9


def test_numbers_are_read_as_numbers():
    rng = np.random.default_rng(0)
    number = rng.normal(size=200)
    rows = np.outer(number, planted.frame_of(20, 1)[0]) * 3 + 0.3 * rng.normal(size=(200, 20))
    found = probe(rows, number)
    assert found.kind == "regression"
    assert found.chance == 0
    assert (found.frame()["score"] > 0.9).all()
    size = probe(rows, np.abs(number))
    assert score(size, "linear") < 0.2
    assert score(size, "kernel") > 0.6
    assert size.gain_interval[0] > 0.2


def test_nothing_is_read_from_noise():
    # more features than rows: any probe fits the rows that it learns from
    found = probe(noise(60, 200), np.arange(60) % 3)
    assert (found.frame()["score"] < 0.55).all()
    assert (found.frame()["p"] > 0.01).all()


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_p_values_are_uniform_where_nothing_is(kind):
    p = []
    for seed in range(60):
        values = np.random.default_rng(1000 + seed).normal(size=40)
        values = values if kind == "regression" else (values > 0).astype(int)
        report = probe(noise(40, 4, seed), values, n_folds=4, neural=False, n_permutations=39, seed=seed)
        p.append([p_of(report, "linear"), p_of(report, "kernel")])
    for column in np.transpose(p):
        assert kstest(column, "uniform").pvalue > 0.01


def test_a_template_never_stands_in_two_folds():
    groups = np.repeat(np.arange(15), 12)
    for kind in ("classification", "regression"):
        task = task_of(np.tile(np.arange(12), 15).astype(object), kind, None, "month")
        folds = folds_of(task, groups, 5, 0)
        assert all(len(set(folds[groups == group])) == 1 for group in range(15))
        assert sorted(set(folds)) == [0, 1, 2, 3, 4]


def test_templates_that_give_the_label_away_are_seen_through():
    # each group has an own offset and an own label: reading the group is not reading the label
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 10)
    label = rng.permutation(np.arange(20) % 2)[groups]
    rows = 3 * rng.normal(size=(20, 30))[groups] + rng.normal(size=(200, 30))
    assert score(probe(rows, label, **FAST), "linear") > 0.9
    kept_together = probe(rows, label, groups=groups, **FAST)
    assert score(kept_together, "linear") < 0.75
    assert p_of(kept_together, "linear") > 0.01
    assert "folds by groups" in kept_together.provenance


def test_exchanges_stay_within_groups_or_move_whole_groups():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(15), 12)
    within = exchanges(task_of(np.tile(np.arange(12), 15).astype(object), "auto", None, "x"), groups, 20, rng)
    np.testing.assert_array_equal(within[0], np.arange(180))
    assert (groups[within] == groups).all()
    assert (np.sort(within, axis=1) == np.arange(180)).all()
    task = task_of((groups % 3).astype(object), "auto", None, "x")
    between = exchanges(task, groups, 20, rng)
    labels = task.codes[between]
    assert all(len(set(row[groups == group])) == 1 for row in labels for group in range(15))


def test_prompts_are_kept_together_where_they_have_several_rows():
    cloud = planted.months()
    assert "folds of rows" in probe(cloud, "month", n_components=5, **FAST).provenance
    assert "folds by template" in probe(cloud, "month", within="template", n_components=5, **FAST).provenance


def test_the_linear_probe_is_ridge_regression_with_the_penalty_of_least_left_out_error():
    rng = np.random.default_rng(0)
    rows, number = noise(80, 6), rng.normal(size=80)
    number = number + rows[:, 0]
    task = task_of(number.astype(object), "regression", None, "x")
    folds = folds_of(task, np.arange(80), 4, 0)
    marks = cross_validated(rows, task, folds, np.arange(80)[None], None, 0)
    for fold in range(4):
        train, test = folds != fold, folds == fold
        projection = Preparation(6).fit(rows[train])
        seen, unseen = projection.transform(rows[train]), projection.transform(rows[test])
        size = np.sqrt((seen**2).mean())
        alphas = PENALTIES * (np.linalg.svd(seen / size, compute_uv=False) ** 2).mean()
        ridge = RidgeCV(alphas).fit(seen / size, number[train])
        np.testing.assert_allclose(
            marks["linear"][test, 0], (ridge.predict(unseen / size) - number[test]) ** 2, rtol=1e-6
        )


def test_many_exchanges_at_once_are_each_what_they_are_alone():
    rows, label = direction(60, 10)
    task = task_of(label.astype(object), "auto", None, "x")
    folds = folds_of(task, np.arange(60), 5, 0)
    orders = exchanges(task, np.arange(60), 6, np.random.default_rng(0))
    together = cross_validated(rows, task, folds, orders, None, 0)
    for i, order in enumerate(orders):
        alone = cross_validated(rows, task, folds, order[None], None, 0)
        for which in ("linear", "kernel"):
            np.testing.assert_array_equal(together[which][:, i], alone[which][:, 0])


def test_the_neural_probe_learns_anew_from_exchanged_labels():
    """Where folds learn from each other's rows, what was learnt from the given labels is no null for exchanged ones."""
    rows, label = direction(40, 4)
    rng = np.random.default_rng(0)
    for kind, values in (("classification", label), ("regression", rng.normal(size=40))):
        task = task_of(values.astype(object), kind, None, "x")
        folds = folds_of(task, np.arange(40), 3, 0)
        orders = exchanges(task, np.arange(40), 2, rng)
        together, _ = neural_probe(rows, task, folds, orders, None, None, 0)
        for i, order in enumerate(orders):
            exchanged = replace(task, targets=task.targets[order], codes=task.codes[order])
            alone, _ = neural_probe(rows, exchanged, folds, np.arange(40)[None], None, None, 0)
            np.testing.assert_allclose(together[:, i], alone[:, 0])


def test_p_of_few_exchanges_is_uniform_where_nothing_is():
    draws = np.random.default_rng(0).normal(3, 2, size=(4000, 20))
    p = [p_of_few(row[0], row[1:], 0.0) for row in draws]
    assert kstest(p, "uniform").pvalue > 0.01
    assert p_of_few(20, draws[0, 1:], 0.005) == 0.005
    assert p_of_few(1.0, np.zeros(19), 0.005) == 0.005
    assert p_of_few(0.0, np.zeros(19), 0.005) == 1


def test_selectivity_tells_a_property_from_a_memory_of_words():
    rng = np.random.default_rng(0)
    types = np.repeat(np.arange(40), 10)
    label = rng.permutation(np.arange(40) % 2)
    words = rng.normal(size=(40, 60))
    memory = probe(3 * words[types] + rng.normal(size=(400, 60)), label[types], types=types, **FAST)
    assert score(memory, "linear") > 0.9
    assert abs(memory.frame()["selectivity"].iloc[0]) < 0.1
    assert "the linear probe may know the words by heart" in repr(memory)
    along = 4 * np.outer(label[types], planted.frame_of(60, 1)[0])
    real = probe(along + rng.normal(size=(400, 60)), label[types], types=types, **FAST)
    assert score(real, "linear") > 0.9
    assert real.frame()["selectivity"].iloc[0] > 0.25
    assert "for random labels of the types" in repr(real)


def test_without_types_there_is_no_control():
    found = probe(*direction(), **FAST)
    assert found.frame()["control"].isna().all()
    assert "no control task: no types were given (types=…: which rows are the same word)." in found.reasons


def test_months_are_a_cycle_and_number_words_a_line():
    found = probe(planted.months(), "month", within="template", kind="cyclic", **FAST)
    assert found.circle.verdict == "circle"
    assert found.circle.r2_circle > found.circle.r2_line
    assert score(found, "linear") > 0.9
    line = planted.cloud_of(*planted.labelled(planted.line(12)))
    found = probe(line, "month", within="template", kind="cyclic", **FAST)
    assert found.circle.verdict == "not a circle"
    ordered = probe(line, "month", within="template", kind="regression", order=planted.MONTHS, **FAST)
    assert ordered.circle is None
    assert score(ordered, "linear") > 0.9


def test_what_is_prepared_is_projected_anew_in_each_fold():
    rows, label = direction()
    # one component would hide the direction if it were kept
    found = probe(prepare(rows, 1), label, **FAST)
    assert score(found, "linear") == score(probe(rows, label, **FAST), "linear")


def test_looks_multiply_p():
    rows, label = direction()
    assert p_of(probe(rows, label, looks=7, **FAST), "linear") == pytest.approx(7 * 0.01)


def test_many_rows_are_sampled():
    rows, label = direction(400)
    found = probe(rows, label, max_rows=150, **FAST)
    assert found.n_rows == 150
    assert "; 150 rows drawn at random; " in found.provenance


def test_the_report_has_frames():
    rows, label = direction()
    found = probe(rows, label, **FAST)
    assert list(found.frame().columns) == ["probe", "score", "error", "control", "selectivity", "p"]
    means = found.by_fold.groupby("probe")["score"].mean()
    assert means["linear"] == pytest.approx(score(found, "linear"), abs=0.01)
    assert repr(found).startswith("ProbeReport of label, 2 labels, 200 rows in 5 folds\n")


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (["a"] * 60, {}, "got label with the single value 'a'; wanted at least 2 to tell apart."),
        (
            ["a"] * 59 + ["b"],
            {},
            "got the label 'b' in a single row; wanted each label in 2 or more, to learn from one and be tested on another: "
            "drop it or collect more.",
        ),
        (
            ["a", "b", "c"] * 20,
            {"groups": ["x", "y"] * 30},
            "got 2 groups for n_folds=5; wanted at least as many groups as folds, and 2 folds: lower n_folds, or collect more groups.",
        ),
        (
            ["a", "b"] * 30,
            {"kind": "regression"},
            "got label with values that are no numbers, such as 'a', for kind='regression'; pass their order, or choose "
            "kind='classification'.",
        ),
        (
            [True, False] * 30,
            {"kind": "regression"},
            "got label with values that are no numbers, such as True, for kind='regression'; pass their order, or choose "
            "kind='classification'.",
        ),
        (["a", "b"] * 30, {"kind": "cyclic"}, "got 2 labels in label; wanted at least 3 for a cycle."),
        (
            ["a", "b"] * 30,
            {"kind": "linear"},
            "got kind='linear'; choose from auto, classification, regression, cyclic.",
        ),
        (["a", None] * 30, {}, "got 30 missing values in by; wanted one for each row: drop those rows first."),
        (["a", "b"] * 20, {}, "got 40 values for by and 60 rows; wanted one value a row: pass the same rows in both."),
        (
            [0.5, float("inf")] * 30,
            {"kind": "regression"},
            "got infinite numbers in label; wanted finite ones: drop those rows first.",
        ),
        (
            ["a", "b"] * 30,
            {"n_permutations": 5},
            "got looks=1, n_permutations=5; wanted at least 1 look and 19 permutations.",
        ),
    ],
)
def test_bad_requests_get_one_sentence(values, options, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        probe(noise(60, 5), values, **options)


def test_rows_that_do_not_differ_are_refused():
    with pytest.raises(ValueError, match="^got rows that are all equal; wanted rows that differ in some feature"):
        probe(np.ones((60, 5)), ["a", "b"] * 30)
