"""The house rules as functions over one file, parsed and never imported; names and numbers are in the tables."""

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache, cached_property

from tests.architecture_tables import (
    BANS,
    BROAD,
    BROAD_EXCEPT_FILES,
    FILE_LINES_MAX,
    FUNCTION_LINES_MAX,
    IMPURE,
    LIBRARIES,
    LONGER_FOR_A_REASON,
    MONEY_FILES,
    ROOMS,
)


@dataclass(frozen=True)
class Source:
    """One file under polybot/, parsed."""

    path: str
    text: str

    @property
    def module(self) -> str:
        name = self.path.removesuffix(".py").replace("/", ".")
        return name.removesuffix(".__init__")

    @cached_property
    def room(self) -> str:
        return room_of(self.module)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(_parsed(self)))

    @cached_property
    def aliases(self) -> dict[str, str]:
        """Local name -> dotted name, for everything the file imports."""
        found = {}
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found.update(
                    {a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0] for a in node.names}
                )
            elif isinstance(node, ast.ImportFrom):
                found.update({a.asname or a.name: f"{_origin(self, node)}.{a.name}" for a in node.names})
        return found


@cache
def _parsed(source: Source) -> ast.Module:
    return ast.parse(source.text, filename=source.path)


def room_of(module: str) -> str:
    matching = [
        name
        for name, room in ROOMS.items()
        if fnmatchcase(module, room.modules) or fnmatchcase(module, f"{room.modules}.*")
    ]
    return max(matching, key=lambda name: len(ROOMS[name].modules))


def _origin(source: Source, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    package = source.module.split(".") if source.path.endswith("__init__.py") else source.module.split(".")[:-1]
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def imported(source: Source) -> Iterator[tuple[int, str]]:
    """Line and dotted name of all that a file imports, wherever: in functions and under TYPE_CHECKING too."""
    for node in source.nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{_origin(source, node)}.{alias.name}") for alias in node.names)


def mentioned(source: Source) -> Iterator[tuple[int, str, ast.AST]]:
    """Line, dotted name and node of each name the file reads, called or not; aliases resolved, own names left out."""
    inner = {id(node.value) for node in source.nodes if isinstance(node, ast.Attribute)}
    own = {node.id for node in source.nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    own |= {node.arg for node in source.nodes if isinstance(node, ast.arg)}
    aliases = source.aliases
    for node in source.nodes:
        if isinstance(node, ast.Name | ast.Attribute) and id(node) not in inner and (name := _dotted(node)):
            head, _, rest = name.partition(".")
            if head in aliases or head not in own:
                yield node.lineno, ".".join(filter(None, (aliases.get(head, head), rest))), node


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (base := _dotted(node.value)):
        return f"{base}.{node.attr}"
    return None


# The rules, each yielding (line, what is wrong, remedy).

Finding = tuple[int, str, str]


def imports_only_its_neighbours(source: Source) -> Iterator[Finding]:
    room = ROOMS[source.room]
    told, allowed = set(), ", ".join(room.may_import) or "no other room"
    for line, name in imported(source):
        target = room_of(name) if name.split(".")[0] == "polybot" else source.room
        welcome = target in (source.room, *room.may_import) or "*" in room.may_import or name == "polybot.__version__"
        if not welcome and (line, target) not in told:
            told.add((line, target))
            yield (
                line,
                f"{source.room} imports {name} ({target}); it may import {allowed}",
                "take the value, or a Protocol of your own, as an argument, and let app.py wire it",
            )


def imports_libraries_in_their_rooms(source: Source) -> Iterator[Finding]:
    pure = ROOMS[source.room].pure
    for line, name in imported(source):
        library = name.split(".")[0]
        if library in LIBRARIES:
            homes = LIBRARIES[library]
            if source.room not in homes and (pure or "*" not in homes):
                yield (
                    line,
                    f"{source.room} imports {library}",
                    f"{library} lives in: {', '.join(homes)}; hand its results over as values",
                )
        elif library != "polybot" and library not in sys.stdlib_module_names:
            yield (
                line,
                f"{library} is not a library this house knows",
                "prefer one of LIBRARIES; else add it there, saying what it replaces, with one room",
            )


def pure_rooms_stay_pure(source: Source) -> Iterator[Finding]:
    if not ROOMS[source.room].pure:
        return
    remedy = "decide here, do at the edge (agents, venue, storage); take what you need to know as an argument"
    for line, name in imported(source):
        if name.split(".")[0] in IMPURE:
            yield line, f"pure room {source.room} imports {name.split('.')[0]}", remedy
    for node in source.nodes:
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            yield node.lineno, f"pure room {source.room} is asynchronous here", remedy


def calls_nothing_banned(source: Source) -> Iterator[Finding]:
    for line, name, _ in mentioned(source):
        for ban in BANS:
            if source.room in ban.allowed_in or (ban.only_pure and not ROOMS[source.room].pure):
                continue
            if any(fnmatchcase(name, pattern) for pattern in ban.names) and name not in ban.except_for:
                yield line, f"{name} {ban.why}", ban.remedy


def seeds_every_generator(source: Source) -> Iterator[Finding]:
    generators = {
        id(node): name for _, name, node in mentioned(source) if name in ("random.Random", "numpy.random.default_rng")
    }
    for node in source.nodes:
        if isinstance(node, ast.Call) and id(node.func) in generators and not node.args and not node.keywords:
            yield node.lineno, f"{generators[id(node.func)]}() without a seed", "pass the seed, from the settings"


def catches_only_what_it_names(source: Source) -> Iterator[Finding]:
    if source.path in BROAD_EXCEPT_FILES:
        return
    remedy = "catch the exceptions you can answer; a bug is for floor/supervisor.py to catch"
    for node in source.nodes:
        if (
            isinstance(node, ast.ExceptHandler)
            and not _hands_it_on(node)
            and (node.type is None or _is_broad(node.type))
        ):
            yield node.lineno, "a broad except", remedy
        elif (
            isinstance(node, ast.Call)
            and (_dotted(node.func) or "").endswith("suppress")
            and any(map(_is_broad, node.args))
        ):
            yield node.lineno, "a broad suppress", remedy


def _is_broad(caught: ast.expr) -> bool:
    parts = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any((_dotted(part) or "").removeprefix("builtins.") in BROAD for part in parts)


def _hands_it_on(handler: ast.ExceptHandler) -> bool:
    """Raised again, or by whoever waits for a future: the supervisor sees it either way."""
    last = handler.body[-1]
    if isinstance(last, ast.Raise):
        return last.exc is None
    match last:
        case ast.Expr(ast.Call(ast.Attribute(attr="set_exception"), [ast.Name(id=given)])):
            return given == handler.name
        case _:
            return False


def only_the_gate_approves(source: Source) -> Iterator[Finding]:
    if source.path == "polybot/risk/gate.py":
        return
    approvals = {id(node) for _, name, node in mentioned(source) if name == "polybot.risk.gate.Approved"}
    for node in source.nodes:
        if isinstance(node, ast.Call) and id(node.func) in approvals:
            yield node.lineno, "constructs Approved", "a wish becomes an order in risk/gate.py alone: ask the gate"


def money_is_integers(source: Source) -> Iterator[Finding]:
    if source.path not in MONEY_FILES:
        return
    remedy = "count millionths in integers, and name the direction in which you round"
    for node in source.nodes:
        if isinstance(node, ast.Call) and _dotted(node.func) == "float":
            yield node.lineno, "float() in a money file", remedy
        elif isinstance(node, ast.Constant) and isinstance(node.value, float):
            yield node.lineno, f"the float {node.value} in a money file", remedy
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            yield node.lineno, "a division that gives a float, in a money file", remedy


def stays_small(source: Source) -> Iterator[Finding]:
    for key, line, what in too_long(source):
        if key not in LONGER_FOR_A_REASON:
            yield line, what, "find the second idea in it and give that its own name and place"


def too_long(source: Source) -> Iterator[tuple[str, int, str]]:
    """Key for LONGER_FOR_A_REASON, line and words for each file and function over its limit."""
    lines = source.text.count("\n")
    if lines > FILE_LINES_MAX:
        yield source.path, FILE_LINES_MAX + 1, f"the file has {lines} lines (at most {FILE_LINES_MAX})"
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                yield (
                    f"{source.path}:{node.name}",
                    node.lineno,
                    f"{node.name} has {length} lines (at most {FUNCTION_LINES_MAX})",
                )


def does_no_work_at_import(source: Source) -> Iterator[Finding]:
    if source.room in ("cli", "polybot"):  # typer's way of adding verbs; __main__
        return
    for node in _parsed(source).body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.Expr | ast.For | ast.While | ast.With) and not docstring:
            yield node.lineno, "work at import", "move it into a function, and call it from app.py"


RULES: tuple[Callable[[Source], Iterator[Finding]], ...] = (
    imports_only_its_neighbours,
    imports_libraries_in_their_rooms,
    pure_rooms_stay_pure,
    calls_nothing_banned,
    seeds_every_generator,
    catches_only_what_it_names,
    only_the_gate_approves,
    money_is_integers,
    stays_small,
    does_no_work_at_import,
)
