"""Packages and versions out of files that others wrote."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.pipelines.environment import Environment
from stellwerk.tracking import packages

REQUIREMENTS = """\
# what mlflow writes
mlflow==3.17.2
scikit_learn == 1.5.0 ; python_version > "3.9"
numpy>=1.26,<3   # a comment
torch[cuda]===2.5.1+cu121
polars
-r other.txt
--index-url https://example.com/simple
git+https://example.com/x.git
mine @ https://example.com/mine-1.0-py3-none-any.whl
"""
CONDA = """\
channels:
- conda-forge
- defaults
dependencies:
- python=3.11.7
- pip<=23.2.1
- numpy=1.26.4=py311h64a7726_0
- pip:
  - mlflow==3.17.2
  - "scikit-learn>=1.5"
name: mlflow-env
"""


def test_requirements_are_names_and_versions() -> None:
    """Names are normalised, exact versions are bare, and what is no package is left out."""
    assert {
        "mlflow": "3.17.2",
        "scikit-learn": "1.5.0",
        "numpy": ">=1.26,<3",
        "torch": "2.5.1+cu121",
        "polars": "any",
        "mine": "https://example.com/mine-1.0-py3-none-any.whl",
    } == packages.of_requirements(REQUIREMENTS)


def test_conda_is_read_with_what_pip_adds() -> None:
    """Channels and the name of the environment are no packages."""
    assert {
        "python": "3.11.7",
        "numpy": "1.26.4",
        "mlflow": "3.17.2",
        "scikit-learn": ">=1.5",
    } == packages.of_conda(CONDA)


def test_the_interpreter_is_read() -> None:
    """From the file that MLflow writes for it."""
    assert {"python": "3.11.7"} == packages.of_python("python: 3.11.7\nbuild_dependencies:\n- pip\n")
    assert {} == packages.of_python("build_dependencies:\n- pip\n")


def test_a_lock_of_ours_is_read() -> None:
    """Exactly as pipelines write it; another document is none."""
    lock = Environment(
        python="3.11.7", implementation="cpython", platform="linux-x86_64", distributions=("numpy==2.1.0",)
    )

    assert {
        "python": "3.11.7", "implementation": "cpython", "platform": "linux-x86_64", "numpy": "2.1.0",
    } == packages.of_lock(lock.document.decode())  # fmt: skip
    assert {} == packages.of_lock(json.dumps({"format": "x", "distributions": ["a==1"]}))


@pytest.mark.parametrize("read", [packages.of_requirements, packages.of_conda, packages.of_python, packages.of_lock])
@given(st.text() | st.sampled_from([REQUIREMENTS, CONDA, "[" * 100_000, "a==1\n" * 50_000, "x" * 100_000]))
def test_no_file_breaks_its_reader(read: object, text: str) -> None:
    """Whatever stands in it: some packages, each with something said of it."""
    found = read(text)  # type: ignore[operator]

    assert all(name and said for name, said in found.items())
    assert len(found) <= packages.MAX_PACKAGES
