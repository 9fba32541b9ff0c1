"""A playground as text that outlives it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbinterp.experiment import Experiment

KINDS = ("code", "experiment", "json", "html")


def sliding(n: int, there: int) -> str:
    """Return in words how many of `n` sliders still slide in a page of its own, by their stored curves."""
    if there == n:
        return "Every slider still slides." if n else ""
    return f"Of {n} sliders {there} still slide{'s' if there == 1 else ''}: the others have no curve."


def exported(kind: str, experiment: Experiment) -> tuple[str, str, str]:
    """Return a file's name, its type and what is in it.

    Parameters
    ----------
    kind : {"code", "experiment", "json"}
        A script of plain nnsight, a script of nbinterp, or the experiment's JSON.
    experiment : Experiment
        Bound to its model.

    Raises
    ------
    ValueError
        For another kind.
    TypeError
        When tokens are chosen by a function.
    """
    if kind == "code":
        return "experiment_nnsight.py", "text/x-python", experiment.to_code()
    if kind == "experiment":
        return "experiment.py", "text/x-python", script(experiment)
    if kind == "json":
        return "experiment.json", "application/json", experiment.to_json()
    raise ValueError(f"got the export {kind!r}; wanted one of {', '.join(KINDS)}.")


def script(experiment: Experiment) -> str:
    """Return a script that builds the experiment again and runs it."""
    text = experiment.to_json()
    # raw, so that the quotes of JSON stay readable
    literal = repr(text) if "'''" in text else f"r'''{text}'''"
    assert experiment.model is not None
    return (
        "import nbinterp as nb\n\n"
        f"experiment = nb.Experiment.from_json({literal})\n\n"
        f"model = nb.Model.open({experiment.model.name!r})\n"
        "result = model.run(experiment)\n"
        "print(result.top(10))\n"
    )
