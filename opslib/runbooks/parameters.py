"""The parameters of a runbook: what its `parameters` cell declares, and whether given values are fit for it.

The cell is read with `ast` and never executed. One annotated assignment a line, a plain builtin type, a
comment that says what it is; so papermill's own `--help-notebook` and `-p` understand it too.
"""

from __future__ import annotations

import ast
import difflib
import io
import keyword
import math
import re
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opslib.errors import ParameterError, RunbookError

Value = str | int | float | bool

TYPES: dict[str, type[str] | type[int] | type[float] | type[bool]] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
}

# JSON Schema keywords a front matter may use, and the types each makes sense for.
KEYWORDS = {
    "minimum": ("int", "float"),
    "maximum": ("int", "float"),
    "exclusiveMinimum": ("int", "float"),
    "exclusiveMaximum": ("int", "float"),
    "multipleOf": ("int", "float"),
    "enum": ("str", "int", "float"),
    "pattern": ("str",),
    "minLength": ("str",),
    "maxLength": ("str",),
}

# A parameter lands in the notebook, the process list and the metadata (LESSONS.md 1.9): never a secret.
_WORDS = "password|passwd|passphrase|pwd|secret|token|credential|apikey|api_key|access_key|private_key|auth"
SECRET_NAME = re.compile(rf"(?:^|_)(?:{_WORDS})s?(?:$|_)", re.IGNORECASE)

_INT = re.compile(r"-?[0-9]+")
_FLOAT = re.compile(r"-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_BOOL = {"true": True, "yes": True, "false": False, "no": False}


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter: its name, builtin type (str, int, float, bool), default, limits and what it is."""

    name: str
    type: str
    default: Value
    description: str = ""
    schema: Mapping[str, Any] = field(default_factory=dict)

    @property
    def limits(self) -> str:
        """The limits in words, e.g. 'minimum 1, maximum 1440'; '' without any."""
        return ", ".join(f"{key} {value}" for key, value in self.schema.items())

    def as_json(self) -> dict[str, Any]:
        """The specification as a JSON Schema property with its default."""
        kind = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}[self.type]
        return {"type": kind, "default": self.default, "description": self.description, **self.schema}


def parse_cell(source: str, schemas: Mapping[str, Mapping[str, Any]], *, where: str) -> list[ParameterSpec]:
    """The parameters that a cell declares, in order.

    `schemas` are the limits by name from the front matter. Raises RunbookError, naming the line, for anything
    that is not a comment or `name: type = constant`, and for limits of a parameter that does not exist.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise RunbookError(
            f"the parameters cell is not Python: {error.msg}, line {error.lineno}", target=where
        ) from error
    comments = _comments(source)
    specs = [_spec(node, comments, schemas, where) for node in tree.body]
    names = [spec.name for spec in specs]
    if twice := {name for name in names if names.count(name) > 1}:
        raise RunbookError(f"parameter {sorted(twice)[0]} is declared twice", target=where)
    if unknown := [name for name in schemas if name not in names]:
        raise RunbookError(
            f"the front matter limits {unknown[0]!r}, which is not a parameter{_meant(unknown[0], names)}",
            target=where,
        )
    for spec in specs:
        if problem := violation(spec, spec.default):
            raise RunbookError(f"the default of parameter {spec.name} {problem}", target=where)
    return specs


def validate(
    specs: Sequence[ParameterSpec], values: Mapping[str, object], *, where: str = ""
) -> dict[str, Value]:
    """Every parameter with its value: the given ones checked, the defaults for the others.

    Values must have the declared type (an int also serves as float, a bool never as int).
    Raises ParameterError: an unknown name, a wrong type, out of range, no identifier, a secret-looking name.
    """
    by_name = {spec.name: spec for spec in specs}
    for name in values:
        _check_name(name, list(by_name), where)
    result: dict[str, Value] = {}
    for name, spec in by_name.items():
        value = values.get(name, spec.default)
        result[name] = _typed(spec, value, where)
    return result


def convert(
    specs: Sequence[ParameterSpec], texts: Sequence[tuple[str, str]], *, where: str = ""
) -> dict[str, Value]:
    """Typed values from command line text, strictly: only the parameters given.

    int is -?[0-9]+ (so 007 is 7), float a finite decimal number, bool true, false, yes or no; str is as given.
    Raises ParameterError as `validate` does, and for a name given twice.
    """
    by_name = {spec.name: spec for spec in specs}
    result: dict[str, Value] = {}
    for name, text in texts:
        _check_name(name, list(by_name), where)
        if name in result:
            raise ParameterError(f"parameter {name} is given twice", target=where)
        result[name] = _typed(by_name[name], _from_text(by_name[name], text, where), where)
    return result


def violation(spec: ParameterSpec, value: Value) -> str:
    """Which limit `value` breaks, as the end of a sentence; '' when it keeps them all."""
    schema = spec.schema
    for word, broken in (
        ("minimum", lambda limit: value < limit),
        ("maximum", lambda limit: value > limit),
        ("exclusiveMinimum", lambda limit: value <= limit),
        ("exclusiveMaximum", lambda limit: value >= limit),
        ("multipleOf", lambda limit: math.remainder(value, limit) != 0),  # type: ignore[arg-type]
        ("minLength", lambda limit: len(str(value)) < limit),
        ("maxLength", lambda limit: len(str(value)) > limit),
    ):
        if word in schema and broken(schema[word]):
            return f"is {value!r}, but its {word} is {schema[word]}"
    if "enum" in schema and value not in schema["enum"]:
        return f"is {value!r}, but must be one of {', '.join(map(str, schema['enum']))}"
    if "pattern" in schema and not re.search(schema["pattern"], str(value)):
        return f"is {value!r}, but must match {schema['pattern']}"
    return ""


def _spec(
    node: ast.stmt, comments: Mapping[int, str], schemas: Mapping[str, Mapping[str, Any]], where: str
) -> ParameterSpec:
    line = f"line {node.lineno} of the parameters cell"
    if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name) or node.value is None:
        raise RunbookError(f"{line} is not `name: type = value  # what it is`", target=where)
    name = node.target.id
    kind = node.annotation.id if isinstance(node.annotation, ast.Name) else ""
    if kind not in TYPES:
        raise RunbookError(f"{line}: the type of {name} must be one of {', '.join(TYPES)}", target=where)
    if SECRET_NAME.search(name):
        raise RunbookError(f"{line}: {name} looks like a secret; secrets are references", target=where)
    try:
        default = ast.literal_eval(node.value)
    except ValueError as error:
        raise RunbookError(f"{line}: the default of {name} must be a constant", target=where) from error
    if kind == "float" and type(default) is int:
        default = float(default)
    if type(default) is not TYPES[kind]:
        raise RunbookError(f"{line}: the default of {name} is not a {kind}", target=where)
    schema = schemas.get(name, {})
    _check_schema(name, kind, schema, where)
    return ParameterSpec(name, kind, default, comments.get(node.end_lineno or node.lineno, ""), schema)


def _check_schema(name: str, kind: str, schema: Mapping[str, Any], where: str) -> None:
    for word, limit in schema.items():
        if kind not in KEYWORDS.get(word, ()):
            known = ", ".join(key for key, kinds in KEYWORDS.items() if kind in kinds) or "none"
            raise RunbookError(f"{word!r} cannot limit {name}, a {kind}; it can have: {known}", target=where)
        if word == "enum":
            if not isinstance(limit, list) or not limit:
                raise RunbookError(f"enum of {name} must be a list", target=where)
        elif word == "pattern":
            try:
                re.compile(str(limit))
            except re.error as error:
                raise RunbookError(
                    f"pattern of {name} is not a regular expression: {error}", target=where
                ) from error
        elif isinstance(limit, bool) or not isinstance(limit, int | float):
            raise RunbookError(f"{word} of {name} must be a number", target=where)


def _check_name(name: str, known: list[str], where: str) -> None:
    if not name.isidentifier() or keyword.iskeyword(name) or not name.isascii():
        raise ParameterError(f"{name!r} is not a parameter name", target=where, next="give -p NAME VALUE")
    if name in known:
        return
    if SECRET_NAME.search(name):
        raise ParameterError(
            f"{name} looks like a secret, and the evidence shows parameters: secrets are references",
            target=where,
            next="keep it in the environment, .pgpass or the kubeconfig, and name that in the profile",
        )
    raise ParameterError(
        f"there is no parameter {name!r}{_meant(name, known)}; it has {', '.join(known) or 'none'}",
        target=where,
    )


def _typed(spec: ParameterSpec, value: object, where: str) -> Value:
    wanted = TYPES[spec.type]
    if spec.type == "float" and type(value) is int:
        value = float(value)
    if type(value) is not wanted:
        raise ParameterError(
            f"parameter {spec.name} must be a {spec.type}, not {value!r} ({type(value).__name__})",
            target=where,
        )
    typed: Value = value
    if isinstance(typed, float) and not math.isfinite(typed):
        raise ParameterError(f"parameter {spec.name} must be a finite number, not {typed}", target=where)
    if isinstance(typed, str) and any(not char.isprintable() for char in typed):
        raise ParameterError(f"parameter {spec.name} may hold no control characters", target=where)
    if problem := violation(spec, typed):
        raise ParameterError(f"parameter {spec.name} {problem}", target=where)
    return typed


def _from_text(spec: ParameterSpec, text: str, where: str) -> Value:
    if spec.type == "str":
        return text
    if spec.type == "int" and _INT.fullmatch(text):
        return int(text)
    if spec.type == "float" and _FLOAT.fullmatch(text):
        return float(text)
    if spec.type == "bool" and text.lower() in _BOOL:
        return _BOOL[text.lower()]
    form = {"int": "a whole number", "float": "a finite number", "bool": "true, false, yes or no"}[spec.type]
    raise ParameterError(f"parameter {spec.name} must be {form}, not {text!r}", target=where)


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokens
        if token.type == tokenize.COMMENT
    }


def _meant(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
