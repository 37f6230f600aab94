"""What a drill found: how many planted shortcuts a gate blocked; and the check that asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from scipy.stats import beta

from camgate.audit.runner import derive_seed
from camgate.errors import InputError
from camgate.gate.measure import Context, percent
from camgate.gate.verdict import CheckResult, Status

BIASED, CLEAN, SPOILT = 0.10, 0.02, 0.05
"""Reliance from which a mutant counts as biased, and up to which a neutral one counts as clean;
accuracy below the candidate's that makes it useless."""

Role = Literal["biased", "clean", "between", "spoilt"]


class Mutant(BaseModel):
    """A copy of the candidate with a shortcut planted in it, or with the same stamp at random.

    Attributes:
        kind: of the stamp: `patch`, `tag`, `timestamp`, `frame`, `cast`.
        area: share of the pixels that the stamp changes, mean over images, 0..1; 1 for a cast.
        neutral: the stamp fell at random in training and audit: there was nothing to learn from it.
        aligned: accuracy where every image carries the stamp of its class, 0..1.
        random: accuracy on the same images with stamps at random, 0..1.
        role: what it counts as, by its measured reliance. Reported and not counted are `between` and
            `spoilt`, a mutant that the refit or the stamp itself made too inaccurate to be judged.
        status: the gate's verdict; None where it was not audited.
        reason: code of the check that decided.
        blocked_by: names of the checks that did not pass.
        invalid_lift, background_gap: what the audit measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    area: float
    neutral: bool
    aligned: float
    random: float
    role: Role
    status: Status | None = None
    reason: str = ""
    blocked_by: tuple[str, ...] = ()
    invalid_lift: float | None = None
    background_gap: float | None = None
    seconds: float = 0.0

    @property
    def reliance(self) -> float:
        """Accuracy that the stamp is good for."""
        return self.aligned - self.random

    @property
    def blocked(self) -> bool:
        """Whether the gate saw it: FAIL. A gate that merely cannot decide has seen nothing."""
        return self.status is Status.FAIL

    @property
    def undecided(self) -> bool:
        """Whether it was audited and the gate could not decide."""
        return self.status in (Status.INCONCLUSIVE, Status.ERROR)


class DrillResult(BaseModel):
    """Mutation testing of a gate on a candidate's own images.

    Attributes:
        mutants: all that were made, in order.
        model_digest: of the candidate, SHA-256 hex.
        data_digest: of the candidate's audited images, SHA-256 hex.
        policy_digest: of the policy that judged, SHA-256 hex.
        images: audited for each mutant.
        planned: mutants that would have been made with enough time.
        seconds: it took.
        budget_seconds: it was allowed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mutants: tuple[Mutant, ...]
    model_digest: str
    data_digest: str
    policy_digest: str
    images: int
    planned: int
    seconds: float
    budget_seconds: float
    seed: int
    warnings: tuple[str, ...] = ()
    camgate_version: str = ""

    @property
    def biased(self) -> tuple[Mutant, ...]:
        """Mutants that rely on their stamp."""
        return tuple(mutant for mutant in self.mutants if mutant.role == "biased")

    @property
    def clean(self) -> tuple[Mutant, ...]:
        """Neutral mutants that do not."""
        return tuple(mutant for mutant in self.mutants if mutant.role == "clean")

    @property
    def kills(self) -> int:
        """Biased mutants that were blocked."""
        return sum(mutant.blocked for mutant in self.biased)

    @property
    def false_alarms(self) -> int:
        """Clean mutants that were blocked."""
        return sum(mutant.blocked for mutant in self.clean)

    @property
    def smallest(self) -> float | None:
        """Smallest area from which on every biased mutant with a stamp in one place was blocked, 0..1."""
        local = sorted((mutant for mutant in self.biased if mutant.area < 1), key=lambda m: -m.area)
        found = None
        for mutant in local:
            if any(not other.blocked for other in local if other.area == mutant.area):
                break
            found = mutant.area
        return found

    def sentence(self) -> str:
        """The outcome in one plain sentence."""
        text = (
            f"On your images and your network this gate blocked {self.kills} of {len(self.biased)} biased "
            f"mutants and {self.false_alarms} of {len(self.clean)} neutral ones"
        )
        open_ = sum(mutant.undecided for mutant in (*self.biased, *self.clean))
        if open_:
            text += f" ({open_} undecided)"
        if self.smallest is not None:
            text += f"; smallest shortcut caught: {percent(self.smallest)} of the image"
        return f"{text}."

    def summarise(self) -> dict[str, float]:
        """Flat numbers, as they are logged under `drill/`."""
        numbers = {
            "biased": float(len(self.biased)),
            "biased_blocked": float(self.kills),
            "neutral": float(len(self.clean)),
            "neutral_blocked": float(self.false_alarms),
            "mutants": float(len(self.mutants)),
            "seconds": self.seconds,
        }
        if self.biased:
            numbers["kill_rate"] = self.kills / len(self.biased)
            numbers["kill_rate_ci_low"], numbers["kill_rate_ci_high"] = exact(self.kills, len(self.biased))
        if self.smallest is not None:
            numbers["smallest_area_caught"] = self.smallest
        return numbers

    def to_json(self) -> str:
        """The text of a `drill.json`."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def load(cls, path: str | Path) -> DrillResult:
        """Read a `drill.json`.

        Raises:
            InputError: missing, or not what this version of camgate wrote.
        """
        file = Path(path)
        try:
            return cls.model_validate_json(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error.strerror or error}.") from error
        except ValidationError as error:
            raise InputError(
                f"{file}: not a drill that this version of camgate wrote; drill again."
            ) from error


def exact(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper & Pearson's interval of a rate."""
    tail = (1 - level) / 2
    low = float(beta.ppf(tail, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, n - hits)) if hits < n else 1.0
    return low, high


def drilled(context: Context, drill: DrillResult | None) -> CheckResult | None:
    """Whether the gate has shown on mutants that it sees; None where the policy does not ask."""
    policy = context.policy
    if not policy.require_drill:
        return None
    name, limit = "drill", policy.drill.min_kill_rate
    fault = None
    if drill is None:
        fault = "the policy requires a drill and none was given: run `camgate drill`"
    elif drill.model_digest != context.result.model_digest:
        fault = "the drill was made with another model"
    elif drill.data_digest != context.result.data_digest:
        fault = "the drill was made with other images"
    elif drill.policy_digest != policy.digest():
        fault = "the drill was judged by another policy"
    elif policy.audit.seed == "derived" and drill.seed != derive_seed(drill.model_digest, drill.data_digest):
        fault = "the drill's seed was chosen by hand, the policy asks for the derived one"
    if drill is None or fault is not None:
        reason = "not_measured" if drill is None else "settings_differ"
        return CheckResult(name=name, status=Status.ERROR, reason=reason, message=fault or "", limit=limit)
    n = len(drill.biased)
    common = {"name": name, "limit": limit, "n": n, "smaller_is_better": False}
    text = drill.sentence().rstrip(".")
    text = text[0].lower() + text[1:]
    if n < policy.drill.min_mutants:
        return CheckResult(
            **common,
            status=Status.INCONCLUSIVE,
            reason="too_few_mutants",
            message=f"{text}; the policy asks for {policy.drill.min_mutants} biased ones",
        )
    rate = drill.kills / n
    low, high = exact(drill.kills, n)
    sees = rate >= limit
    if sees and drill.clean and drill.false_alarms / len(drill.clean) >= rate:
        return CheckResult(
            **common,
            status=Status.INCONCLUSIVE,
            reason="gate_indiscriminate",
            message=f"{text}: it blocks neutral mutants as readily as biased ones",
            value=rate,
            low=low,
            high=high,
        )
    return CheckResult(
        **common,
        status=Status.PASS if sees else Status.INCONCLUSIVE,
        reason="ok" if sees else "gate_blind",
        message=text if sees else f"{text}: too blind to vouch for a PASS (at least {percent(limit)} asked)",
        value=rate,
        low=low,
        high=high,
    )
