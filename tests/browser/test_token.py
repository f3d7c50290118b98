"""The page of a server that needs a token."""

from typing import TYPE_CHECKING, Any

from http_server import serve

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def test_the_token_comes_from_the_address_or_from_a_person(browser: "Browser", segmenter: Any) -> None:
    with serve(segmenter, token="secret") as client:
        context = browser.new_context(base_url=str(client.base_url))
        page = context.new_page()
        page.goto("/#token=secret")
        page.wait_for_selector("body[data-ready]")
        assert "secret" not in page.url
        assert "nano" in page.inner_text("#model")
        context.close()

        context = browser.new_context(base_url=str(client.base_url))
        page = context.new_page()
        page.goto("/")
        page.fill("#token", "secret")
        page.keyboard.press("Enter")
        page.wait_for_selector("body[data-ready]")
        assert "nano" in page.inner_text("#model")
        context.close()
