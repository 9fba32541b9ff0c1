import numpy as np
import pytest

from nbinterp import Experiment, Steer
from nbinterp.results import Result, Vocabulary, softmax
from nbinterp.tokens import TokenizedPrompt


@pytest.fixture
def result(info):
    experiment = Experiment(["a <b>"], Steer("resid_post.1", direction=np.ones(3))).on(info)
    prompt = TokenizedPrompt("a <b>", (0, 1), ("a", " <b>"), ((0, 1), (1, 5)))
    base, changed = np.log([[0.5, 0.2, 0.2, 0.1]]), np.log([[0.1, 0.2, 0.6, 0.1]])
    return Result(
        experiment,
        (prompt,),
        base.astype("f4"),
        changed.astype("f4") + 7,
        {},
        {},
        Vocabulary(("a", " <b>", " c", " c")),
    )


def test_top_says_before_and_after(result):
    top = result.top(2)
    assert list(top.columns) == ["token", "base", "changed", "difference"]
    assert top["token"].tolist() == [" c", " <b>"]
    np.testing.assert_allclose(top[["base", "changed", "difference"]], [[0.2, 0.6, 0.4], [0.2, 0.2, 0]], atol=1e-6)
    assert result.top(1, by="base")["token"].tolist() == ["a"]
    assert result.top(2, by="difference")["token"].tolist() == ["a", " c"]
    with pytest.raises(ValueError, match="got by='size'; choose one of 'changed', 'base', 'difference'."):
        result.top(by="size")


def test_what_was_said(result):
    assert result.said() == (" c",)
    assert result.base_said() == ("a",)
    assert result.said(among=["a", " <b>"]) == (" <b>",)
    difference = result.logit_difference("a", " <b>")
    np.testing.assert_allclose(difference[["base", "changed"]], [[np.log(2.5), np.log(0.5)]], atol=1e-5)


def test_the_users_text_is_data(result):
    page = result._repr_html_()
    assert "<b>" not in page
    assert "&lt;b&gt;" in page


def test_a_result_prints_itself(result):
    assert repr(result) == "Result on toy@abc (Steer at resid_post.1)\n  'a <b>': 'a' → ' c'"
    assert result.frame(2)["prompt"].tolist() == ["a <b>", "a <b>"]


def test_of_equal_texts_the_first_token_counts(result):
    assert result.vocabulary.id(" c") == 2


def test_softmax_survives_large_logits():
    np.testing.assert_allclose(softmax(np.array([[1e4, 1e4]], dtype="f4")), [[0.5, 0.5]])
