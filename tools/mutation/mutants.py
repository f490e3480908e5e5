"""The mutants of a module, as mutmut makes them."""

from __future__ import annotations

import ast
import difflib
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final

from tools.mutation.settings import PACKAGE

UNTOLD: Final = frozenset({"cast", "TypeVar", "NewType", "ParamSpec"})  # calls that do nothing when they run


@dataclass(frozen=True, order=True)
class Mutant:
    """One change of one module."""

    module: str
    line: int
    """The first changed line, of the source as it is."""
    last: int
    place: str
    """The function or class that it is in, by its qualified name."""
    change: str
    """What is replaced by what: the lines, stripped, with ``-`` and ``+``."""
    source: str = field(repr=False)
    """The whole changed module."""

    @property
    def name(self) -> str:
        """By which it is listed: it stays the same when other lines of the module change."""
        return f"{self.module} {self.place}\n{self.change}"


def mutants(module: str) -> list[Mutant]:
    """All that mutmut makes of a module, without what no test should notice: types, and the words of messages."""
    import libcst as cst  # type: ignore[import-not-found]  # only in .venvs/mutate
    from libcst.metadata import (  # type: ignore[import-not-found]  # the same
        MetadataWrapper,
        PositionProvider,
        WhitespaceInclusivePositionProvider,
    )
    from mutmut.mutation import file_mutation, pragma_handling  # type: ignore[import-not-found]  # the same

    class Visitor(file_mutation.MutationVisitor):  # type: ignore[misc]  # mutmut's own types are not exported
        def _skip_node_and_children(self, node: cst.CSTNode) -> bool:
            if isinstance(node, cst.FunctionDef):
                return False  # properties and other decorated functions are mutated, too
            return _without_effect(node, cst) or super()._skip_node_and_children(node)

    source = (PACKAGE / module).read_text()
    wrapper = MetadataWrapper(cst.parse_module(source), unsafe_skip_copy=True)
    nothing = pragma_handling.IgnoredCode(set(), set(), set())
    visitor = Visitor(file_mutation.mutation_operators, nothing)
    wrapper.visit(visitor)
    positions = wrapper.resolve(PositionProvider)
    text = _Text(source, wrapper.module, wrapper.resolve(WhitespaceInclusivePositionProvider))
    places = _places(source)
    found: dict[str, Mutant] = {}
    for mutation in visitor.mutations:
        if isinstance(mutation.mutated_node, cst.SimpleString) and "XX" not in mutation.mutated_node.value:
            continue  # one wrong string is enough
        span = positions.get(mutation.original_node) or _operator_span(mutation.original_node, wrapper, positions)
        if span is None:
            continue
        changed = text.replaced(mutation.original_node, mutation.mutated_node)
        change = _change(source, changed)
        if not change or not _compiles(changed):
            continue
        mutant = Mutant(module, span.start.line, span.end.line, places[span.start.line], change, changed)
        while mutant.name in found:
            mutant = Mutant(module, mutant.line, mutant.last, mutant.place, f"{mutant.change} (again)", changed)
        found[mutant.name] = mutant
    return sorted(found.values())


class _Text:
    """The text of a module, in which one node is replaced: writing the whole tree takes a hundred times as long."""

    def __init__(self, source: str, tree: Any, spans: Any) -> None:
        self.source, self.tree, self.spans = source, tree, spans
        self.begins = [0, *accumulate(map(len, source.splitlines(keepends=True)))]

    def replaced(self, old: Any, new: Any) -> str:
        """The text with ``new`` in the place of ``old``."""
        if (span := self.spans.get(old)) is not None:
            first, last = (self.begins[at.line - 1] + at.column for at in (span.start, span.end))
            if self.source[first:last] == self.tree.code_for_node(old):
                return f"{self.source[:first]}{self.tree.code_for_node(new)}{self.source[last:]}"
        return str(self.tree.deep_replace(old, new).code)  # over several lines, which the tree indents


def _without_effect(node: Any, cst: Any) -> bool:
    match node:
        case cst.Raise() | cst.If(test=cst.Name("TYPE_CHECKING")):
            return True
        case cst.AnnAssign(annotation=cst.Annotation(cst.Name("TypeAlias"))):
            return True
        case cst.Assign(targets=[cst.AssignTarget(cst.Name("message" | "_logger" | "__all__" | "__slots__"))]):
            return True
        case cst.Assign(value=cst.Call(func=cst.Name(called))) | cst.Call(func=cst.Name(called)):
            return called in UNTOLD
        case cst.Call(func=cst.Attribute(value=cst.Name("_logger"))):
            return True
    return False


def _operator_span(node: Any, wrapper: Any, positions: Any) -> Any:
    """Operators have no position of their own: that of the smallest node around it."""
    from libcst.metadata import ParentNodeProvider

    parents = wrapper.resolve(ParentNodeProvider)
    while node is not None and node not in positions:
        node = parents.get(node)
    return positions.get(node)


def _places(source: str) -> defaultdict[int, str]:
    """The qualified name of the innermost function or class of each line."""
    found: defaultdict[int, str] = defaultdict(lambda: "<module>")

    def visit(node: ast.AST, name: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = name
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = f"{name}.{child.name}".lstrip(".")
                first = min([child.lineno, *(each.lineno for each in child.decorator_list)])
                for line in range(first, (child.end_lineno or first) + 1):
                    found[line] = inner
            visit(child, inner)

    visit(ast.parse(source), "")
    return found


def _change(before: str, after: str) -> str:
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm=""))[2:]
    removed = " ".join(line[1:].strip() for line in lines if line.startswith("-"))
    added = " ".join(line[1:].strip() for line in lines if line.startswith("+"))
    return f"- {removed}\n+ {added}" if removed != added else ""


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True
