"""The tutorials run, and what they say is true: each claim stands in the text and holds in the kernel that ran it."""

import pathlib
import re

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = pathlib.Path(__file__).parents[1] / "notebooks"

# (words of the tutorial, what must hold in its kernel)
CIRCLE_OF_MONTHS = [
    ("a model of 135 million parameters", "130e6 < sum(p.numel() for p in model.nnsight._module.parameters()) < 136e6"),
    (
        "Eleven of twelve are right; it thinks that December follows October.",
        "[s == f' {months.labels[(i + 1) % 12]}' for i, s in enumerate(asked.said())].count(True) == 11 and asked.said()[9] == ' December'",
    ),
    ("The model is a stack of 30 layers.", "model.info.n_layers == 30"),
    ("each token is a list of 576 numbers", "model.info.d_model == 576"),
    ("a *cloud* of 180 rows", "len(cloud) == 180"),
    (
        "in the order of the calendar, all the way round",
        "(lambda a: (np.diff(a) > 0).all() and a[-1] < a[0] + 2 * np.pi)(np.unwrap(np.arctan2(circle.frame()['y'], circle.frame()['x'])))",
    ),
    ("no shuffled order goes round as neatly", "circle.test.p_order <= 1 / 10_000 and circle.test.n_orders == 9_999"),
    (
        "A circle predicts it better than a straight line.",
        "circle.test.r2_circle > circle.test.r2_line and .63 <= circle.test.r2_circle <= .73 and .28 <= circle.test.r2_line <= .59",
    ),
    ("about as long as any other step", "1.0 <= circle.test.wrap_ratio <= 1.3"),
    (
        "It holds at every layer that we looked at.",
        "(lambda t: (t['verdict'] == 'circle').all() and (t['p_holm'] <= .01).all() and t['wrap_ratio'].between(1.0, 1.3).all())"
        "(nb.circle_tests(cloud, by='month', within='template'))",
    ),
    ("The weekdays are called a circle at each layer", "(controls['weekday']['verdict'] == 'circle').all()"),
    (
        "the digits are in order, and still never called one",
        "(controls['digit']['verdict'] == 'not a circle').all() and (controls['digit']['p_order'] <= .05).mean() >= .6",
    ),
    ("from *nine* back to\n*zero* is a long way", "(controls['digit']['wrap_ratio'] > 1.3).all()"),
    (
        "With twelve points it has\ntoo little to go by, and says so",
        "nb.loop_significance(nb.persistence(circle.centroids.points)).verdict == 'too few points to say'",
    ),
    (
        "the fifteen Januaries are each other's nearest neighbours: it shows twelve islands and\nloses the circle",
        "(lambda f: all(f.loc[(((f[['umap1', 'umap2']] - r[['umap1', 'umap2']].astype(float)) ** 2).sum(axis=1)).nsmallest(15).index, 'month']"
        ".eq(r['month']).all() for _, r in f.iterrows()))(atlas.rows)",
    ),
    ("What is selected there is selected here.", "len(atlas.selection) == 180"),
    ("Untouched, the model says *April*.", "model.run(dial.spec['prompt']).said() == (' April',)"),
    (
        "Turn the hand to July, and it says *August*, although the text still says March.",
        "dial.frame().set_index('token')['turned'].idxmax() == ' August' and dial.layer == 5 and ' March' in dial.spec['prompt']",
    ),
    (
        "There the\nanswer stays with what the text says, *April* or *March*, wherever the hand points.",
        "(lambda r: set(r.loc[r.groupby('angle')['control'].idxmax(), 'token']) <= {' April', ' March'})(dial.response())",
    ),
    ("all 132 pairs of months", "len(pairs) == 132"),
    ("The **random** push changes the answer to the right one in hardly any case.", "outcome.iloc[4] <= .05"),
    ("carries about a quarter of it", ".18 <= outcome.iloc[0] <= .30"),
    (
        "The more the curve may bend, the nearer it comes to each single month, and the better it works.",
        "outcome.iloc[:4].is_monotonic_increasing and .6 <= outcome.iloc[2] <= .72 and outcome.iloc[3] >= .9",
    ),
    (
        "With another question the circle alone goes further.",
        "again.iloc[0] > outcome.iloc[0] and .55 <= again.iloc[0] <= .65 and .78 <= again.iloc[1] <= .89 and .12 <= again.iloc[2] <= .22",
    ),
    (
        "it does not know the answer to *this* one",
        "sum(untouched[m] == f' {months.labels[(i + 1) % 12]}' for i, m in enumerate(months.labels)) <= 6",
    ),
    (
        "Four words are too few for any order to be surprising",
        "nb.circle_test(rows, by='season', within='template').verdict == 'too few labels to say'",
    ),
]


def text_of(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def checked(notebook, claims):
    """Return the notebook with a cell that evaluates each claim and prints what came of it."""
    lines = ["print()"]
    for number, (_, condition) in enumerate(claims):
        lines.append(f"print('claim', {number}, bool({condition}))")
    return nbformat.from_dict({**notebook, "cells": [*notebook.cells, nbformat.v4.new_code_cell("\n".join(lines))]})


@pytest.mark.slow
def test_every_claim_of_the_circle_of_months_holds(demo_name, tmp_path):
    notebook = nbformat.read(NOTEBOOKS / "01_the_circle_of_months.ipynb", as_version=4)
    text = text_of(notebook)
    for words, _ in CIRCLE_OF_MONTHS:
        assert words in text, f"the tutorial no longer says {words!r}"
    run = checked(notebook, CIRCLE_OF_MONTHS)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(run, timeout=600, kernel_name="python3", resources=resources, store_widget_state=False).execute()
    printed = "".join(output.get("text", "") for output in run.cells[-1].outputs)
    answers = dict(re.findall(r"^claim (\d+) (True|False)$", printed, flags=re.MULTILINE))
    assert len(answers) == len(CIRCLE_OF_MONTHS), printed
    wrong = [CIRCLE_OF_MONTHS[int(number)] for number, answer in answers.items() if answer == "False"]
    assert wrong == []


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_a_tutorial_is_stored_with_its_outputs_and_reads_without_running(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size < 2_000_000
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    for output in outputs:
        data = output.get("data", {})
        if "application/vnd.jupyter.widget-view+json" in data:
            assert "<img " in data["text/html"], "a widget leaves a picture"
        shown = str(data) + output.get("text", "")
        assert "cdn." not in shown
        assert not re.search(r"<script", shown), "nothing in it has to be run to be seen"
        assert not re.search(r"/(root|home|Users)/", shown), "no path of the machine that ran it"
