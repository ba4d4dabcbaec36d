"""Passkeys in a real browser with a virtual authenticator: made, used behind the password and alone, removed."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import Browser, expect

from tests.browser.conftest import open_page
from tests.unit.ledger import Ledger
from tests.unit.web_door import PASSWORD, open_door

AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


async def test_a_person_with_a_passkey(browser: Browser, tmp_path: Path) -> None:
    """At localhost, which browsers take for safe, under the policy that allows nothing inline."""
    async with open_door(Ledger(), tmp_path, {"bob": "user"}) as door:
        here = f"http://localhost:{door.client.server.port}"
        page, complaints = await open_page(browser, "wide")
        devices = await page.context.new_cdp_session(page)
        await devices.send("WebAuthn.enable")
        await devices.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})

        async def type_password() -> None:
            await page.goto(f"{here}/login?next=/users/second-factor")
            await page.get_by_label("Name").fill("bob")
            await page.get_by_label("Password").fill(PASSWORD)
            await page.get_by_role("button", name="Sign in", exact=True).click()

        await type_password()
        form = page.locator("form[data-passkey]")
        await form.get_by_label("What you call it").fill("Laptop")
        await form.get_by_label("Your password").fill(PASSWORD)
        await form.get_by_label("Sign in with it alone").check()
        await form.get_by_role("button", name="Make it").click()
        await expect(page.locator("#passkey-codes pre")).to_contain_text("-")
        codes = (await page.locator("#passkey-codes pre").inner_text()).split()
        assert len(set(codes)) == 10

        await page.get_by_role("button", name="Sign out").click()
        await type_password()
        await expect(page.get_by_label("Code")).to_be_visible()
        await page.get_by_role("button", name="Use a passkey").click()
        await expect(page.get_by_role("heading", name="Laptop")).to_be_visible()

        await page.get_by_role("button", name="Sign out").click()
        await page.goto(f"{here}/login?next=/users/second-factor")
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await expect(page.get_by_text("Without password")).to_be_visible()
        await page.get_by_text("Rename or remove").click()
        card = page.locator("#passkeys .card")
        await card.get_by_label("Your password").fill(PASSWORD)
        await card.get_by_role("button", name="Remove").click()
        await expect(page.get_by_text("The passkey is removed")).to_be_visible()

        await page.get_by_role("button", name="Sign out").click()
        await page.goto(f"{here}/login")
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await expect(page.get_by_text("not known here any more")).to_be_visible()
        await page.context.close()
        known = (f"asked {here}", "WebSocket", "ws://localhost", "401")
        assert [line for line in complaints if not any(one in line for one in known)] == []
