"""What the project's own files promise about each other."""

import pathlib
import re
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins(name):
    lines = (ROOT / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def bounds():
    wanted = PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["test"]
    return dict(re.match(r"([\w.-]+)(?:\[\w+\])?[>=]=([\w.]+)", line).groups() for line in wanted)


def version(text):
    """Return a version's numbers, padded, so that 2.1 and 2.1.0 are equal."""
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    return numbers + [0] * (4 - len(numbers))


def test_every_lower_bound_is_the_version_that_is_tested():
    tested = pins("constraints-lowest.txt")
    assert {name: version(bound) for name, bound in bounds().items()} == {
        name: version(tested[name]) for name in tested
    }


def test_ci_runs_every_dependency_at_a_pinned_version():
    pinned = {name.lower().replace("_", "-") for name in pins("constraints.txt")}
    assert {name.lower() for name in bounds()} <= pinned


@pytest.mark.parametrize(
    "name", ["constraints.txt", "constraints-lowest.txt", "js/package-lock.json", "pyproject.toml", "Makefile"]
)
def test_no_file_holds_a_download_address(name):
    text = (ROOT / name).read_text()
    assert not re.search(r'"resolved": *"http|--(extra-)?index-url +https?:| @ (file|https?):', text)


def test_every_picture_of_the_readme_is_there():
    readme = (ROOT / "README.md").read_text()
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", readme) + re.findall(r'src="([^"]+)"', readme)
    assert pictures
    assert [picture for picture in pictures if not (ROOT / picture).is_file()] == []


@pytest.mark.slow
def test_the_code_of_the_readme_runs_and_does_what_it_says(demo_name, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    names = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["circle"].test.verdict == "circle"
    assert names["run"].base_said() == (" April",)
    assert names["run"].said() == (" August",)
    assert names["run"].verify().passed
    assert names["patching"].values.shape == (10, 5)
    assert names["run"].experiment.to_code() in capsys.readouterr().out
