import numpy as np

from nbinterp.geometry import fit_manifold, significance
from tests.geometry import planted


def test_a_result_wraps_in_a_notebook_and_says_what_its_repr_says():
    test = significance(np.random.default_rng(0).normal(size=(40, 2)), n_null=99)
    shown = test._repr_html_()
    assert "<strong>Significance: no loop</strong>" in shown
    for reason in test.reasons:
        assert reason.replace("<", "&lt;").replace(">", "&gt;") in shown


def test_lines_keep_their_depth_and_labels_are_shown_as_text():
    rows, labels, groups = planted.labelled(planted.circle(4))
    names = np.array(["<img src=x onerror=alert(1)>", "</script>", "a & b", "$x$"])
    cloud = planted.cloud_of(rows, labels, groups, names)
    shown = fit_manifold(cloud, "month", "template", harmonics=1)._repr_html_()
    assert "<img" not in shown
    assert "&lt;img src=x onerror=alert(1)&gt;" in shown
    assert "mathjax_ignore" in shown
    assert 'style="padding-left:2em' in shown
    assert 'style="padding-left:3em' in shown
