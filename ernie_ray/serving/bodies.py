"""Request bodies of every route, and messages that say what is wrong with one.

Bodies are parsed and checked in one pass over the bytes, strictly: "1" is no number here.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ernie_ray.errors import MalformedRequestError

_Texts = str | Annotated[list[str | tuple[str, str]], Field(min_length=1)]
_Rows = Annotated[list[Annotated[list[int], Field(min_length=1)]], Field(min_length=1)]
_TEXTS_FORM = "a text, a list of texts, or a list of [text, text] pairs"
_TOKEN_IDS_FORM = "a list of lists of token ids of this model's vocabulary"
_MODEL_FORM = "a model's name as in /v1/models; the default model answers if left out"
_TRUNCATE_FORM = "true or false: cut texts that are too long instead of refusing them"


class Body(BaseModel):
    """A request body; each field's description completes "must be ..."."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    model: str | None = Field(default=None, description=_MODEL_FORM)


class ScoresBody(Body):
    """Body of /v1/scores: `texts`, or `token_ids`."""

    texts: _Texts | None = Field(default=None, description=_TEXTS_FORM)
    token_ids: _Rows | None = Field(default=None, description=_TOKEN_IDS_FORM)
    truncate: bool = Field(default=False, description=_TRUNCATE_FORM)


class VectorsBody(ScoresBody):
    """Body of /v1/vectors and /v1/infer: `texts`, or `token_ids`."""

    normalize: bool | None = Field(
        default=None, description="true or false: scale vectors to length 1"
    )
    dimensions: int | None = Field(
        default=None, gt=0, description="a positive number: keep so many numbers of each vector"
    )
    encoding: Literal["float", "base64"] = Field(
        default="float", description='"float" or "base64" (little-endian float32)'
    )
    pooling: str | None = Field(
        default=None,
        description="cls, mean, max, mean_max, pooler or none (a vector for each token); the "
        "model's own if left out",
    )
    layers: Annotated[list[int], Field(min_length=1)] | None = Field(
        default=None, description="a list of layers to join: 1 is the first, -1 the last"
    )


class EmbeddingsBody(Body):
    """Body of the OpenAI route /v1/embeddings."""

    input: (
        str
        | Annotated[list[str], Field(min_length=1)]
        | Annotated[list[int], Field(min_length=1)]
        | Annotated[list[list[int]], Field(min_length=1)]
    ) = Field(description="a text, a list of texts, a list of token ids, or a list of such lists")
    encoding_format: Literal["float", "base64"] = Field(
        default="float", description='"float" or "base64"'
    )
    dimensions: int | None = Field(default=None, gt=0, description="a positive number")
    user: str | None = Field(default=None, description="a text; it is ignored")
    truncate: bool = Field(default=False, description=_TRUNCATE_FORM)


_B = TypeVar("_B", bound=Body)


def parse_body(kind: type[_B], body: bytes) -> _B:
    """Parse and check a request body.

    Raises:
        MalformedRequestError: It is not JSON, or not what the route takes; says what to change.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        # An unknown field goes first: it is often the misspelt name of a missing one.
        first = min(found, key=lambda one: one["type"] != "extra_forbidden")
        message = _explain(kind, first["type"], first["loc"], first["msg"])
    raise MalformedRequestError(message)


def _explain(kind: type[Body], problem: str, loc: tuple[int | str, ...], message: str) -> str:
    if problem == "json_invalid":
        return f"the body is not JSON: {message.removeprefix('Invalid JSON: ')}"
    if not loc:
        return "the body must be a JSON object"
    field = str(loc[0])
    if problem == "extra_forbidden":
        return f'unknown field "{field[:100]}"; this route takes {", ".join(kind.model_fields)}'
    verb = "is missing: it must be" if problem == "missing" else "must be"
    return f'"{field}" {verb} {kind.model_fields[field].description}'
