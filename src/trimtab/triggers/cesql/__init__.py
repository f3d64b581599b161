"""CloudEvents SQL: the expression language of the `cesql` filter dialect.

Version 1.0.0, https://github.com/cloudevents/spec/blob/cesql/v1.0.0/cesql/spec.md; where "the specification" is named
in this package, it is that one. It differs from Knative's engine in one place: AND, OR and XOR have one precedence and
are grouped from the left, as section 3.6 says, where that engine groups them from the right. Parentheses make a mixed
expression mean the same everywhere.
"""

from __future__ import annotations

from trimtab.triggers.cesql.expression import Expression, Result
from trimtab.triggers.cesql.parser import ParseError, parse
from trimtab.triggers.cesql.values import Error, Kind, Value

__all__ = ["Error", "Expression", "Kind", "ParseError", "Result", "Value", "parse"]
