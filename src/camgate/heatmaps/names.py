"""Which heatmap methods may gate, by name alone: nothing heavy is imported here.

A verdict may rest on a method only if its map follows from the gradient of the one class explained, and if
its scores were measured to tell biased models from clean ones. The others are for looking:

* `eigencam` ignores the class, `eigengradcam` takes the first principal component of activation times
  gradient, whose sign is a convention: what it lights up may speak for the class or against it.
* `scorecam` and `ablationcam` perturb: they show what the network does to inputs or activations that no
  image has.
* `finercam` explains the class against those most like it (evidence that they share is gone), and
  `shapleycam` adds a second-order term (none where the layers behind are piecewise linear, where it equals
  gradcam). Both are class-specific gradients; no limit was measured for either.
* A function that is handed in says nothing about what it does.
"""

from __future__ import annotations

_GATING = {"gradcam": None, "hirescam": None, "gradcam++": None, "xgradcam": None, "layercam": None}


def may_gate(name: str) -> bool:
    """Whether a verdict may rest on heatmaps of this method."""
    return name in _GATING


def gating_names() -> tuple[str, ...]:
    """The methods that may gate."""
    return tuple(_GATING)


def let_gate(name: str) -> None:
    """Add a method; `camgate.heatmaps.methods.method(name, gates=True)` does, for methods of one's own."""
    _GATING[name] = None


def forbid_gating(name: str) -> None:
    """Take a method out again, with its registration."""
    _GATING.pop(name, None)
