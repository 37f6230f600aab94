"""Scenes rendered per second on one core.

python benchmarks/scenes_speed.py
"""

from __future__ import annotations

import statistics
import time

import cv2

from camgate.scenes.render import CLASSES, render_scene

ROUNDS, SCENES = 5, 200


def main() -> None:
    cv2.setNumThreads(1)
    rates = []
    for round_number in range(ROUNDS):
        start = time.process_time()
        for number in range(SCENES):
            render_scene(CLASSES[number % 4], (round_number, number), shortcut="tag")
        rates.append(SCENES / (time.process_time() - start))
    print(
        f"128 px scenes per second of one core: median {statistics.median(rates):.0f}, "
        f"{min(rates):.0f} to {max(rates):.0f} over {ROUNDS} rounds of {SCENES}"
    )


if __name__ == "__main__":
    main()
