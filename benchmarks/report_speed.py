"""How large the report of 10,000 audited images is, how long it takes to write, and until it can be used.

The last line is the largest page there can be: as many pictures as are ever shown, of noise, with fine maps
and ragged regions. Needs a Chromium on the path. Times are medians of five, in one run, relative to the page
of 100 images.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "report"))

from playwright.sync_api import sync_playwright
from test_report_browser import heaviest_audit, shown_audit

from camgate.gate.judge import judge
from camgate.report.html import render_report

ROUNDS = 5
READY = "document.querySelectorAll('#rows-table tbody tr').length > 0"
FILTER = """() => {
  const choice = document.querySelector('.choice[data-column="1"]');
  const start = performance.now();
  choice.value = 'dog';
  choice.dispatchEvent(new Event('change'));
  document.body.offsetHeight;
  return performance.now() - start;
}"""


def main() -> None:
    """Print one line a size."""
    path = shutil.which("chromium")
    if path is None:
        sys.exit("no chromium on the path")
    print(f"{'images':>8}  {'MB':>6}  {'render s':>8}  {'usable s':>8}  {'filter ms':>9}")
    first: float | None = None
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        results = [shown_audit(per_class=images // 3 + 1) for images in (100, 1_000, 10_000)]
        for result in (*results, heaviest_audit()):
            images = len(result.scores)
            verdict = judge(result)
            started = time.perf_counter()
            page = render_report(result, verdict)
            rendered = time.perf_counter() - started
            file = Path(folder) / f"{images}.html"
            file.write_text(page, encoding="utf-8")
            usable, filtered = [], []
            for _ in range(ROUNDS):
                tab = browser.new_page()
                started = time.perf_counter()
                tab.goto(file.as_uri())
                tab.wait_for_function(READY)
                usable.append(time.perf_counter() - started)
                filtered.append(tab.evaluate(FILTER))
                tab.close()
            shown = statistics.median(usable)
            first = first or shown
            print(
                f"{images:>8}  {len(page) / 2**20:>6.2f}  {rendered:>8.2f}  {shown:>8.2f}  "
                f"{statistics.median(filtered):>9.1f}   {shown / first:.1f} x the smallest"
            )
        browser.close()


if __name__ == "__main__":
    main()
