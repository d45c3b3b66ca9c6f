"""`python -m bench.processes`: whole processes, and who failed or differs."""

import json

import pytest

from bench import documents, processes


def test_an_empty_name_is_refused_before_processes_are_timed(capsys, monkeypatch):
    monkeypatch.setattr(processes, "measure", lambda rounds: pytest.fail("something was timed"))
    assert processes.main(["--json", ""]) == 2
    assert "the name of the file is empty" in capsys.readouterr().err


def test_processes_are_told_where_no_file_can_be_written(capsys, monkeypatch, tmp_path):
    def measure(rounds):
        tmp_path.rmdir()
        return {"agree": True}

    monkeypatch.setattr(processes, "measure", measure)
    monkeypatch.setattr(processes, "text", lambda found: "all the tables")
    path = tmp_path / "results.json"
    assert processes.main(["--json", str(path)]) == 1
    said = f"processes: {path} could not be written: No such file or directory\n"
    assert capsys.readouterr() == ("all the tables\n", said)


def test_processes_that_differ_or_fail_are_told():
    def failing():
        raise processes.ProcessFailedError("exit code 1: no")

    answers = {"numpy": 1.0, "pytorch": 1.5}
    runners = {name: lambda loss=loss: (1.0, json.dumps({"first": loss, "last": loss}))
               for name, loss in answers.items()}  # fmt: skip
    found = processes.take_turns(runners | {"jax": failing}, rounds=2)
    assert found["numpy"]["seconds"] == [1.0, 1.0]
    assert not processes.mark_wrong(found)
    assert found["numpy"]["failure"] is None
    assert found["pytorch"]["failure"].startswith("DISAGREES")
    assert found["jax"]["failure"] == "exit code 1: no"


def test_a_script_of_the_book_that_learns_nothing_is_told(tmp_path):
    with pytest.raises(SystemExit, match="has no dataset"):
        documents.run_book(tmp_path, 1)
    for name in ("dataset", "ch05"):
        (tmp_path / name).mkdir()
    (tmp_path / "dataset" / "mnist.pkl").touch()
    script = tmp_path / "ch05" / "train_neuralnet.py"
    script.write_text("print(0.1, 0.97)")
    found = documents.run_book(tmp_path, 1)
    assert [len(found[name]) for name in ("fastnn", "document")] == [1, 1]
    script.write_text("print(0.1, 0.5)")
    with pytest.raises(SystemExit, match=r"fastnn: the script ended at an accuracy of 0\.5"):
        documents.run_book(tmp_path, 1)
