"""Parameters: declared without running anything, converted strictly, refused in one clear sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opslib.errors import ParameterError, RunbookError
from opslib.runbooks import parameters

CELL = """# parameters
service: str = "api-gateway"  # the deployment
window: int = 60  # minutes of history
ratio: float = 0.5  # a share
dry: bool = False  # only look
level: str = "low"  # how loud"""
LIMITS = {
    "window": {"minimum": 1, "maximum": 1440},
    "ratio": {"exclusiveMinimum": 0, "maximum": 1},
    "service": {"pattern": "^[a-z0-9-]+$", "maxLength": 63},
    "level": {"enum": ["low", "high"]},
}
SPECS = parameters.parse_cell(CELL, LIMITS, where="test")


def convert(*pairs: tuple[str, str]) -> dict[str, parameters.Value]:
    return parameters.convert(SPECS, list(pairs), where="test")


def test_the_cell_is_read() -> None:
    assert [(spec.name, spec.type, spec.default) for spec in SPECS] == [
        ("service", "str", "api-gateway"),
        ("window", "int", 60),
        ("ratio", "float", 0.5),
        ("dry", "bool", False),
        ("level", "str", "low"),
    ]
    assert SPECS[1].description == "minutes of history"
    assert SPECS[1].as_json() == {
        "type": "integer",
        "default": 60,
        "description": "minutes of history",
        "minimum": 1,
        "maximum": 1440,
    }


def test_the_cell_is_never_executed() -> None:
    with pytest.raises(RunbookError, match="must be a constant"):
        parameters.parse_cell("a: str = open('/tmp/x', 'w')", {}, where="test")


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("a = 1", "is not `name: type = value"),
        ("a: list = []", "must be one of str, int, float, bool"),
        ("a: int = '1'", "is not a int"),
        ("import os", "is not `name"),
        ("a: int = 1\na: int = 2", "declared twice"),
        ("db_password: str = ''", "secrets are references"),
        ("a: int = (", "not Python"),
    ],
)
def test_a_bad_cell(cell: str, says: str) -> None:
    with pytest.raises(RunbookError, match=says):
        parameters.parse_cell(cell, {}, where="test")


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"window": {"minimum": 100}}, "the default of parameter window is 60"),
        ({"windov": {"minimum": 1}}, "did you mean 'window'"),
        ({"window": {"pattern": "x"}}, "'pattern' cannot limit window"),
        ({"service": {"pattern": "("}}, "not a regular expression"),
        ({"window": {"minimum": "1"}}, "must be a number"),
    ],
)
def test_bad_limits(limits: dict[str, dict[str, object]], says: str) -> None:
    with pytest.raises(RunbookError, match=says):
        parameters.parse_cell(CELL, limits, where="test")


def test_text_is_converted_strictly() -> None:
    found = convert(("window", "007"), ("ratio", "1e-1"), ("dry", "Yes"), ("service", "007"))
    assert found == {"window": 7, "ratio": 0.1, "dry": True, "service": "007"}
    assert type(found["window"]) is int


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("window", "1_000", "a whole number"),
        ("window", " 5", "a whole number"),
        ("window", "1e3", "a whole number"),
        ("window", "٣", "a whole number"),
        ("window", "0", "its minimum is 1"),
        ("ratio", "nan", "a finite number"),
        ("ratio", "inf", "a finite number"),
        ("ratio", "1e999", "finite"),
        ("ratio", "0", "its exclusiveMinimum is 0"),
        ("dry", "True?", "true, false, yes or no"),
        ("dry", "1", "true, false, yes or no"),
        ("level", "medium", "must be one of low, high"),
        ("service", "A B", "must match"),
        ("service", "a" * 64, "maxLength"),
        ("servise", "x", "did you mean 'service'"),
        ("import os; a", "5", "not a parameter name"),
        ("lambda", "5", "not a parameter name"),
        ("api_token", "x", "secrets are references"),
        ("DB_PASSWORD", "x", "secrets are references"),
    ],
)
def test_text_is_refused(name: str, text: str, says: str) -> None:
    with pytest.raises(ParameterError, match=says) as raised:
        convert((name, text))
    assert raised.value.exit_status == 2


def test_a_name_given_twice() -> None:
    with pytest.raises(ParameterError, match="twice"):
        convert(("window", "1"), ("window", "2"))


def test_values_from_a_notebook_must_have_the_type() -> None:
    whole = parameters.validate(SPECS, {"window": 5, "ratio": 1})
    assert whole == {"service": "api-gateway", "window": 5, "ratio": 1.0, "dry": False, "level": "low"}
    for wrong in (
        {"window": True},
        {"window": 5.0},
        {"window": "5"},
        {"dry": 1},
        {"service": None},
        {"ratio": float("nan")},
    ):
        with pytest.raises(ParameterError):
            parameters.validate(SPECS, wrong)


@given(st.text())
def test_any_text_for_an_int_is_a_number_or_refused(text: str) -> None:
    try:
        value = parameters.convert(SPECS, [("window", text)])["window"]
    except ParameterError:
        return
    assert isinstance(value, int) and 1 <= value <= 1440 and int(text) == value


@given(st.text())
def test_any_name_is_known_or_refused(name: str) -> None:
    try:
        found = parameters.convert(SPECS, [(name, "low")])
    except ParameterError:
        return
    assert set(found) <= {"service", "level"}


def test_control_characters_are_refused() -> None:
    specs = parameters.parse_cell('note: str = ""', {}, where="test")
    for bad in ("a\nb", "a\x1b[31m", "\x00"):
        with pytest.raises(ParameterError, match="control characters"):
            parameters.convert(specs, [("note", bad)])
