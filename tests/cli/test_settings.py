from pathlib import Path

from service.cli.settings import build_settings_page
from service.settings import JwtIssuer, Settings
from tests.cli.conftest import Run

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_page_is_fresh(run: Run):
    code, output, _ = run("settings")
    assert code == 0
    assert PAGE.read_text() == output, "run `python -m service settings > docs/settings.md`"


def test_every_setting_is_described():
    page = build_settings_page()
    for name, field in Settings.model_fields.items():
        assert f"`SENTRY_GRAPH_{name.upper()}`" in page
        assert field.description
    for name, field in JwtIssuer.model_fields.items():
        assert f"| `{name}` |" in page
        assert field.description
