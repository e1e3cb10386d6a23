"""``python -m bench``: measure, then write docs/benchmarks.md. About six minutes once Slurm and image are cached."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from bench import bare_slurm, cold_start, launches, pieces, reconcile, resume_calls, signatures, submissions
from bench.cold_start import Start
from bench.report import Results, write
from bench.site import Site, running, say

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
PIECES_JOBS = 100


def main() -> int:
    """Measure everything once."""
    options = _options()
    before = os.getloadavg()[0]
    with running("auto") as site:
        starts = {site.form: _starts(site, options.starts)}
        distribution = site.machine.distribution
        print("submissions per second", flush=True)
        rates = submissions.measure(site, options.rounds)
        print("ResumeProgram for a thousand nodes", flush=True)
        returned = resume_calls.measure(site)
        found = pieces.measure(site, PIECES_JOBS)
        signed = signatures.measure(found.total_s)
    if "process" not in starts:
        with running("process") as site:
            starts["process"] = _starts(site, options.starts)
    print("cold starts of bare slurmd", flush=True)
    bare = bare_slurm.measure(distribution, options.starts)
    print("ordering thousands of nodes", flush=True)
    launched = launches.measure()
    print("looking at thousands of nodes", flush=True)
    looks = reconcile.measure()
    loads = before, os.getloadavg()[0]
    version = distribution.version
    results = Results("python -m bench", version, loads, rates, found, signed, starts, bare, returned, launched, looks)
    write(results, options.page)
    say(f"wrote {options.page}")
    return 0


def _starts(site: Site, count: int) -> list[Start]:
    print(f"cold starts of {site.form} nodes", flush=True)
    return cold_start.measure(site, count)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of submissions")
    parser.add_argument("--starts", type=int, default=5, help="cold starts of each kind")
    parser.add_argument("--page", type=Path, default=PAGE, help="where to write the figures")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
