"""The reference of all public names, rlhf_fair/README.md, from signatures and docstrings: python -m tests.api_reference

Sources are parsed, not imported: equal sources give equal bytes under any Python, and nothing heavy is loaded.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import rlhf_fair

PACKAGE = Path(rlhf_fair.__file__).parent
REFERENCE = PACKAGE / "README.md"
WIDTH = 100
JOBS = {
    "measure": "A disparity in numbers of your own, with its interval.",
    "audit": "A model, a reward model, feedback or a file of predictions, by a plan; as `rlhf-fair audit` does.",
    "feedback": "Who is asked, and what is made of the answers.",
    "train": "So that the gap closes and quality stays.",
    "report": "Pages, files for other tools, and verification.",
    "errors": "All that is raised on purpose; every one is a `RlhfFairError`.",
}
OPENING = """\
# Python API

Every public name, by the job it is for: `from rlhf_fair import NAME`. Other modules may change between versions.
Importing the package loads neither torch nor pandas. Blocks hold signatures, or the fields of a class and what its
methods (with a dot) take and return. `python -m tests.api_reference` writes this page from the sources; a test holds
it to them.

Ten-minute walks: [audits](../audits/README.md), [training](../audits/train-ppo/README.md),
[reports](../reports/README.md), and in Python the notebook [walkthrough](../audits/own-prompts/walkthrough.ipynb).
"""
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def reference() -> str:
    """The whole page."""
    lines = [OPENING, " · ".join(f"[{job}](#{job})" for job in rlhf_fair.PUBLIC), ""]
    for job, modules in rlhf_fair.PUBLIC.items():
        lines += [f"## {job}", "", JOBS[job], ""]
        entries = {name: entry(module, name) for module, names in modules.items() for name in names}
        lines += [entries[name] for name in sorted(entries, key=str.lower)]
    return "\n".join(lines).rstrip() + "\n"


def entry(module: str, name: str) -> str:
    """Heading, signature or fields, first paragraph of the docstring, and where it stands."""
    path, node = definition(module, name)
    link = path.relative_to(PACKAGE).as_posix()
    parts = [f"### {name}", ""]
    code = class_code(node) if isinstance(node, ast.ClassDef) else function_code(node)
    parts += ["```python", code, "```", ""] if code else []
    return "\n".join([*parts, f"{paragraph(node)} [{link}]({link})", "", ""]).rstrip("\n") + "\n"


def definition(module: str, name: str) -> tuple[Path, Definition]:
    """The file that defines a name, and its node; names that a package passes on are followed to their home."""
    path = PACKAGE / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, Definition) and node.name == name:
            return path, node
        if isinstance(node, ast.ImportFrom) and node.module and name in {alias.name for alias in node.names}:
            return definition(node.module.removeprefix("rlhf_fair."), name)
    raise LookupError(f"{module} does not define {name}")


def function_code(node: ast.FunctionDef | ast.AsyncFunctionDef, *, drop: int = 0) -> str:
    """Name, arguments (the first ``drop`` left out) and what is returned, on one line or one line for each argument."""
    head, tail = f"{node.name}(", f") -> {ast.unparse(node.returns)}" if node.returns else ")"
    arguments = list(written_arguments(node.args))[drop:]
    flat = head + ", ".join(arguments) + tail
    return flat if len(flat) <= WIDTH else "\n".join([head, *(f"    {one}," for one in arguments), tail])


def written_arguments(arguments: ast.arguments) -> Iterator[str]:
    """Each argument with annotation and default, bare stars included."""
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(plain) - len(arguments.defaults)) + list(arguments.defaults)
    for argument, default in zip(plain, defaults, strict=True):
        yield written(argument, default)
    if arguments.vararg:
        yield "*" + written(arguments.vararg, None)
    elif arguments.kwonlyargs:
        yield "*"
    for argument, keyword in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield written(argument, keyword)
    if arguments.kwarg:
        yield "**" + written(arguments.kwarg, None)


def written(argument: ast.arg, default: ast.expr | None) -> str:
    """``name: type = default``."""
    annotation = f": {ast.unparse(argument.annotation)}" if argument.annotation else ""
    equals = " = " if annotation else "="
    return argument.arg + annotation + (f"{equals}{ast.unparse(default)}" if default else "")


def class_code(node: ast.ClassDef) -> str:
    """Fields with their defaults, or how it is made; then what its public methods and properties return."""
    fields = [ast.unparse(part) for part in node.body if isinstance(part, ast.AnnAssign)]
    values = [ast.unparse(part) for part in node.body if isinstance(part, ast.Assign)]
    lines = [*fields, *values]
    for part in node.body:
        if not isinstance(part, ast.FunctionDef):
            continue
        marks = {ast.unparse(mark) for mark in part.decorator_list}
        if part.name == "__init__":
            lines += [function_code(part, drop=1).replace("__init__(", f"{node.name}(").removesuffix(" -> None")]
        elif not part.name.startswith("_") and not any("validator" in mark for mark in marks):
            lines += [member(part, marks)]
    return "\n".join(lines)


def member(node: ast.FunctionDef, marks: set[str]) -> str:
    """A method or property as it is used."""
    if marks & {"property", "cached_property"}:
        return f".{node.name}" + (f" -> {ast.unparse(node.returns)}" if node.returns else "")
    return "." + function_code(node, drop="staticmethod" not in marks)


def paragraph(node: Definition) -> str:
    """The docstring's first paragraph on one line, with code in single backquotes."""
    text = textwrap.dedent(ast.get_docstring(node) or "").split("\n\n")[0]
    return re.sub(r"``(.+?)``", r"`\1`", " ".join(text.split()))


def main() -> None:
    """Write the page."""
    REFERENCE.write_text(reference(), encoding="utf-8")


if __name__ == "__main__":
    main()
