import pytest

from mlops.errors import UsageError
from mlops.spec.refs import Ref, parse_ref


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("wine", Ref("wine", "name", "wine")),
        ("red wine", Ref("red wine", "name", "red wine")),
        ("main.default.wine", Ref("main.default.wine", "name", "main.default.wine")),
        ("wine/3", Ref("wine/3", "version", "wine", version=3)),
        ("wine@champion", Ref("wine@champion", "alias", "wine", alias="champion")),
        ("models:/wine/3", Ref("models:/wine/3", "version", "wine", version=3)),
        ("models:/wine@a", Ref("models:/wine@a", "alias", "wine", alias="a")),
        ("models:/wine", Ref("models:/wine", "name", "wine")),
        ("models:/m-" + "0" * 32, Ref("models:/m-" + "0" * 32, "model_id")),
        ("runs:/abc/model", Ref("runs:/abc/model", "run")),
        ("runs:/abc/deep/model", Ref("runs:/abc/deep/model", "run")),
        ("./m", Ref("./m", "path")),
        ("../m", Ref("../m", "path")),
        ("/srv/m", Ref("/srv/m", "path")),
        (".", Ref(".", "path")),
        ("s3://bucket/m", Ref("s3://bucket/m", "uri")),
        ("gs://bucket/m", Ref("gs://bucket/m", "uri")),
        ("mlflow-artifacts:/x", None),
    ],
)
def test_every_form_of_the_grammar(text: str, ref: Ref | None) -> None:
    if ref is None:
        with pytest.raises(UsageError):
            parse_ref(text)
    else:
        assert parse_ref(text) == ref


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "Write"),
        ("-", "Write"),
        ("--ab", "Write"),
        ("wine/", "for a version"),
        ("wine/0", "for a version"),
        ("wine/Production", "aliases now"),
        ("wine/3.5", "for a version"),
        ("wine@", "Write"),
        ("wine@a/b", "Write"),
        ("wine:3", "Write"),
        (" wine", "Write"),
        ("runs:/abc", "runs:/ID/model"),
        ("runs:/", "runs:/ID/model"),
    ],
)
def test_anything_else_is_refused_with_the_way_to_write_it(text: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_ref(text)
    assert hint in (caught.value.hint or "")
