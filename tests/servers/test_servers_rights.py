"""A server with users: who may read may not promote, and hears so without a word of a password."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from mlflow import MlflowClient
from mlflow_server import Logged, Server, mlflow_server

from camgate.errors import RegistryError
from camgate.gate.policy import Policy
from camgate.gate.verdict import Verdict
from camgate.registry.flavor import logged_model_digest
from camgate.registry.history import alias_history
from camgate.registry.pinning import pin_policy, pinned_policy
from camgate.registry.promotion import Promotion, register_and_promote
from camgate.registry.runs import open_run
from camgate.registry.verify import verify

NAME = "underpass"
SECRETS = {"admin": "the-admins-secret-1", "writer": "the-writers-secret-2", "reader": "the-readers-secret-3"}
Login = Callable[[str], None]


@dataclass
class Guarded:
    """A server with three users, a model of the writer's, and how to become one of them."""

    server: Server
    model: Logged
    run_id: str
    login: Login
    make_verdict: Callable[..., Verdict]

    def promote(self, status: str = "PASS") -> Promotion:
        return register_and_promote(
            self.make_verdict(status, self.model.digest),
            model_uri=self.model.model_uri,
            name=NAME,
            run_id=self.run_id,
            tracking_uri=self.server.uri,
        )


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("flask_wtf", reason="a server with users needs Flask-WTF: pip install 'mlflow[auth]'")
    from mlflow.server.auth.client import AuthServiceClient

    folder = tmp_path_factory.mktemp("guarded")
    config = folder / "auth.ini"
    config.write_text(
        "[mlflow]\n"
        "default_permission = READ\n"
        f"database_uri = sqlite:///{folder / 'auth.db'}\n"
        "admin_username = admin\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        "auth_cache_ttl_seconds = 600\n"  # a password takes a good part of a second to check
    )
    environment = {
        "MLFLOW_AUTH_CONFIG_PATH": str(config),
        "MLFLOW_AUTH_ADMIN_PASSWORD": SECRETS["admin"],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "of these tests",
    }
    with mlflow_server(folder, "--app-name", "basic-auth", env=environment) as server:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
            patch.setenv("MLFLOW_TRACKING_PASSWORD", SECRETS["admin"])
            for user in ("writer", "reader"):
                AuthServiceClient(server.uri).create_user(user, SECRETS[user])
        yield server


@pytest.fixture
def guarded(
    users: Server,
    log_model: Callable[..., Logged],
    make_verdict: Callable[..., Verdict],
    monkeypatch: pytest.MonkeyPatch,
    elsewhere: None,
) -> Guarded:
    def login(user: str) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRETS[user])

    monkeypatch.setenv("MLFLOW_TRACKING_URI", users.uri)
    login("writer")
    run_id = open_run(experiment="guarded", key="guarded", tracking_uri=users.uri)
    model = log_model(users.uri, run_id, "weights")
    return Guarded(users, model, run_id, login, make_verdict)


def assert_no_secret(error: BaseException) -> None:
    text = "".join(traceback.format_exception(error)) + repr(error)
    assert not [secret for secret in SECRETS.values() if secret in text]


def test_a_reader_reads_and_does_not_promote(guarded: Guarded, policy: Policy) -> None:
    uri = guarded.server.uri
    pin_policy(NAME, policy, tracking_uri=uri)
    assert guarded.promote().alias_moved
    before = MlflowClient(uri).get_registered_model(NAME)

    guarded.login("reader")
    champion = f"models:/{NAME}@champion"
    assert logged_model_digest(champion, tracking_uri=uri) == guarded.model.digest
    assert pinned_policy(NAME, tracking_uri=uri) == policy.digest()
    assert [each.state for each in alias_history(NAME, tracking_uri=uri)] == ["done"]
    found = verify(champion, tracking_uri=uri)
    assert found.digest == guarded.model.digest
    assert [(proof.name, str(proof.status)) for proof in found.proofs] == [
        ("attestation", "FAIL"),  # this verdict was promoted without one
        ("history", "PASS"),
    ]
    for act in (
        guarded.promote,
        lambda: guarded.promote("FAIL"),
        lambda: pin_policy(NAME, policy, tracking_uri=uri),
    ):
        with pytest.raises(RegistryError, match=r"does not let this user .* Ask for the right") as refused:
            act()
        assert_no_secret(refused.value)

    guarded.login("writer")
    after = MlflowClient(uri).get_registered_model(NAME)
    assert (after.tags, after.aliases) == (before.tags, before.aliases)
    assert [each.name for each in MlflowClient(uri).search_registered_models()] == [NAME]


def test_wrong_credentials(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRETS["admin"])  # of another user
    with pytest.raises(RegistryError, match="check the credentials") as refused:
        guarded.promote()
    assert_no_secret(refused.value)
