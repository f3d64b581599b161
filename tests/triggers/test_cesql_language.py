"""CESQL's values and errors: the cases that every engine must agree on (sections 3.1 to 3.7 of the specification)."""

from __future__ import annotations

import pytest

from trimtab.triggers.cesql import Error, Expression, Kind, Result, Value

EVENT: dict[str, Value] = {"specversion": "1.0", "id": "myId", "source": "localhost.localdomain", "type": "myType"}

M, C, A, F, E = Kind.MATH, Kind.CAST, Kind.MISSING_ATTRIBUTE, Kind.MISSING_FUNCTION, Kind.FUNCTION_EVALUATION
Row = tuple[str, Value] | tuple[str, Value, Kind]

LITERALS: list[Row] = [
    ("TRUE", True),
    ("FALSE", False),
    ("tRuE", True),
    ("0", 0),
    ("1", 1),
    ("+7", 7),
    ("-7", -7),
    ("007", 7),
    ("2147483647", 2147483647),
    ("-2147483648", -2147483648),
    ("'abc'", "abc"),
    ('"abc"', "abc"),
    ("'aBc'", "aBc"),
    ('"AbC"', "AbC"),
    (r"""'a"b\'c'""", """a"b'c"""),
    (r'''"a'b\"c"''', """a'b"c"""),
    (r"'a\nb'", r"a\nb"),
    (r"'a\\'", r"a\\"),
    ("''", ""),
    ("'two\nlines'", "two\nlines"),
    ("\t( 'x'\r\n)", "x"),
]

LOGIC: list[Row] = [
    *[(f"{x} AND {y}", x == y == "TRUE") for x in ("TRUE", "FALSE") for y in ("TRUE", "FALSE")],
    *[(f"{x} OR {y}", "TRUE" in (x, y)) for x in ("TRUE", "FALSE") for y in ("TRUE", "FALSE")],
    *[(f"{x} XOR {y}", x != y) for x in ("TRUE", "FALSE") for y in ("TRUE", "FALSE")],
    ("TRUE XOR TRUE XOR TRUE", True),
    ("FALSE AND (1 != 1 / 0)", False),
    ("TRUE AND (1 != 1 / 0)", False, M),
    ("TRUE OR (1 != 1 / 0)", True),
    ("FALSE OR (1 != 1 / 0)", False, M),
    ("FALSE AND missing", False),
    ("TRUE AND missing", False, A),
    ("TRUE XOR missing", False, A),
    ("'true' AND 1", True),
    ("'yes' AND TRUE", False, C),
    ("FALSE AND TRUE OR TRUE", True),  # one precedence, from the left: (FALSE AND TRUE) OR TRUE
    ("TRUE OR TRUE AND FALSE", False),
    ("TRUE XOR TRUE AND FALSE", False),
    ("NOT TRUE", False),
    ("NOT FALSE", True),
    ("not not true", True),
    ("NOT 'TRUE'", False),
    ("NOT 'FALSE'", True),
    ("NOT 10", False),
    ("NOT 0", True),
    ("NOT 'maybe'", False, C),
    ("NOT missing", False, A),
    ("NOT EXISTS missing", True),
]

MATH: list[Row] = [
    ("4 * 2 + 4 / 2", 10),
    ("4 * (2 + 4) / 2", 12),
    ("(2 + 3) * 4", 20),
    ("7 - 2 - 1", 4),
    ("100 / 10 / 5", 2),
    ("5 / 3", 1),
    ("-5 / 3", -1),
    ("5 / -3", -1),
    ("-5 / -3", 1),
    ("5 % 3", 2),
    ("-5 % 3", -2),
    ("5 % -3", 2),
    ("-5 % -3", -2),
    ("5 / 0", 0, M),
    ("5 % 0", 0, M),
    ("missing / 0", 0, A),
    ("missing % 0", 0, A),
    ("1 / missing", 0, A),
    ("missing * 5", 0, A),
    ("4+1", 5),
    ("4-1", 3),
    ("-4 + 1", -3),
    ("-4 + -1", -5),
    ("4 + -1", 3),
    ("4 - -1", 5),
    ("-4 - 1", -5),
    ("'5' + 3", 8),
    ("5 + '3'", 8),
    ("'5' + '3'", 8),
    ("'+5' + '-3'", 2),
    ("5 + TRUE", 6),
    ("5 - FALSE", 5),
    ("'5avc4' + 10", 0, C),
    ("'1_0' + 10", 0, C),
    ("' 1' + 10", 0, C),
    ("'' + 10", 0, C),
    ("'2147483648' + 0", 0, C),
    ("'٣' + 0", 0, C),
    ("2147483647 + 1", 0, M),
    ("-2147483648 - 1", 0, M),
    ("65536 * 65536", 0, M),
    ("-2147483648 / -1", 0, M),
    ("-2147483648 % -1", 0),
    ("--10", 10),
    ("- 10", -10),
    ("-'10'", -10),
    ("--'10'", 10),
    ("-TRUE", -1),
    ("-missing", 0, A),
    ("--2147483648", 0, M),
    ("-'ten'", 0, C),
]

COMPARISON: list[Row] = [
    ("TRUE = FALSE", False),
    ("FALSE = FALSE", True),
    ("1 = 2", False),
    ("2 = 2", True),
    ("'abc' = '123'", False),
    ("'abc' = 'abc'", True),
    ("'abc' = 'ABC'", False),
    *[
        (f"{x} {unequal} {y}", x != y)
        for unequal in ("!=", "<>")
        for x, y in [("TRUE", "FALSE"), ("FALSE", "FALSE"), ("1", "2"), ("2", "2"), ("'a'", "'b'"), ("'a'", "'a'")]
    ],
    ("2 <= 2", True),
    ("3 <= 2", False),
    ("1 < 2", True),
    ("2 < 2", False),
    ("2 >= 2", True),
    ("2 >= 3", False),
    ("2 > 1", True),
    ("2 > 2", False),
    ("'10' > '9'", True),  # as numbers
    ("FALSE < TRUE", True),
    ("'a' < 1", False, C),
    ("TRUE = 'true' AND FALSE = 'false'", True),
    ("TRUE = 'TRUE' OR FALSE = 'FALSE'", False),
    ("'TRUE' = TRUE", True),
    ("TRUE = 1", True),
    ("2 = TRUE", True),  # an integer other than 0 casts to true
    ("'2' = 2", True),
    ("2 = '2'", True),
    ("2 = '02'", False),
    ("'two' = 2", False, C),
    ("'two' != 2", False, C),
    ("missing = ''", False, A),
    ("'' = missing", False, A),
    ("missing != ''", False, A),
    ("missing <> missing", False, A),
    ("missing >= 1", False, A),
    ("TRUE AND (missing = '')", False, A),
    ("1 + 1 = 2", True),
    ("1 < 2 = TRUE", True),
    ("NOT 'a' = 'a'", False, C),  # NOT binds first: (NOT 'a') = 'a'
]

LIKE: list[Row] = [
    ("'abc' LIKE 'abc'", True),
    (r"'ab\c' LIKE 'ab\c'", True),
    ("'abc' NOT LIKE 'abc'", False),
    ("'abc' LIKE 'ABC'", False),
    *[(f"'{text}' LIKE 'a%b%c'", True) for text in ("abc", "azbc", "azzzbzzzc")],
    ("'a%b%c' LIKE 'a%b%c'", True),
    ("'ac' LIKE 'abc'", False),
    ("'' LIKE 'abc'", False),
    ("'' LIKE ''", True),
    ("'' LIKE '%'", True),
    ("'' LIKE '_'", False),
    ("'.ab.cde.' LIKE '.%.%.'", True),
    ("'ab.cde' LIKE '.%.%.'", False),
    ("'..' LIKE '.%.%.'", False),
    ("'aa' LIKE 'a%a%a'", False),
    ("'abab' LIKE '%ab'", True),
    ("'a\nb' LIKE 'a%b'", True),
    ("'a\nb' LIKE 'a_b'", True),
    ("'a\n' LIKE 'a'", False),
    ("'a+' LIKE 'a+'", True),
    ("'aa' LIKE 'a+'", False),
    *[
        (f"'{text}' LIKE 'a_b_c'", matches)
        for text, matches in [("abc", False), ("a_b_c", True), ("abzc", False), ("azbc", False), ("azbzc", True)]
    ],
    ("'.a.b.' LIKE '._._.'", True),
    ("'abcd.' LIKE '._._.'", False),
    (r"'a_b_c' LIKE 'a\_b\_c'", True),
    (r"'a_b_c' NOT LIKE 'a\_b\_c'", False),
    (r"'azbzc' LIKE 'a\_b\_c'", False),
    (r"'abc' LIKE 'a\_b\_c'", False),
    (r"'abc' LIKE 'a\%b\%c'", False),
    (r"'a%b%c' LIKE 'a\%b\%c'", True),
    (r"'azbzc' LIKE 'a\%b\%c'", False),
    ('"it\'s" LIKE "it\'_"', True),
    ("234 LIKE '23_'", True),
    ("2344 LIKE '23%'", True),
    ("2344 LIKE '23_'", False),
    ("TRUE LIKE 'tr%'", True),
    ("TRUE LIKE '%ue'", True),
    ("FALSE LIKE 'tr%'", False),
    ("FALSE LIKE 'fal%'", True),
    ("missing LIKE '%'", False, A),
    ("missing NOT LIKE '%'", False, A),
    ("1 + 1 LIKE '_'", 2),  # LIKE binds before +, and true casts to 1
]


IN: list[Row] = [
    ("'a' IN ('a', 'b')", True),
    ("'c' IN ('a', 'b')", False),
    ("'a' NOT IN ('a', 'b')", False),
    ("'c' NOT IN ('a', 'b')", True),
    ("1 IN ('1', 2)", True),
    ("'1' IN (1)", True),
    ("TRUE IN ('TRUE')", True),
    ("1 IN ('x', 1)", False, C),
    ("1 IN (1, 'x')", True),
    ("'x' IN (id, CONCAT('x'))", True),
    ("missing IN ('a')", False, A),
    ("missing NOT IN ('a')", False, A),
    ("'a' IN (missing)", False, A),
    ("2 * 1 IN (1, 2)", 2),  # IN binds before *
    ("'a' IN ('a') LIKE 'tr%'", True),
]

FUNCTIONS: list[Row] = [
    ("LENGTH('abc')", 3),
    ("LENGTH('')", 0),
    ("LENGTH('2')", 1),
    ("LENGTH(TRUE)", 4),
    ("LENGTH(-10)", 3),
    ("LENGTH('žluť 🐎')", 6),
    ("CONCAT('a', 'b', 'c')", "abc"),
    ("CONCAT()", ""),
    ("CONCAT('a')", "a"),
    ("CONCAT(1, TRUE)", "1true"),
    ("CONCAT_WS(',', 'a', 'b', 'c')", "a,b,c"),
    ("CONCAT_WS(',')", ""),
    ("CONCAT_WS(',', 'a')", "a"),
    ("CONCAT_WS()", False, F),
    ("LOWER('AbC')", "abc"),
    ("UPPER('AbC')", "ABC"),
    ("TRIM('   a b c   ')", "a b c"),
    ("TRIM('   a b c')", "a b c"),
    ("TRIM('a b c   ')", "a b c"),
    ("TRIM('\t\u2003a\u00a0\u3000')", "a"),
    ("TRIM('\x1ca\x1f')", "\x1ca\x1f"),
    ("LEFT('abc', 2)", "ab"),
    ("LEFT('abc', 10)", "abc"),
    ("LEFT('', 0)", ""),
    ("LEFT('abc', -2)", "abc", E),
    ("RIGHT('abc', 2)", "bc"),
    ("RIGHT('abc', 10)", "abc"),
    ("RIGHT('abc', 0)", ""),
    ("RIGHT('', 0)", ""),
    ("RIGHT('abc', -2)", "abc", E),
    ("SUBSTRING('abcdef', 1)", "abcdef"),
    ("SUBSTRING('abcdef', 2)", "bcdef"),
    ("SUBSTRING('Quadratically', 5)", "ratically"),
    ("SUBSTRING('Sakila', -3)", "ila"),
    ("SUBSTRING('Sakila', -6)", "Sakila"),
    ("SUBSTRING('abcdef', 1, 6)", "abcdef"),
    ("SUBSTRING('abcdef', 2, 4)", "bcde"),
    ("SUBSTRING('abcdef', 2, 0)", ""),
    ("SUBSTRING('abcdef', 2, 99)", "bcdef"),
    ("SUBSTRING('Sakila', -5, 3)", "aki"),
    ("SUBSTRING('Quadratically', 0)", ""),
    ("SUBSTRING('Quadratically', 0, 1)", ""),
    ("SUBSTRING('abcdef', 10)", "", E),
    ("SUBSTRING('abcdef', -10)", "", E),
    ("SUBSTRING('abcdef', 10, 10)", "", E),
    ("SUBSTRING('abcdef', -10, 10)", "", E),
    ("SUBSTRING('abcdef', 1, -1)", "", E),
    ("ABS(10)", 10),
    ("ABS(-10)", 10),
    ("ABS(0)", 0),
    ("ABS('-3')", 3),
    ("ABS(-2147483648)", 2147483647, M),
    ("ABS(ABS(-2147483648))", 0, M),
    ("ABS(-2147483648) + 1", 0, M),
    ("INT('1')", 1),
    ("INT('-1')", -1),
    ("INT(1)", 1),
    ("INT(TRUE)", 1),
    ("INT(FALSE)", 0),
    ("INT('ABC')", 0, C),
    ("BOOL('TRUE')", True),
    ('BOOL("false")', False),
    ("BOOL(TRUE)", True),
    ("BOOL('ABC')", False, C),
    ("BOOL(1)", True),
    ("BOOL(0)", False),
    ("BOOL(-50)", True),
    ("STRING(TRUE)", "true"),
    ("STRING(FALSE)", "false"),
    ("STRING(-1)", "-1"),
    ('STRING("abc")', "abc"),
    ("IS_INT('-5')", True),
    ("IS_INT('5.0')", False),
    ("IS_INT(TRUE)", True),
    ("IS_BOOL('True')", True),
    ("IS_BOOL('yes')", False),
    ("IS_BOOL(3)", True),
    ("IS_INT(missing)", False, A),
    ("LOWER(missing)", "", A),
    ("length('abc')", 3),
    ("NO_SUCH('abc')", False, F),
    ("LENGTH()", False, F),
    ("LENGTH('a', 'b')", False, F),
    ("1 + NO_SUCH()", 0, F),
    ("NO_SUCH() OR TRUE", False, F),
    ("CONCAT(LEFT('abc', -2), 'd')", "", E),
]

EXISTENCE: list[Row] = [
    ("EXISTS id", True),
    ("EXISTS source", True),
    ("EXISTS type", True),
    ("EXISTS specversion", True),
    ("EXISTS subject", False),
    ("exists SUBJECT", False),
    ("EXISTS subject = FALSE", True),
    ("id", "myId"),
    ("ID", "myId"),
    ("missing", False, A),
    ("(missing)", False, A),
]

ALL = LITERALS + LOGIC + MATH + COMPARISON + LIKE + IN + FUNCTIONS + EXISTENCE


@pytest.mark.parametrize("row", ALL, ids=lambda row: row[0])
def test_an_expression_gives_its_value_and_its_error(row: Row) -> None:
    text, value, *kinds = row
    result = Expression(text).evaluate(EVENT)
    assert (result.value, type(result.value)) == (value, type(value))
    assert [error.kind for error in result.errors] == kinds


WITH_ATTRIBUTES: list[tuple[str, dict[str, Value], Value]] = [
    ("subject", {"subject": "mySubject"}, "mySubject"),
    ("mybool", {"mybool": True}, True),
    ("myint", {"myint": 10}, 10),
    ("myext", {"myext": "my extension"}, "my extension"),
    ("source", {"source": "http://localhost/source"}, "http://localhost/source"),
    ("time", {"time": "2018-04-26T14:48:09+02:00"}, "2018-04-26T14:48:09+02:00"),
    ("int(hop) < int(ttl) and int(hop) < 1000", {"hop": "5", "ttl": "10"}, True),
    ("INT(hop) < INT(ttl) AND INT(hop) < 1000", {"hop": "5", "ttl": "10"}, True),
    ("hop < ttl", {"hop": "5", "ttl": "10"}, True),
    ("hop < ttl", {"hop": 5, "ttl": 10}, True),
    ("sequence = 5", {"sequence": "5"}, True),
    ("sequence = 5", {"sequence": "6"}, False),
    ("LENGTH(sequence + 10)", {"sequence": "95"}, 3),
    ("firstname = 'Francesco' OR subject = 'Francesco'", {"subject": "Francesco", "firstname": "Doug"}, True),
    ("firstname = 'Francesco' OR subject = 'Francesco'", {"subject": "Doug", "firstname": "Francesco"}, True),
    (
        "(firstname = 'Francesco' AND lastname = 'Guardiani') OR subject = 'Francesco Guardiani'",
        {"subject": "Doug", "firstname": "Francesco", "lastname": "Guardiani"},
        True,
    ),
    (
        "(firstname = 'Francesco' AND lastname = 'Guardiani') OR subject = 'Francesco Guardiani'",
        {"subject": "Francesco Guardiani", "firstname": "Doug", "lastname": "Davis"},
        True,
    ),
    ("EXISTS subject", {"subject": "Francesco Guardiani"}, True),
    (r"myext LIKE 'abc%123\%456\_d_f'", {"myext": "abc123123%456_dzf"}, True),
    (r"myext NOT LIKE 'abc%123\%456\_d_f'", {"myext": "abc123123%456_dzf"}, False),
    ("source LIKE 'https://%'", {"source": "https://example.com"}, True),
    ("source LIKE 'https://%'", {"source": "http://example.com"}, False),
    ("type like '%.error'", {"type": "com.github.error"}, True),
    ("type like '%.error'", {"type": "com.github.success"}, False),
    ("id LIKE 'my%' AND source LIKE '%.ca'", {"source": "http://www.some-website.ca"}, True),
    ("id LIKE 'my%' AND source LIKE '%.ca'", {"source": "http://www.some-website.com"}, False),
    ("id LIKE 'my%' OR source LIKE '%.ca'", {"id": "notmyId", "source": "http://www.some-website.ca"}, True),
    ("id LIKE 'my%' OR source LIKE '%.ca'", {"id": "notmyId", "source": "http://www.some-website.com"}, False),
    (
        "(id = 'myId' AND type LIKE '%.success') OR (id = 'other' AND source LIKE 'http://%' AND type LIKE '%.warning')",
        {"id": "other", "type": "example.event.warning", "source": "http://localhost.localdomain"},
        True,
    ),
    (
        "(id = 'myId' OR type LIKE '%.success') AND (id = 'other' OR source LIKE 'https://%' OR type LIKE '%.warning')",
        {"id": "other", "type": "example.event.warning", "source": "http://localhost.localdomain"},
        False,
    ),
    ("1d = 'x' AND 9lives = '9'", {"1d": "x", "9lives": "9"}, True),
]


@pytest.mark.parametrize(("text", "attributes", "value"), WITH_ATTRIBUTES, ids=str)
def test_an_expression_reads_the_attributes(text: str, attributes: dict[str, Value], value: Value) -> None:
    assert Expression(text).evaluate(EVENT | attributes) == Result(value)


MESSAGES = [
    ("subject", "the event has no attribute 'subject'"),
    ("INT(id)", "'myId' is not a 32 bit integer"),
    ("NOT id", "'myId' is neither 'true' nor 'false'"),
    ("1 / 0", "1 divided by zero"),
    ("1 % 0", "1 modulo zero"),
    ("2147483647 * 2", "the result does not fit in 32 bits: 4294967294"),
    ("LEFT(id, -1)", "LEFT of -1 characters"),
    ("SUBSTRING(id, 9)", "SUBSTRING from 9 in a string of length 4"),
    ("FOO(id)", "no function FOO takes 1 arguments"),
]


@pytest.mark.parametrize(("text", "message"), MESSAGES)
def test_an_error_says_what_happened(text: str, message: str) -> None:
    (error,) = Expression(text).evaluate(EVENT).errors
    assert error == Error(error.kind, message)


@pytest.mark.parametrize(
    ("text", "passes"),
    [("TRUE", True), ("FALSE", False), ("1", False), ("'true'", False), ("id", False), ("TRUE OR 1/0 = 1", True)],
)
def test_only_the_boolean_true_without_an_error_passes(text: str, passes: bool) -> None:
    assert Expression(text).passes(EVENT) is passes


def test_a_boolean_attribute_passes_and_a_string_does_not() -> None:
    assert Expression("drifted").passes(EVENT | {"drifted": True})
    assert not Expression("drifted").passes(EVENT | {"drifted": "true"})
    assert not Expression("missing OR TRUE").passes(EVENT)


def test_an_evaluation_does_not_change_the_event() -> None:
    before = dict(EVENT)
    Expression("CONCAT(id, type) = LOWER(source) OR subject = 1").evaluate(EVENT)
    assert before == EVENT


def test_an_unlucky_pattern_takes_no_time_to_speak_of() -> None:
    """With backtracking this would still be running when the test's time limit ends it."""
    expression = Expression("subject LIKE '" + "%a" * 60 + "%b'")
    assert not expression.passes(EVENT | {"subject": "a" * 20_000})
