# ruff: noqa: INP001 - a script's part, not a package
"""Writes docs/policy.md from the policy itself; which endpoints ask for an action is read from the doors' own code.

An endpoint calls one method of one service (``gateway.SERVICE.method``); what that method asks of the policy, itself or
by what it calls, names the action.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from gateway.identity.authorise import POLICY, Action
from gateway.service.gateway import Gateway

GATEWAY = Path(__file__).parents[1] / "gateway"
_INTRO = """# Policy

Written by `make docs` from the code: `gateway/identity/authorise.py` decides, and nothing else does. What is not in
this table is refused. The scopes of a login narrow what its user may do, an administrator's too.

"Its access rules" are those of [sharing.md](sharing.md). Lists show what the row of the single thing allows: one's own,
or everybody's to an administrator. What is refused to a signed request is told to the audit log ([audit.md](audit.md)).

| action | who may | scope | endpoints |
|---|---|---|---|
"""

Method = tuple[str, str]
"""Class and name."""


def policy() -> str:
    """The page."""
    asked = _endpoints_by_action()
    return _INTRO + "".join(
        f"| {action.value} | {rule.who.value} | `{rule.scope}` | {'<br>'.join(asked.get(action, ())) or '—'} |\n"
        for action, rule in POLICY.items()
    )


def _endpoints_by_action() -> dict[Action, list[str]]:
    methods = {key: body for path in sorted((GATEWAY / "service").glob("*.py")) for key, body in _methods(path)}
    found: dict[Action, list[str]] = {}
    for verb_and_path, called, call in _endpoints():
        for action in _actions(called, methods, set()) | _default(called, call, methods):
            found.setdefault(action, []).append(f"`{verb_and_path}`")
    return {action: sorted(set(endpoints)) for action, endpoints in found.items()}


def _endpoints() -> Iterator[tuple[str, Method, ast.Call]]:
    """``METHOD /path``, and each call of a service's method by its endpoint."""
    services = {name: str(kind) for name, kind in Gateway.__annotations__.items()}
    for path in sorted((GATEWAY / "api").glob("*.py")):
        tree = ast.parse(path.read_text())
        prefixes = _prefixes(tree)
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for where in filter(None, (_route(one, prefixes) for one in function.decorator_list)):
                    yield from ((where, *called) for called in _calls_of_services(function, services))


def _prefixes(tree: ast.Module) -> dict[str, str]:
    """Router → what its paths begin with."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and isinstance(node.targets[0], ast.Name):
            given = {word.arg: word.value for word in node.value.keywords}
            found[node.targets[0].id] = _text(given.get("prefix"))
    return found


def _route(decorator: ast.expr, prefixes: dict[str, str]) -> str | None:
    if not isinstance(decorator, ast.Call) or not isinstance(decorator.func, ast.Attribute):
        return None
    router = decorator.func.value
    if not isinstance(router, ast.Name) or router.id not in prefixes or not decorator.args:
        return None
    path = prefixes[router.id] + _text(decorator.args[0])
    return None if path.endswith("/") else f"{decorator.func.attr.upper()} {path}"


def _text(node: ast.expr | None) -> str:
    """A string, or one that begins with a constant's value."""
    match node:
        case ast.Constant():
            return str(node.value)
        case ast.JoinedStr():
            return "".join(_text(part) for part in node.values)
        case ast.FormattedValue(value=ast.Name(id="SLURM")):
            return "/slurm/v0.0.42"
        case ast.FormattedValue(value=ast.Name(id="SLURMDB")):
            return "/slurmdb/v0.0.42"
    return ""


def _calls_of_services(function: ast.AST, services: dict[str, str]) -> Iterator[tuple[Method, ast.Call]]:
    for node in ast.walk(function):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Attribute(value=ast.Name(id="gateway"), attr=service), attr=name)
            ):
                yield (services.get(service, ""), name), node


def _methods(path: Path) -> Iterator[tuple[Method, tuple[ast.AST, dict[str, str]]]]:
    """Each method and function of a module; with the classes of its object's fields."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            parts = node.body
            fields = {
                part.target.id: ast.unparse(part.annotation)
                for part in parts
                if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
            }
            for part in parts:
                if isinstance(part, ast.FunctionDef):
                    yield (node.name, part.name), (part, {**fields, "": node.name})
        elif isinstance(node, ast.FunctionDef):
            yield ("", node.name), (node, {})


def _actions(method: Method, methods: dict[Method, tuple[ast.AST, dict[str, str]]], seen: set[Method]) -> set[Action]:
    if method in seen or method not in methods:
        return set()
    seen.add(method)
    function, fields = methods[method]
    assert isinstance(function, ast.FunctionDef)  # noqa: S101 - of _methods
    # What a parameter is if the caller does not say.
    found: set[Action] = set()
    for node in ast.walk(ast.Module(function.body, [])):
        match node:
            case ast.Attribute(value=ast.Name(id="Action"), attr=name):
                found.add(Action[name])
            case ast.Call():
                for called in _called(node, fields):
                    found |= _actions(called, methods, seen) | _default(called, node, methods)
    return found


def _called(call: ast.Call, fields: dict[str, str]) -> Iterator[Method]:
    match call.func:
        case ast.Attribute(value=ast.Name(id="self"), attr=name):
            yield fields.get("", ""), name
        case ast.Attribute(value=ast.Attribute(attr=field), attr=name):
            yield fields.get(field, ""), name
        case ast.Attribute(value=ast.Name(), attr="demand" | "demand_anything" | "reads" as name):
            yield "Sight", name
        case ast.Name(id=name):
            yield "", name


def _default(called: Method, call: ast.Call, methods: dict[Method, tuple[ast.AST, dict[str, str]]]) -> set[Action]:
    """The action that a method takes where its caller names none."""
    given = any(ast.unparse(argument).startswith(("Action.", "action")) for argument in call.args)
    if given or called not in methods or not isinstance(function := methods[called][0], ast.FunctionDef):
        return set()
    defaults = [ast.unparse(default) for default in function.args.defaults]
    return {Action[text.removeprefix("Action.")] for text in defaults if text.startswith("Action.")}
