"""The command line as a user meets it: a process, its output and its exit code."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from camgate.audit.result import AuditResult
from camgate.data.preprocessing import Preprocessing
from camgate.models.builders import build
from camgate.models.classifier import Classifier
from forked import camgate


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data/` (images and masks by class), `model/` and three policies."""
    root = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    for label, colour in (("cat", (200, 60, 60)), ("dog", (60, 60, 200))):
        for kind in ("images", "masks"):
            (root / "data" / kind / label).mkdir(parents=True)
        for number in range(14):
            image = rng.integers(90, 130, (64, 64, 3), dtype=np.uint8)
            image[20:44, 20:44] = colour
            mask = np.zeros((64, 64), dtype=np.uint8)
            mask[20:44, 20:44] = 255
            Image.fromarray(image).save(root / "data" / "images" / label / f"{number}.png")
            Image.fromarray(mask).save(root / "data" / "masks" / label / f"{number}.png")
    torch.manual_seed(0)
    module = build("resnet_small", {}, 2)
    size = Preprocessing(size=(64, 64))
    Classifier(module, ["cat", "dog"], size, builder="resnet_small", target_layer="stage2").save(
        root / "model"
    )
    terms = "audit: {min_images: 10, draws: 1, target_layer: model}\n"
    (root / "lenient.yaml").write_text(terms + "checks: {accuracy: {min: 0.0}}\n", encoding="utf-8")
    (root / "strict.yaml").write_text(terms + "checks: {accuracy: {min: 1.0}}\n", encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def audited(case: Path) -> Path:
    run = camgate(
        "audit", "--model", "model", "--data", "data", "--policy", "lenient.yaml", "--out", "out", cwd=case
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "PASS" in run.stdout
    assert "report: out/report.html" in run.stdout.splitlines()[-1]
    return case / "out"


def test_an_audit_leaves_the_whole_folder(audited: Path) -> None:
    names = {path.name for path in audited.iterdir()}
    assert names == {
        "audit.json",
        "scores.parquet",
        "interventions.parquet",
        "junit.xml",
        "summary.json",
        "summary.md",
        "trustworthy-ai.json",
        "trustworthy-ai.md",
        "verdict.json",
        "report.html",
        "heatmaps",
    }
    summary = json.loads((audited / "summary.json").read_text(encoding="utf-8"))
    assert summary["verdict"] == "PASS" or summary.get("status") == "PASS"


def test_another_policy_writes_another_verdict(audited: Path, case: Path) -> None:
    before = (audited / "verdict.json").read_bytes()
    run = camgate("gate", "--audit", str(audited), "--policy", "strict.yaml", "--json", cwd=case)
    assert run.returncode == 1, run.stderr
    verdict = json.loads(run.stdout)
    assert verdict["status"] == "FAIL"
    assert Path(verdict["report"]).is_file()
    assert (audited / "verdict.json").read_bytes() == before
    assert len(list(audited.glob("verdict-*.json"))) == 1
    again = camgate("gate", "--audit", str(audited), "--policy", "strict.yaml", cwd=case)
    assert again.returncode == 1
    assert any(line.startswith("accuracy: worst class ") for line in again.stdout.splitlines())
    assert len(list(audited.glob("verdict-*.json"))) == 1


def test_the_default_policy_is_not_met_by_this_audit(audited: Path, case: Path) -> None:
    run = camgate("gate", "--audit", str(audited), cwd=case)
    assert run.returncode == 4  # made by other terms than the default policy asks for
    assert "settings_differ" in run.stdout


def test_undecided_is_exit_code_3(audited: Path, case: Path) -> None:
    scores = AuditResult.load(audited).scores
    floor = float(scores["predicted"].eq(scores["label"]).mean())  # the interval holds its own value
    policy = {
        "audit": {"min_images": 10, "draws": 1, "target_layer": "model"},
        "checks": {"accuracy": {"min": floor}},
    }
    (case / "unsure.yaml").write_text(yaml.safe_dump(policy), encoding="utf-8")
    run = camgate("gate", "--audit", str(audited), "--policy", "unsure.yaml", cwd=case)
    assert run.returncode == 3, run.stdout


def test_a_drill_is_kept_in_the_audit_folder_and_judged_with_it(audited: Path, case: Path) -> None:
    arguments = ("--model", "model", "--data", "data", "--policy", "drilled.yaml", "--minutes", "0.00001")
    terms = "audit: {min_images: 10, draws: 1, target_layer: model}\nchecks: {accuracy: {min: 0.0}}\n"
    (case / "drilled.yaml").write_text(f"{terms}require_drill: true\n", encoding="utf-8")
    missing = camgate("gate", "--audit", str(audited), "--policy", "drilled.yaml", cwd=case)
    assert missing.returncode == 4
    assert "run `camgate drill`" in missing.stdout
    run = camgate("drill", *arguments, "--audit", str(audited), cwd=case)
    assert run.returncode == 3, run.stderr  # one mutant in no time is too few
    assert "On your images and your network this gate blocked" in run.stdout
    assert "time was up" in run.stdout
    held = json.loads((audited / "drill.json").read_text(encoding="utf-8"))
    assert len(held["mutants"]) == 1
    judged = camgate("gate", "--audit", str(audited), "--policy", "drilled.yaml", "--json", cwd=case)
    assert judged.returncode == 3
    assert json.loads(judged.stdout)["reason"] == "too_few_mutants"
    (audited / "drill.json").unlink()


def test_the_champion_is_audited_on_the_same_images_and_kept(case: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    size = Preprocessing(size=(64, 64))
    Classifier(
        build("resnet_small", {}, 2), ["cat", "dog"], size, builder="resnet_small", target_layer="stage2"
    ).save(tmp_path / "champion")
    policy = tmp_path / "policy.yaml"
    terms = (case / "lenient.yaml").read_text(encoding="utf-8").splitlines()[0]
    policy.write_text(
        terms + "\nsanity: {required: false}\nchecks: {champion: {max: 1.0, max_accuracy_loss: 1.0}}\n",
        encoding="utf-8",
    )
    asked = ["--model", "model", "--data", "data", "--policy", str(policy), "--json"]

    def check(run: subprocess.CompletedProcess[str]) -> dict[str, object]:
        (found,) = [each for each in json.loads(run.stdout)["checks"] if each["name"] == "champion"]
        return dict(found)

    def audit(out: str, *champion: str) -> dict[str, object]:
        return check(camgate("audit", *asked, "--out", str(tmp_path / out), *champion, cwd=case))

    assert audit("alone")["reason"] == "not_measured"
    assert audit("none", "--champion", "none")["reason"] == "no_champion"
    assert audit("itself", "--champion", "model")["reason"] == "is_champion"
    compared = audit("both", "--champion", str(tmp_path / "champion"))
    assert compared["value"] is not None
    held = AuditResult.load(tmp_path / "both" / "champion")
    assert held.model_digest == Classifier.load(tmp_path / "champion").digest()

    gate = ["gate", "--policy", str(policy), "--json", "--audit"]
    assert check(camgate(*gate, str(tmp_path / "both"), cwd=case))["value"] == compared["value"]
    other = ["--champion", str(tmp_path / "both" / "champion")]
    assert check(camgate(*gate, str(tmp_path / "alone"), *other, cwd=case))["value"] == compared["value"]
    wrong = camgate(*gate, str(tmp_path / "alone"), "--champion", "model", cwd=case)
    assert wrong.returncode == 2
    assert "give an audit folder" in wrong.stderr


def test_the_report_can_be_written_again(audited: Path, case: Path) -> None:
    before = (audited / "report.html").read_bytes()
    (audited / "report.html").unlink()
    run = camgate("report", "--audit", str(audited), "--json", cwd=case)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["report"].endswith("report.html")
    assert (audited / "report.html").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "nowhere", "--data", "data", "--out", "new"), "nowhere"),
        (("--model", "model", "--data", "nothing.csv", "--out", "new"), "nothing.csv"),
        (("--model", "model", "--data", "data", "--out", "new", "--policy", "none.yaml"), "none.yaml"),
        (("--model", "model", "--data", "data", "--out", "model"), "not empty"),
        (("--model", "model", "--data", "data"), "--out"),
    ],
)
def test_wrong_use_is_one_paragraph_and_exit_code_2(
    case: Path, arguments: tuple[str, ...], message: str
) -> None:
    run = camgate("audit", *arguments, cwd=case)
    assert run.returncode == 2, run.stdout + run.stderr
    assert message in run.stderr
    assert "Traceback" not in run.stderr
    assert not (case / "new").exists()


def test_an_unreachable_registry_is_exit_code_4_without_secrets(case: Path) -> None:
    run = camgate(
        "audit",
        "--model",
        "models:/underpass@champion",
        "--data",
        "data",
        "--out",
        "new",
        cwd=case,
        MLFLOW_TRACKING_URI="http://someone:secret@127.0.0.1:9",
    )
    assert run.returncode == 4, run.stderr
    assert "127.0.0.1:9" in run.stderr
    assert "secret" not in run.stderr + run.stdout
    assert "Traceback" not in run.stderr


def test_help_names_every_command_and_the_exit_codes(case: Path) -> None:
    run = camgate("--help", cwd=case)
    assert run.returncode == 0
    for word in ("demo", "audit", "gate", "report", "3 INCONCLUSIVE"):
        assert word in run.stdout


def test_a_folder_that_is_no_audit(case: Path) -> None:
    run = camgate("gate", "--audit", "data", cwd=case)
    assert run.returncode == 2
    assert "audit.json" in run.stderr


def test_a_coco_file_and_weights_with_their_specs(case: Path, tmp_path: Path) -> None:
    """What a user has who never heard of camgate: an annotation file and a state dict."""
    images, annotations = [], []
    for number, path in enumerate(sorted((case / "data" / "images").rglob("*.png")), start=1):
        name = str(path.relative_to(case / "data" / "images"))
        images.append({"id": number, "file_name": name, "width": 64, "height": 64, "split": "test"})
        box = {"bbox": [20, 20, 24, 24], "area": 576, "iscrowd": 0}
        category = 1 if path.parent.name == "cat" else 7
        annotations.append({"id": number, "image_id": number, "category_id": category, **box})
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(content))
    options = {"images": str(case / "data" / "images"), "region": {"grow": 0.02}}
    (tmp_path / "options.yaml").write_text(yaml.safe_dump(options))
    torch.save(build("resnet_small", {}, 2).state_dict(), tmp_path / "net.pth")
    spec = {
        "classes": ["cat", "dog"],
        "preprocessing": {"size": [64, 64]},
        "builder": "resnet_small",
        "target_layer": "stage2",
    }
    (tmp_path / "model.json").write_text(json.dumps(spec))
    command = ["audit", "--model", "net.pth", "--spec", "model.json", "--data", "coco.json"]
    command += ["--policy", str(case / "lenient.yaml"), "--data-options", "options.yaml"]
    done = camgate(*command, "--out", "audit", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = AuditResult.load(tmp_path / "audit")
    assert len(result.scores) == 28
    # 24 x 24 of 64 x 64 pixels, grown by one pixel: 26 x 26 without the corners' last pixel
    expected = 1 - (26 * 26 - 4) / 64**2
    np.testing.assert_allclose(result.scores["invalid_area_raw"], expected, atol=1e-6)
    assert any("grown by 2 %" in warning for warning in result.warnings)
    (tmp_path / "model.json").write_text(json.dumps({**spec, "clases": 1}))
    wrong = camgate(*command, "--out", "other", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "clases: no such key; did you mean classes?" in wrong.stderr
    assert not (tmp_path / "other").exists()


def test_colour_is_for_terminals_that_want_it(audited: Path, case: Path) -> None:
    gate = ["gate", "--audit", str(audited), "--policy", "lenient.yaml"]
    coloured = camgate(*gate, cwd=case, FORCE_COLOR="1")
    assert "\x1b[" in coloured.stdout
    for words in (["--no-color", *gate], [*gate, "--no-color"]):
        plain = camgate(*words, cwd=case, FORCE_COLOR="1", TERM="xterm")
        assert plain.returncode == 0, plain.stderr
        assert "\x1b[3" not in plain.stdout
    assert "\x1b" not in camgate(*gate, cwd=case).stdout
