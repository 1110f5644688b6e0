"""What a body of the API must be: JSON that says each thing once, and that every reader understands alike."""

import json

from app.problems import InvalidRequest, UnsupportedMediaType

_MEDIA_TYPE = "application/json"


def judge_json(content_type: str, body: bytes) -> None:
    """Raise `UnsupportedMediaType` or `InvalidRequest` for a body that can't be meant."""
    if content_type.partition(";")[0].strip().lower() != _MEDIA_TYPE:
        raise UnsupportedMediaType
    try:
        json.loads(body, object_pairs_hook=_once_each, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise _invalid("is nested too deeply") from error
    except ValueError as error:
        raise _invalid(str(error) if isinstance(error, _NotMeant) else "is no JSON") from error


class _NotMeant(ValueError):
    """JSON by its letters, and yet nothing that anybody can mean."""


def _once_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse a name that stands twice: which of the two is meant, nobody can know, and readers differ."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _NotMeant("names something twice")
    return found


def _refuse_constant(name: str) -> object:
    raise _NotMeant(f"has {name}, which is no number")


def _invalid(detail: str) -> InvalidRequest:
    return InvalidRequest(errors=[{"pointer": "", "detail": detail}])
