"""Amounts and durations: Kubernetes' quantities and Go-like durations, to numbers and to one canonical text each.

Quantities: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/. Nothing smaller than a
nano is kept (rounded up, as Kubernetes does), nothing larger than 2**63-1 is accepted.
"""

from __future__ import annotations

import re
from decimal import ROUND_UP, Context, Decimal
from typing import TypeAlias

from trimtab.errors import SpecError
from trimtab.spec.scalars import DURATION, QUANTITY

Amount: TypeAlias = str | int | float

_QUANTITY_ALLOWED = "a Kubernetes quantity such as '500m', '1G', '2Gi', 1 or 0.5, of at most 2**63-1"
_DURATION_ALLOWED = "a duration such as '6s', '1m30s' or '500ms', or a number of seconds"
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_SECONDS = {"h": Decimal(3600), "m": Decimal(60), "s": Decimal(1), "ms": Decimal("0.001"), "us": Decimal("0.000001")}
_LARGEST = Decimal(2**63 - 1)
_NANO = Decimal("1e-9")
_EXACT = Context(prec=60)
_QUANTITY = re.compile(QUANTITY)
_DURATION = re.compile(DURATION)
_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|us|s)")


def parse(value: Amount, path: str = "quantity") -> Decimal:
    """Read a quantity. Errors: SpecError at `path`."""
    return _read(value, path)[0]


def canonical(value: Amount, path: str = "quantity") -> str:
    """Write a quantity as Kubernetes does: no fraction, the largest suffix that keeps it exact, the suffix's own family.

    "0.5" is "500m", "1024Mi" is "1Gi", "1000M" is "1G", 1 is "1", "1000e3" is "1e6". Errors: SpecError at `path`.
    """
    number, family = _read(value, path)
    if family == "binary" and number == int(number) and abs(number) >= 1024:
        return _binary(int(number))
    power = next(power for power in range(18, -10, -3) if _whole(number, power))
    digits = int(number.scaleb(-power, _EXACT)) if number else 0
    if not number:
        return "0"
    if family == "exponent":
        return f"{digits}e{power}" if power else str(digits)
    return f"{digits}{next(suffix for suffix, known in _DECIMAL.items() if known == power)}"


def size(value: Amount, path: str = "quantity") -> int:
    """Read a number of bytes, rounded up to a whole one. Errors: SpecError at `path` for less than one."""
    number = parse(value, path)
    if number <= 0:
        raise SpecError(path, value, "a number of bytes such as '32Mi', '1G' or 4096")
    return int(number.to_integral_value(ROUND_UP))


def seconds(value: Amount, path: str = "duration") -> float:
    """Read a duration: "6s", "1m30s", "500ms", or a number of seconds. Errors: SpecError at `path`."""
    text = _text(value, path, _DURATION_ALLOWED)
    if not _DURATION.search(text):
        raise SpecError(path, value, _DURATION_ALLOWED)
    parts = _PART.findall(text)
    return float(
        sum((Decimal(number) * _SECONDS[unit] for number, unit in parts), Decimal(0)) if parts else Decimal(text)
    )


def duration(value: Amount, path: str = "duration") -> str:
    """Write a duration canonically, to the microsecond: "1h2m3s", "1.5s", "500ms", "0s". Errors: SpecError at `path`."""
    micros = round(Decimal(str(seconds(value, path))) * 1_000_000)
    if micros == 0:
        return "0s"
    if micros < 1000:
        return f"{micros}us"
    if micros < 1_000_000:
        return f"{_plain(Decimal(micros) / 1000)}ms"
    minutes, rest = divmod(micros, 60_000_000)
    hours, minutes = divmod(minutes, 60)
    parts = [(_plain(Decimal(hours)), "h"), (_plain(Decimal(minutes)), "m"), (_plain(Decimal(rest) / 1_000_000), "s")]
    return "".join(number + unit for number, unit in parts if number != "0")


def _read(value: Amount, path: str) -> tuple[Decimal, str]:
    match = _QUANTITY.search(_text(value, path, _QUANTITY_ALLOWED))
    if match is None:
        raise SpecError(path, value, _QUANTITY_ALLOWED)
    number, suffix = Decimal(match[1]), match[2] or ""
    if suffix in _BINARY:
        number, family = number * _BINARY[suffix], "binary"
    elif suffix in _DECIMAL:
        number, family = number.scaleb(_DECIMAL[suffix], _EXACT), "decimal"
    else:
        number, family = number.scaleb(int(suffix[1:]), _EXACT), "exponent"
    if abs(number) > _LARGEST:
        raise SpecError(path, value, _QUANTITY_ALLOWED)
    return number.quantize(_NANO, rounding=ROUND_UP, context=_EXACT), family


def _text(value: Amount, path: str, allowed: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise SpecError(path, value, allowed)
    return value if isinstance(value, str) else _plain(Decimal(str(value)))


def _plain(number: Decimal) -> str:
    """Write a number without an exponent and without a fraction's last zeros."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _binary(number: int) -> str:
    for suffix, unit in reversed(_BINARY.items()):
        if number % unit == 0:
            return f"{number // unit}{suffix}"
    return str(number)


def _whole(number: Decimal, power: int) -> bool:
    scaled = number.scaleb(-power, _EXACT)
    return scaled == scaled.to_integral_value()
