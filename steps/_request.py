"""What an audit can be asked for beside its model and its data: the same of the whole and of its shards."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn

from camgate.data.preprocessing import Preprocessing
from camgate.errors import InputError
from camgate.gate.policy import Policy
from camgate.models.classifier import Classifier
from camgate.steps._models import as_classifier

OF_THE_MODEL = ("classes", "preprocessing", "builder", "builder_args", "allow_code", "allow_pickle")
"""Fields that say how the model is read; the others say how it is audited."""


class AuditRequest(BaseModel):
    """Options of an audit in a pipeline; each is explained at `camgate.steps.audit.audit_heatmaps`.

    Where None is the default of an option that a policy has too, the policy's `audit:` section decides.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: tuple[str, ...] | None = None
    preprocessing: Preprocessing | None = None
    builder: str | None = None
    builder_args: dict[str, Any] | None = None
    method: str | None = None
    target_layer: str | None = None
    target: str | None = None
    interventions: bool | None = None
    tolerance: int | None = None
    draws: int | None = None
    fill: str | None = None
    margin: float | None = None
    match_on: tuple[str, ...] | None = None
    slices: tuple[str, ...] = ()
    seed: int | None = None
    max_interventions: int = 1000
    batch_size: int = 32
    workers: int | None = None
    gallery_worst: int = 24
    gallery_sample: int = 24
    allow_code: bool = False
    allow_pickle: bool = False

    @classmethod
    def read(cls, options: Mapping[str, Any] | None) -> AuditRequest:
        """From a run configuration's `audit:`.

        Raises:
            InputError: an unknown name (says the nearest), or a value that cannot be used.
        """
        try:
            return cls.model_validate(dict(options or {}))
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}{_nearest(fault['loc'][0])}"
                for fault in error.errors()
            )
            raise InputError(f"options of the audit: {faults}") from error

    def arguments(self, policy: str | Mapping[str, Any] | None) -> dict[str, Any]:
        """As arguments of `camgate.audit`, the policy's where nothing else is asked for."""
        asked = self.model_dump(exclude=set(OF_THE_MODEL))
        return Policy.read(policy).audit_options() | {
            name: value for name, value in asked.items() if value is not None
        }

    def classifier(
        self, model: Classifier | nn.Module | None, source: str | None, *, tracking_uri: str | None
    ) -> Classifier:
        """The model, as `camgate.steps._models.as_classifier` finds it."""
        facts = {name: getattr(self, name) for name in OF_THE_MODEL}
        return as_classifier(model, source=source, tracking_uri=tracking_uri, **facts)


def _nearest(name: object) -> str:
    known = AuditRequest.model_fields
    near = difflib.get_close_matches(str(name), known, n=1) if name not in known else []
    return f" (did you mean {near[0]!r}?)" if near else ""
