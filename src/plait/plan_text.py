"""The text form of a plan, `join=4,mode=oneway`, and its JSON form: what they say, before it is a plan."""

from __future__ import annotations

import json
from collections.abc import Mapping

from plait.errors import PlaitError
from plait.keep import Keep, parse


def fields_of(text: str) -> Mapping[str, object]:
    """The fields that a text names, and no others, for `Plan.from_dict`.

    Raises:
        PlaitError: no text, a part without a value, a key that comes twice, or what `keep.parse` refuses.
    """
    if not isinstance(text, str):
        raise PlaitError(f"a plan must be a text, but is {text!r:.40}; e.g. join=4,mode=oneway")
    text = text.strip()
    if text.startswith("{"):
        try:
            found: Mapping[str, object] = json.loads(text)
        except json.JSONDecodeError as error:
            raise PlaitError(
                f"a plan must be valid JSON or key=value pairs, but {text!r} is not ({error}); mend it"
            ) from None
        return found
    fields: dict[str, object] = {}
    budgets: dict[str, tuple[Keep, ...]] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        key, equals, value = (p.strip() for p in part.partition("="))
        if not equals:
            raise PlaitError(
                f"a plan is written key=value,key=value, but has the part {part!r}; e.g. join=4,mode=oneway"
            )
        if key in fields or (key.startswith("keep.") and key.removeprefix("keep.") in budgets):
            raise PlaitError(f"a plan names each key once, but {key!r} is in {text!r} twice; leave one out")
        if key.startswith("keep."):
            role = key.removeprefix("keep.")
            budgets[role] = parse(role, value)
        else:
            fields[key] = _value(key, value)
    if budgets:
        fields["keep"] = tuple(budget for some in budgets.values() for budget in some)
    return fields


def _value(key: str, value: str) -> object:
    if key in ("bottleneck", "positions") and value.isdecimal():
        return int(value)
    if key == "join":
        if not value.isdecimal():
            raise PlaitError(
                f"join must be a layer number of 0 or more, but is {value!r}; pass join=0 for the full model"
            )
        return int(value)
    if key in ("roles", "known"):
        return tuple(filter(None, value.split("+")))
    return value
