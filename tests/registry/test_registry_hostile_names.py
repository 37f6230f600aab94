"""Names that somebody else has chosen, in a real store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mlflow import MlflowClient

from camgate.audit.result import AuditResult
from camgate.gate.judge import judge
from camgate.gate.policy import Policy
from camgate.registry.attestation import attest
from camgate.registry.promotion import register_and_promote
from camgate.registry.signing import unseal
from camgate.registry.tracking import log_audit, log_verdict

RED, BLUE = "<script>alert(1)</script>\n\x1b[2J", "../../b/\u202e{{ 7*7 }}"


def test_an_audit_of_such_classes_is_logged_and_promoted(
    store: str, run_id: str, result: AuditResult, log_files: Callable[[str], tuple[str, str]]
) -> None:
    uri, digest = log_files("a")
    renamed = {"red": RED, "blue": BLUE}
    scores = result.scores.replace(
        dict.fromkeys(("label", "predicted", "target"), renamed)  # type: ignore[dict-item]
    )
    scores["image_id"] = [f"../{number}/\x1b[31m<b>" for number in range(len(scores))]
    gallery = tuple(
        replace(item, image_id=f"../{number}/\x1b[31m<b>") for number, item in enumerate(result.gallery)
    )
    audit = replace(
        result,
        scores=scores,
        gallery=gallery,
        classes=tuple(renamed[name] for name in result.classes),
        clusters=(),
        model_digest=digest,
        model_uri=uri,
    )
    policy = Policy.parse({"checks": {"accuracy": {"min": 0.0}}, "sanity": {"required": False}})
    verdict = judge(audit, policy)
    held = log_audit(run_id, audit, verdict, tracking_uri=store)
    statement = attest(verdict, audit, runs={"audit": held})
    log_verdict(held, verdict, policy, attestation=statement, tracking_uri=store)
    done = register_and_promote(
        verdict, model_uri=uri, name="names", run_id=held, attestation=statement, tracking_uri=store
    )
    client = MlflowClient(store)
    run = client.get_run(held).data
    keys = [*run.metrics, *run.params, *run.tags, *client.get_model_version("names", str(done.version)).tags]
    assert not [key for key in keys if not key.isascii() or not key.isprintable() or set(key) & set("<>{}")]
    paths = []
    folders = [""]
    while folders:
        for entry in client.list_artifacts(held, folders.pop()):
            (folders if entry.is_dir else paths).append(entry.path)
    assert "audit/scores.parquet" in paths
    assert not [path for path in paths if ".." in path or not path.isascii() or set(path) & set("<>{}\x1b")]
    told, _, _ = unseal(statement, ())
    assert told["subject"][0]["digest"]["sha256"] == digest
