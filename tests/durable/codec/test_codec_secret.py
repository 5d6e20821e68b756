"""Secrets are masked wherever they are shown and kept only under encryption (rule H2)."""

import copy
import pickle
from typing import Any

import pytest
from pydantic import BaseModel

from durable.codec import AesGcmCodec, Envelope, Secret, ZlibCodec, value_codec
from durable.errors import DecodeError, EncodeError


class Login(BaseModel):
    user: str
    password: Secret[str]


def test_secret_is_masked_where_it_is_shown() -> None:
    secret = Secret("hunter2")
    login = Login(user="alice", password=secret)
    shown = f"{secret} {secret!r} {[secret]} {login!r} {login.model_dump()} {login.model_dump_json()}"
    assert "hunter2" not in shown
    assert str(secret) == "Secret(***)"
    assert secret.reveal() == "hunter2"


def test_secret_is_made_from_its_plain_value_by_pydantic() -> None:
    assert Login.model_validate({"user": "alice", "password": "hunter2"}).password == Secret("hunter2")
    assert Login.model_validate_json('{"user":"alice","password":"hunter2"}').password == Secret("hunter2")


def test_secrets_of_equal_values_are_equal() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != "a"


def test_secret_survives_copying_and_pickling() -> None:
    assert pickle.loads(pickle.dumps(Secret("a"))) == copy.deepcopy(Secret("a")) == Secret("a")


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Secret[str], Secret("hunter2")),
        (Secret[bytes], Secret(b"\xff")),
        (Secret[dict[str, int]], Secret({"a": 1})),
        (Secret, Secret([1])),
        (Login, Login(user="alice", password=Secret("hunter2"))),
        (list[Login | None], [Login(user="alice", password=Secret("hunter2")), None]),
        (dict[str, Secret[str]], {"a": Secret("b")}),
        (Secret[Secret[str]], Secret(Secret("a"))),
    ],
)
def test_secret_comes_back(annotation: Any, value: Any) -> None:
    codec = value_codec(annotation)
    assert codec.has_secrets
    assert codec.decode(codec.encode(value)) == value


def test_secrets_are_found_in_annotations_only_where_they_are() -> None:
    for annotation in (str, Any, list[int], BaseModel):
        assert not value_codec(annotation).has_secrets


def test_value_within_a_secret_must_come_back_too() -> None:
    with pytest.raises(EncodeError) as caught:
        value_codec(dict[str, Secret[Any]]).encode({"a": Secret({"key": ("hunter2",)})})
    assert caught.value.path == "a"
    assert "hunter2" not in str(caught.value)


def test_what_json_cannot_carry_beside_a_secret_is_blamed() -> None:
    codec = value_codec(dict[str, Any] | dict[str, Secret[str]])
    with pytest.raises(EncodeError) as caught:
        codec.encode({"a": Secret("hunter2"), "b": object()})
    assert caught.value.path == "b"


def test_secret_that_is_not_annotated_is_refused() -> None:
    with pytest.raises(EncodeError, match=r"expected a\.b to be annotated as durable\.Secret") as caught:
        value_codec(Any).encode({"a": {"b": Secret("hunter2")}})
    assert caught.value.path == "a.b"


def test_misfit_beside_a_secret_shows_no_value() -> None:
    with pytest.raises(DecodeError) as caught:
        value_codec(Login).decode('{"user":3,"password":["hunter2"]}')
    assert "hunter2" not in caught.value.message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_secret_is_sealed_only_under_encryption() -> None:
    plain = value_codec(Secret[str]).encode(Secret("hunter2"))
    for codecs in ((), (ZlibCodec(threshold_bytes=0),)):
        with pytest.raises(EncodeError, match="AesGcmCodec"):
            Envelope(codecs).seal(plain, secret=True)
    envelope = Envelope([AesGcmCodec(bytes(32))])
    payload = envelope.seal(plain, secret=True)
    assert "hunter2" not in payload
    assert envelope.open(payload) == plain


def test_json_schema_marks_a_secret_as_not_to_be_shown() -> None:
    schema = value_codec(Login).json_schema()
    assert schema["properties"]["password"] == {"title": "Password", "type": "string", "writeOnly": True}
