"""A person who works in a page by mouse, or by keyboard alone. Both have the same verbs."""

from playwright.async_api import Locator, Page

_TABS_MAX = 120
# Whether the element has the focus, and otherwise the key that leads towards it.
_KEY = """target => {
  const active = document.activeElement;
  if (active === target) return null;
  return active.compareDocumentPosition(target) & Node.DOCUMENT_POSITION_PRECEDING
    ? "Shift+Tab" : "Tab";
}"""


class Mouse:
    """Points at each control. Typing needs the keyboard also here."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def open(self, address: str) -> None:
        """Open an address, as from a bookmark."""
        await self.page.goto(address)

    async def choose(self, control: Locator) -> None:
        """Follow a link, press a button, or turn a switch or a check box."""
        await control.click()

    async def type(self, field: Locator, text: str) -> None:
        """Replace the text of a field."""
        await field.click(click_count=3)
        await self.page.keyboard.type(text)

    async def pick(self, menu: Locator, option: str) -> None:
        """Pick an option of a menu by its text."""
        await menu.select_option(option)

    async def press(self, control: Locator, shortcut: str) -> None:
        """Choose a control that has a shortcut, which the mouse does not need."""
        del shortcut
        await self.choose(control)


class Keyboard(Mouse):
    """Reaches each control with Tab or a shortcut, and never points."""

    async def choose(self, control: Locator) -> None:
        await self._reach(control)
        is_box = await control.evaluate(
            "element => element.matches('[type=checkbox], [type=radio]')"
        )
        await self.page.keyboard.press("Space" if is_box else "Enter")

    async def type(self, field: Locator, text: str) -> None:
        await self._reach(field)
        await self.page.keyboard.press("Control+a")
        await self.page.keyboard.type(text)

    async def pick(self, menu: Locator, option: str) -> None:
        await self._reach(menu)
        # No key of a keyboard is an ellipsis. The beginning of an option chooses it.
        await self.page.keyboard.type(option.removesuffix(" …"))

    async def press(self, control: Locator, shortcut: str) -> None:
        await control.wait_for()
        # Before that the page does not listen to shortcuts.
        await self.page.wait_for_load_state()
        await self.page.keyboard.press(shortcut)

    async def _reach(self, target: Locator) -> None:
        """Press Tab until the element has the focus."""
        await target.wait_for()
        for _ in range(_TABS_MAX):
            key = await target.evaluate(_KEY)
            if key is None:
                return
            await self.page.keyboard.press(key)
        raise AssertionError(f"{_TABS_MAX} tabs do not lead to {target}")


DRIVERS = {"mouse": Mouse, "keyboard": Keyboard}
