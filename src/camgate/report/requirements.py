"""The EU's seven key requirements for trustworthy AI, as far as they concern an audit of heatmaps.

Sources: High-Level Expert Group on AI, Ethics Guidelines for Trustworthy AI (2019) and the Assessment List
(ALTAI, 2020), whose questions are put here in our own words; Regulation (EU) 2024/1689 (AI Act), articles 9
to 15 on high-risk systems. Borg et al. (2021) related heatmaps to these requirements.
"""

from __future__ import annotations

from dataclasses import dataclass

SOURCES = (
    ("Ethics Guidelines for Trustworthy AI (2019)", "https://digital-strategy.ec.europa.eu/en/library/ethics-guidelines-trustworthy-ai"),
    ("Assessment List for Trustworthy AI, ALTAI (2020)", "https://digital-strategy.ec.europa.eu/en/library/assessment-list-trustworthy-artificial-intelligence-altai-self-assessment"),
    ("Regulation (EU) 2024/1689, AI Act", "https://eur-lex.europa.eu/eli/reg/2024/1689/oj"),
    ("Borg et al. (2021), Test Automation with Grad-CAM Heatmaps", "https://arxiv.org/abs/2103.01837"),
)  # fmt: skip


@dataclass(frozen=True)
class Requirement:
    """One key requirement.

    Attributes:
        key: for machines.
        title: as the guidelines call it.
        missing: what this audit says nothing about.
        questions: that a person still has to answer, after ALTAI.
        articles: of the AI Act that ask for related evidence.
    """

    key: str
    title: str
    missing: tuple[str, ...]
    questions: tuple[str, ...]
    articles: tuple[str, ...]


REQUIREMENTS = (
    Requirement(
        "human_agency_and_oversight",
        "Human agency and oversight",
        (
            "Whether anybody looks at the report, and what people do with the system's output.",
            "Whether people are told that they deal with a machine.",
        ),
        (
            "Who may overrule the gate, and who has read this report before the release?",
            "Can the system be stopped in operation, by whom, and is that practised?",
            "Could people come to rely on the system more than its errors allow?",
        ),
        ("Article 14 (human oversight)",),
    ),
    Requirement(
        "technical_robustness_and_safety",
        "Technical robustness and safety",
        (
            "Attacks on the model, and faults of the camera, the computer or the network.",
            "Situations that are not among the audited images.",
        ),
        (
            "Which harm follows from a wrong prediction, and how likely is it in operation?",
            "What does the system fall back to when its input is unusual?",
            "When is the model audited again, and what triggers that?",
        ),
        ("Article 9 (risk management)", "Article 15 (accuracy, robustness, cybersecurity)"),
    ),
    Requirement(
        "privacy_and_data_governance",
        "Privacy and data governance",
        (
            "Whether the images were lawfully taken, and whether people in them agreed.",
            "Whether the images represent those that the system will see.",
            "Pictures in this report may show people: pass it on accordingly.",
        ),
        (
            "Is there a legal ground for each image, and an impact assessment where one is due?",
            "Who drew the valid regions, and who checked them?",
            "How long are images, heatmaps and this report kept?",
        ),
        ("Article 10 (data and data governance)",),
    ),
    Requirement(
        "transparency",
        "Transparency",
        (
            "Why the model decides as it does inside the valid region.",
            "Evidence against a class: the heatmap shows evidence for it.",
        ),
        (
            "Are people who are affected told what the system does, and how often it errs?",
            "Can a single decision be traced to model, data and version in operation?",
        ),
        (
            "Article 11 (technical documentation)",
            "Article 12 (record-keeping)",
            "Article 13 (transparency to deployers)",
        ),
    ),
    Requirement(
        "diversity_non_discrimination_and_fairness",
        "Diversity, non-discrimination and fairness",
        (
            "Differences between groups of people, unless they were named as slices of the data.",
            "Bias that lies on the object itself, such as clothing, skin or age.",
        ),
        (
            "Which groups of people may be treated differently, and are they among the slices?",
            "Were people who are affected asked when classes and valid regions were defined?",
        ),
        ("Article 10 (examination for possible biases)",),
    ),
    Requirement(
        "societal_and_environmental_wellbeing",
        "Societal and environmental wellbeing",
        (
            "The purpose of the system and its effect on work, society and democracy.",
            "The energy that training and operation take; none was measured.",
        ),
        (
            "Is the purpose worth the surveillance that a camera brings?",
            "Is the energy for training, retraining and audits known, and proportionate?",
        ),
        ("Recital 27 (the seven principles)",),
    ),
    Requirement(
        "accountability",
        "Accountability",
        (
            "Who answers for the release, and how people can complain and be heard.",
            "What happened outside the registry.",
        ),
        (
            "Who is named as responsible for this model, and for this policy's limits?",
            "Can an independent auditor repeat the audit, with access to data and model?",
            "How are incidents reported, and to whom?",
        ),
        ("Article 12 (record-keeping)", "Article 17 (quality management)", "Article 26 (deployers)"),
    ),
)
