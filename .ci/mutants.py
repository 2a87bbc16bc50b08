"""Run cosmic-ray over modules of .ci/mutants.toml, in a copy of the checkout.

What says something to readers and the type checker alone is not counted: cosmic-ray takes the bare
``*`` of a signature for a multiplication (most mutants are no Python), the ``|`` of an annotation
for arithmetic (annotations are never evaluated here), and ``if TYPE_CHECKING`` for a decision.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from functools import partial
from pathlib import Path

from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkResult

ROOT = Path(__file__).parents[1]
CONFIG = tomllib.loads((ROOT / ".ci" / "mutants.toml").read_text(encoding="utf-8"))
MODULES: dict[str, list[str]] = CONFIG["modules"]


class _Unannotated(ast.NodeTransformer):
    """Drops annotations, their imports, and which arguments have to be named."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        typing = any(getattr(part, "id", "") == "TYPE_CHECKING" for part in ast.walk(node.test))
        return None if typing else self.generic_visit(node)

    def visit_arguments(self, node: ast.arguments) -> ast.AST:
        node.args = [*node.posonlyargs, *node.args, *node.kwonlyargs]
        node.defaults = [*node.defaults, *(given for given in node.kw_defaults if given)]
        node.posonlyargs, node.kwonlyargs, node.kw_defaults = [], [], []
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)


def _meaning(code: str) -> str | None:
    """What is run of a module; ``None`` if it is no Python."""
    try:
        return ast.dump(_Unannotated().visit(ast.parse(code)))
    except SyntaxError:
        return None


def _command(tests: list[str]) -> str:
    return f"{sys.executable} -m pytest -x -q -p no:cacheprovider {' '.join(tests)}"


def _environment(copy: Path) -> dict[str, str]:
    """Its own modules come first, no bytecode of another mutant, and Hypothesis draws alike."""
    return {
        **os.environ,
        "CI": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(copy),
    }


def _skip_what_cannot_differ(session: Path, code: str) -> None:
    meaning = _meaning(code)
    skipped = WorkResult(worker_outcome=WorkerOutcome.SKIPPED)
    with use_db(session, WorkDB.Mode.open) as work:
        for item in list(work.pending_work_items):
            mutated = _mutated(code, item.mutations[0])
            found = None if mutated is None else _meaning(mutated)
            if found is None or found == meaning:
                work.set_result(item.job_id, skipped)


def _mutated(code: str, change: MutationSpec) -> str | None:
    operator = get_operator(change.operator_name)(**change.operator_args)
    mutated = mutate_code(code, operator, change.occurrence)
    return None if mutated is None else str(mutated)


def _outcome(session: Path) -> tuple[int, list[str]]:
    """Mutants that were tried, and the difference of each that no test noticed."""
    tried, survivors = 0, []
    with use_db(session, WorkDB.Mode.open) as work:
        for _, result in work.completed_work_items:
            if result.worker_outcome is WorkerOutcome.SKIPPED:
                continue
            tried += 1
            if result.test_outcome is TestOutcome.SURVIVED:
                survivors.append(_change(result.diff or ""))
    return tried, sorted(survivors)


def _change(diff: str) -> str:
    lines = diff.splitlines()
    return "\n".join(
        line
        for line in lines
        if line.startswith(("@@", "-", "+")) and not line.startswith(("---", "+++"))
    )


def run(module: str, copy: Path) -> bool:
    """Try every mutant of one module; whether none survived."""
    command, session = _command(MODULES[module]), copy / "session.sqlite"
    execute = partial(subprocess.run, cwd=copy, env=_environment(copy), check=True)
    session.unlink(missing_ok=True)
    execute(command.split())
    settings = copy / "cosmic-ray.toml"
    settings.write_text(
        f'[cosmic-ray]\nmodule-path = "{module}"\ntimeout = {CONFIG["timeout_s"]}.0\n'
        f'excluded-modules = []\ntest-command = "{command}"\n'
        '[cosmic-ray.distributor]\nname = "local"\n',
        encoding="utf-8",
    )
    ray = [str(Path(sys.executable).with_name("cosmic-ray"))]
    given = [settings.name, session.name]
    execute([*ray, "init", *given])
    _skip_what_cannot_differ(session, (copy / module).read_text(encoding="utf-8"))
    execute([*ray, "exec", *given])
    tried, survivors = _outcome(session)
    for survivor in survivors:
        print(survivor, end="\n\n")
    killed = tried - len(survivors)
    print(f"{module}: {tried} mutants, {killed} killed, {len(survivors)} survived", flush=True)
    return not survivors


def main() -> int:
    """Run the modules that are named, or all."""
    modules = sys.argv[1:] or list(MODULES)
    for module in modules:
        if module not in MODULES:
            known = ", ".join(MODULES)
            print(f"mutants: {module} is none of .ci/mutants.toml: {known}", file=sys.stderr)
            return 2
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "checkout"
        unwanted = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", ".hypothesis")
        shutil.copytree(ROOT, copy, ignore=unwanted)
        clean = [run(module, copy) for module in modules]
    return 0 if all(clean) else 1


if __name__ == "__main__":
    sys.exit(main())
