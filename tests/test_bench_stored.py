"""Files of results: what is kept of them, and what is none."""

import os
import re
from pathlib import Path

import pytest
from stub_results import RESULTS, damaged, measured

from bench import program, stored, tables


def test_results_are_saved_beside_others(tmp_path):
    found = measured()
    path = str(tmp_path / "results.json")
    stored.write_json(path, {"processes": {"seconds": 1}})
    stored.write_json(path, found)
    assert stored.read_json(path) == found | {"processes": {"seconds": 1}}


def test_a_write_that_is_cut_short_leaves_what_was_there(tmp_path, monkeypatch):
    path, link = tmp_path / "results.json", tmp_path / "link.json"
    link.symlink_to(path)
    stored.check_json(str(link))
    stored.write_json(str(link), RESULTS)
    path.chmod(0o600)

    def cut_short(place, content, encoding):
        place.write_bytes(content[: len(content) // 2].encode(encoding))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", cut_short)
        with pytest.raises(KeyboardInterrupt):
            stored.write_json(str(link), RESULTS | {"threads": 1})
    assert stored.read_json(str(path)) == RESULTS
    stored.write_json(str(link), {"processes": {}})
    assert stored.read_json(str(path)) == RESULTS | {"processes": {}}
    assert path.stat().st_mode & 0o777 == 0o600
    assert link.is_symlink()
    assert set(tmp_path.iterdir()) == {path, link}


def test_what_is_no_regular_file_is_not_replaced(monkeypatch):
    monkeypatch.setattr(os, "replace", lambda *paths: pytest.fail("replaced"))
    stored.check_json(os.devnull)
    stored.write_json(os.devnull, RESULTS)
    stored.write_json(os.devnull, RESULTS)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[1]", "it is no JSON object"),
        ("no JSON", "Expecting value"),
        ("{}", "it has none of cases, processes, book"),
        ('{"name": "package.json"}', "it has none of"),
        ('{"cases": 1, "machine": {}}', "is wrong|is missing"),
        (damaged(lambda results: results.pop("machine")), "machine is missing"),
        (damaged(lambda results: results["machine"].pop("cores")), "machine.cores is missing"),
        (damaged(lambda results: results["cases"][0]["contestants"][1].pop("seconds")),
         r"cases\[0\].contestants\[1\].seconds is missing"),
        (damaged(lambda results: results["cases"][0]["contestants"][1].pop("failure")),
         r"cases\[0\].contestants\[1\].failure is missing"),
        (damaged(lambda results: results["cases"].append("case")), r"cases\[1\] is wrong"),
        (damaged(lambda results: results["cases"].clear()), "cases is empty"),
        (damaged(lambda results: results.update(threads=0)), "threads is wrong"),
        (damaged(lambda results: results["machine"].update(cores=0)), "machine.cores is wrong"),
        *((damaged(lambda results, part=part: results["cases"][0].update(part)), words)
          for part, words in (
              ({"group": ""}, r"cases\[0\].group is wrong"),
              ({"contestants": []}, r"cases\[0\].contestants is empty"),
              ({"flops": float("nan")}, r"cases\[0\].flops is wrong"),
              ({"goals": {"numpy": [1]}}, r"cases\[0\].goals is wrong"),
              ({"array_bytes": "many"}, r"cases\[0\].array_bytes is wrong"),
              ({"dtype": "float8"}, r"machine.speed has no float8, which cases\[0\] needs"),
          )),
        *((damaged(lambda results, part=part: results["cases"][0]["contestants"][1].update(part)),
           rf"cases\[0\].contestants\[1\]{words}")
          for part, words in (
              ({"seconds": [0.0]}, ".seconds is wrong"),
              ({"seconds": [0.1, -0.1]}, ".seconds is wrong"),
              ({"seconds": [float("inf")]}, ".seconds is wrong"),
              ({"seconds": [float("nan")]}, ".seconds is wrong"),
              ({"seconds": [10**400]}, ".seconds is wrong"),
              ({"steps": -1}, ".steps is wrong"),
              ({"steps": 0}, " was timed for 0 steps"),
              ({"distances": {"y": "far"}}, ".distances is wrong"),
              ({"agrees": False}, ".distances is empty"),
          )),
        *((damaged(lambda results, part=part: results["machine"]["speed"].update(part)), words)
          for part, words in (
              ({"gflops_per_core": {"float32": 0}}, "machine.speed.gflops_per_core is wrong"),
              ({"gb_per_second": {}}, "machine.speed.gb_per_second is wrong"),
          )),
    ],
)  # fmt: skip
def test_other_files_are_no_results(tmp_path, capsys, content, words):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="has no results") as found:
        stored.write_json(str(path), RESULTS)
    assert re.search(words, str(found.value))
    assert path.read_text(encoding="utf-8") == content
    assert program.main(["report", "--readme", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_stored_results_can_be_read():
    path = str(Path(__file__).parents[1] / "bench" / "results" / "epyc-2-cores.json")
    assert "in cache" in tables.readme_block(stored.read_json(path))
