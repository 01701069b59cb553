"""Classifies the pictures in a folder and those below it into a CSV file; a broken one is a line with its error.

python examples/classify_folder.py photos answers.csv --grpc localhost:8500 --model flowers
"""

import argparse
import csv
import sys
from pathlib import Path

from vitrine_client import GrpcClient, VitrineError

SUFFIXES = {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp"}


def progress(done: int, total: int | None) -> None:
    sys.stderr.write(f"\r{done} of {total} pictures")


def main() -> int:
    parser = argparse.ArgumentParser(description="Classifies a folder of pictures into a CSV file.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--grpc", default="localhost:8500", metavar="HOST:PORT")
    parser.add_argument("--model", default="digits")
    options = parser.parse_args()
    paths = sorted(path for path in options.folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        parser.error(f"{options.folder}: no pictures there")
    failed = 0
    # File names need not be text in UTF-8: those that are not are written as they are.
    file = options.csv.open("w", newline="", encoding="utf-8", errors="surrogateescape")
    with file, GrpcClient(options.grpc, model=options.model) as client:
        table = csv.writer(file)
        table.writerow(("picture", "label", "score", "error"))
        answers = client.classify_many(paths, on_error="return", progress=progress)
        for path, answer in zip(paths, answers, strict=True):
            failed += isinstance(answer, VitrineError)
            cells = ("", "", answer) if isinstance(answer, VitrineError) else (answer.label, answer.score, "")
            table.writerow((path, *cells))
    sys.stderr.write(f"\n{options.csv}: {len(paths) - failed} classified, {failed} failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (VitrineError, OSError) as error:
        sys.exit(f"classify_folder: {error}")
