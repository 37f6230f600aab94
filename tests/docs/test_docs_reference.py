"""The reference names what the code has: no more and no less."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from docs_blocks import REPO
from docs_shell import camgate
from docs_workshop import SMALL, Workshop, promoted
from mlflow import MlflowClient
from pydantic import BaseModel

import camgate as package
from camgate.audit.runner import audit
from camgate.errors import CamgateError, InputError, RegistryError
from camgate.gate.measure import CHECKS
from camgate.gate.policy import Policy
from camgate.registry.runs import open_run
from camgate.registry.tracking import audit_metrics
from camgate.report.words import REASONS

REFERENCE = REPO / "docs" / "reference"


def text(page: str) -> str:
    return (REFERENCE / page).read_text(encoding="utf-8")


def section(page: str, title: str) -> str:
    """What stands under a heading."""
    return re.split(r"^## ", text(page).split(f"## {title}\n", 1)[1], flags=re.MULTILINE)[0]


def rows(markdown: str) -> Iterator[list[str]]:
    """The cells of each row of its tables, but heads."""
    lines = markdown.splitlines()
    for number, line in enumerate(lines):
        head = number + 1 < len(lines) and lines[number + 1].startswith("|---")
        if line.startswith("|") and not line.startswith("|---") and not head:
            yield [cell.strip() for cell in line.strip("|").split("|")]


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def first_cells(markdown: str) -> list[str]:
    return [name for row in rows(markdown) for name in named(row[0])]


def fits(name: str, patterns: list[str]) -> bool:
    """Whether a name is one of them; `<...>` stands for anything, a slash at the end for a folder."""
    return any(
        re.fullmatch(re.sub(r"<[^>]+>", ".+", pattern) + (".*" if pattern.endswith("/") else ""), name)
        for pattern in patterns
    )


def test_every_public_name_has_its_docstring_on_the_page() -> None:
    shown = re.findall(r"^::: (\S+)$", text("python.md"), re.MULTILINE)
    places = {
        name: "camgate.audit.runner.audit" if name == "audit" else f"{package._DOORS[name]}.{name}"
        for name in package.__all__
        if name != "__version__"
    }
    assert set(places.values()) - set(shown) == set()
    for name, place in places.items():
        assert f"::: {place}\n    options: {{heading: camgate.{name}}}\n" in text("python.md")


def test_every_step_and_pipeline_is_on_the_page() -> None:
    from camgate import pipelines, steps

    before = text("steps.md").split("## Their options")[0]
    shown = [place.rpartition(".")[2] for place in re.findall(r"^::: (\S+)$", before, re.MULTILINE)]
    assert sorted(shown) == sorted([*steps.__all__, *pipelines.__all__])


def test_the_columns_and_the_files_of_an_audit(
    workshop: Workshop, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = audit(workshop.classifier, workshop.manifest, slices=("camera",), **SMALL)
    columns = first_cells(section("scores.md", "`result.scores`, `scores.parquet`"))
    statuses = ["unreadable", "no_region", "below_resolution", "dead_map", "ok"]
    assert columns == [name for name in result.scores.columns if name != "camera"] + statuses
    assert result.interventions is not None
    swaps = section("scores.md", "`result.interventions`, `interventions.parquet`")
    assert first_cells(swaps) == list(result.interventions.columns)
    arms = next(row for row in rows(swaps) if row[0] == "`arm`")
    assert named(arms[1]) == list(result.interventions["arm"].unique())
    model, data = workshop.folder / "model", workshop.folder / "data"
    assert camgate(["audit", "--model", str(model), "--data", str(data), "--out", "made"])[0] == 0
    files = first_cells(section("scores.md", "The audit folder"))
    only_sometimes = {"drill.json", "champion/"}
    assert {name.rstrip("/") for name in set(files) - only_sometimes} == {
        path.name for path in Path("made").iterdir()
    }


def test_what_mlflow_holds_after_a_promotion(workshop: Workshop, stores: Path) -> None:
    done = promoted(workshop, "underpass")
    client = MlflowClient()
    run = client.get_run(open_run(experiment="docs", key="docs"))
    metrics = [
        name for row in rows(section("mlflow.md", "Metrics")) for cell in row[:2] for name in named(cell)
    ]
    assert [name for name in run.data.metrics if not fits(name, metrics)] == []
    documented = {name for name in metrics if name.startswith("audit/")}
    absent = documented - set(run.data.metrics)  # of images that this audit does not have
    assert absent == {
        f"audit/n_{kind}" for kind in ("no_region", "below_resolution", "dead_map", "unreadable")
    }
    parameters = first_cells(section("mlflow.md", "Parameters and data"))
    assert [name for name in run.data.params if not fits(name, parameters)] == []
    tags = first_cells(section("mlflow.md", "Tags of the run"))
    own = [name for name in run.data.tags if name.startswith(("camgate", "mlflow.note"))]
    assert [name for name in own if name not in tags] == []
    assert set(tags) - set(own) == {"camgate.drill"}
    files = first_cells(section("mlflow.md", "Files of the run"))
    assert [
        each.path for each in client.list_artifacts(run.info.run_id, "gate") if each.path not in files
    ] == []
    version = client.get_model_version("underpass", str(done.version))
    of_version = first_cells(section("mlflow.md", "Tags of a model version"))
    assert [name for name in version.tags if not fits(name, of_version)] == []
    model = client.get_registered_model("underpass")
    of_model = [name for row in rows(section("mlflow.md", "Registered model")) for name in named(row[0])]
    assert [name for name in model.tags if not fits(name, of_model)] == []
    assert set(model.aliases) == {"champion"}


def test_every_number_of_an_audit_is_documented(workshop: Workshop) -> None:
    result = audit(workshop.classifier, workshop.manifest, interventions=False, sanity=False, **SMALL)
    metrics = [
        name for row in rows(section("mlflow.md", "Metrics")) for cell in row[:2] for name in named(cell)
    ]
    assert [name for name in audit_metrics(result) if name not in metrics] == []


def flat(model: BaseModel, prefix: str = "") -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        found |= flat(value, f"{name}.") if isinstance(value, BaseModel) else {f"{prefix}{name}": value}
    return found


def test_the_keys_of_a_policy_and_their_defaults() -> None:
    keys = {named(row[0])[0]: row[1] for row in rows(text("policy.md").split("## Checks")[0])}
    defaults = flat(Policy.default())
    assert list(keys) == list(defaults)
    for key, value in defaults.items():
        if key != "checks":
            written = value if isinstance(value, str) else json.dumps(value)
            assert keys[key] == f"`{written}`", key


def test_the_checks_their_options_and_their_limits() -> None:
    table = {named(row[0])[0]: row[1:] for row in rows(section("policy.md", "Checks"))}
    assert set(table) == set(CHECKS)
    defaults = Policy.default().checks
    for name, (options, evidence, default) in table.items():
        assert named(options) == list(CHECKS[name].options.model_fields), name
        assert evidence.startswith(CHECKS[name].evidence)
        limit = defaults.get(name)
        assert default == (
            "off" if limit is None else f"`{next(iter(limit))}: {next(iter(limit.values())):g}`"
        )


def test_every_reason_code_is_explained() -> None:
    codes = section("policy.md", "Reason codes")
    listed = set(first_cells(codes))
    assert set(REASONS) - listed == set()
    written = set()
    for path in sorted((REPO / "src" / "camgate" / "gate").glob("*.py")):
        written |= set(re.findall(r'reason="(\w+)"', path.read_text(encoding="utf-8")))
    assert written - listed == set()
    refusals = set(re.findall(r"`(\w+)`", codes.rpartition("A promotion has reasons")[2]))
    promotion = (REPO / "src" / "camgate" / "registry" / "promotion.py").read_text(encoding="utf-8")
    evidence = (REPO / "src" / "camgate" / "registry" / "evidence.py").read_text(encoding="utf-8")
    codes_of_promotion = set(re.findall(r'Refusal\(\s*"(\w+)"', promotion))
    codes_of_promotion |= set(re.findall(r'return "(\w+_\w+)"', evidence))
    assert codes_of_promotion
    assert codes_of_promotion - refusals == set()


def test_exit_codes_of_errors(stores: Path) -> None:
    assert issubclass(RegistryError, CamgateError)
    assert not issubclass(RegistryError, InputError)
    assert camgate(["gate", "--audit", "nowhere"])[0] == 2
    assert camgate(["verify", "models:/nowhere/1"])[0] == 4


def test_the_numbers_of_the_benchmark_are_those_of_its_page() -> None:
    table = {row[0]: row[1:] for row in rows((REPO / "docs" / "efficacy.md").read_text(encoding="utf-8"))}

    def counts(rule: str) -> list[str]:
        return [re.findall(r"\((\d+ of \d+)\)", cell)[0] for cell in table[rule]]

    essay = (REPO / "docs" / "explanation" / "why-heatmaps-mislead.md").read_text(encoding="utf-8")
    clean = counts("share on object below 0.5 (EBPG)")[1]
    assert clean == "143 of 143"
    assert "fails all 143 models" in essay
    found, blamed = counts("camgate, heatmap only: lift above its limit")
    assert f"the lift alone finds {found} biased models, and would block {blamed} clean ones" in essay
    found, blamed = counts("camgate, default policy: FAIL")
    unpassed = counts("camgate, default policy: not PASS")[1].split()[0]
    assert f"they block {found} biased models and {blamed} clean ones;\n{unpassed} clean ones do not" in essay
    without = (REPO / "docs" / "how-to" / "no-masks.md").read_text(encoding="utf-8")
    found = counts("camgate, clusters alone, all annotations hidden: a fixed place")[0]
    assert (
        f"of {found.split()[2]} biased models of the\n[benchmark](../efficacy.md) it found {found.split()[0]}"
        in without
    )
