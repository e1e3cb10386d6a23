"""What a job is told of the store: no role where the store has none."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gateway.bootstrap.assemble import store_environment
from gateway.staging.object_store import StoreAccess


@pytest.mark.parametrize(
    ("endpoint", "keys", "names"),
    [
        ("http://store:1", None, {"AWS_ENDPOINT_URL_S3"}),
        (None, None, set()),
        (None, object(), {"AWS_ENDPOINT_URL_STS", "AWS_ROLE_ARN", "AWS_REGION", "AWS_DEFAULT_REGION"}),
        (
            "http://store:1",
            object(),
            {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_STS", "AWS_ROLE_ARN", "AWS_REGION", "AWS_DEFAULT_REGION"},
        ),
    ],
)
def test_a_job_is_told_of_sts_only_where_it_has_keys(endpoint, keys, names):
    """The embedded store has none; AWS needs no endpoint; the STS door is the gateway's as nodes reach it."""
    access = StoreAccess("b", endpoint, endpoint, "access", secret_key="secret")
    store = SimpleNamespace(access=access)
    told = store_environment(SimpleNamespace(store=store, job_keys=keys, node_url="http://gateway:2"))
    assert set(told) == names
    assert told.get("AWS_ENDPOINT_URL_STS", "http://gateway:2/sts") == "http://gateway:2/sts"
    assert "secret" not in str(told)
