"""What is said to people: one sentence, where to look, and the picture that shows it best. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from camgate.report.text import plain

Kind = Literal[
    "promoted", "waived", "blocked", "inconclusive", "error", "unverified", "drift", "alarm", "in_control"
]
TITLES: dict[Kind, str] = {
    "promoted": "New champion",
    "waived": "New champion under a waiver",
    "blocked": "Blocked",
    "inconclusive": "Inconclusive, not promoted",
    "error": "Error, nothing was decided",
    "unverified": "The champion no longer verifies",
    "drift": "The data have drifted, nothing was trained",
    "alarm": "The champion drifts",
    "in_control": "The champion is in control",
}
COLOURS: dict[Kind, str] = {
    **dict.fromkeys(("promoted", "in_control"), "Good"),  # names of Adaptive Cards' colours
    **dict.fromkeys(("waived", "inconclusive", "drift"), "Warning"),
    **dict.fromkeys(("blocked", "error", "unverified", "alarm"), "Attention"),
}
LONGEST = 2900
"""Characters of a text; Slack takes 3000 in a section."""


@dataclass(frozen=True)
class Message:
    """One thing to tell.

    Attributes:
        kind: decides title and colour.
        subject: registered model.
        sentence: what happened.
        notes: further sentences, such as that the data have drifted.
        links: (text, address); an address that is no http(s) URL is shown as text.
        picture: the worst image with its heatmap, PNG; webhooks cannot carry it, so `links` names it too.
    """

    kind: Kind
    subject: str
    sentence: str
    notes: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    picture: bytes | None = None

    @property
    def title(self) -> str:
        """`Blocked: underpass-camera`."""
        return f"{TITLES[self.kind]}: {plain(self.subject)}"

    def text(self) -> str:
        """As plain lines."""
        lines = [self.title, *self._said(), *(f"{text}: {address}" for text, address in self.links)]
        return "\n".join(lines)

    def slack(self) -> dict[str, Any]:
        """Body of a Slack-compatible incoming webhook: `text` for notices, `blocks` to be shown."""
        said = [_escaped(line) for line in self._said()]
        blocks: list[dict[str, Any]] = [
            {"type": "header", "text": {"type": "plain_text", "text": self.title[:150]}},
            {"type": "section", "text": {"type": "mrkdwn", "text": "\n".join(said)[:LONGEST]}},
        ]
        if self.links:
            links = [
                f"<{address}|{_escaped(text)}>" if _is_url(address) else f"{text}: {_escaped(address)}"
                for text, address in self.links
            ]
            joined = "\n".join(links)[:LONGEST]
            blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": joined}]})
        return {"text": _escaped(f"{self.title}. {self.sentence}")[:LONGEST], "blocks": blocks}

    def teams(self) -> dict[str, Any]:
        """Body of a Teams workflow webhook: an Adaptive Card as its only attachment."""
        title = {"weight": "Bolder", "size": "Medium", "color": COLOURS[self.kind]}
        body = [_block(self.title, **title), *(_block(line) for line in self._said())]
        body += [_block(f"{text}: {address}") for text, address in self.links if not _is_url(address)]
        card: dict[str, Any] = {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "body": body,
        }
        urls = [(text, address) for text, address in self.links if _is_url(address)]
        if urls:
            card["actions"] = [
                {"type": "Action.OpenUrl", "title": text, "url": address} for text, address in urls
            ]
        attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
        return {"type": "message", "attachments": [attachment]}

    def record(self) -> dict[str, Any]:
        """For a file."""
        return {
            "kind": self.kind,
            "title": self.title,
            "subject": self.subject,
            "sentence": self.sentence,
            "notes": list(self.notes),
            "links": dict(self.links),
        }

    def _said(self) -> list[str]:
        return [plain(line) for line in (self.sentence, *self.notes) if line]


def _block(text: str, **style: str) -> dict[str, Any]:
    return {"type": "TextBlock", "text": text[:LONGEST], "wrap": True, **style}


def _escaped(text: str) -> str:
    """Slack's three control characters; names in the text may be anybody's."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _is_url(address: str) -> bool:
    return address.startswith(("http://", "https://"))
