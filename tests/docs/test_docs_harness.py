"""What runs the documentation notices what is wrong in it."""

from __future__ import annotations

import pytest
from docs_blocks import REPO, blocks_of
from docs_files import check_example, check_json, check_yaml
from docs_shell import Shell

from camgate.errors import CamgateError, ModelError, PolicyError

WRONG_LINES = [
    ("docker ps", "nothing here runs `docker`"),
    ("camgate gate --audit nowhere", "exit code 2, not 0"),
    ("camgate gate --audit nowhere  # exit code 1", "exit code 2, not 1"),
    ("camgate audti --model m", "exit code 2, not 0"),
    ("make no-such-target", "No rule to make target"),
    ("pip install 'camgate[nosuch]'", "no extra nosuch"),
    ("python -c 'raise SystemExit(3)'", "python -c"),
]
WRONG_FILES = [
    ("checks: {invalid_lfit: {max: 0.4}}", PolicyError, "did you mean 'invalid_lift'"),
    ("multipel: largest", AssertionError, "multipel"),
    ("zone: {polygon: [[0, 0], [2, 2], [1, 1]]}", CamgateError, "fractions"),
    ("parameters: {data: d, epochs: 3}", AssertionError, "epochs"),
    ("parameters: {data: d, training: {epoch: 3}}", AssertionError, "epoch"),
    ("- a list", AssertionError, "a mapping"),
]


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Shell:
    return Shell(monkeypatch, before={})


@pytest.mark.parametrize(("line", "said"), WRONG_LINES)
def test_a_line_that_does_not_do_what_the_page_says(shell: Shell, line: str, said: str) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)) as caught:
        shell.run(line, "page:1")
    assert said in str(caught.value)
    assert "page:1" in str(caught.value)


@pytest.mark.parametrize(("source", "error", "said"), WRONG_FILES)
def test_a_file_that_the_code_does_not_take(source: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        check_yaml(source)


def test_an_example_that_the_page_shows_otherwise() -> None:
    name = "examples/add_to_your_pipeline.py"
    source = (REPO / name).read_text(encoding="utf-8")
    check_example(name, source)
    with pytest.raises(AssertionError, match="another file"):
        check_example(name, source.replace("audit", "adit"))


def test_a_spec_with_a_misspelt_key() -> None:
    with pytest.raises(ModelError, match="did you mean classes"):
        check_json('{"clases": ["cat", "dog"]}')


def test_what_happened_before_happens_once(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []
    shell = Shell(monkeypatch, before={"camgate --version": lambda: happened.append("before")})
    shell.run("camgate --help\ncamgate --version\ncamgate --version  # again", "page:1")
    assert happened == ["before"]


def test_the_marks_of_blocks() -> None:
    tutorial = blocks_of("docs/tutorial/demo.md")
    assert [block.title for block in tutorial if block.title] == ["accuracy.yaml"]
    assert sum(block.long for block in tutorial) == 3
    cluster = [block for block in blocks_of("docs/how-to/kubeflow.md") if block.not_run]
    assert "needs a Kubeflow cluster" in {block.not_run for block in cluster}
    first = tutorial[0]
    lines = (REPO / first.page).read_text(encoding="utf-8").splitlines()
    assert lines[first.line - 1] == "```bash"
