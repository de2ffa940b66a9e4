"""What a program says in an environment without the packages that it needs, in place of a traceback."""

import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MISTAKE = 2


def need(*packages: str) -> None:
    """End one of our programs, with a sentence, when a package is missing. A program of others gets its ImportError."""
    missing = [name for name in packages if find_spec(name) is None]
    program = Path(getattr(sys.modules.get("__main__"), "__file__", None) or "-").resolve()
    if missing and program.is_file() and program.parent == ROOT:
        python = ROOT / ".venv/bin/python"
        do = f"use {python}, which has it" if python.exists() else "pip install -r requirements.txt, or make run"
        print(f"{program.name}: this Python ({sys.executable}) has no package {missing[0]}: {do}", file=sys.stderr)
        sys.exit(MISTAKE)
