"""etcd's own metrics, from its loopback port: how long the disk takes."""

from agent.aws.http import Broken, Http, Timeouts, TooLarge

_MOST = 8 * 1024 * 1024  # 150 kB on a small cluster
_ASK = Timeouts(1.0, 2.0, 4.0)
FSYNC = "etcd_disk_wal_fsync_duration_seconds"


def read_metrics(metrics_url: str) -> str:
    """The text; empty if etcd does not answer."""
    http = Http()
    try:
        with http.exchange("GET", f"{metrics_url}/metrics", headers={}, timeouts=_ASK) as response:
            return response.body(limit=_MOST).decode(errors="replace") if response.status == 200 else ""
    except (Broken, TooLarge):
        return ""
    finally:
        http.close()


def quantile(metrics: str, histogram: str, part: float) -> float | None:
    """As Prometheus' histogram_quantile: within a bucket, evenly spread. None without a single observation."""
    buckets = sorted(_buckets(metrics, histogram))
    if not buckets or buckets[-1][1] == 0:
        return None
    rank, below, start = part * buckets[-1][1], 0.0, 0.0
    for end, count in buckets:
        if count >= rank:
            if end == float("inf"):
                return start
            return start + (end - start) * (rank - below) / (count - below) if count > below else end
        start, below = end, count
    return start


def _buckets(metrics: str, histogram: str) -> list[tuple[float, float]]:
    found = []
    prefix = f'{histogram}_bucket{{le="'
    for line in metrics.splitlines():
        if line.startswith(prefix):
            bound, _, count = line.removeprefix(prefix).partition('"} ')
            try:
                found.append((float(bound), float(count)))
            except ValueError:
                return []
    return found
