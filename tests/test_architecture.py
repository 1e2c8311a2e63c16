"""Who may import whom, and what must look alike in every concept."""

import subprocess
import sys
from pathlib import Path

import pytest

import scalar

_ROOT = Path(scalar.__file__).parents[1]
_CONCEPTS = sorted(path.parent.name for path in (_ROOT / "scalar").glob("*/__init__.py"))


def test_the_import_contracts_hold() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("concept", _CONCEPTS)
def test_each_concept_says_what_it_owns_what_it_does_not_and_its_invariants(concept: str) -> None:
    text = (_ROOT / "scalar" / concept / "__init__.py").read_text()
    assert "Owns:" in text
    assert "Doesn't own:" in text or "doesn't own" in text.lower()
    assert "Invariants" in text


def test_the_api_starts_without_dagster_and_without_a_container_engine() -> None:
    program = (
        "import sys, scalar_api.app\n"
        "print(*sorted({'dagster', 'docker', 'node_agent', 'scalar_orchestration'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=_ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


@pytest.mark.parametrize("word", ["utils", "helpers", "common", "manager", "base"])
def test_no_module_is_named_for_nothing(word: str) -> None:
    folders = ("scalar", "scalar_api", "scalar_orchestration", "node_agent", "sandbox")
    assert not [path for folder in folders for path in (_ROOT / folder).rglob(f"{word}.py")]
