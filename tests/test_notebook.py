"""examples/first_look.ipynb runs from a clean clone."""

import nbformat
import pytest

from emotion.paths import HOME

nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("pandas")


def test_the_notebook_runs_and_shows_what_it_says(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where it works
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(HOME / "examples" / "first_look.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # stored without
    where = {"metadata": {"path": str(HOME / "examples")}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    pictures = [one for one in shown if "image/png" in one.get("data", {})]
    tables = [one for one in shown if "text/html" in one.get("data", {})]
    said = "".join(one.get("text", "") for one in shown)
    assert (len(pictures), len(tables)) == (2, 3)
    assert "('speech',)" in said
    assert "no knowledge of people" in said  # the model is of generated clips, and says so
