"""What people type and see: chat on a terminal, texts from standard input and pipes, colours."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest

TEMPLATE = "{% for m in messages %}<{{ m.role }}> {{ m.content }}\n{% endfor %}"
GREEDY = ["--temperature", 0]


@pytest.fixture
def chat(rondo, stories, tmp_path):
    """Arguments of a chat with a model that has no template of its own."""
    template = tmp_path / "template.jinja"
    template.write_text(TEMPLATE)
    return [rondo.binary, "chat", stories, "--chat-template", template]


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, command, **environment):
        self.pid, self.end = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm", **environment)
            os.execv(str(command[0]), [str(word) for word in command])
        self.text = ""

    def type(self, keys):
        time.sleep(0.5)  # the line editor discards what was typed while it set the terminal up
        os.write(self.end, keys.encode())

    def wait_for(self, text, seconds=60):
        """What came until `text` did."""
        stop = time.monotonic() + seconds
        while text not in self.text:
            assert time.monotonic() < stop, self.text
            if select.select([self.end], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self.end, 4096).decode(errors="replace")
                except OSError:
                    assert text in self.text, self.text
        before, _, self.text = self.text.partition(text)
        return before

    def code(self, seconds=60):
        stop = time.monotonic() + seconds
        while time.monotonic() < stop:
            if select.select([self.end], [], [], 0.05)[0]:
                try:
                    self.text += os.read(self.end, 4096).decode(errors="replace")
                except OSError:
                    pass
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.end)
                return os.waitstatus_to_exitcode(status)
        raise AssertionError(self.text)


def test_lines_are_edited_and_come_back(chat):
    terminal = Terminal([*chat, "-n", 2, *GREEDY])
    terminal.wait_for("> ")
    terminal.type("/nonsensf\x1b[D\x1b[3~e\r")  # left, delete
    terminal.wait_for("unknown command '/nonsense'")
    terminal.wait_for("> ")
    terminal.type("\x1b[A\r")  # up: the line before
    terminal.wait_for("unknown command '/nonsense'")
    terminal.wait_for("> ")
    terminal.type("half a line\x03/exit\r")  # Ctrl-C empties the line
    assert terminal.code() == 0
    assert "half a line/exit" not in terminal.text


def test_ctrl_c_ends_the_answer_and_not_the_program(rondo, smollm2):
    terminal = Terminal([rondo.binary, "chat", smollm2, "-n", 2000, *GREEDY])
    terminal.wait_for("> ")
    terminal.type("Write a very long story about a river.\r")
    terminal.wait_for(" was ")  # of the answer
    os.kill(terminal.pid, signal.SIGINT)
    assert len(terminal.wait_for("> ", 20).split()) < 300
    terminal.type("/help\r")
    terminal.wait_for("/reset")
    terminal.wait_for("> ")
    terminal.type("\x04")
    assert terminal.code() == 0


def test_commands_do_not_go_to_the_model(chat):
    lines = "/help\n/nonsense now\n/exit\nnever read\n"
    result = subprocess.run(chat, input=lines, capture_output=True, text=True)
    assert result.returncode == 0 and result.stdout == ""
    assert "/reset" in result.stderr and "unknown command '/nonsense'" in result.stderr


def test_the_oldest_turns_go_when_the_context_is_full(chat):
    options = ["--context", "96", "-n", "8", "--temperature", "0"]
    first = "Once upon a time there was a little dog who liked to play."
    last = "The cat and the dog went to the park and saw a big red ball there."
    lines = f"{first}\n{first}\n{first}\n{last}\n"
    talk = subprocess.run([*chat, *options], input=lines, capture_output=True, text=True)
    assert talk.returncode == 0, talk.stderr
    assert "the context of 96 tokens is full" in talk.stderr and "forgotten" in talk.stderr
    assert talk.stdout.count("\n") >= 4
    # One message that is too long by itself is an error of its own.
    long = subprocess.run([*chat, *options], input="word " * 200 + "\n", capture_output=True, text=True)
    assert long.returncode == 1 and "96" in long.stderr


def test_a_chat_is_drawn_and_greedy_only_where_asked(chat, stories, tmp_path):
    def said(*options):
        return subprocess.run([*map(str, chat), "-n", "24", *map(str, options)], input="Hi\n", capture_output=True,
                              text=True, check=True).stdout
    assert said(*GREEDY) != said()
    assert said() == said("--temperature", 0.7, "--top-p", 0.9, "--seed", 0)  # in a pipe the same every time


def test_standard_input_is_a_prompt(rondo, stories):
    def text(*arguments, **options):
        return rondo.run("generate", stories, "-n", 8, *arguments, **options).stdout
    expected = text("--prompt", "Once upon")
    assert text(input="Once upon\n") == expected
    assert text("--prompt-file", "-", input="Once upon\n") == expected
    assert text("--prompt-file", "/dev/stdin", input="Once upon") == expected
    assert text("--prompt", "Once upon", input="something else") == expected
    assert text(stdin=subprocess.DEVNULL) == text("--prompt", "", input="")


def test_texts_come_from_pipes(rondo, stories, tmp_path):
    text = "Once upon a time there was a little girl named Lily. " * 40
    (tmp_path / "text.txt").write_text(text)
    expected = rondo.json("eval", stories, "--text", tmp_path / "text.txt")["perplexity"]
    for name in ("-", "/dev/stdin"):
        report = rondo.run("eval", stories, "--text", name, "--json", "-q", input=text)
        assert json.loads(report.stdout)["perplexity"] == expected
    command = f"{rondo.binary} eval {stories} --text <(cat {tmp_path}/text.txt) --json -q"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert json.loads(result.stdout)["perplexity"] == expected, result.stderr
    for source in ("-", "<(cat %s/text.txt)" % tmp_path):
        command = (f"{rondo.binary} fold {stories} --out {tmp_path}/fold --calibrate {source} -q --json "
                   f"< {tmp_path}/text.txt")
        result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        assert result.returncode == 0 and json.loads(result.stdout)["calibrated"], result.stderr


@pytest.mark.parametrize("command", [["eval", "{model}", "--text", "{pipe}"],
                                     ["generate", "{model}", "--prompt-file", "{pipe}"],
                                     ["fold", "{model}", "--out", "{out}", "--calibrate", "{pipe}"],
                                     ["generate", "{pipe}", "--prompt", "x"], ["chat", "{pipe}"],
                                     ["fold", "{model}", "--out", "{out}", "--plan", "{pipe}"]])
def test_a_pipe_without_a_writer_is_an_error_at_once(rondo, stories, tmp_path, command):
    os.mkfifo(tmp_path / "pipe")
    places = {"model": stories, "pipe": tmp_path / "pipe", "out": tmp_path / "out"}
    words = [str(rondo.binary), *(word.format(**places) for word in command)]
    result = subprocess.run(words, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert result.returncode == 1 and re.search("is a pipe|neither file nor directory", result.stderr), result.stderr


def test_colours_are_for_terminals_that_want_them(rondo, stories):
    command = [rondo.binary, "inspect", stories, "--order", "cycle", "--rank", "4"]
    for no_color, colored in (("", True), ("1", False)):
        terminal = Terminal(command, NO_COLOR=no_color)
        assert terminal.code() == 0
        assert bool(re.search(r"\x1b\[3\dm", terminal.text)) == colored


def test_doctor_lists_are_lists(rondo):
    report = rondo.json("doctor")
    assert report["instruction_set_list"] == report["instruction_sets"].split(", ")
    assert report["cpu_feature_list"] == report["cpu_features"].split()
    assert isinstance(report["missing_list"], list)
