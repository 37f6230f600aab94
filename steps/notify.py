"""Step: tell people what became of a candidate, by ZenML's alerter, a webhook or a folder."""

from __future__ import annotations

import io
import logging
from typing import Annotated, Any, Literal

from PIL import Image
from zenml import step
from zenml.client import Client

import camgate.materializers  # noqa: F401  (registers them)
from camgate.audit.result import AuditResult
from camgate.errors import CamgateError, InputError
from camgate.gate.verdict import Verdict
from camgate.materializers.sources import pin
from camgate.operate.delivery import Delivery, NotifyOptions, deliver, tell_failures
from camgate.operate.drift import Drift
from camgate.operate.messages import Kind, Message
from camgate.operate.options import read_options
from camgate.operate.plans import outcome_kind
from camgate.registry.files import log_files, run_links
from camgate.registry.pictures import gallery_pictures
from camgate.registry.promotion import Promotion
from camgate.registry.tracking import audit_run
from camgate.steps._tracking import tracked

PICTURE = "audit/worst.png"
_log = logging.getLogger(__name__)


@step(enable_cache=False)
def notify_outcome(
    verdict: Verdict,
    result: AuditResult,
    name: str,
    promotion: Promotion | None = None,
    drift: Drift | None = None,
    options: dict[str, Any] | None = None,
    experiment: str | None = None,
) -> Annotated[list[dict[str, Any]], "deliveries"]:
    """Tell what became of a candidate: the sentence, the worst picture, where to look. Never cached.

    Put it before `enforce_verdict`: nothing runs after a step that raises. A message that does not arrive is
    logged with all it says, and changes neither verdict nor run.

    Args:
        verdict: of `gate_promotion`.
        result: the audit that it judged.
        name: registered model in MLflow.
        promotion: of `promote_model`.
        drift: of the data, where it was looked for.
        options: see `camgate.operate.delivery.NotifyOptions`.
        experiment: MLflow experiment; by default the pipeline's name.

    Returns:
        One entry for each place: where, delivered, attempts, detail.
    """
    chosen = read_options(NotifyOptions, options, "notify")
    kind = outcome_kind(verdict, promotion)
    notes = [promotion.sentence] if promotion is not None and promotion.sentence else []
    notes += [drift.sentence] if drift is not None and drift.status == "drifted" else []
    message = Message(kind=kind, subject=name, sentence=verdict.sentence, notes=tuple(notes))
    try:
        with tracked(experiment) as run:
            held = audit_run(run.run_id, result, tracking_uri=run.uri)
            message = with_evidence(message, result, held, tracking_uri=run.uri)
    except CamgateError as error:  # MLflow is away: what was decided must be told all the same
        _log.warning("The message goes without links: %s", error)
    return [each.model_dump() for each in send(message, chosen)]


def with_evidence(message: Message, result: AuditResult, run_id: str, *, tracking_uri: str | None) -> Message:
    """The message with the worst picture and the links, which are those of the run.

    Raises:
        RegistryError: MLflow cannot be reached.
    """
    paths = {"report": "audit/report.html"}
    picture = None
    for _, _, pixels in gallery_pictures(result, 1):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, format="PNG")
        picture, paths["worst picture"] = stream.getvalue(), PICTURE
    if picture is not None:
        log_files(run_id, {PICTURE: picture}, tracking_uri=tracking_uri)
    links = run_links(run_id, paths, tracking_uri=tracking_uri)
    return Message(message.kind, message.subject, message.sentence, message.notes, links, picture)


def send(message: Message, options: NotifyOptions) -> tuple[Delivery, ...]:
    """By the stack's alerter where it has one, else to the webhook; and into the folder. Never raises."""
    if not options.wanted(message.kind):
        return ()
    where: Literal["alerter", "webhook"] = "webhook"
    try:
        alerter = Client().active_stack.alerter
        if alerter is None:
            return deliver(message, options, url=_url(options))
        where = "alerter"
        arrived, said = bool(alerter.post(message.text())), type(alerter).__name__
    except Exception as error:  # whatever a chat service or a secret store raises: the verdict stands
        arrived, said = False, type(error).__name__
    done = [Delivery(where=where, delivered=arrived, detail=said)]
    tell_failures(message, done)
    # The webhook is left to the alerter; the folder is kept besides.
    return (*done, *deliver(message, options, environment={}))


def tell(kind: Kind, name: str, sentence: str, options: dict[str, Any] | None, *notes: str) -> None:
    """A message without an audit: an error, data that drifted."""
    try:
        chosen = read_options(NotifyOptions, options, "notify")
    except InputError as error:
        _log.error("%s\nNOT DELIVERED: %s: %s", error, name, sentence)
        return
    send(Message(kind=kind, subject=name, sentence=sentence, notes=notes), chosen)


def _url(options: NotifyOptions) -> str | None:
    if options.secret is None:
        return None
    values = Client().get_secret(options.secret).secret_values
    if "url" not in values:
        raise InputError(f"the ZenML secret {options.secret!r} has no value `url`")
    return str(values["url"])


pin(Drift)
pin(notify_outcome.entrypoint)
