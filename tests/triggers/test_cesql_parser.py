"""CESQL's syntax: what it refuses and where, how operators bind, and that printing and parsing are inverse."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import SpecError
from trimtab.triggers.cesql import Expression, ParseError, parse
from trimtab.triggers.cesql.tree import Attribute, Binary, Call, Exists, In, Like, Literal, Logic, Node, Unary

_VALUE = "an attribute, a literal, a function, NOT, EXISTS, '-' or '('"
_AFTER = "an operator or the end of the expression"
_END = "the end of the expression"

REFUSED = [
    ("", _END, _VALUE, 1),
    ("   ", _END, _VALUE, 4),
    ("a =", _END, _VALUE, 4),
    ("= a", "=", _VALUE, 1),
    ("a b", "b", _AFTER, 3),
    ("a = 'x' b", "b", _AFTER, 9),
    ("(a = 'x'", _END, "an operator or ')'", 9),
    ("a)", ")", _AFTER, 2),
    ("()", ")", _VALUE, 2),
    ("a = 'x", "'x", "a string that ends with '", 5),
    ("a = \"x'", "\"x'", 'a string that ends with "', 5),
    (r"a = 'x\'", r"'x\'", "a string that ends with '", 5),
    ("a ; b", "; b", _AFTER, 3),
    ("a = ž", "ž", _VALUE, 5),
    ("a.b = 'x'", ".b = 'x'", _AFTER, 2),
    ("a LIKE b", "b", "the pattern, a string literal", 8),
    ("a LIKE 12", "12", "the pattern, a string literal", 8),
    ("a LIKE ('x')", "(", "the pattern, a string literal", 8),
    ("LIKE 'x'", "LIKE", _VALUE, 1),
    ("a NOT 'x'", "NOT", _AFTER, 3),
    ("a IN 'x'", "'x'", "'('", 6),
    ("a IN ()", ")", _VALUE, 7),
    ("a IN ('x' 'y')", "'y'", "',' and an expression, or ')'", 11),
    ("a IN ('x',)", ")", _VALUE, 11),
    ("EXISTS", _END, "the name of an attribute", 7),
    ("EXISTS 'a'", "'a'", "the name of an attribute", 8),
    ("EXISTS 12", "12", "the name of an attribute", 8),
    ("EXISTS true", "true", "the name of an attribute", 8),
    ("my_ext = 'x'", "my_ext", "the name of an attribute (letters and digits)", 1),
    ("EXISTS my_ext", "my_ext", "the name of an attribute (letters and digits)", 8),
    ("F(1", _END, "',' and an argument, or ')'", 4),
    ("F(1,)", ")", _VALUE, 5),
    ("F1(1)", "F1", "a function's name (letters and '_')", 1),
    ("_F(1)", "_F", "a function's name (letters and '_')", 1),
    ("2147483648", "2147483648", "an integer from -2147483648 to 2147483647", 1),
    ("a = -2147483649", "-2147483649", "an integer from -2147483648 to 2147483647", 5),
    ("- 2147483648", "2147483648", "an integer from -2147483648 to 2147483647", 3),
    ("9" * 50, "9" * 50, "an integer from -2147483648 to 2147483647", 1),
    ("+ 1", "+", _VALUE, 1),
    ("+a", "+", _VALUE, 1),
    ("a == 1", "=", _VALUE, 4),
    ("'it''s'", "'s'", _AFTER, 5),
]


@pytest.mark.parametrize(("text", "found", "expected", "column"), REFUSED, ids=lambda value: str(value)[:30])
def test_what_is_no_expression_is_refused_where_it_goes_wrong(
    text: str, found: str, expected: str, column: int
) -> None:
    with pytest.raises(ParseError) as refused:
        parse(text)
    assert (refused.value.found, refused.value.column) == (found, column)
    assert str(refused.value) == f"cesql: found {found!r}, allowed: {expected} at column {column}"


a, b, c, x = Attribute("a"), Attribute("b"), Attribute("c"), Literal("x")

TREES: list[tuple[str, Node]] = [
    ("a AND b AND c", Logic("AND", (a, b, c))),
    ("(a AND b) AND c", Logic("AND", (Logic("AND", (a, b)), c))),
    ("a AND b OR c", Logic("OR", (Logic("AND", (a, b)), c))),
    ("a OR b AND c", Logic("AND", (Logic("OR", (a, b)), c))),
    ("a OR (b AND c)", Logic("OR", (a, Logic("AND", (b, c))))),
    ("a - b - c", Binary("-", Binary("-", a, b), c)),
    ("a + b * c", Binary("+", a, Binary("*", b, c))),
    ("a * b IN (c)", Binary("*", a, In(b, (c,)))),
    ("a IN (b) LIKE 'x'", Like(In(a, (b,)), "x")),
    ("NOT a LIKE 'x'", Like(Unary("NOT", a), "x")),
    ("a NOT LIKE 'x'", Like(a, "x", negated=True)),
    ("a NOT IN (b, c)", In(a, (b, c), negated=True)),
    ("NOT a = b", Binary("=", Unary("NOT", a), b)),
    ("NOT (a = b)", Unary("NOT", Binary("=", a, b))),
    ("a = b = c", Binary("=", Binary("=", a, b), c)),
    ("a + b < c", Binary("<", Binary("+", a, b), c)),
    ("a < b AND c", Logic("AND", (Binary("<", a, b), c))),
    ("NOT EXISTS a", Unary("NOT", Exists("a"))),
    ("-a * b", Binary("*", Unary("-", a), b)),
    ("a-1", Binary("-", a, Literal(1))),
    ("a - -1", Binary("-", a, Literal(-1))),
    ("--1", Unary("-", Literal(-1))),
    ("f(a, 'x')", Call("F", (a, x))),
    ("concat_ws()", Call("CONCAT_WS", ())),
]


@pytest.mark.parametrize(("text", "node"), TREES, ids=[text for text, _ in TREES])
def test_operators_bind_as_the_table_of_precedence_says(text: str, node: Node) -> None:
    assert parse(text) == node


def test_a_long_run_of_one_operator_is_not_deep() -> None:
    many = " OR ".join(f"id = '{number}'" for number in range(1000))
    expression = Expression(many)
    assert expression.passes({"id": "999"})
    assert not expression.passes({"id": "1000"})


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000 + "a" + ")" * 5000,
        "NOT " * 3000 + "a",
        "-" * 5000 + "a",
        "F(" * 5000 + ")" * 5000,
        "a IN (" * 2000 + "b" + ")" * 2000,
        " + ".join("1" * 2000),
        "a" + " LIKE 'x'" * 1000,
        "a" + " AND b OR c" * 1000,
        "(" * 60 + "1" + ("+ 1" * 60 + ")") * 60,
    ],
    ids=lambda text: text[:12],
)
def test_deep_nesting_is_refused_and_does_not_crash(text: str) -> None:
    with pytest.raises(SpecError, match=r"100"):
        parse(text)


def test_an_expression_of_as_many_levels_as_are_allowed_works() -> None:
    assert Expression("NOT " * 98 + "TRUE").passes({})
    assert Expression("(" * 98 + "TRUE" + ")" * 98).passes({})
    assert Expression(" + ".join("1" * 100)).evaluate({}).value == 100


def test_an_integer_of_thousands_of_digits_is_refused_in_the_same_words() -> None:
    with pytest.raises(ParseError, match="an integer from -2147483648 to 2147483647 at column 1"):
        parse("9" * 5000)
    assert parse("0" * 5000 + "7") == Literal(7)


def test_an_endless_expression_is_refused() -> None:
    with pytest.raises(ParseError, match=r"found '20001 characters', allowed: at most 16384"):
        parse("a" * 20_001)


@given(st.text() | st.text("aAbB01'\"\\()=<>!,%_+-*/ \n") | st.lists(
    st.sampled_from(["a", "1", "'x'", "AND", "OR", "NOT", "LIKE", "IN", "EXISTS", "(", ")", ",", "=", "<", "-", "+", "F"])
).map(" ".join))  # fmt: skip
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(SpecError):
        assert Expression(text).evaluate({"a": "1"}).value is not None


def quote(text: str) -> str:
    """A literal of `text`; a backslash before a delimiter, or at the end, has no literal (see LITERALS)."""
    return "'" + text.replace("'", r"\'") + "'"


def show(node: Node) -> str:
    """Write a tree as an expression, with every subexpression in parentheses."""
    match node:
        case Literal(value=bool(value)):
            return str(value)
        case Literal(value=int(value)):
            return str(value)
        case Literal(value=str(value)):
            return quote(value)
        case Attribute(name=name):
            return name
        case Exists(name=name):
            return f"EXISTS {name}"
        case Unary(operator=operator, operand=operand):
            return f"{operator} ({show(operand)})"
        case Binary(operator=binary, left=left, right=right):
            return f"({show(left)}) {binary} ({show(right)})"
        case Logic(operator=logic, operands=operands):
            return f" {logic} ".join(f"({show(operand)})" for operand in operands)
        case Like(operand=operand, pattern=pattern, negated=negated):
            return f"({show(operand)}) {'NOT ' * negated}LIKE {quote(pattern)}"
        case In(operand=operand, items=items, negated=negated):
            return f"({show(operand)}) {'NOT ' * negated}IN ({', '.join(map(show, items))})"
        case Call(name=name, arguments=arguments):
            return f"{name}({', '.join(map(show, arguments))})"
    raise TypeError(node)


TEXTS = st.text().filter(lambda text: not re.search(r"\\(['\\]|$)", text))
NAMES = st.from_regex(r"[a-z0-9]{0,5}[a-z]", fullmatch=True).filter(
    lambda name: name.upper() not in {"AND", "OR", "XOR", "NOT", "LIKE", "EXISTS", "IN", "TRUE", "FALSE"}
)
FUNCTION_NAMES = st.from_regex(r"[A-Z][A-Z_]{0,8}", fullmatch=True).filter(
    lambda name: name not in {"AND", "OR", "XOR", "NOT", "LIKE", "EXISTS", "IN", "TRUE", "FALSE"}
)
ATOMS = st.one_of(
    st.builds(Literal, st.booleans() | st.integers(-(2**31), 2**31 - 1) | TEXTS),
    st.builds(Attribute, NAMES),
    st.builds(Exists, NAMES),
)
TREE = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds(Unary, st.sampled_from(["NOT", "-"]), inner),
        st.builds(
            Binary, st.sampled_from(["*", "/", "%", "+", "-", "=", "!=", "<>", "<", "<=", ">", ">="]), inner, inner
        ),
        st.builds(
            Logic, st.sampled_from(["AND", "OR", "XOR"]), st.lists(inner, min_size=2, max_size=4).map(tuple)
        ),
        st.builds(Like, inner, TEXTS, st.booleans()),
        st.builds(In, inner, st.lists(inner, min_size=1, max_size=3).map(tuple), st.booleans()),
        st.builds(Call, FUNCTION_NAMES, st.lists(inner, max_size=3).map(tuple)),
    ),
    max_leaves=20,
)  # fmt: skip


@given(TREE)
def test_parsing_what_is_printed_gives_the_tree_again(node: Node) -> None:
    assert parse(show(node)) == node


@given(TREE, st.dictionaries(NAMES, st.text() | st.integers(-9, 9).map(str) | st.sampled_from(["true", "false"])))
def test_an_evaluation_always_ends_with_a_value_of_the_type_that_was_foretold(
    node: Node, attributes: dict[str, str]
) -> None:
    expression = Expression(show(node))
    result = expression.evaluate(attributes)
    assert type(result.value) in (str, int, bool)
    if expression.type is not None:
        assert type(result.value) is expression.type
    if type(result.value) is int:
        assert -(2**31) <= result.value < 2**31
    assert expression.passes(attributes) is (result.value is True and not result.errors)
