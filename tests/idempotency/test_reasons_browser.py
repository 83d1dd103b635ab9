"""Somebody clicks five times: a real page in a real browser, one order."""

from pathlib import Path

import pytest

from tests.idempotency.browser import CHROMIUM, browser
from tests.idempotency.merchant import COUNT
from tests.idempotency.programs import merchant
from tests.ingress.ledger import Ledger

CLICKS = 5
SAID = "[...document.querySelectorAll('li')].map(each => each.textContent)"


@pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium")
@pytest.mark.parametrize(("path", "effects"), [("orders", 1), ("bare", CLICKS)])
async def test_button_is_clicked_five_times(ledger: Ledger, tmp_path: Path, path: str, effects: int) -> None:
    """The second route is one without a guard: so many clicks are so many orders."""
    (tmp_path / "browser").mkdir()
    async with merchant(ledger, tmp_path) as shop, browser(tmp_path / "browser") as page:
        await page.open(f"http://127.0.0.1:{shop.base_url.port}/page/{path}")
        await page.until("document.querySelector('button')?.disabled === false")
        await page.click(100, 50, CLICKS)
        await page.until(f"{SAID}.length === {CLICKS}")
        said = await page.says(SAID)
    assert said.count("201") == effects
    assert said.count("409") == CLICKS - effects
    assert await ledger.value(COUNT) == effects
