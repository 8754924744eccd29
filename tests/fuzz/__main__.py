"""Coverage-guided fuzzing with atheris: ``python -m tests.fuzz --minutes 5``, or ``make fuzz``.

The time is shared out among the targets. What is found is written to ``tests/fuzz/corpus`` as ``TARGET-HASH``, from
where the tests run it for good. atheris is not among the tools for development: ``pip install 'driftline[fuzz]'``.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
LONGEST = 4_096
"""Bytes of an input."""
MOST_MIB = 1_024
"""Of memory; more is a finding."""
SLOWEST_S = 20
"""For one input; a longer time is a finding."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz the targets one after the other; 1 if something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="look for inputs that break reading")
    parser.add_argument("--minutes", type=float, default=5.0, help="all targets together")
    parser.add_argument("--only", choices=("events", "expressions", "specs"), help="this target alone")
    parser.add_argument("--keep", type=int, default=0, metavar="N", help="also keep so many inputs of each target that "
                        "went where none had gone before, the shortest")  # fmt: skip
    parser.add_argument("--child", nargs=2, metavar=("TARGET", "FOLDER"), help=argparse.SUPPRESS)
    chosen, rest = parser.parse_known_args(arguments)
    if chosen.child:
        _fuzz(*chosen.child, rest)
    names = [chosen.only] if chosen.only else ["events", "expressions", "specs"]
    return max(_watch(name, 60 * chosen.minutes / len(names), chosen.keep) for name in names)


def _watch(name: str, seconds: float, keep: int) -> int:
    """Fuzz one target in a process of its own, which ends with the first finding."""
    CORPUS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"driftline-fuzz-{name}-") as folder:
        limits = [f"-max_total_time={seconds:.0f}", f"-max_len={LONGEST}", f"-rss_limit_mb={MOST_MIB}",
                  f"-timeout={SLOWEST_S}", f"-artifact_prefix={folder}/found-", "-print_final_stats=1"]  # fmt: skip
        command = [sys.executable, "-m", "tests.fuzz", "--child", name, folder, *limits]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        shown = [line for line in done.stderr.splitlines() if line.startswith(("stat::", "Done"))]
        print(f"{name}: {'; '.join(' '.join(line.split()) for line in shown)}")
        for path in sorted(Path(folder).glob("found-*")):
            print(f"  found {_kept(name, path)}")
        new = [path for path in (Path(folder) / "inputs").glob("*") if "-" not in path.name]
        for path in sorted(new, key=lambda path: (path.stat().st_size, path.name))[:keep]:
            _kept(name, path)
        if done.returncode:
            print(f"  ended with {done.returncode}\n{done.stdout[-4_000:]}\n{done.stderr[-4_000:]}")
        return int(bool(done.returncode))


def _kept(name: str, path: Path) -> Path:
    data = path.read_bytes()
    kept = CORPUS / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
    kept.write_bytes(data)
    return kept


def _fuzz(name: str, folder: str, options: list[str]) -> None:
    """Fuzz for ever; the process ends inside."""
    import atheris  # noqa: PLC0415 - only who fuzzes needs it

    with atheris.instrument_imports(include=["agents", "detector", "schemas", "tests.fuzz"]):
        from tests.fuzz.seeds import SEEDS, WORDS  # noqa: PLC0415 - instrumented
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415
    inputs = Path(folder) / "inputs"
    inputs.mkdir()
    for number, seed in enumerate(SEEDS[name]):
        (inputs / f"seed-{number}").write_bytes(seed)
    for path in CORPUS.glob(f"{name}-*"):
        (inputs / path.name).write_bytes(path.read_bytes())
    words = Path(folder) / "words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in WORDS[name]))
    atheris.Setup([sys.argv[0], f"-dict={words}", *options, str(inputs)], TARGETS[name])
    atheris.Fuzz()


def _escaped(word: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word.encode())


if __name__ == "__main__":
    sys.exit(main())
