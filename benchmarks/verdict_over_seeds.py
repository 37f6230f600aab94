"""How steady is the verdict? Train the reference network with several seeds and audit each with the defaults.

    python benchmarks/verdict_over_seeds.py --data manifest.csv --seeds 5 [--threads 1]

One line a seed: each check with value and interval, and the verdict. The last line counts the verdicts.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

import torch

from camgate import Policy, audit
from camgate.data.sources import load_data
from camgate.gate.judge import judge
from camgate.models.training import train_classifier


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True, help="manifest with the splits `train` and `test`")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0 takes its own choice")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    manifest = load_data(options.data)
    policy = Policy.default()
    verdicts: Counter[str] = Counter()
    for seed in range(options.seeds):
        start = time.monotonic()
        classifier = train_classifier(manifest, seed=seed, progress=False).classifier
        verdict = judge(audit(classifier, manifest, **policy.audit_options()), policy)
        verdicts[verdict.status.value] += 1
        checks = "; ".join(
            f"{check.name} {check.status.value} {check.value:.2f} [{check.low:.2f}, {check.high:.2f}]"
            if check.value is not None and check.low is not None and check.high is not None
            else f"{check.name} {check.status.value}"
            for check in verdict.checks
        )
        print(f"seed {seed}: {verdict.status.value}; {checks}; {time.monotonic() - start:.0f} s", flush=True)
    print(", ".join(f"{status}: {count}" for status, count in sorted(verdicts.items())))


if __name__ == "__main__":
    main()
