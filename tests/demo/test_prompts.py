"""Concepts: their prompts and tables, and one sentence for each wrong input."""

import re
from dataclasses import FrozenInstanceError

import pytest

from nbinterp.demo.prompts import DEMO_CONCEPTS, DIGITS, MONTHS, WEEKDAYS, Concept, digits, months, weekdays


def concept(name="season", labels=("spring", "summer"), templates=("in {}", "We met in {}")):
    return Concept(name, labels, templates, cyclic=True)


def test_prompts_and_table_run_template_by_template():
    assert concept().prompts() == ["in spring", "in summer", "We met in spring", "We met in summer"]
    table = concept().table()
    assert list(table.columns) == ["season", "template"]
    assert list(table["season"]) == ["spring", "summer", "spring", "summer"]
    assert list(table["template"]) == ["in {}", "in {}", "We met in {}", "We met in {}"]


def test_is_a_frozen_value():
    assert concept(labels=["spring", "summer"]) == concept()
    assert hash(concept(templates=["in {}", "We met in {}"])) == hash(concept())
    with pytest.raises(FrozenInstanceError):
        concept().name = "x"


def test_other_braces_are_text():
    assert concept(templates=["{a} {0} in {}"]).prompts()[0] == "{a} {0} in spring"


@pytest.mark.parametrize(("one", "labels", "cyclic"), [(months, 12, True), (weekdays, 7, True), (digits, 10, False)])
def test_demo_concepts(one, labels, cyclic):
    assert DEMO_CONCEPTS[one.name] is one
    assert (len(one.labels), len(one.templates), one.cyclic) == (labels, 15, cyclic)
    prompts = one.prompts()
    assert len(set(prompts)) == 15 * labels
    for prompt, label in zip(prompts, one.table()[one.name], strict=True):
        assert prompt.endswith(" " + label)
        assert "{" not in prompt


def test_their_order():
    assert (MONTHS[0], MONTHS[4], MONTHS[11]) == ("January", "May", "December")
    assert (WEEKDAYS[0], WEEKDAYS[6]) == ("Monday", "Sunday")
    assert (DIGITS[0], DIGITS[9]) == ("zero", "nine")


@pytest.mark.parametrize(
    ("wrong", "kind", "text"),
    [
        (
            {"templates": ["in {}", "in spring"]},
            ValueError,
            "got the template 'in spring' in the concept 'season'; wanted a text that holds '{}' once, at its end, where the label goes: "
            "write for example 'We met in {}'.",
        ),
        (
            {"templates": ["in {}."]},
            ValueError,
            "got the template 'in {}.' in the concept 'season'; wanted a text that holds '{}' once",
        ),
        ({"templates": ["{} in {}"]}, ValueError, "got the template '{} in {}' in the concept 'season'"),
        (
            {"templates": []},
            ValueError,
            "got no templates in the concept 'season'; wanted at least one, for example 'We met in {}'.",
        ),
        ({"templates": "in {}"}, TypeError, "got templates='in {}' in the concept 'season'; wanted a list of texts."),
        (
            {"templates": ["in {}", "in {}"]},
            ValueError,
            "got 'in {}' twice in the templates of the concept 'season'; give each one once.",
        ),
        ({"labels": "spring"}, TypeError, "got labels='spring' in the concept 'season'; wanted a list of texts."),
        ({"labels": [1, 2]}, TypeError, "got labels=[1, 2] in the concept 'season'; wanted a list of texts."),
        (
            {"labels": ["a", "b", "a"]},
            ValueError,
            "got 'a' twice in the labels of the concept 'season'; give each one once.",
        ),
        ({"labels": ["a"]}, ValueError, "got 1 labels in the concept 'season'; wanted at least 2, in their order."),
        (
            {"labels": ["a", " b"]},
            ValueError,
            "got the label ' b' in the concept 'season'; wanted a word without spaces around it: the space before it belongs into the template.",
        ),
        (
            {"name": "token"},
            ValueError,
            "got the concept name 'token'; wanted text that can name a column, and none of template, text, prompt, token, position, "
            "row, feature: write for example 'month'.",
        ),
        ({"name": ""}, ValueError, "got the concept name ''"),
        ({"name": 3}, ValueError, "got the concept name 3"),
    ],
)
def test_wrong_concepts(wrong, kind, text):
    with pytest.raises(kind, match="^" + re.escape(text)):
        concept(**wrong)
