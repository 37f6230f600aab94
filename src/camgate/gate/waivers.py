"""What a policy says about waivers: whether a person may accept a FAIL, which checks, for how long. Pure."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator


class WaiverTerms(BaseModel):
    """Terms of a waiver. It only ever covers FAIL, never ERROR or INCONCLUSIVE.

    Attributes:
        allowed: whether a FAIL can be waived at all.
        max_days: longest time from the signature to the end, in days.
        checks: that may be waived; None allows every one.
        keys: ids of the public keys (`camgate keygen` prints them) whose owners may waive; None allows every
            key that whoever promotes or verifies trusts, that of the pipeline included.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    allowed: bool = False
    max_days: float = Field(default=30, gt=0, le=36_500, allow_inf_nan=False)
    checks: tuple[str, ...] | None = None
    keys: tuple[str, ...] | None = None

    @field_validator("keys")
    @classmethod
    def _ids(cls, keys: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for key in keys or ():
            if len(key) != 64 or not set(key) <= set("0123456789abcdef"):
                raise ValueError(f"{key!r} is no key id: 64 hexadecimal digits, as `camgate keygen` prints")
        return keys
