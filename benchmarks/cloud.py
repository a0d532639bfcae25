"""Streams from a real S3 server on loopback, with latency added by a proxy; used by `streaming.py --s3`."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from peers import data, ours

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from servers.proxy import proxy  # noqa: E402
from servers.seaweed import BUCKET, seaweed, use  # noqa: E402

PROFILES = ("fast", "lossless")
ROUNDS = 3


def measure_cloud(folder: Path, *, frames: int, latencies: Sequence[float], seconds: float) -> list[dict]:
    """Return a row for each profile and latency: medians of interleaved rounds, and the share of the first latency's throughput."""
    rows = []
    with seaweed(folder / "server") as endpoint:
        use(endpoint)
        made = data.make(frames)
        for profile in PROFILES:
            ours.write(made, f"s3://{BUCKET}/{profile}", profile=profile)
        del made
        found = {(profile, latency): [] for profile in PROFILES for latency in latencies}
        for seed in range(ROUNDS):
            for profile, latency in found:
                found[profile, latency].append(_measure(endpoint, profile, latency, seconds, seed))
    for (profile, latency), runs in found.items():
        row = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        rows.append({"profile": profile, "latency_ms": latency, **row})
    _print(rows, latencies[0])
    return rows


def _measure(endpoint: str, profile: str, latency: float, seconds: float, seed: int) -> dict[str, float]:
    with proxy(endpoint, latency_ms=latency) as far:
        environment = dict(os.environ)
        use(far, environment)
        command = [sys.executable, str(Path(__file__).parent / "measure.py"), "ours", f"s3://{BUCKET}/{profile}", str(seconds), str(seed)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    if done.returncode:
        sys.exit(done.stderr.strip()[-2000:])
    return json.loads(done.stdout.strip().splitlines()[-1])


def _print(rows: list[dict], nearest: float) -> None:
    base = {row["profile"]: row["frames_per_s"] for row in rows if row["latency_ms"] == nearest}
    print(f"{'profile':10s}{'+ms':>6s}{'kframes/s':>12s}{'share':>8s}{'first batch s':>15s}{'RSS MB':>8s}")
    for row in rows:
        row["share_of_nearest"] = row["frames_per_s"] / base[row["profile"]]
        print(
            f"{row['profile']:10s}{row['latency_ms']:6.0f}{row['frames_per_s'] / 1e3:12.1f}{row['share_of_nearest']:8.2f}"
            f"{row['first_batch_s']:15.3f}{row['rss_mb']:8.0f}"
        )
