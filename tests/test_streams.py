"""Commands whose standard streams are missing, closed, full, left, or cannot encode a text."""

import contextlib
import functools
import io
import json
import os
import re
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

import fastnn
from bench import program
from fastnn import cli, command
from fastnn.recipes import chain

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
needs_posix = pytest.mark.skipif(os.name != "posix", reason="redirected as POSIX shells do")
needs_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no disk is always full")

SHORT_SINE = ("train", "sine", "--epochs", "3", "--every", "2")
# With the exit code of each, whoever reads.
COMMANDS = {
    "a text of argparse's": (("--version",), 0),
    "lines": (("cache", "info"), 0),
    "lines above a bar": (("show", "chain"), 0),
    "an error of argparse's": (("wrong",), 2),
    "an error": (("train", "sine", "--lr", "0"), 2),
}
FULL = "fastnn: standard output cannot be written: No space left on device\n"


def through_a_shell(line, *arguments, **options):
    """What a shell makes of a line, in which "$@" stands for a Python with these arguments."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    environment = kept | {"PYTHONPATH": str(ROOT)} | options.pop("environment", {})
    return subprocess.run(
        ["/bin/sh", "-c", line, "sh", sys.executable, *arguments],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        **options,
    )  # fmt: skip


def without_numbers(text):
    return re.sub(r"\d+", "0", text)  # others may fill the cache


@functools.cache
def as_usual(arguments):
    return through_a_shell('"$@"', "-m", "fastnn", *arguments)


@needs_posix
@pytest.mark.parametrize(("arguments", "code"), COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_change_no_exit_code(arguments, code, closed):
    usual = as_usual(arguments)
    done = through_a_shell(f'"$@" {closed}', "-m", "fastnn", *arguments)
    assert usual.returncode == done.returncode == code
    parts = closed.split()
    for closes, text, expected in [
        (">&-", done.stdout, usual.stdout),
        ("2>&-", done.stderr, usual.stderr),
    ]:
        assert without_numbers(text) == ("" if closes in parts else without_numbers(expected))


@needs_full
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(("arguments", "code"), COMMANDS.values(), ids=COMMANDS)
def test_a_full_disk_is_one_line_and_exit_code_1(arguments, code, unbuffered):
    environment = {"PYTHONUNBUFFERED": unbuffered}
    line = ("-m", "fastnn", *arguments)
    out = through_a_shell('"$@" >/dev/full', *line, environment=environment)
    if code == 0:
        assert (out.returncode, out.stderr) == (1, FULL)
    else:  # which prints nothing
        assert out.returncode == code
    err = through_a_shell('"$@" 2>/dev/full', *line, environment=environment)
    assert (err.returncode, err.stderr) == (code, "")
    both = through_a_shell('"$@" >/dev/full 2>&1', *line, environment=environment)
    assert (both.returncode, both.stdout, both.stderr) == (code or 1, "", "")


@needs_posix
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [("--help",), ("cache", "info"), ("show", "chain")])
def test_a_reader_who_has_gone_is_no_error(arguments, unbuffered):
    readable, writable = os.pipe()
    os.close(readable)
    kept = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(
        [sys.executable, "-m", "fastnn", *arguments],
        env=kept, stdout=writable, stderr=subprocess.PIPE, timeout=120,
    )  # fmt: skip
    os.close(writable)
    assert (done.returncode, done.stderr) == (1, b"")


@needs_posix
def test_files_of_a_run_are_no_standard_streams(tmp_path):
    done = through_a_shell('"$@" <&- >&- 2>&-', "-m", "fastnn", *SHORT_SINE, "--out", str(tmp_path))
    assert done.returncode == 0
    lines = (tmp_path / "history.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("iteration,loss,")
    assert len(lines) == 190
    assert fastnn.load(tmp_path / "model.fastnn").layer_sizes == (1, 3, 1)


@needs_posix
def test_closed_descriptors_are_filled_and_inherited(tmp_path):
    """A file opened later, here or in a child, is not to become standard output."""
    path = tmp_path / "report"
    child = (
        f"import os; open({str(path)!r}, 'w').write(str([os.fstat(n).st_rdev for n in range(3)]))"
    )
    code = f"""if True:
        import os, subprocess, sys
        from fastnn import cli
        sys.argv[1:] = ["cache", "info"]
        assert cli.main() == 0
        with open({str(path)!r}, "w") as file:
            assert file.fileno() > 2
        subprocess.run([sys.executable, "-c", {child!r}], check=True)
    """
    assert through_a_shell('"$@" <&- >&- 2>&-', "-c", code).returncode == 0
    assert json.loads(path.read_text(encoding="utf-8")) == [os.stat(os.devnull).st_rdev] * 3


@needs_posix
def test_a_benchmark_without_streams(tmp_path):
    path = tmp_path / "results.json"
    code = f"""if __name__ == "__main__":
        import sys
        sys.path.insert(0, {str(TESTS)!r})
        import stub_contestants
        from bench import cases, ending, program
        case = cases.Case("a case", "activation", "a group", (8,), 4, contestants=("numpy",))
        sys.exit(ending.run("bench", lambda: program.run(
            full=False, patterns=None, rounds=1, threads=1, json={str(path)!r}, plot=None,
            table=[case], load=stub_contestants.load), is_program=True))
    """
    script = tmp_path / "script.py"
    script.write_text(code, encoding="utf-8")
    done = through_a_shell('"$@" <&- >&- 2>&-', str(script))
    assert done.returncode == 0
    (case,) = json.loads(path.read_text(encoding="utf-8"))["cases"]
    assert [entry["failure"] for entry in case["contestants"]] == [None, None]


@needs_posix
@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("--help",), 0), ((), 2), (("missing.py",), 2), (("script.py",), 0)],
)
def test_a_script_of_the_book_without_streams(tmp_path, arguments, code):
    script = "import sys\nprint('text')\nsys.stdout.write('more')\nsys.stderr.write('more')\n"
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    line = ("-m", "fastnn.book", *arguments)
    done = through_a_shell('"$@" <&- >&- 2>&-', *line, cwd=tmp_path)
    assert done.returncode == code
    if code == 0 and os.path.exists("/dev/full"):
        done = through_a_shell('"$@" >/dev/full', *line, cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.endswith(FULL.replace("fastnn:", "fastnn.book:"))


# Inside a host -------------------------------------------------------------------


class Words:
    """A host's stream that can do no more than it must."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


def detached():
    stream = io.TextIOWrapper(io.BytesIO())
    stream.detach()
    return stream


MISSING = {"none": lambda: None, "closed": closed, "detached": detached}


@pytest.mark.parametrize("make", MISSING.values(), ids=MISSING)
@pytest.mark.parametrize(
    "arguments",
    [
        ("fastnn", *SHORT_SINE),
        ("fastnn", "train", "quadratic", "--iterations", "20", "--widths", "2"),
        ("fastnn", "train", "mnist", "--iterations", "2"),
        ("fastnn", "show", "step"),
        ("fastnn", "show", "chain"),
        ("fastnn", "gradcheck", "--hidden", "2", "--rows", "1"),
        ("fastnn", "cache", "info"),
        ("fastnn", "train", "sine", "--lr", "0"),
        ("fastnn", "train", "sine", "--lr", "1e30"),
        ("fastnn", "wrong"),
        ("bench", "--help"),
        ("bench", "--rounds", "0"),
    ],
    ids=" ".join,
)
def test_a_hosts_missing_streams_are_as_before_afterwards(monkeypatch, capsys, arguments, make):
    def run():
        try:
            return {"fastnn": cli.main, "bench": program.main}[arguments[0]](arguments[1:])
        except SystemExit as end:
            return end.code

    usual = run()
    capsys.readouterr()
    streams = make(), make()
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    found = run()
    now = sys.stdout, sys.stderr
    monkeypatch.undo()
    assert now == streams
    assert found == usual
    assert capsys.readouterr() == ("", "")


def test_a_stream_that_can_only_write_is_enough(monkeypatch):
    out, err = Words(), Words()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert cli.main(["show", "chain"]) == 0
    assert cli.main(["cache", "info"]) == 0
    assert cli.main(["train", "sine", "--lr", "0"]) == 2
    assert "dL/dw1" in out.text
    assert "folder: " in out.text
    assert err.text == "fastnn: lr must be a finite number above 0, got 0.0\n"


def test_a_hosts_stream_that_fails_stays_the_hosts(monkeypatch, capsys):
    readable, writable = os.pipe()
    os.close(readable)
    with open(writable, "w", encoding="utf-8") as stream:
        before = os.fstat(writable)
        monkeypatch.setattr(sys, "stdout", stream)
        found = cli.main(["show", "chain"])
        monkeypatch.undo()
        assert found == 1
        assert os.path.samestat(os.fstat(writable), before)
        with contextlib.suppress(BrokenPipeError):
            stream.close()  # the host's own concern
    assert capsys.readouterr() == ("", "")


def test_a_host_on_a_full_disk_gets_one_line(monkeypatch, capsys):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    for arguments in ("show", "chain"), ("cache", "info"), ("--version",):
        assert cli.main(arguments) == 1
        assert capsys.readouterr().err == FULL
    monkeypatch.setattr(sys, "stderr", Full())
    assert cli.main(["show", "chain"]) == 1
    assert cli.main(["train", "sine", "--lr", "0"]) == 2


def test_other_broken_pipes_are_errors(monkeypatch, capsys):
    def run(**options):
        raise BrokenPipeError(32, "Broken pipe", "a file")

    monkeypatch.setattr(chain, "run", run)
    assert cli.main(["show", "chain"]) == 2
    assert capsys.readouterr().err == "fastnn: [Errno 32] Broken pipe: 'a file'\n"


@pytest.mark.parametrize(
    ("encoding", "errors", "shown"),
    [
        ("ascii", "strict", rb"gr\xf6\xdfe \u03c0"),
        ("latin-1", "strict", b"gr\xf6\xdfe \\u03c0"),
        ("latin-1", "replace", b"gr\xf6\xdfe ?"),
        ("utf-8", "strict", "größe π".encode()),
    ],
)
def test_what_an_encoding_lacks_is_escaped(monkeypatch, encoding, errors, shown):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=errors)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(chain, "run", lambda report, **options: report("größe π"))
    assert cli.main(["show", "chain"]) == 0
    assert stream.buffer.getvalue() == shown + b"\n"
    assert stream.errors == errors
    stored = str(ROOT / "bench" / "results" / "epyc-2-cores.json")
    assert program.main(["report", "--readme", stored]) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_folder_whose_name_is_no_text(monkeypatch, tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stream)
    assert cli.main([*SHORT_SINE, "--out", folder]) == 0
    assert rb"/\udcff" in stream.buffer.getvalue()


def test_streams_may_be_those_of_anybody():
    for stream in (types.SimpleNamespace(encoding=None), types.SimpleNamespace(encoding=3)):
        assert command.fitting("π", stream) == "π"


# Signals -------------------------------------------------------------------------


@needs_posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_is_ignored_stays_ignored(number):
    """As with nohup, or in the background of a script."""
    code = f"""if __name__ == "__main__":
        import os, signal, sys
        signal.signal({int(number)}, signal.SIG_IGN)
        from fastnn import cli
        from bench import ending
        def work():
            with ending.signals_held_back():
                os.kill(os.getpid(), {int(number)})
            os.kill(os.getpid(), {int(number)})
            return cli.main(["show", "chain", "--quiet"])
        assert ending.run("bench", work) == 0
        assert signal.getsignal({int(number)}) == signal.SIG_IGN
    """
    done = through_a_shell('"$@"', "-c", code)
    assert (done.returncode, done.stderr) == (0, "")


# Errors --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ValueError("x is wrong"), 2, "x is wrong; a note; another"),
        (FloatingPointError("Too large."), 1, "Too large. a note; another"),
        (MemoryError(), 1, "MemoryError; a note; another"),
        (OSError("two\n  lines"), 2, "two lines; a note; another"),
        (command.NotWrittenError("y"), 1, "y; a note; another"),
    ],
)
def test_notes_of_an_error_are_in_its_line(monkeypatch, capsys, error, code, text):
    def run(**options):
        error.add_note("a note")
        error.add_note("another")
        raise error

    monkeypatch.setattr(chain, "run", run)
    assert cli.main(["show", "chain"]) == code
    assert capsys.readouterr() == ("", f"fastnn: {text}\n")


@pytest.mark.parametrize("stream", ["None", "closed"])
def test_a_notebook_without_standard_error_imports_the_book(stream, tmp_path):
    """`answer_imports` in a host says nothing there, instead of failing."""
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "layers.py").write_text("class MatMul:\n    pass\n")
    gone = "sys.stderr = None" if stream == "None" else "sys.stderr.close()"
    code = (
        f"import sys, fastnn.book\nfastnn.book.answer_imports()\n{gone}\n"
        "from common.layers import MatMul\nprint(MatMul.__module__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "common.layers\n"), done.stderr
