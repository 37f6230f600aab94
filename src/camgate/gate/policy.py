"""`Policy`: what a model must show before it is promoted. Pydantic, YAML in and out."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

import camgate.gate.checks  # noqa: F401  (registers them)
from camgate.errors import PolicyError
from camgate.gate.measure import CHECKS
from camgate.gate.waivers import WaiverTerms
from camgate.heatmaps.names import gating_names


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AuditTerms(_Section):
    """How the audit must have been made; the audited party does not choose its exam."""

    method: str = "auto"
    target_layer: str = "auto"
    """`auto`: chosen by the rule; `model`: the rule or the model's own spec; else a module name."""
    target: Literal["predicted", "label"] = "predicted"
    tolerance: int = Field(default=1, ge=0)
    interventions: bool = True
    draws: int = Field(default=3, ge=1)
    """Donor pairs per recipient, at least."""
    fill: Literal["inpaint", "median"] = "inpaint"
    margin: float = Field(default=0.05, ge=0, le=0.5)
    match_on: tuple[str, ...] = ()
    seed: Literal["derived", "any"] = "derived"
    """`derived`: from model and data digest; `any` lets the caller choose one."""
    min_images: int = Field(default=50, ge=1)
    min_groups: int = Field(default=10, ge=2)
    all_classes: bool = True
    """Every class of the model must be among the audited images."""
    data_digest: str | None = None
    """Audit exactly these data."""

    @field_validator("method")
    @classmethod
    def _gating(cls, method: str) -> str:
        allowed = ("auto", *gating_names())
        if method not in allowed:
            raise ValueError(
                f"{method!r} may not gate{_near(method, allowed)}; allowed: {', '.join(allowed)}"
            )
        return method


class Coverage(_Section):
    """How much of the data must have been scored; below it the audit is INCONCLUSIVE."""

    overall: float = Field(default=0.8, ge=0, le=1)
    per_class: float = Field(default=0.5, ge=0, le=1)
    max_unreadable: float = Field(default=0.02, ge=0, le=1)


class RegionFree(_Section):
    """Classes without objects (`empty`)."""

    classes: tuple[str, ...] | None = None
    """Names; None accepts any class whose images all have no valid region."""
    rule: Literal["background_gap", "none"] = "background_gap"
    """What is tested instead of heatmap shares."""


class ExplainerSanity(_Section):
    """Heatmaps must not look like those of the same network with random weights."""

    required: bool = True
    max_similarity: float = Field(default=0.5, ge=-1, le=1)
    """Of the mean rank correlation; its upper bound above this makes heatmap checks INCONCLUSIVE."""


Outcome = Literal["fail", "inconclusive", "pass"]


class Disagreement(_Section):
    """What holds where heatmap and intervention disagree; see `docs/policy.md` for the defaults."""

    seen_but_unused: Outcome = "pass"
    """Heatmaps lie on invalid pixels, yet swapping these changes nothing."""
    used_but_unseen: Outcome = "fail"
    """Swapping invalid pixels changes the predictions, yet heatmaps lie on the object."""


class DrillTerms(_Section):
    """How well the gate must see planted shortcuts, where a drill is required."""

    min_kill_rate: float = Field(default=0.8, ge=0, le=1)
    """Share of the biased mutants that must be blocked; fewer turn PASS into INCONCLUSIVE."""
    min_mutants: int = Field(default=5, ge=1)
    """Biased mutants that there must be."""


class Policy(_Section):
    """The gate's terms.

    Attributes:
        version: of the format.
        on_block: what the last step does when the verdict is not PASS.
        audit: terms of the audit itself.
        coverage: how much must be scored.
        region_free: classes without objects.
        sanity: the explainer held against random weights.
        disagreement: heatmap and intervention contradict each other.
        require_drill: the gate must have shown on mutants of this candidate that it sees.
        drill: how well.
        waivers: whether a person may accept a FAIL, by signature and for a time.
        max_evidence_days: older verdicts promote nothing; None sets no limit.
        critical_classes: classes that must pass each on its own, by name or pattern (`truck*`).
        checks: name -> options, see `camgate.gate.checks`.
    """

    version: Literal[1] = 1
    on_block: Literal["fail", "warn"] = "fail"
    audit: AuditTerms = AuditTerms()
    coverage: Coverage = Coverage()
    region_free: RegionFree = RegionFree()
    sanity: ExplainerSanity = ExplainerSanity()
    disagreement: Disagreement = Disagreement()
    require_drill: bool = False
    drill: DrillTerms = DrillTerms()
    waivers: WaiverTerms = WaiverTerms()
    max_evidence_days: float | None = Field(default=None, gt=0)
    critical_classes: tuple[str, ...] = ()
    checks: dict[str, dict[str, Any]] = Field(
        default_factory=lambda: {
            "accuracy": {"min": 0.85},
            "invalid_lift": {"max": 0.40},
            "background_gap": {"max": 0.10},
            "background_flips": {"max": 0.20},
        }
    )

    @model_validator(mode="after")
    def _known_checks(self) -> Policy:
        for name, options in self.checks.items():
            if name not in CHECKS:
                raise ValueError(
                    f"checks.{name}: no such check{_near(name, CHECKS)}; there are {', '.join(CHECKS)}"
                )
            try:
                CHECKS[name].options.model_validate(options or {})
            except ValidationError as error:
                raise ValueError(_explain(error, CHECKS[name].options, f"checks.{name}.")) from error
        return self

    @classmethod
    def default(cls) -> Policy:
        """The policy used where none is given (a copy is in `configs/policy.yaml`)."""
        return cls()

    @classmethod
    def parse(cls, data: Any, *, source: str = "policy") -> Policy:
        """Validate a mapping.

        Raises:
            PolicyError: an unknown key (naming the nearest right one), a wrong value, no check.
        """
        if not isinstance(data, dict):
            raise PolicyError(f"{source}: a policy is a mapping of keys, not {type(data).__name__}.")
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise PolicyError(f"{source}: {_explain(error, cls)}.") from error

    @classmethod
    def load(cls, path: str | Path) -> Policy:
        """Read a policy from YAML.

        Raises:
            PolicyError: the file is missing, is not YAML, or does not make sense.
        """
        file = Path(path)
        try:
            data = yaml.safe_load(file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise PolicyError(f"{file}: no such policy file.") from error
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            raise PolicyError(
                f"{file}: not a readable YAML file ({' '.join(str(error).split())})."
            ) from error
        return cls.parse(data, source=str(file))

    @classmethod
    def read(cls, source: Policy | Mapping[str, Any] | str | Path | None) -> Policy:
        """A policy as users hand it in: itself, a mapping, a path, or None for the default one.

        Raises:
            PolicyError: it cannot be read, or does not make sense.
        """
        if source is None:
            return cls.default()
        if isinstance(source, Policy):
            return source
        return cls.load(source) if isinstance(source, str | Path) else cls.parse(dict(source))

    def audit_options(self) -> dict[str, Any]:
        """How the `audit:` section wants the audit made, as arguments of `camgate.audit`."""
        terms = self.audit
        return {
            "method": terms.method,
            "target_layer": None if terms.target_layer in ("auto", "model") else terms.target_layer,
            "target": terms.target,
            "tolerance": terms.tolerance,
            "interventions": terms.interventions,
            "draws": terms.draws,
            "fill": terms.fill,
            "margin": terms.margin,
            "match_on": terms.match_on,
            "sanity": self.sanity.required,
        }

    def critical_among(self, classes: Iterable[str]) -> tuple[set[str], list[str]]:
        """The critical ones of these classes, and the entries of `critical_classes` that match none.

        An entry that is the name of a class means that class alone; any other is a pattern of the shell
        (`*`, `?`, `[ab]`; upper and lower case differ).
        """
        known = set(classes)
        matches = {
            entry: {entry} if entry in known else {name for name in known if fnmatchcase(name, entry)}
            for entry in self.critical_classes
        }
        return set().union(*matches.values()), sorted(entry for entry in matches if not matches[entry])

    def to_yaml(self) -> str:
        """The whole policy, defaults included."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def digest(self) -> str:
        """SHA-256 hex of the policy's content; formatting and comments do not matter."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def _near(word: str, known: Any) -> str:
    found = difflib.get_close_matches(str(word), [str(name) for name in known], n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""


def _explain(error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """One readable sentence from pydantic's errors."""
    sentences = []
    for entry in error.errors():
        path = ".".join(str(part) for part in entry["loc"])
        if entry["type"] == "extra_forbidden":
            owner: Any = model
            for part in entry["loc"][:-1]:
                owner = owner.model_fields[part].annotation
            near = _near(str(entry["loc"][-1]), owner.model_fields)
            known = ", ".join(owner.model_fields)
            sentences.append(f"unknown key {prefix}{path}{near}; known here: {known}")
        elif not path:
            sentences.append(entry["msg"].removeprefix("Value error, "))
        else:
            sentences.append(f"{prefix}{path}: {entry['msg'].removeprefix('Value error, ')}")
    return "; ".join(sentences)
