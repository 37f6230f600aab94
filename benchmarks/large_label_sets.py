"""Time and memory of many classes, relative to ten classes on as many images, in one run.

python benchmarks/large_label_sets.py
"""

from __future__ import annotations

import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np

from camgate.audit.interventions import pair_donors
from camgate.gate.judge import judge
from camgate.gate.policy import Policy
from camgate.report.files import write_report, write_verdict

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from audits_by_hand import make_large_audit

ROWS, GROUPS = 50_000, 25_000


def measured(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and megabytes at the peak (in a second run, since measuring them is slow)."""
    began = time.perf_counter()
    call()
    seconds = time.perf_counter() - began
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return seconds, peak


def main() -> None:
    found: dict[int, dict[str, tuple[float, float]]] = {}
    sizes: dict[int, tuple[int, int]] = {}
    for classes in (10, 1000):
        result = make_large_audit(classes, ROWS, groups_per_class=GROUPS // classes, bad=2)
        verdict = judge(result, Policy())
        labels, groups = result.scores["label"].to_numpy(), result.scores["group"].to_numpy()
        everyone = np.ones(ROWS, dtype=bool)
        recipients = np.arange(0, ROWS, 50)
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            sizes[classes] = (
                write_verdict(place, verdict).stat().st_size,
                write_report(place, result, verdict).stat().st_size,
            )
            found[classes] = {
                "judge": measured(lambda result=result: judge(result, Policy())),
                "report": measured(lambda p=place, r=result, v=verdict: write_report(p, r, v)),
                "pair donors": measured(
                    lambda a=labels, b=groups, c=everyone, d=recipients: pair_donors(a, b, c, d, draws=3)
                ),
            }
    print(f"{ROWS} images in {GROUPS} groups: 1000 classes relative to 10")
    for what in found[10]:
        few, many = found[10][what], found[1000][what]
        print(
            f"{what}: time {many[0] / few[0]:.1f} ({many[0]:.1f} s), "
            f"peak memory {many[1] / few[1]:.1f} ({many[1]:.0f} MB)"
        )
    for name, position in (("verdict.json", 0), ("report.html", 1)):
        print(f"{name}: {sizes[1000][position] / 1e6:.2f} MB, 10 classes {sizes[10][position] / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
