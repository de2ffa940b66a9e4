"""Builds the wheel; pyproject.toml says what is in it. There jobqueue.py is a package of one file: only a package can tell type
checkers that it is typed (PEP 561)."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

MAIN = "import sys\n\nfrom jobqueue import main\n\nsys.exit(main())\n"


class BuildPy(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            package = Path(self.build_lib, "jobqueue")
            package.mkdir(exist_ok=True)
            Path(self.build_lib, "jobqueue.py").replace(package / "__init__.py")
            (package / "__main__.py").write_text(MAIN)
            (package / "py.typed").touch()


setup(cmdclass={"build_py": BuildPy})
