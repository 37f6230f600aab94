"""The EU's seven key requirements: what this audit contributes, what it does not, what people must answer.

Nothing is claimed that was not measured: each sentence is made from the verdict and the audit, and where
something was not done the sentence says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from camgate.audit.result import AuditResult
from camgate.errors import some_of
from camgate.gate.drilled import DrillResult
from camgate.gate.verdict import Status, Verdict
from camgate.report import text
from camgate.report.machine import escaped
from camgate.report.requirements import REQUIREMENTS, SOURCES, Requirement
from camgate.report.words import check_words


@dataclass(frozen=True)
class Contribution:
    """A sentence about what was measured, and the section of the report that shows it."""

    said: str
    section: str


@dataclass(frozen=True)
class RequirementEvidence:
    """One requirement: what the audit contributes, what it does not, what is left to people."""

    key: str
    title: str
    contributes: tuple[Contribution, ...]
    missing: tuple[str, ...]
    questions: tuple[str, ...]
    articles: tuple[str, ...]


@dataclass(frozen=True)
class TrustworthyEvidence:
    """The whole.

    Attributes:
        verdict: status of the verdict.
        sentence: in plain words.
        digests: of model, data and policy.
        requirements: all seven, in the order of the guidelines.
        sources: title and address.
    """

    verdict: str
    sentence: str
    digests: dict[str, str]
    requirements: tuple[RequirementEvidence, ...]
    sources: tuple[tuple[str, str], ...] = SOURCES

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"format": 1} | asdict(self)

    def to_markdown(self) -> str:
        """For people; the same content."""
        lines = [
            "# Trustworthy-AI evidence",
            "",
            f"Verdict {self.verdict}: {escaped(self.sentence)}",
            "",
            *(f"- {name} digest `{digest}`" for name, digest in self.digests.items()),
            "",
            "What this audit contributes is measured. It is no assessment of conformity: the questions, "
            "after the Assessment List (ALTAI), are for people.",
        ]
        for each in self.requirements:
            lines += ["", f"## {each.title}", "", "What this audit contributes:", ""]
            lines += [f"- {escaped(one.said)} (report: {one.section})" for one in each.contributes]
            lines += ["", "What it does not say:", "", *(f"- {escaped(one)}" for one in each.missing)]
            lines += [
                "",
                "What people must answer:",
                "",
                *(f"- [ ] {escaped(one)}" for one in each.questions),
            ]
            lines += ["", f"AI Act: {'; '.join(each.articles)}."]
        lines += ["", "## Sources", "", *(f"- {title}: <{url}>" for title, url in self.sources), ""]
        return "\n".join(lines)


def trustworthy_evidence(
    result: AuditResult, verdict: Verdict, drill: DrillResult | None = None
) -> TrustworthyEvidence:
    """Gather it from an audit and its verdict.

    Args:
        result: the audit.
        verdict: the gate's answer about it.
        drill: mutation testing of the gate, where it was done.
    """
    facts = _Facts(result, verdict, drill)
    return TrustworthyEvidence(
        verdict=verdict.status.value,
        sentence=verdict.sentence,
        digests={"model": verdict.model_digest, "data": verdict.data_digest, "policy": verdict.policy_digest},
        requirements=tuple(_evidence(each, tuple(facts.of(each.key))) for each in REQUIREMENTS),
    )


def _evidence(requirement: Requirement, contributes: tuple[Contribution, ...]) -> RequirementEvidence:
    return RequirementEvidence(
        requirement.key,
        requirement.title,
        contributes,
        requirement.missing,
        requirement.questions,
        requirement.articles,
    )


@dataclass(frozen=True)
class _Facts:
    """One method a requirement; each yields sentences and the section of the report that shows them."""

    result: AuditResult
    verdict: Verdict
    drill: DrillResult | None

    def of(self, key: str) -> Iterator[Contribution]:
        for said, section in getattr(self, f"_{key}")():
            yield Contribution(said, section)

    def _human_agency_and_oversight(self) -> Iterator[tuple[str, str]]:
        verdict, pictures = self.verdict, len(self.result.gallery)
        held = "does not stand in the way of a promotion"
        if verdict.status is not Status.PASS:
            held = "lets no pipeline promote the model"
        yield f"The gate said {verdict.status} ({verdict.reason}), which {held}.", "verdict"
        kept = (
            f"{text.count(pictures)} pictures with heatmap and valid region are kept for people to look at."
        )
        yield kept if pictures else "No picture was kept; people can look at numbers only.", "gallery"
        days = f"{verdict.waivers.max_days:g}"
        by_signature = f"A person may accept a FAIL by signature, for at most {days} days."
        waivers = by_signature if verdict.waivers.allowed else "The policy lets nobody accept a FAIL."
        yield waivers, "verdict"

    def _technical_robustness_and_safety(self) -> Iterator[tuple[str, str]]:
        yield self._check("accuracy"), "checks"
        yield self._check("invalid_lift"), "distribution"
        if self.result.interventions is None:
            yield "No background was swapped: whether decisions depend on it is not known.", "causal"
        else:
            yield self._check("background_gap"), "causal"
            yield self._check("background_flips"), "causal"
        if self.drill is None:
            yield "No drill: how well the gate sees bias planted in these images was not measured.", "checks"
        else:
            yield self.drill.sentence(), "drill"

    def _privacy_and_data_governance(self) -> Iterator[tuple[str, str]]:
        scores = self.result.scores
        counts, groups = scores["status"].value_counts(), scores["group"].nunique()
        scored, lost = (text.count(int(counts.get(name, 0))) for name in ("ok", "unreadable"))
        yield (
            (
                f"{text.count(len(scores))} images of {text.count(len(self.result.classes))} classes in "
                f"{text.count(groups)} independent groups were audited; {scored} were scored, {lost} "
                "could not be read."
            ),
            "data",
        )
        if groups == len(scores):
            yield "No images were said to belong together, so each counts as independent.", "data"
        yield f"The data are fixed by their digest {self.verdict.data_digest[:12]}.", "method"

    def _transparency(self) -> Iterator[tuple[str, str]]:
        settings = self.result.settings
        yield (
            (
                f"Heatmaps were made by {settings.method} at the layer {settings.target_layer}; settings, "
                "seed, digests and versions are in the report."
            ),
            "method",
        )
        if self.result.sanity is None:
            yield "Whether heatmaps follow from what the model has learnt was not tested.", "checks"
        else:
            yield self._check("explainer_sanity"), "checks"

    def _diversity_non_discrimination_and_fairness(self) -> Iterator[tuple[str, str]]:
        parts = [part for check in self.verdict.checks for part in check.parts]
        for what, of_class in (("classes", True), ("slices", False)):
            judged = {part.part for part in parts if part.part.startswith("class ") is of_class}
            failing = sorted(
                {part.part for part in parts if part.part in judged and part.status is Status.FAIL}
            )
            if not judged:
                yield f"No {what} were judged apart.", "classes"
                continue
            found = f"these fail: {some_of(failing)}" if failing else "none fails"
            yield f"{text.count(len(judged))} {what} were judged apart; {found}.", "classes"

    def _societal_and_environmental_wellbeing(self) -> Iterator[tuple[str, str]]:
        swaps = self.result.interventions
        predicted = len(self.result.scores) + (0 if swaps is None else len(swaps))
        yield f"The audit took {text.count(predicted)} predictions, beside its heatmaps.", "method"

    def _accountability(self) -> Iterator[tuple[str, str]]:
        verdict = self.verdict
        yield (
            (
                f"The verdict is about exactly this model ({verdict.model_digest[:12]}), these data "
                f"({verdict.data_digest[:12]}) and this policy ({verdict.policy_digest[:12]})."
            ),
            "method",
        )
        yield f"Seed {self.result.settings.seed}; the report names the command that repeats it.", "method"

    def _check(self, name: str) -> str:
        check, title = self.verdict.check(name), check_words(name).title
        if check is None:
            return f"{title}: not judged by this policy."
        return f"{title}: {check.status}. {text.sentence(check.message)}"
