"""Texts that are never printed."""

from __future__ import annotations

import json
import pickle

import pytest
from msgspec import Struct

from ipvsagent.source.client.secret import Secret, hide, without_user


class Holder(Struct, frozen=True):
    """Something that holds a secret."""

    secret: Secret


def test_a_secret_shows_itself_in_no_way() -> None:
    """Neither formatted nor inside of other values, nor in an error."""
    secret = Secret("marker")
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r}", f"{[secret]}", repr(Holder(secret)), "%s" % secret]  # noqa: UP031
    assert not [text for text in shown if "marker" in text]
    for write in (pickle.dumps, json.dumps):
        with pytest.raises(TypeError) as caught:
            write(secret)
        assert "marker" not in str(caught.value)
    with pytest.raises(TypeError):
        vars(secret)
    assert secret == Secret("marker") != Secret("other")
    assert (bool(secret), bool(Secret())) == (True, False)


def test_secrets_are_hidden_in_what_others_say() -> None:
    """Also as part of a URL; a secret that is a part of another leaves no rest."""
    text = "Authorization: Bearer abcd-efgh, again abcd-efgh, and p%2Fword"
    assert hide(text, [Secret("abcd"), Secret("abcd-efgh"), Secret("p/word"), Secret("A")]) == (
        "Authorization: Bearer <hidden>, again <hidden>, and <hidden>"
    )


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a:b@c:1/d", "https://<hidden>@c:1/d"),
        ("https://a:b/@c@h", "https://<hidden>@h"),
        ("a:b@c:1", "<hidden>@c:1"),
        ("https://c:1/d", "https://c:1/d"),
        ("c:1", "c:1"),
        ("", ""),
    ],
)
def test_user_and_password_of_a_url(url: str, shown: str) -> None:
    """For `/flagz`."""
    assert without_user(url) == shown
