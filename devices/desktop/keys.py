"""Characters and the special keys of W3C WebDriver (section "Keyboard actions") as X keysyms."""

from __future__ import annotations

from devices.webdriver import WebDriverError

NULL_KEY = "\ue000"

_MODIFIERS = {
    "\ue008": 0xFFE1,  # Shift_L
    "\ue009": 0xFFE3,  # Control_L
    "\ue00a": 0xFFE9,  # Alt_L
    "\ue03d": 0xFFEB,  # Super_L
    "\ue050": 0xFFE2,  # Shift_R
    "\ue051": 0xFFE4,  # Control_R
    "\ue052": 0xFFEA,  # Alt_R
    "\ue053": 0xFFEC,  # Super_R
}

SPECIAL_KEYS = _MODIFIERS | {
    "\ue001": 0xFF69,  # Cancel
    "\ue002": 0xFF6A,  # Help
    "\ue003": 0xFF08,  # BackSpace
    "\ue004": 0xFF09,  # Tab
    "\ue005": 0xFF0B,  # Clear
    "\ue006": 0xFF0D,  # Return
    "\ue007": 0xFF8D,  # KP_Enter
    "\ue00b": 0xFF13,  # Pause
    "\ue00c": 0xFF1B,  # Escape
    "\ue00d": 0x0020,  # space
    "\ue00e": 0xFF55,  # Page_Up
    "\ue00f": 0xFF56,  # Page_Down
    "\ue010": 0xFF57,  # End
    "\ue011": 0xFF50,  # Home
    "\ue012": 0xFF51,  # Left
    "\ue013": 0xFF52,  # Up
    "\ue014": 0xFF53,  # Right
    "\ue015": 0xFF54,  # Down
    "\ue016": 0xFF63,  # Insert
    "\ue017": 0xFFFF,  # Delete
    "\ue018": 0x003B,  # semicolon
    "\ue019": 0x003D,  # equal
    **{chr(0xE01A + digit): 0xFFB0 + digit for digit in range(10)},  # KP_0 .. KP_9
    "\ue024": 0xFFAA,  # KP_Multiply
    "\ue025": 0xFFAB,  # KP_Add
    "\ue026": 0xFFAC,  # KP_Separator
    "\ue027": 0xFFAD,  # KP_Subtract
    "\ue028": 0xFFAE,  # KP_Decimal
    "\ue029": 0xFFAF,  # KP_Divide
    **{chr(0xE031 + number): 0xFFBE + number for number in range(12)},  # F1 .. F12
    "\ue040": 0xFF2A,  # Zenkaku_Hankaku
    "\ue054": 0xFF9A,  # KP_Page_Up
    "\ue055": 0xFF9B,  # KP_Page_Down
    "\ue056": 0xFF9C,  # KP_End
    "\ue057": 0xFF95,  # KP_Home
    "\ue058": 0xFF96,  # KP_Left
    "\ue059": 0xFF97,  # KP_Up
    "\ue05a": 0xFF98,  # KP_Right
    "\ue05b": 0xFF99,  # KP_Down
    "\ue05c": 0xFF9E,  # KP_Insert
    "\ue05d": 0xFF9F,  # KP_Delete
}

_CONTROL = {"\n": 0xFF0D, "\r": 0xFF0D, "\t": 0xFF09, "\b": 0xFF08, "\x1b": 0xFF1B, "\x7f": 0xFFFF}


def is_modifier(key: str) -> bool:
    """Whether the character is one of W3C's modifier keys."""
    return key in _MODIFIERS


def check_text(text: str) -> None:
    """Raise WebDriverError "invalid argument" for halves of characters: UTF-16 surrogates without their other half."""
    if half := next((key for key in text if "\ud800" <= key <= "\udfff"), None):
        raise WebDriverError("invalid argument", f"U+{ord(half):04X} is half a character: send both halves together")


def keysym_of(key: str) -> int:
    """The keysym of one character or special key.

    Latin-1 keysyms equal their code points; other characters are 0x01000000 + code point (X11 protocol, appendix A).
    """
    special = SPECIAL_KEYS.get(key) or _CONTROL.get(key)
    if special is not None:
        return special
    code = ord(key)
    if 0x20 <= code <= 0x7E or 0xA0 <= code <= 0xFF:
        return code
    return 0x01000000 + code
