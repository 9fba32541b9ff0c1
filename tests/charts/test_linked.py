import numpy as np
import pandas as pd
import pytest

from nbinterp.charts.linked import BRUSH_PCA, BRUSH_UMAP, PICK_CLASS, PICK_LABEL, linked_views, selected_rows
from nbinterp.geometry import pca, persistence
from tests.charts.test_charts import drawn
from tests.geometry import planted

ROWS = pd.DataFrame(
    {
        "row": [10, 11, 12, 13, 14],
        "pc1": [0.0, 1, 2, 3, np.nan],
        "pc2": [0.0, 0, 0, 0, np.nan],
        "umap1": [0.0, 0, 0, 0, 0],
        "umap2": [5.0, 6, 7, 8, 9],
        "month": ["May", "May", "June", "July", "July"],
    }
)
MEMBERS = pd.DataFrame({"class_id": ["H1.0", "H1.0", "H1.1"], "row": [10, 12, 13]})
ALL = [10, 11, 12, 13]


@pytest.mark.parametrize(
    ("selections", "expected"),
    [
        ({}, ALL),
        ({BRUSH_PCA: {}, BRUSH_UMAP: None, PICK_CLASS: [], PICK_LABEL: {}}, ALL),
        ({BRUSH_PCA: {"pc1": [0.5, 2.5], "pc2": [-1, 1]}}, [11, 12]),
        ({BRUSH_PCA: {"pc1": [2.5, 0.5], "pc2": [1, -1]}}, [11, 12]),
        ({BRUSH_PCA: {"pc1": [0.5, 9], "pc2": [-1, 1]}, BRUSH_UMAP: {"umap1": [-1, 1], "umap2": [6.5, 9]}}, [12, 13]),
        ({BRUSH_PCA: {"pc1": [8, 9], "pc2": [8, 9]}}, []),
        ({PICK_CLASS: [{"class_id": "H1.0"}]}, [10, 12]),
        ({PICK_CLASS: {"class_id": ["H1.0", "H1.1"], "vlPoint": {"or": []}}}, [10, 12, 13]),
        ({PICK_CLASS: [{"class_id": "H0.0"}]}, []),
        ({PICK_LABEL: [{"label": "May"}]}, [10, 11]),
        ({PICK_LABEL: {"label": ["May", "July"]}, PICK_CLASS: {"class_id": ["H1.0"]}}, [10]),
    ],
)
def test_selected_rows(selections, expected):
    assert selected_rows(selections, ROWS, MEMBERS, color="month") == expected


def test_a_selection_that_the_chart_does_not_have_is_refused():
    with pytest.raises(
        LookupError, match="^got the selection 'brush'; known are brush_pca, brush_umap, pick_class, pick_label.$"
    ):
        selected_rows({"brush": {}}, ROWS, MEMBERS)
    with pytest.raises(
        LookupError, match="^got a picked label without color; pass the column that the chart is coloured by.$"
    ):
        selected_rows({PICK_LABEL: [{"label": "May"}]}, ROWS, MEMBERS)


@pytest.fixture(scope="module")
def parts():
    cloud = planted.months()
    diagram = persistence(cloud, within="template")
    rows = pca(cloud, within="template").frame().assign(umap1=lambda f: -f["pc2"], umap2=lambda f: f["pc1"])
    return rows, diagram.frame(), diagram.members()


def test_the_chart_has_the_four_selections_and_each_table_once(parts):
    spec = linked_views(*parts, color="month", cyclic=True).to_dict()
    assert {p["name"] for p in spec["params"]} == {BRUSH_PCA, BRUSH_UMAP, PICK_CLASS, PICK_LABEL}
    assert {
        name: len(values) for name, values in spec["datasets"].items() if name in ("rows", "classes", "members")
    } == {
        "rows": 180,
        "classes": len(parts[1]),
        "members": len(parts[2]),
    }


def test_it_is_drawn_within_a_notebooks_width(parts):
    pixels = drawn(linked_views(*parts, color="month", cyclic=True, threshold=0.5))
    assert pixels.shape[1] <= 1020
    assert (pixels[..., 3] > 200).sum() > 5000


def test_numbers_have_a_continuous_colour_and_no_legend_to_click(parts):
    rows, classes, members = parts
    spec = linked_views(rows.assign(size=np.linspace(0, 1, len(rows))), classes, members, color="size").to_dict()
    assert {p["name"] for p in spec["params"]} == {BRUSH_PCA, BRUSH_UMAP, PICK_CLASS}


@pytest.mark.parametrize(
    ("what", "index", "column"), [("rows", 0, "umap2"), ("classes", 1, "birth"), ("members", 2, "row")]
)
def test_a_missing_column_is_named(parts, what, index, column):
    frames = list(parts)
    frames[index] = frames[index].drop(columns=column)
    with pytest.raises(LookupError, match=f"^got {what} without the column '{column}'; known columns are "):
        linked_views(*frames, color="month")
