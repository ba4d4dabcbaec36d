"""Signing in as people do: by the company's provider, and with a second factor set up from its QR picture."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from playwright.async_api import Browser, Locator, Page, expect

from server.actions import sign_in_ways
from server.core.model import SYSTEM
from server.core.oidc import Provider
from server.people import sign_in
from server.trust.tls import seal
from server.web.session import COOKIE
from tests.browser.conftest import open_page
from tests.browser.walk import shoot
from tests.unit.ledger import START_US, Ledger
from tests.unit.oidc_provider import CLIENT, SECRET, OidcProvider, running_provider
from tests.unit.qr_reader import read_picture
from tests.unit.web_door import PASSWORD, Door, open_door

STEP_US = 30_000_000
KNOWN = ("asked http", "WebSocket", "ws://localhost", "401", "405", "503")
"""What a browser says of this node: it is at localhost, refuses, and has no other look at what a form answered."""
PIXELS = """async (url) => {
    const picture = new Image();
    picture.src = url;
    await picture.decode();
    const canvas = new OffscreenCanvas(picture.width, picture.height), context = canvas.getContext("2d");
    context.drawImage(picture, 0, 0);
    const { data, width, height } = context.getImageData(0, 0, picture.width, picture.height);
    const dark = (x, y) => data[4 * (y * width + x)] < 128 ? "#" : ".";
    return Array.from({ length: height }, (_, y) => Array.from({ length: width }, (_, x) => dark(x, y)).join(""));
}"""


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is answered without its second."""
    monkeypatch.setattr(sign_in, "FAILURE_PAUSE_S", 0.0)


def set_provider(ledger: Ledger, issuer: str, makes_users: bool) -> None:
    """As an administrator does on the page."""
    provider = Provider(
        issuer=issuer, client_id=CLIENT, makes_users=makes_users, new_role="user" if makes_users else ""
    )
    change = sign_in_ways.put_provider(
        provider, SECRET, lambda name, value: seal(bytes(32), name, value.encode()), SYSTEM, START_US
    )
    ledger.do(change)


async def press(page: Page, name: str) -> None:
    """A button or what looks like one, by its words."""
    await page.get_by_role("button", name=name, exact=True).click()


async def type_password(page: Page, name: str = "bob") -> None:
    """Fill in the form of the page that is open."""
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Password").fill(PASSWORD)
    await press(page, "Sign in")


async def picture_of(page: Page, drawn: Locator) -> str:
    """What a camera reads from the picture as the browser shows it."""
    shot = base64.b64encode(await drawn.screenshot()).decode()
    tab = await page.context.new_page()
    rows = await tab.evaluate(PIXELS, f"data:image/png;base64,{shot}")
    await tab.close()
    return read_picture(rows)


def code_of(secret: str, door: Door) -> str:
    """What the program on the phone shows now."""
    return TOTP(base64.b32decode(secret), 6, SHA1(), 30).generate(door.clock.now_us // 1_000_000).decode()


async def by_provider(page: Page, here: str) -> None:
    """From this node's page to the provider's, and back."""
    await page.goto(f"{here}/login?next=/users/second-factor")
    await press(page, "Sign in with the company's account")
    await expect(page.get_by_role("heading", name="The company")).to_be_visible()
    assert not page.url.startswith(here)
    await press(page, "That is me")


async def with_the_provider_down(page: Page, here: str, door: Door, provider: OidcProvider) -> None:
    """It says so on this node's page, a while after the provider answered last; the password works."""
    provider.fault = "down"
    door.clock.now_us += STEP_US
    await page.goto(f"{here}/login?next=/users/second-factor")
    await press(page, "Sign in with the company's account")
    await expect(page.locator("main").get_by_role("alert").first).to_contain_text("name and password")
    await shoot(page, "sign-in-provider-down")
    await type_password(page)
    await expect(page.locator("header .who")).to_contain_text("bob")


async def test_a_person_comes_in_by_the_provider(browser: Browser, tmp_path: Path) -> None:
    """Not known here: told what to do. Known: in, with name and role. Out: told of the provider. It is down: told."""
    ledger = Ledger()
    async with (
        open_door(ledger, tmp_path, {"bob": "user"}) as door,
        running_provider(lambda: door.clock.now_us / 1e6) as provider,
    ):
        here = f"http://localhost:{door.client.server.port}"
        page, complaints = await open_page(browser, "phone")
        provider.asks = True
        set_provider(ledger, provider.issuer, False)
        await by_provider(page, here)
        await expect(page.locator("main").get_by_role("alert").first).to_contain_text(
            "no account here is linked with it"
        )
        await shoot(page, "sign-in-not-linked")
        set_provider(ledger, provider.issuer, True)
        await by_provider(page, here)
        assert page.url == f"{here}/users/second-factor"
        await expect(page.locator("header .who")).to_contain_text("eve")
        await page.goto(f"{here}/users")
        await expect(page.locator("table tr", has_text="this browser")).to_contain_text("user")
        await press(page, "Sign out")
        await expect(page.locator("main").get_by_role("status")).to_contain_text(
            "At the provider you may be signed in still"
        )
        await shoot(page, "sign-in-signed-out")
        await with_the_provider_down(page, here, door, provider)
        await page.context.close()
        assert [line for line in complaints if not any(one in line for one in KNOWN)] == []


async def set_up(page: Page, here: str, door: Door) -> tuple[str, list[str]]:
    """(the secret, the recovery codes): by holding a camera to the picture and typing what the program shows."""
    await page.goto(f"{here}/login?next=/users/second-factor")
    await type_password(page)
    await page.get_by_label("Your password").first.fill(PASSWORD)
    await press(page, "Set up")
    address = await picture_of(page, page.get_by_role("img", name="The key as a QR code"))
    await shoot(page, "second-factor-begun")
    assert address == await page.get_by_role("link", name="Open it in the app").get_attribute("href")
    secret = parse_qs(urlsplit(address).query)["secret"][0]
    assert unquote(urlsplit(address).path).endswith(":bob")
    before = await page.context.cookies()
    await page.get_by_label("The code that the app shows now").fill(code_of(secret, door))
    await press(page, "Confirm")
    await expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    recovery = (await page.locator("pre").inner_text()).split()
    after = await page.context.cookies()
    assert [one["name"] for one in after] == [COOKIE]
    assert [one["value"] for one in before] != [one["value"] for one in after]
    return secret, recovery


async def come_back(page: Page, here: str, code: str) -> None:
    """Sign out, and in again up to the code."""
    if await page.get_by_role("button", name="Sign out").count():
        await press(page, "Sign out")
    await page.goto(f"{here}/login")
    await type_password(page)
    await page.get_by_label("Code").fill(code)
    await press(page, "Sign in")


async def test_a_second_factor_from_its_picture(browser: Browser, tmp_path: Path) -> None:
    """Camera, code, recovery codes; then the code, a wrong one, a recovery code, and that one again."""
    async with open_door(Ledger(), tmp_path, {"bob": "user"}) as door:
        here = f"http://localhost:{door.client.server.port}"
        page, complaints = await open_page(browser, "phone")
        secret, recovery = await set_up(page, here, door)
        assert len(set(recovery)) == 10
        await press(page, "I have written them down")
        await expect(page.locator("header .who")).to_contain_text("bob")
        door.clock.now_us += STEP_US
        await come_back(page, here, "000000")
        await expect(page.locator("main").get_by_role("alert").first).to_contain_text("The code is wrong")
        await shoot(page, "sign-in-code-wrong")
        await page.get_by_label("Code").fill(code_of(secret, door))
        await press(page, "Sign in")
        for _ in range(2):
            await expect(page.locator("header .who")).to_contain_text("bob")
            await come_back(page, here, recovery[0])
        await expect(page.locator("main").get_by_role("alert").first).to_contain_text("wrong or was used already")
        await page.context.close()
        assert [line for line in complaints if not any(one in line for one in KNOWN)] == []
