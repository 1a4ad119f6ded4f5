"""What is left when a command is ended in the middle, and what outputs may not destroy."""

import os
import shutil
import signal
import subprocess
import time

import pytest


class Running:
    """A command that writes for seconds: SmolLM2 in 8 bits, one thread."""

    def __init__(self, rondo, model, out):
        command = [str(rondo.binary), "quantize", str(model), "--type", "q8_0", "--out", str(out), "--threads", "1"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        end = time.monotonic() + 120
        while not list(out.parent.glob("*.tmp-*")) or self.written(out) < 1 << 20:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end
            time.sleep(0.001)

    @staticmethod
    def written(out):
        return sum(path.stat().st_size for path in out.parent.glob("*.tmp-*"))

    def end(self):
        output, errors = self.process.communicate(timeout=60)
        return self.process.returncode, output, errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_and_leaves_nothing(rondo, smollm2, tmp_path, number):
    running = Running(rondo, smollm2, tmp_path / "q.gguf")
    running.process.send_signal(number)
    code, _, _ = running.end()
    assert code == -number
    assert os.listdir(tmp_path) == []


def test_what_a_kill_leaves_goes_with_the_next_run_to_the_same_place(rondo, smollm2, stories, tmp_path):
    running = Running(rondo, smollm2, tmp_path / "q.gguf")
    running.process.kill()
    running.end()
    assert len(os.listdir(tmp_path)) == 1
    rondo.run("quantize", stories, "--type", "q8_0", "--out", tmp_path / "q.gguf")
    assert os.listdir(tmp_path) == ["q.gguf"]


def test_a_model_that_is_cut_while_it_is_read_is_an_error(rondo, smollm2, tmp_path):
    model = tmp_path / "in" / "model.gguf"
    model.parent.mkdir()
    shutil.copyfile(smollm2, model)
    out = tmp_path / "out" / "q.gguf"
    out.parent.mkdir()
    running = Running(rondo, model, out)
    os.truncate(model, 1 << 16)
    code, _, errors = running.end()
    assert code == 1
    assert "model.gguf: was cut short" in errors
    assert os.listdir(out.parent) == []


def test_a_fold_never_replaces_its_input(rondo, stories, tmp_path):
    model = tmp_path / "model"
    rondo.run("export", stories, "--format", "native", "--out", model)
    (tmp_path / "link").symlink_to(model)
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    for out in [model, f"{model}/", tmp_path / "link", model / "inside", tmp_path]:
        for force in [[], ["--force"]]:
            result = rondo.run("fold", model, "--out", out, *force, check=False)
            assert result.returncode == 1 and "input" in result.stderr, result.stderr
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before


def test_files_of_the_user_stay_unless_he_says_force(rondo, stories, tmp_path):
    site = tmp_path / "site"
    (site / "keep").mkdir(parents=True)
    (site / "config.json").write_text("{}")
    (site / "keep" / "main.c").write_text("int main;")
    result = rondo.run("fold", stories, "--out", site, check=False)
    assert result.returncode == 1 and "keep/" in result.stderr and "--force" in result.stderr
    assert (site / "keep" / "main.c").read_text() == "int main;"
    result = rondo.run("fold", stories, "--out", site, "--force")
    assert "keep/main.c" in result.stderr
    assert not (site / "keep").exists()
    rondo.run("fold", stories, "--out", site)  # its own files need no force


def test_a_gguf_file_of_others_is_replaced_with_force_only(rondo, stories, tmp_path):
    out = tmp_path / "mine.gguf"
    out.write_text("not a model of rondo's")
    result = rondo.run("quantize", stories, "--type", "q8_0", "--out", out, check=False)
    assert result.returncode == 1 and "--force" in result.stderr
    assert out.read_text() == "not a model of rondo's"
    rondo.run("quantize", stories, "--type", "q8_0", "--out", out, "--force")
    rondo.run("quantize", stories, "--type", "q4_0", "--out", out)
    result = rondo.run("quantize", out, "--type", "q8_0", "--out", out, "--force", check=False)
    assert result.returncode == 1 and "is the input" in result.stderr


def test_outputs_are_looked_at_before_the_work(rondo, stories, tmp_path):
    """A text that is not there shows the order: the output's error comes first."""
    missing = tmp_path / "no-such-text"
    folder = tmp_path / "folder.gguf"
    folder.mkdir()
    for out, said in [(tmp_path / "no" / "q.gguf", "no/q.gguf"), (folder, "is a directory")]:
        result = rondo.run("quantize", stories, "--type", "q8_0", "--out", out, "--calibrate", missing, check=False)
        assert result.returncode == 1 and said in result.stderr and "no-such-text" not in result.stderr
    occupied = tmp_path / "occupied"
    occupied.write_text("text")
    result = rondo.run("fold", stories, "--out", occupied, "--calibrate", missing, check=False)
    assert result.returncode == 1 and "is a file" in result.stderr


@pytest.mark.parametrize("command", [["inspect"], ["generate", "--prompt", "x"], ["eval", "--text", "{}"]])
def test_names_that_are_too_long_are_errors_of_rondo(rondo, command):
    name = "x" * 300
    words = [name if word == "{}" else word for word in command[1:]]
    result = rondo.run(command[0], name, *words, check=False)
    assert result.returncode == 1
    assert "too long" in result.stderr and "filesystem error" not in result.stderr


def test_a_pipe_is_no_model_and_nothing_hangs(rondo, tmp_path):
    pipe = tmp_path / "pipe.gguf"
    os.mkfifo(pipe)
    result = rondo.run("inspect", pipe, check=False)
    assert result.returncode == 1 and "neither file nor directory" in result.stderr
