"""The tree of errors."""

from scalar import errors
from scalar.errors import ScalarError


def _all(kind: type[ScalarError] = ScalarError) -> list[type[ScalarError]]:
    return [kind, *[below for child in kind.__subclasses__() for below in _all(child)]]


def test_each_error_has_a_type_and_a_title_of_its_own() -> None:
    kinds = [kind for kind in _all() if kind.__module__ == errors.__name__]
    assert len({kind.type for kind in kinds}) == len(kinds)
    assert len({kind.title for kind in kinds}) == len(kinds)


def test_every_error_is_drawn_in_the_tree_at_the_top() -> None:
    drawn = errors.__doc__ or ""
    assert all(
        f" {kind.__name__} " in f"{drawn} ".replace("\n", " ") for kind in _all() if kind.__module__ == errors.__name__
    )


def test_types_never_change() -> None:
    kinds = {kind.type: kind.status for kind in _all() if kind.__module__ == errors.__name__}
    assert kinds == {
        "internal-error": 500,
        "invalid-request": 422,
        "unsatisfiable": 422,
        "not-authenticated": 401,
        "forbidden": 403,
        "not-found": 404,
        "conflict": 409,
        "idempotency-conflict": 409,
        "illegal-move": 409,
        "spend-refused": 409,
        "payment-required": 402,
        "spend-cap-reached": 402,
        "too-large": 413,
        "unavailable": 503,
    }
