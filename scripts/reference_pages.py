"""Write docs/settings.md, docs/metrics.md and docs/topics.md from the tables in the code.

python scripts/reference_pages.py            write them
python scripts/reference_pages.py --check    exit 1 where one is out of date
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic_core import PydanticUndefined

from agents.metrics import METRICS
from agents.settings import PREFIX, Settings
from schemas.topics import TOPICS

DOCS: Final = Path(__file__).resolve().parents[1] / "docs"
NOTE: Final = "<!-- Written by scripts/reference_pages.py from the code: change it there. -->"


def settings_page() -> str:
    """Every setting with its default and meaning."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        meaning = (field.description or "").replace("``", "`").replace("\n", " ").replace("|", "\\|")
        rows.append(f"| `{PREFIX}{name.upper()}` | {_default(field.default)} | {meaning} |")
    opening = "Read from the environment when the worker starts; a wrong or misspelt one is refused in one line."
    return _page("Settings", opening, rows)


def _default(value: Any) -> str:
    if value is None or value is PydanticUndefined:
        return "unset"
    shown = getattr(value, "value", value)
    return f"`{str(shown).lower() if isinstance(shown, bool) else shown}`"


def metrics_page() -> str:
    """Every metric with its labels and meaning."""
    rows = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        rows.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |")
    return _page("Metrics", "Scraped from `/metrics` of each worker, in Prometheus' text format.", rows)


def topics_page() -> str:
    """Every topic with its key, events, partitions, retention and cleanup."""
    rows = ["| topic | key | events | partitions | kept | cleanup | largest record |", "|---|---|---|---|---|---|---|"]
    for topic in TOPICS.values():
        events = ", ".join(f"`{event}`" for event in topic.events) or "the worker's own state"
        partitions = topic.partitions or f"`{PREFIX}PARTITIONS`"
        kept = f"{topic.retention.days} days" if topic.retention else "for good"
        largest = f"{topic.max_message_bytes // 1_048_576} MiB"
        cells = (f"`{topic.name}`", topic.key, events, partitions, kept, topic.cleanup.value, largest)
        rows.append(f"| {' | '.join(map(str, cells))} |")
    opening = f"Names on the broker begin with `{PREFIX}TOPIC_PREFIX`. `driftline topics create` makes what is missing."
    return _page("Topics", opening, rows)


def _page(title: str, opening: str, rows: list[str]) -> str:
    return "\n".join([f"# {title}", "", NOTE, "", opening, "", *rows, ""])


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "settings.md": settings_page,
    "metrics.md": metrics_page,
    "topics.md": topics_page,
}


def main(arguments: list[str]) -> int:
    """Write the pages, or check them."""
    stale = [name for name, page in PAGES.items() if not _same(DOCS / name, page())]
    if "--check" in arguments:
        for name in stale:
            sys.stderr.write(f"docs/{name} is out of date: run python scripts/reference_pages.py\n")
        return 1 if stale else 0
    for name in stale:
        (DOCS / name).write_text(PAGES[name]())
        sys.stdout.write(f"wrote docs/{name}\n")
    return 0


def _same(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
