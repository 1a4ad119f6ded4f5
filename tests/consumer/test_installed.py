"""rondo as others use it: installed into a prefix, found by their build, linked, run.

The library comes from the build that is tested; only the programs of examples/ and a few lines of C++ are compiled.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess

import header_examples
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("RONDO_BUILD", ROOT / "build" / "release"))
DATA = ROOT / "tests" / "data"
STORIES = DATA / "models" / "stories260K" / "stories260K.bin"


def run(*command, check=True, **options):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=600, **options)
    assert not check or result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result


def install(prefix, component):
    run("cmake", "--install", BUILD, "--prefix", prefix, "--component", component)


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """Where the library is installed; not where it was installed to, since an installed tree may be moved."""
    folder = tmp_path_factory.mktemp("installed")
    install(folder / "first", "Development")
    shutil.move(folder / "first", folder / "moved")
    return folder / "moved"


@pytest.fixture(scope="module")
def headers(prefix):
    return {file.name: file.read_text() for file in (prefix / "include" / "rondo").iterdir()}


@pytest.fixture(scope="module")
def programs(prefix, tmp_path_factory):
    """The folder of the examples, built by a project that knows the prefix alone."""
    folder = tmp_path_factory.mktemp("consumer")
    run("cmake", "-S", ROOT / "tests" / "consumer", "-B", folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Debug",
        "-DCMAKE_CXX_FLAGS=-O0 -g0 -Wall -Wextra -Werror", f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", folder)
    return folder


@pytest.fixture(scope="module")
def folded(programs, tmp_path_factory):
    directory = tmp_path_factory.mktemp("folded") / "model"
    said = run(programs / "examples" / "example_fold", STORIES, directory, 8).stdout
    before, after = map(int, re.findall(r"\d+", said)[:2])
    assert 0 < after < 0.85 * before
    return directory


def test_a_folded_model_is_saved(folded):
    config = json.loads((folded / "config.json").read_text())
    assert config["rondo"]["modules"]["q"]["blocks"] == [0, 1, 2, 1, 2]


def test_text_is_streamed(programs):
    said = run(programs / "examples" / "example_generate", STORIES, "Once upon a time", 12)
    assert said.stdout.startswith("Once upon a time") and len(said.stdout) > 30
    assert said.stderr == "12 tokens, ended by: length\n"


def test_prompts_share_passes_and_leave_early(programs, folded):
    said = run(programs / "examples" / "example_schedule", folded, "Once", "One day", "Tim").stdout
    loops = [float(found) for found in re.findall(r"\(([\d.]+) loops a token\)", said)]
    total = re.search(r"(\d+) texts, (\d+) tokens in (\d+) passes; .* (\d+) loops", said)
    finished, tokens, passes, most = map(int, total.groups())
    assert len(loops) == finished == 3 and most == 2
    assert all(1 <= mean <= most for mean in loops) and min(loops) < most
    assert passes < tokens


def test_a_plan_is_edited(programs):
    said = run(programs / "examples" / "example_plan", DATA / "native-v1")
    modules = json.loads(said.stdout)["modules"]
    assert modules["up"] == {"blocks": [0, 1, 0, 2], "residual": "lora", "rank": [4, 4, 4, 0]}
    assert modules["q"] == {"blocks": [0, 1, 0, 1], "residual": "lora", "rank": 4}
    before, after = map(int, re.findall(r"(\d+) parameters", said.stderr))
    assert before < after


def test_speech_is_written_down_while_it_is_heard(programs, tmp_path):
    run(programs / "make_speech_model", tmp_path / "model")
    said = run(programs / "examples" / "example_transcribe", tmp_path / "model",
               DATA / "speech" / "kathleen.tar:kathleen-en/arctic_a0018_1592748134.opus")
    assert re.search(r"^0 - [\d.]+: [abc ]+$", said.stdout, re.MULTILINE), said.stdout
    assert "  after 0." in said.stderr  # heard before the end


def test_errors_name_the_file(programs, tmp_path):
    failed = run(programs / "examples" / "example_fold", tmp_path / "nothing", tmp_path / "out", check=False)
    assert failed.returncode == 1 and str(tmp_path / "nothing") in failed.stderr


def test_examples_of_headers_compile(prefix, tmp_path):
    """With the installed headers alone."""
    source = tmp_path / "examples.cc"
    source.write_text(header_examples.translation_unit(prefix / "include"))
    run("g++", "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Wno-unused", "-I", prefix / "include",
        source)


def test_members_of_structs_may_be_left_out(prefix, tmp_path):
    """A program that names some of them compiles without warnings, which missing ones without a default would give."""
    source = tmp_path / "structs.cc"
    source.write_text(header_examples.initialisers(prefix / "include"))
    assert source.read_text().count("EngineOptions") == 4 and source.read_text().count("const rondo::") > 80
    run("g++", "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-I", prefix / "include", source)


def test_the_first_program_of_the_documentation_compiles(prefix, tmp_path):
    section = (ROOT / "docs" / "library.md").read_text().split("## A first program\n")[1].split("\n## ")[0]
    source = tmp_path / "first.cc"
    source.write_text("\n".join(line[4:] for line in section.splitlines() if line.startswith("    ")))
    assert "int main()" in source.read_text()
    run("g++", "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-I", prefix / "include", source)


def test_headers_declare_what_their_examples_use(headers):
    assert {name: missing for name in headers if (missing := header_examples.undeclared(headers, name))} == {}
    forgotten = headers["engine.h"].replace('#include "rondo/thread_pool.h"', "class ThreadPool;")
    assert header_examples.undeclared({**headers, "engine.h": forgotten}, "engine.h") == ["ThreadPool"]


def test_headers_open_with_purpose_example_and_threads(headers):
    for name, text in headers.items():
        comment = header_examples.opening_comment(text)
        assert comment and not comment[0].startswith("//  "), name
        assert header_examples.example(text), name
        assert "thread" in " ".join(comment).lower(), name


def test_headers_need_only_the_standard_library_and_each_other(headers):
    assert len(headers) > 20
    for name, text in headers.items():
        for part in header_examples.included(text):
            assert re.fullmatch(r'<[a-z_]+>|"rondo/\w+\.h"', part), f"{name} includes {part}"
            assert part[0] == "<" or part[7:-1] in headers, f"{name} includes {part}"


def test_pkg_config_links_a_program(prefix, tmp_path):
    (tmp_path / "main.cc").write_text('#include <rondo/thread_pool.h>\n#include <rondo/version.h>\n#include <cstdio>\n'
                                      'int main() { std::printf(RONDO_VERSION " %d", rondo::AvailableCpus()); }\n')
    places = next(prefix.glob("lib*/**/rondo.pc")).parent
    flags = run("pkg-config", "--cflags", "--libs", "rondo", env={**os.environ, "PKG_CONFIG_PATH": str(places)}).stdout
    run("g++", "-std=c++20", tmp_path / "main.cc", "-o", tmp_path / "main", *flags.split())
    version = re.search(r"project\(rondo VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text())[1]
    assert run(tmp_path / "main").stdout == f"{version} {len(os.sched_getaffinity(0))}"


def test_the_library_leaves_operator_new_alone(prefix):
    """The command line replaces it; a program of others must not get that by linking."""
    symbols = run("nm", "--defined-only", next(prefix.glob("lib*/**/librondo.a"))).stdout
    assert "AvailableCpus" in symbols
    assert not re.search(r" T (_Znwm|_ZdlPv)$", symbols, re.MULTILINE)


def test_it_can_be_added_as_a_folder(tmp_path):
    """Only what a library needs is asked for then: no program, no test, no LibTorch."""
    (tmp_path / "main.cc").write_text("#include <rondo/version.h>\nint main() {}\n")
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.22)\nproject(host LANGUAGES CXX)\n"
        f'add_subdirectory("{ROOT}" rondo)\n'
        "add_executable(host main.cc)\ntarget_link_libraries(host PRIVATE rondo::rondo)\n")
    run("cmake", "-S", tmp_path, "-B", tmp_path / "build", "-G", "Ninja", "-DCMAKE_DISABLE_FIND_PACKAGE_GTest=ON",
        "-DCMAKE_DISABLE_FIND_PACKAGE_CLI11=ON")
    assert "rondo/librondo.a" in run("ninja", "-C", tmp_path / "build", "-t", "query", "host").stdout
    run("ninja", "-C", tmp_path / "build", "CMakeFiles/host.dir/main.cc.o")
    targets = run("ninja", "-C", tmp_path / "build", "-t", "targets", "all").stdout
    assert "rondo_engine" in targets and "rondo-train" not in targets and "rondo_engine_test" not in targets


def test_installed_programs_start(tmp_path):
    install(tmp_path, "rondo")
    install(tmp_path, "rondo-train")
    assert [file.name for file in sorted((tmp_path / "bin").iterdir())] == ["rondo", "rondo-train"]
    said = run(tmp_path / "bin" / "rondo", "train", "--keys", env={"PATH": "/usr/bin:/bin"}).stdout
    assert "run.out" in said or "[run]" in said
